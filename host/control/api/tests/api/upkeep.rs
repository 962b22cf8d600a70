//! Jobs, backups, exports and erasures: what is refused before anything begins.

use axum::body::Body;
use axum::http::header::{AUTHORIZATION, RANGE};
use axum::http::{Method, Request};
use serde_json::{Value, json};

use crate::support::{Answer, Node};

async fn post(node: &Node, path: &str, body: Value) -> Answer {
    node.send(Method::POST, path, &[], body).await
}

async fn tenant(node: &Node) {
    let put = node
        .put("tenants/one", json!({ "display_name": "One" }))
        .await;
    assert_eq!(put.status, 201, "{put:?}");
}

/// The job, when it has ended.
async fn ended(node: &Node, job: &Answer) -> Value {
    assert_eq!(job.status, 202, "{job:?}");
    let id = job.json()["id"].as_str().expect("an id").to_owned();
    loop {
        let job = node.get(&format!("jobs/{id}")).await.json();
        let state = job["state"].as_str().expect("a state");
        if !["queued", "running"].contains(&state) {
            return job;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_needs_a_place_that_the_operator_allows() {
    let node = Node::start().await;
    let nowhere = post(&node, "backups", json!({})).await;
    assert_eq!(nowhere.problem(422), "no-repository");
    let elsewhere = post(&node, "backups", json!({ "repository": "/etc/x" })).await;
    assert_eq!(elsewhere.problem(422), "repository-outside");
    let orphan = post(&node, "backups", json!({ "installation": "shop" })).await;
    assert_eq!(orphan.problem(422), "invalid-field");
    let nobody = post(&node, "backups", json!({ "tenant": "nobody" })).await;
    assert_eq!(nobody.problem(404), "not-found");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_arrives_piece_by_piece_and_only_in_order() {
    let node = Node::start().await;
    let body = json!({ "size": 6, "name": "a.tar" });
    let import = post(&node, "imports", body).await;
    assert_eq!(import.status, 201, "{import:?}");
    let id = import.json()["id"].as_str().expect("an id").to_owned();
    let send = async |offset: u64, bytes: &'static str| {
        let request = Request::builder()
            .method(Method::PUT)
            .uri(format!("/api/v1/imports/{id}/content?offset={offset}"))
            .header(AUTHORIZATION, format!("Bearer {}", node.token))
            .body(Body::from(bytes));
        node.raw(request.expect("a request")).await
    };
    assert_eq!(send(0, "abc").await.json()["received"], 3);
    let again = send(0, "abc").await;
    assert_eq!(again.problem(409), "wrong-offset");
    assert_eq!(again.json()["received"], 3);
    let early = post(&node, &format!("imports/{id}/start"), json!({})).await;
    assert_eq!(early.problem(409), "incomplete");
    let more = send(3, "defg").await;
    assert_eq!(more.problem(409), "too-much-sent");
    assert_eq!(send(3, "def").await.json()["received"], 6);
    let started = post(&node, &format!("imports/{id}/start"), json!({})).await;
    let job = ended(&node, &started).await;
    assert_eq!(
        (&job["state"], &job["error"]["code"]),
        (&json!("failed"), &json!("damaged"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_is_fetched_in_ranges() {
    let node = Node::start().await;
    tenant(&node).await;
    let job = ended(&node, &post(&node, "tenants/one/exports", json!({})).await).await;
    assert_eq!(job["state"], "done", "{job}");
    let id = job["result"]["export"].as_str().expect("an id");
    let size = job["result"]["size"].as_u64().expect("a size");
    let fetch = async |range: String| {
        let request = Request::builder()
            .uri(format!("/api/v1/exports/{id}/content"))
            .header(AUTHORIZATION, format!("Bearer {}", node.token))
            .header(RANGE, range)
            .body(Body::empty());
        node.raw(request.expect("a request")).await
    };
    let (first, rest) = (
        fetch("bytes=0-99".into()).await,
        fetch("bytes=100-".into()).await,
    );
    assert_eq!((first.status.as_u16(), rest.status.as_u16()), (206, 206));
    assert_eq!(
        first.text.len() + rest.text.len(),
        usize::try_from(size).expect("small")
    );
    assert!(first.text.starts_with("manifest.json"));
    assert_eq!(
        fetch(format!("bytes={size}-")).await.problem(400),
        "invalid-query"
    );
    let gone = node.delete(&format!("exports/{id}")).await;
    assert_eq!(gone.status, 204, "{gone:?}");
    assert_eq!(fetch("bytes=0-".into()).await.problem(404), "not-found");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_needs_the_name_and_can_be_taken_back() {
    let node = Node::start().await;
    tenant(&node).await;
    let unconfirmed = json!({ "confirm": "two" });
    let refused = post(&node, "tenants/one/erasure", unconfirmed).await;
    assert_eq!(refused.problem(422), "not-confirmed");
    let asked = post(&node, "tenants/one/erasure", json!({ "confirm": "one" })).await;
    assert_eq!(asked.status, 202, "{asked:?}");
    let (id, at) = (
        asked.json()["id"].clone(),
        asked.json()["not_before"].clone(),
    );
    let plan = node.get("tenants/one/erasure").await.json();
    assert_eq!((&plan["job"], &plan["erase_at"]), (&id, &at));
    let id = id.as_str().expect("an id");
    let cancelled = post(&node, &format!("jobs/{id}/cancel"), json!({}))
        .await
        .json();
    assert_eq!(cancelled["state"], "cancelled");
    assert_eq!(
        node.get("tenants/one/erasure").await.json()["job"],
        Value::Null
    );

    let now = json!({ "confirm": "one", "now": true });
    let job = ended(&node, &post(&node, "tenants/one/erasure", now).await).await;
    assert_eq!(job["state"], "done", "{job}");
    assert_eq!(node.get("tenants/one").await.problem(404), "not-found");
    let records = node.get("erasures").await.json();
    let key = node.get("erasures/key").await.json();
    assert_eq!(records["items"][0]["public_key"], key["public_key"]);
}
