//! Requests that no application ever sees, and what clients are told.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::support::{Node, Setup, get, read_all, status};
use canopy_admission::AdmissionSettings;
use canopy_edge::EdgeSettings;
use canopy_runtime::Limits;
use tokio::io::AsyncWriteExt;

fn problem(response: &str) -> &str {
    response
        .split("urn:canopy:problem:")
        .nth(1)
        .and_then(|rest| rest.split('"').next())
        .unwrap_or("no problem document")
}

async fn refused(node: &Node, request: &str, expected: u16, code: &str) {
    let response = node.exchange(request).await;
    assert_eq!(
        (status(&response), problem(&response)),
        (expected, code),
        "{request:?} {response}"
    );
    assert!(response.contains("x-request-id: req_"), "{response}");
    assert!(response.contains("application/problem+json"), "{response}");
}

#[tokio::test]
async fn each_cause_has_its_status_and_code() {
    let node = Node::start(Setup::default()).await;
    let to =
        |line: &str| format!("{line}\r\nHost: app.acme.localhost\r\nConnection: close\r\n\r\n");
    refused(
        &node,
        &get("/").replace("acme", "globex"),
        404,
        "unknown-host",
    )
    .await;
    refused(
        &node,
        &get("/").replace("app.acme.localhost", "a@b"),
        400,
        "bad-request",
    )
    .await;
    refused(&node, &get("/private"), 401, "token-required").await;
    refused(&node, &get("/a%2e%2e"), 401, "token-required").await;
    refused(&node, &get("/.canopy/anything"), 404, "unknown-address").await;
    refused(&node, "GET / HTTP/1.0\r\n\r\n", 400, "bad-request").await;
    refused(
        &node,
        &to("GET / HTTP/1.1\r\nHost: app.acme.localhost"),
        400,
        "bad-request",
    )
    .await;
    refused(
        &node,
        &to("GET http://globex.localhost/ HTTP/1.1"),
        400,
        "bad-request",
    )
    .await;
    refused(&node, &to("OPTIONS * HTTP/1.1"), 400, "bad-request").await;
    refused(&node, &to("TRACE / HTTP/1.1"), 501, "method-not-supported").await;
    refused(
        &node,
        &to("CONNECT app.acme.localhost:80 HTTP/1.1"),
        501,
        "method-not-supported",
    )
    .await;
    let upgrade = to(
        "GET / HTTP/1.1\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
    )
    .replace("close", "upgrade, close");
    refused(&node, &upgrade, 501, "upgrade-not-supported").await;
    let keyless = upgrade.replace("Key", "Lock");
    refused(&node, &keyless, 400, "bad-request").await;
    refused(
        &node,
        &get(&format!("/{}", "x".repeat(17 << 10))),
        414,
        "uri-too-long",
    )
    .await;
    let fields: String = (0..70).map(|number| format!("x-{number}: y\r\n")).collect();
    let many = get("/").replace("Connection", &format!("{fields}Connection"));
    refused(&node, &many, 431, "headers-too-large").await;
    let large = get("/").replace(
        "Connection",
        &format!("x: {}\r\nConnection", "y".repeat(33 << 10)),
    );
    refused(&node, &large, 431, "headers-too-large").await;
    refused(&node, &get("/trap"), 500, "trap").await;
    let reached = node.stage.entered.load(Ordering::SeqCst);
    assert_eq!(reached, 1, "of these, only /trap may reach the application");
    refused(&node, &get("/switch"), 502, "bad-response").await;
    assert_eq!(status(&node.get("/").await), 200);
}

