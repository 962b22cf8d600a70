//! Signed events, to a receiver that checks them by another implementation.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, Node, Receiver, answer, free_port, guest, plugin};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const OTHER: &str = "whsec_QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFB";

fn node_with_webhooks() -> Node {
    let node = Node::start();
    node.publish(&plugin("webhook"));
    node.publish(&guest("notify"));
    node.run("tenant create acme");
    node
}

/// Sets the driver up to send to `port`, signing by `secrets`.
fn set_up(node: &Node, port: u16, secrets: &[(&str, &str)]) {
    let mut add = format!(
        "driver add canopy/webhook --tenant acme --replace --set url=http://127.0.0.1:{port}/hook \
         --set pause_ms=1 --egress 127.0.0.1:{port}"
    );
    for (key, _) in secrets {
        add.push_str(&format!(" --secret-env {key}={key}"));
    }
    let added = node.cli_with(add.split_whitespace(), secrets);
    assert_eq!(added.code, 0, "{}", added.stderr);
}

async fn notify(node: &Node, query: &str, data: &Value) -> Answer {
    let request = node.request(Method::POST, "notify.acme", &format!("/?{query}"));
    answer(request.body(data.to_string())).await
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_delivered_signed_and_again_until_they_are_taken() {
    let receiver = Receiver::start(SECRET);
    let node = node_with_webhooks();
    set_up(&node, receiver.port, &[("signing_secret", SECRET)]);
    node.run("install guests/notify --tenant acme --bind canopy:webhook=webhook");

    let data = json!({ "invoice": 7, "total": "größer als 1.50" });
    let sent = notify(&node, "kind=invoice.paid", &data).await;
    assert_eq!(sent.status, 200, "{sent:?}");
    assert_eq!(
        (&sent.json()["status"], &sent.json()["attempts"]),
        (&json!(204), &json!(1))
    );
    let sent = notify(&node, "kind=busy&id=evt-7", &json!(1)).await;
    assert_eq!(
        sent.json(),
        json!({ "id": "evt-7", "status": 204, "attempts": 3 })
    );
    let refused = notify(&node, "kind=refused", &json!(1)).await;
    assert_eq!(
        (refused.status, refused.body.contains("Refused(422)")),
        (502, true),
        "{refused:?}"
    );
    let bad = notify(&node, "kind=a..b", &json!(1)).await;
    assert!(bad.body.contains("BadEvent"), "{bad:?}");

    let events = receiver.events();
    assert_eq!(events.len(), 5, "{events:?}");
    assert!(
        events.iter().all(|event| event["verified"] == true),
        "{events:?}"
    );
    assert_eq!(
        (&events[0]["event"]["type"], &events[0]["event"]["data"]),
        (&json!("invoice.paid"), &data)
    );
    assert!(events[1..4].iter().all(|event| event["id"] == "evt-7"));
    assert_ne!(events[0]["id"], events[4]["id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_secret_can_be_changed_while_receivers_still_have_the_old_one() {
    let receiver = Receiver::start(SECRET);
    let node = node_with_webhooks();
    let both = [("signing_secret", OTHER), ("old_signing_secret", SECRET)];
    set_up(&node, receiver.port, &both);
    node.run("install guests/notify --tenant acme --bind canopy:webhook=webhook");
    assert_eq!(notify(&node, "kind=a", &json!(1)).await.status, 200);
    node.run("secret unset webhook old_signing_secret --driver --tenant acme");
    let refused = notify(&node, "kind=a", &json!(1)).await;
    assert!(refused.body.contains("Refused(401)"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_is_away_or_not_granted_is_told_apart() {
    let node = node_with_webhooks();
    let port = free_port();
    set_up(&node, port, &[("signing_secret", SECRET)]);
    node.run("install guests/notify --tenant acme --bind canopy:webhook=webhook");
    let away = notify(&node, "kind=a", &json!(1)).await;
    assert!(
        away.body.contains("Unavailable") && away.body.contains("after 3 attempts"),
        "{away:?}"
    );
    let elsewhere = format!("url=http://127.0.0.1:{}/", free_port());
    let add = "driver add canopy/webhook --tenant acme --replace --secret-env signing_secret=signing_secret --set";
    let added = node.cli_with(
        add.split_whitespace().chain([elsewhere.as_str()]),
        &[("signing_secret", SECRET)],
    );
    assert_eq!(added.code, 0, "{}", added.stderr);
    let denied = notify(&node, "kind=a", &json!(1)).await;
    assert!(denied.body.contains("NotConfigured"), "{denied:?}");
}
