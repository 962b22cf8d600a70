//! Messages that wait and messages that were given up, over the API.

use std::sync::Arc;

use axum::http::Method;
use canopy_backend::Scope;
use canopy_backend::queue::{NewMessage, Queue, QueueLimits};
use canopy_backend_queue::{BUCKET, KeyValueQueue};
use canopy_ids::MessageId;
use serde_json::json;

use crate::support::{Node, app};

const SUBSCRIBED: &str = "kind = \"app\"\n[[subscriptions]]\ntopic = \"orders\"\n\
                          path = \"/on/orders\"\nreason = \"Books them.\"";
const PATH: &str = "tenants/one/installations/plain/messages";

/// A node whose tenant `one` has an installation that subscribes to `orders`, and its queue.
async fn subscribed() -> (Node, KeyValueQueue, Scope) {
    let node = Node::furnished().await;
    let published = node.publish("plain", "1.0.0", SUBSCRIBED, &app("")).await;
    assert_eq!(published.status, 201, "{published:?}");
    let body = json!({ "package": "acme/plain" });
    let answer = node.put("tenants/one/installations/plain", body).await;
    let installation = answer.json()["id"].as_str().expect("an id").parse();
    let tenant = node.get("tenants/one").await.json();
    let tenant = tenant["id"].as_str().expect("an id").parse();
    let scope = Scope {
        tenant: tenant.expect("an id"),
        installation: installation.expect("an id"),
    };
    let limits = QueueLimits {
        message_bytes: 1000,
        waiting: 100,
        dead: 100,
    };
    let queue = KeyValueQueue::new(Arc::clone(&node.storage) as _, limits);
    (node, queue, scope)
}

async fn put(queue: &KeyValueQueue, scope: Scope, topic: &str) -> MessageId {
    let message = NewMessage {
        topic: topic.into(),
        sender: "shop".into(),
        content_type: Some("text/plain".into()),
        reply_to: None,
        body: b"hello".to_vec(),
        published_at: 1_764_000_000_000,
        not_before: 1,
    };
    queue.put(scope, message).await.expect("put")
}

#[tokio::test]
async fn what_waits_is_counted_by_topic() {
    let (node, queue, scope) = subscribed().await;
    for topic in ["orders", "orders", "old"] {
        put(&queue, scope, topic).await;
    }
    let topics = node.get(PATH).await.json();
    assert_eq!(
        topics["items"],
        json!([
            { "topic": "orders", "path": "/on/orders", "concurrency": 1, "waiting": 2 },
            { "topic": "old", "waiting": 1 },
        ])
    );
    let stores = node.get("tenants/one/installations/plain/key-value/stores");
    assert_eq!(
        stores.await.json()["items"],
        json!([]),
        "it is nobody's store"
    );
    let keys = "tenants/one/installations/plain/key-value/keys?store=%01messages";
    assert_eq!(BUCKET, "\u{1}messages");
    assert_eq!(node.get(keys).await.problem(404), "not-found");
}

#[tokio::test]
async fn what_was_given_up_is_shown_taken_up_again_and_removed() {
    let (node, queue, scope) = subscribed().await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(put(&queue, scope, "orders").await);
        let waiting = queue.waiting(scope, "orders", None, 1).await.expect("read");
        let buried = queue.bury(scope, &waiting[0], "the answer was 500").await;
        buried.expect("written");
    }
    let first = node.get(&format!("{PATH}/dead?limit=2")).await.json();
    assert_eq!(first["items"].as_array().map(Vec::len), Some(2));
    let message = &first["items"][0];
    assert_eq!(message["id"], ids[0].to_string());
    assert_eq!(message["error"], "the answer was 500");
    assert_eq!(
        (&message["bytes"], &message["attempts"]),
        (&json!(5), &json!(1))
    );
    assert!(message["body"].is_null());
    let cursor = first["next_cursor"].as_str().expect("more");
    let rest = node.get(&format!("{PATH}/dead?cursor={cursor}")).await;
    assert_eq!(rest.json()["items"][0]["id"], ids[2].to_string());

    let shown = node.get(&format!("{PATH}/dead/{}", ids[0])).await.json();
    assert_eq!(shown["body"], "aGVsbG8=");
    assert_eq!(shown["published_at"], "2025-11-24T16:00:00Z");
    let requeue = format!("{PATH}/dead/{}/requeue", ids[0]);
    for expected in [204, 404] {
        let answer = node.send(Method::POST, &requeue, &[], json!({})).await;
        assert_eq!(answer.status, expected, "{answer:?}");
    }
    let waiting = queue.waiting(scope, "orders", None, 9).await.expect("read");
    assert_eq!((waiting.len(), waiting[0].failures), (1, 0));
    for expected in [204, 404] {
        let answer = node.delete(&format!("{PATH}/dead/{}", ids[1])).await;
        assert_eq!(answer.status, expected, "{answer:?}");
    }
}