#[tokio::test]
async fn what_is_larger_than_any_buffer_is_refused_too() {
    let node = Node::start(Setup::default()).await;
    let fields: String = (0..10_000)
        .map(|number| format!("x-{number}: y\r\n"))
        .collect();
    let many = get("/").replace("Connection", &format!("{fields}Connection"));
    assert_eq!(status(&node.exchange(many).await), 431);
    let large = get("/").replace(
        "Connection",
        &format!("x: {}\r\nConnection", "y".repeat(1 << 20)),
    );
    assert_eq!(status(&node.exchange(large).await), 431);
    let response = node.get(&format!("/{}", "x".repeat(1 << 20))).await;
    assert!(matches!(status(&response), 414 | 431), "{response}");
    assert_eq!(node.stage.entered.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_length_declared_twice_is_refused_and_the_connection_closed() {
    let node = Node::start(Setup::default()).await;
    let smuggled = get("/");
    for declared in [
        "Content-Length: 4\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 4",
    ] {
        let request = format!(
            "POST /echo HTTP/1.1\r\nHost: app.acme.localhost\r\n{declared}\r\n\r\n0\r\n\r\n{smuggled}"
        );
        let response = node.exchange(request).await;
        assert_eq!(
            (status(&response), problem(&response)),
            (400, "bad-request"),
            "{response}"
        );
        assert_eq!(response.matches("HTTP/1.1").count(), 1, "{response}");
    }
    for declared in [
        "Content-Length: 4\r\nContent-Length: 5",
        "Content-Length: -1",
        "Content-Length: 4, 4",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding : chunked",
    ] {
        let request = format!(
            "POST /echo HTTP/1.1\r\nHost: app.acme.localhost\r\n{declared}\r\n\r\nabcd{smuggled}"
        );
        let response = node.exchange(request).await;
        assert_eq!(status(&response), 400, "{declared}: {response}");
        assert_eq!(
            response.matches("HTTP/1.1").count(),
            1,
            "{declared}: {response}"
        );
    }
    assert_eq!(node.stage.entered.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn clients_that_send_no_head_in_time_are_closed() {
    let edge = EdgeSettings {
        header_timeout: Duration::from_millis(300),
        ..EdgeSettings::default()
    };
    let node = Node::start(Setup {
        edge,
        ..Setup::default()
    })
    .await;
    for sent in [
        "",
        "P",
        "PRI * HTTP/2.0\r\n\r\nSM",
        "GET / HTTP/1.1\r\nHost: app.acme.localhost\r\n",
    ] {
        let begun = Instant::now();
        let response = node.exchange(sent).await;
        assert!(begun.elapsed() < Duration::from_secs(5), "{sent:?}");
        assert!(!response.contains("200"), "{sent:?}: {response}");
    }

    let mut dripping = node.connect().await;
    let begun = Instant::now();
    for byte in get("/").bytes() {
        if dripping.write_all(&[byte]).await.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(!read_all(&mut dripping).await.contains("200"));
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert_eq!(node.stage.entered.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_whether_declared_or_not() {
    let limits = Limits {
        request_body_bytes: 1000,
        ..Limits::default()
    };
    let node = Node::start(Setup {
        limits,
        ..Setup::default()
    })
    .await;
    let head = "POST /echo HTTP/1.1\r\nHost: app.acme.localhost\r\n";
    refused(
        &node,
        &format!("{head}Content-Length: 1001\r\n\r\n"),
        413,
        "body-too-large",
    )
    .await;
    assert_eq!(node.stage.entered.load(Ordering::SeqCst), 0);
    let chunk = format!("3e9\r\n{}\r\n0\r\n\r\n", "x".repeat(1001));
    let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n{chunk}");
    refused(&node, &chunked, 413, "body-too-large").await;

    let body = "x".repeat(1000);
    let request = format!("{head}Connection: close\r\nContent-Length: 1000\r\n\r\n{body}");
    assert!(node.exchange(request).await.ends_with(&body));
}

#[tokio::test]
async fn a_body_that_pauses_for_too_long_is_broken_off() {
    let edge = EdgeSettings {
        body_idle_timeout: Duration::from_millis(200),
        ..EdgeSettings::default()
    };
    let node = Node::start(Setup {
        edge,
        ..Setup::default()
    })
    .await;
    let head = "POST /echo HTTP/1.1\r\nHost: app.acme.localhost\r\nContent-Length: 9\r\n\r\nhalf";
    let response = node.exchange(head).await;
    assert_eq!(status(&response), 418, "{response}");
    assert!(response.contains("in time"), "{response}");
}

#[tokio::test]
async fn over_the_limit_of_requests_under_way() {
    let limits = Limits {
        concurrency: 1,
        ..Limits::default()
    };
    let node = Node::start(Setup {
        limits,
        ..Setup::default()
    })
    .await;
    let mut first = node.connect().await;
    first
        .write_all(get("/gate").as_bytes())
        .await
        .expect("sent");
    node.entered(1).await;
    let response = node.get("/").await;
    assert_eq!(
        (status(&response), problem(&response)),
        (429, "installation-busy")
    );
    assert!(response.contains("retry-after: 1"), "{response}");
    node.stage.open.notify_one();
    assert!(read_all(&mut first).await.ends_with("through"));
    assert_eq!(status(&node.get("/").await), 200);
}

#[tokio::test]
async fn a_full_node_says_that_it_is_the_node() {
    let admission = AdmissionSettings {
        node_concurrency: 1,
        max_wait: Duration::ZERO,
        ..AdmissionSettings::default()
    };
    let node = Node::start(Setup {
        admission,
        ..Setup::default()
    })
    .await;
    let mut first = node.connect().await;
    first
        .write_all(get("/gate").as_bytes())
        .await
        .expect("sent");
    node.entered(1).await;
    let response = node.get("/").await;
    assert_eq!((status(&response), problem(&response)), (503, "node-busy"));
    node.stage.open.notify_one();
    read_all(&mut first).await;
}

#[tokio::test]
async fn connections_of_one_address_have_a_limit() {
    let edge = EdgeSettings {
        max_connections_per_address: 2,
        ..EdgeSettings::default()
    };
    let node = Node::start(Setup {
        edge,
        ..Setup::default()
    })
    .await;
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = node.connect().await;
        stream
            .write_all(get("/gate").as_bytes())
            .await
            .expect("sent");
        held.push(stream);
    }
    node.entered(2).await;
    assert_eq!(node.get("/").await, "");
    node.stage.open.notify_waiters();
    for mut stream in held {
        assert_eq!(status(&read_all(&mut stream).await), 200);
    }
    assert_eq!(status(&node.get("/").await), 200);
}

#[tokio::test]
async fn a_place_for_a_websocket_is_looked_for_before_a_slot() {
    let node = Node::start(Setup {
        edge: EdgeSettings {
            websockets: 0,
            ..EdgeSettings::default()
        },
        limits: Limits {
            concurrency: 1,
            ..Limits::default()
        },
        ..Setup::default()
    })
    .await;
    let mut first = node.connect().await;
    first
        .write_all(get("/gate").as_bytes())
        .await
        .expect("sent");
    node.entered(1).await;
    assert_eq!(problem(&node.get("/").await), "installation-busy");
    let handshake = get("/").replace(
        "Connection: close",
        "Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
    );
    refused(&node, &handshake, 429, "tenant-websockets").await;
    node.stage.open.notify_one();
    read_all(&mut first).await;
}
