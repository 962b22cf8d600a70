//! Logs of installations over the API.

use std::time::Duration;

use axum::body::Body;
use axum::http::Method;
use canopy_backend_logs::{Entry, Level, LogContext, Source};
use canopy_ids::InstallationId;
use http_body_util::BodyExt;
use serde_json::Value;
use tower::ServiceExt;

use crate::installing::{INSTALLATION, installed};
use crate::support::{Answer, Node};

pub(crate) async fn write_log(node: &Node, id: InstallationId, text: &str) {
    let context = LogContext {
        tenant: "one".parse().expect("a name"),
        app: Some("notes".parse().expect("a name")),
        driver: None,
        package: "acme/notes".parse().expect("a name"),
        version: semver::Version::new(1, 0, 0),
    };
    node.logs
        .log(id, context)
        .append(Entry::new(Level::Info, Source::Stdout, text));
    node.logs.flush(id).await;
}

#[tokio::test]
async fn a_log_is_read_in_pages_or_followed() {
    let node = installed().await;
    let shown = node.get(INSTALLATION).await.json();
    let id: InstallationId = shown["id"].as_str().expect("an id").parse().expect("an id");
    for text in ["one", "two", "three"] {
        write_log(&node, id, text).await;
    }
    let path = format!("{INSTALLATION}/logs");
    let messages = |answer: &Answer| -> Vec<String> {
        let items = answer.json()["items"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        items
            .iter()
            .map(|item| item["message"].as_str().expect("text").to_owned())
            .collect()
    };
    let first = node.get(&format!("{path}?limit=2")).await;
    assert_eq!(messages(&first), ["one", "two"]);
    let after = &first.json()["next_after"];
    assert_eq!(
        messages(&node.get(&format!("{path}?after={after}")).await),
        ["three"]
    );
    assert_eq!(
        messages(&node.get(&format!("{path}?tail=1")).await),
        ["three"]
    );
    assert_eq!(
        node.get(&format!("{path}?tail=1&after=1"))
            .await
            .problem(400),
        "invalid-query"
    );
    assert_eq!(
        node.get("tenants/two/installations/notes/logs")
            .await
            .problem(404),
        "not-found"
    );

    let request = node
        .request(Method::GET, &format!("{path}?tail=1&follow=true"))
        .body(Body::empty());
    let response = node
        .router
        .clone()
        .oneshot(request.expect("a request"))
        .await
        .expect("infallible");
    assert_eq!(response.headers()["content-type"], "application/x-ndjson");
    let mut body = response.into_body();
    let mut next = async || {
        let frame = tokio::time::timeout(Duration::from_secs(10), body.frame())
            .await
            .expect("in time");
        frame.map(|frame| frame.expect("a frame").into_data().expect("data"))
    };
    let line: Value = serde_json::from_slice(&next().await.expect("a line")).expect("JSON");
    assert_eq!(line["message"], "three");
    write_log(&node, id, "four").await;
    let line: Value = serde_json::from_slice(&next().await.expect("a line")).expect("JSON");
    assert_eq!(line["message"], "four");
    node.stopping.cancel();
    assert_eq!(next().await, None, "it ends when the node stops");
}
