//! Badges: what came of tests, and who says so.

use canopy_ids::Digest;
use serde_json::{Value, json};

use crate::support::{DRIVER, NOTES, Node, app, driver, manifest};

const VERSION: &str = "packages/acme/tested/versions/1.0.0";

fn badge(component: &[u8], outcome: &str) -> Value {
    json!({
        "package": "acme/tested", "version": "1.0.0", "digest": Digest::of(component).to_string(),
        "suites": ["acme:payments@1.2.0"], "suite_version": "0.1.0", "host_version": "0.1.0",
        "tested_at": "2026-11-26T00:00:00Z",
        "cases": [{ "suite": "acme:payments@1.2.0", "name": "one", "outcome": outcome }]
    })
}

/// Publishes `component` with what came of its tests.
async fn publish(node: &Node, component: &[u8], badge: &Value) -> crate::support::Answer {
    let (manifest, badge) = (manifest("tested", "1.0.0", DRIVER), badge.to_string());
    let parts = [
        ("manifest", manifest.as_bytes()),
        ("badge", badge.as_bytes()),
        ("component", component),
    ];
    node.form(VERSION, &parts).await
}

#[tokio::test]
async fn what_comes_with_publishing_is_the_publishers_word_and_no_more() {
    let node = Node::furnished().await;
    let component = driver("");
    let published = publish(&node, &component, &badge(&component, "passed")).await;
    assert_eq!(published.status, 201, "{published:?}");
    let badges = node.get(VERSION).await.json()["badges"].clone();
    assert_eq!(badges.as_array().map(Vec::len), Some(1), "{badges}");
    assert_eq!(
        (&badges[0]["source"], &badges[0]["passed"]),
        (&json!("publisher"), &json!(true))
    );

    // Tested again, the version stays what it is and the record is the new one.
    let again = publish(&node, &component, &badge(&component, "failed")).await;
    assert_eq!(again.status, 200, "{again:?}");
    let badges = again.json()["badges"].clone();
    assert_eq!(badges.as_array().map(Vec::len), Some(1), "{badges}");
    assert_eq!(badges[0]["passed"], false);

    // The operator's own record stands beside it.
    let path = format!("{VERSION}/badge");
    let recorded = node.put(&path, badge(&component, "passed")).await;
    assert_eq!(recorded.status, 200, "{recorded:?}");
    let badges = node.get(VERSION).await.json()["badges"].clone();
    let sources: Vec<_> = badges
        .as_array()
        .into_iter()
        .flatten()
        .map(|badge| &badge["source"])
        .collect();
    assert_eq!(sources, ["operator", "publisher"]);
    let listed = node.get("packages/acme/tested/versions").await.json();
    assert_eq!(listed["items"][0]["badges"], badges);
}

#[tokio::test]
async fn a_record_of_other_bytes_and_one_that_says_who_it_is_of_are_refused() {
    let node = Node::furnished().await;
    let component = driver("");
    let other = badge(b"other bytes", "passed");
    let refused = publish(&node, &component, &other).await;
    assert_eq!(refused.problem(422), "invalid-field");
    assert!(refused.text.contains("test it again"), "{refused:?}");
    assert_eq!(node.get(VERSION).await.problem(404), "not-found");

    let mut forged = badge(&component, "passed");
    forged["source"] = json!("operator");
    let refused = publish(&node, &component, &forged).await;
    assert_eq!(refused.status, 400, "{refused:?}");
    assert!(refused.text.contains("source"), "{refused:?}");

    let published = node.publish("tested", "1.0.0", DRIVER, &component).await;
    assert_eq!(published.status, 201, "{published:?}");
    assert_eq!(published.json()["badges"], json!([]));
    let refused = node.put(&format!("{VERSION}/badge"), other).await;
    assert_eq!(refused.problem(422), "invalid-field");
}

#[tokio::test]
async fn a_version_shows_what_calls_and_messages_it_asks_for() {
    let node = Node::furnished().await;
    let more = format!(
        "{NOTES}\n[[schedules]]\nname = \"nightly\"\ncron = \"0 3 * * *\"\npath = \"/n\"\nreason = \"Sums up.\"\n\
         [[subscriptions]]\ntopic = \"orders\"\npath = \"/o\"\nreason = \"Books.\""
    );
    let published = node.publish("notes", "2.0.0", &more, &app("")).await;
    assert_eq!(published.status, 201, "{published:?}");
    let version = node.get("packages/acme/notes/versions/2.0.0").await.json();
    assert_eq!(version["schedules"][0]["name"], "nightly");
    assert_eq!(version["schedules"][0]["timezone"], "UTC");
    assert_eq!(version["subscriptions"][0]["topic"], "orders");
    assert_eq!(version["subscriptions"][0]["concurrency"], 1);
}
