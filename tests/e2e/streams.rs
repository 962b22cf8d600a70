//! Answers that go on for longer than others may: server-sent events, by WASI 0.2 and 0.3.

use std::time::{Duration, Instant};

use futures::StreamExt;
use reqwest::Method;

use crate::support::{Node, guest};

const GUESTS: [&str; 2] = ["ticker", "ticker-p3"];

fn node(settings: &str) -> Node {
    let node = Node::start_with(settings);
    for name in GUESTS {
        node.serve(&guest(name), &format!("guests/{name}"), &["acme"]);
    }
    node
}

/// Takes events until the answer breaks off. How many there were, and how long it took.
async fn take(node: &Node, app: &str, path: &str) -> (usize, Duration) {
    let begun = Instant::now();
    let request = node.request(Method::GET, &format!("{app}.acme"), path);
    let response = request.send().await.expect("a head");
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut pieces = response.bytes_stream();
    let mut text = String::new();
    while let Some(Ok(piece)) = pieces.next().await {
        text += std::str::from_utf8(&piece).expect("text");
    }
    (text.matches("data: tick\n\n").count(), begun.elapsed())
}

#[tokio::test(flavor = "multi_thread")]
async fn events_go_on_beyond_the_time_of_other_answers_up_to_the_time_of_streams() {
    let node = node("");
    for app in GUESTS {
        // Its `wall_ms` is one second, and its `stream_ms` eight.
        let (events, time) = take(&node, app, "/?ms=200").await;
        assert!(time >= Duration::from_secs(7), "{app}: {time:?}");
        assert!(time < Duration::from_secs(20), "{app}: {time:?}");
        assert!(events > 20, "{app}: {events}");
        node.logs("which is as long as it may");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_pauses_for_too_long_is_broken_off() {
    let node = node("[limits]\nstream_idle = \"2s\"");
    for app in GUESTS {
        let (events, time) = take(&node, app, "/?ms=60000").await;
        assert_eq!(events, 1, "{app}");
        assert!(time < Duration::from_secs(7), "{app}: {time:?}");
        node.logs("nothing more of the response");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_and_the_node_bound_the_time_of_streams() {
    let node = node("");
    let limits = node.run("limits ticker --tenant acme");
    let all = limits["limits"].as_array().expect("limits");
    let stream = all.iter().find(|limit| limit["name"] == "stream_ms");
    assert_eq!(stream.expect("it is there")["value"], 8000);
    node.run("plan create short --limit stream_ms=2000");
    node.run("tenant set acme --plan short");
    let (_, time) = take(&node, "ticker", "/?ms=200").await;
    assert!(time < Duration::from_secs(7), "{time:?}");
}
