//! Clients that go away: the guest at work for them is stopped, and its slot is free again.

use std::time::{Duration, Instant};

use futures::StreamExt;
use reqwest::{Client, RequestBuilder};

use crate::support::{Node, guest};

/// By when the slot must be free. The guests that do not answer would go on for longer.
const NOTICED: Duration = Duration::from_secs(20);
/// What a node writes when a guest has gone on for as long as it may.
const LATE: &str = "which is as long as it may";

/// A node whose only tenant has room for one request at a time.
fn node() -> Node {
    let node = Node::start_with("[admission]\nmax_wait = \"10ms\"");
    for name in ["sleep", "ticker", "ticker-p3"] {
        node.serve(&guest(name), &format!("guests/{name}"), &["acme"]);
    }
    node.run("plan create narrow --limit concurrency=1");
    node.run("tenant set acme --plan narrow");
    node
}

/// A request by a connection of its own.
fn request(node: &Node, http2: bool, app: &str, path: &str) -> RequestBuilder {
    let (host, port) = (format!("{app}.acme.localhost"), node.apps_port());
    let builder = Client::builder().resolve(&host, ([127, 0, 0, 1], port).into());
    let builder = match http2 {
        true => builder.http2_prior_knowledge(),
        false => builder.http1_only(),
    };
    let client = builder.build().expect("a client");
    client.get(format!("http://{host}:{port}{path}"))
}

async fn is_free(node: &Node) -> bool {
    let answer = node.get("sleep.acme", "/?ms=0").await;
    if answer.status != 200 {
        assert_eq!(answer.problem(), "tenant-busy");
    }
    answer.status == 200
}

/// Waits until the slot is free, which it is when the guest has stopped.
async fn becomes_free(node: &Node, what: &str) {
    let begun = Instant::now();
    while !is_free(node).await {
        assert!(begun.elapsed() < NOTICED, "{what}: the guest goes on");
    }
    assert!(!node.log().contains(LATE), "{what}: its time ended it");
}

/// Waits until so many requests are written down as left by their clients.
fn are_left(node: &Node, count: usize) {
    let begun = Instant::now();
    while node.log().matches("ClientGone").count() != count {
        assert!(begun.elapsed() < NOTICED, "not written down as left");
        std::thread::yield_now();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_has_not_answered_yet_is_stopped() {
    let node = node();
    for (count, http2) in [(1, false), (2, true)] {
        let waiting = tokio::spawn(request(&node, http2, "sleep", "/?ms=29000").send());
        let begun = Instant::now();
        while is_free(&node).await {
            assert!(begun.elapsed() < NOTICED, "the request does not arrive");
        }
        waiting.abort();
        becomes_free(&node, "sleep").await;
        are_left(&node, count);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_in_the_middle_of_its_answer_is_stopped() {
    let node = node();
    let mut count = 0;
    for app in ["ticker", "ticker-p3"] {
        for http2 in [false, true] {
            let response = request(&node, http2, app, "/?ms=60000").send().await;
            let response = response.expect("a head");
            assert_eq!(response.status(), 200);
            let mut events = response.bytes_stream();
            events.next().await.expect("an event").expect("whole");
            assert!(!is_free(&node).await, "{app}: the guest is at work");
            drop(events);
            becomes_free(&node, app).await;
            count += 1;
            are_left(&node, count);
        }
    }
}
