//! The way of HTTP: versions, streaming, domains, refusals.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use futures::StreamExt;
use reqwest::Method;
use tokio::sync::mpsc;

use crate::support::{Node, answer, guest};

/// Sends `head` as it is and returns all that comes back until the connection is closed.
fn raw(node: &Node, head: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", node.apps_port())).expect("a connection");
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .expect("a timeout");
    stream.write_all(head.as_bytes()).expect("sent");
    let mut answer = Vec::new();
    // A reset by the server after its answer ends the reading as well as a close does.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_stream_in_both_directions() {
    let node = Node::start();
    node.serve(&guest("echo-stream"), "guests/echo-stream", &["acme"]);
    let (send, receive) = mpsc::channel::<Result<Vec<u8>, std::io::Error>>(1);
    let body = futures::stream::unfold(receive, |mut receive| async move {
        Some((receive.recv().await?, receive))
    });
    let request = node
        .request(Method::POST, "echo-stream.acme", "/")
        .body(reqwest::Body::wrap_stream(body));
    let response = tokio::spawn(request.send());
    send.send(Ok(b"first".to_vec())).await.expect("taken");
    let response = response
        .await
        .expect("no panic")
        .expect("a head before the body has ended");
    let mut echoed = response.bytes_stream();
    assert_eq!(
        echoed.next().await.expect("a piece").expect("whole"),
        "first"
    );
    send.send(Ok(b"second".to_vec())).await.expect("taken");
    assert_eq!(
        echoed.next().await.expect("a piece").expect("whole"),
        "second"
    );
    drop(send);
    assert!(echoed.next().await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn http_2_is_spoken() {
    let node = Node::start();
    node.serve(&guest("identity"), "guests/identity", &["acme"]);
    let port = node.apps_port();
    let client = reqwest::Client::builder()
        .http2_prior_knowledge()
        .resolve("identity.acme.localhost", ([127, 0, 0, 1], port).into())
        .build()
        .expect("a client");
    let url = format!("http://identity.acme.localhost:{port}/");
    let response = client.get(url).send().await.expect("an answer");
    assert_eq!(
        (response.version(), response.status().as_u16()),
        (http::Version::HTTP_2, 200)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_custom_domain_leads_to_its_installation() {
    let node = Node::start();
    node.serve(&guest("identity"), "guests/identity", &["acme"]);
    let port = node.apps_port();
    let get = async |host: &str| {
        let request = node.http.get(format!("http://127.0.0.1:{port}/"));
        answer(request.header("host", host)).await
    };
    assert_eq!(get("books.acme.example").await.status, 404);
    node.run("domain add identity books.acme.example --tenant acme");
    for host in [
        "books.acme.example",
        "BOOKS.acme.example.",
        &format!("books.acme.example:{port}"),
    ] {
        assert_eq!(get(host).await.status, 200, "{host}");
    }
    node.run("domain remove identity books.acme.example --tenant acme");
    assert_eq!(get("books.acme.example").await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn ambiguous_and_oversized_requests_are_refused() {
    let node = Node::start();
    node.serve(&guest("identity"), "guests/identity", &["acme"]);
    let host = "Host: identity.acme.localhost\r\n";
    let refused = |request: String, statuses: &[&str]| {
        let answer = raw(&node, &request);
        let status = answer.split(' ').nth(1).unwrap_or("closed").to_owned();
        let beginning: String = request.chars().take(80).collect();
        assert!(
            statuses.contains(&status.as_str()),
            "{status} for {beginning}"
        );
    };
    refused(
        format!(
            "POST / HTTP/1.1\r\n{host}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        ),
        &["400"],
    );
    refused(
        format!("POST / HTTP/1.1\r\n{host}Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd"),
        &["400"],
    );
    refused(
        format!("GET /{} HTTP/1.1\r\n{host}\r\n", "a".repeat(100_000)),
        &["414", "431"],
    );
    refused(
        format!("GET / HTTP/1.1\r\n{host}X: {}\r\n\r\n", "a".repeat(200_000)),
        &["431"],
    );
    refused(
        "CONNECT example.com:443 HTTP/1.1\r\nHost: example.com\r\n\r\n".to_owned(),
        &["400", "404", "405", "501"],
    );
    refused(
        "GET / HTTP/1.1\r\nHost: nobody.localhost\r\nConnection: close\r\n\r\n".to_owned(),
        &["404"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_under_way_is_finished_when_the_node_ends() {
    let mut node = Node::start();
    node.serve(&guest("echo-stream"), "guests/echo-stream", &["acme"]);
    let (send, receive) = mpsc::channel::<Result<Vec<u8>, std::io::Error>>(1);
    let body = futures::stream::unfold(receive, |mut receive| async move {
        Some((receive.recv().await?, receive))
    });
    let request = node
        .request(Method::POST, "echo-stream.acme", "/")
        .body(reqwest::Body::wrap_stream(body));
    let response = tokio::spawn(request.send());
    send.send(Ok(b"before".to_vec())).await.expect("taken");
    let response = response.await.expect("no panic").expect("a head");
    let ending = tokio::task::spawn_blocking(move || (node.terminate(), node));
    send.send(Ok(b" and after".to_vec())).await.expect("taken");
    drop(send);
    assert_eq!(
        response.text().await.expect("a whole body"),
        "before and after"
    );
    let (status, _node) = ending.await.expect("no panic");
    assert!(status.success());
}
