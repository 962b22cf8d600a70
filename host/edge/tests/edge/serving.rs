//! Requests that are answered, over both versions of HTTP; what they hold, and when they let go.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::support::{Node, Setup, get, read_all, status, until};
use bytes::Bytes;
use canopy_edge::EdgeSettings;
use canopy_runtime::Limits;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Empty, Full};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

async fn http2<B>(node: &Node) -> SendRequest<B>
where
    B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let io = TokioIo::new(node.connect().await);
    let (sender, connection) = http2::handshake(TokioExecutor::new(), io)
        .await
        .expect("HTTP/2 with prior knowledge");
    tokio::spawn(connection);
    sender
}

#[tokio::test]
async fn one_connection_answers_many_requests() {
    let node = Node::start(Setup::default()).await;
    let keep = get("/").replace("Connection: close\r\n", "");
    let response = node.exchange(format!("{keep}{keep}{}", get("/"))).await;
    assert_eq!(response.matches("HTTP/1.1 200").count(), 3, "{response}");
    assert_eq!(
        response.matches("x-request-id: req_").count(),
        3,
        "{response}"
    );
}

#[tokio::test]
async fn http2_with_prior_knowledge() {
    let node = Node::start(Setup::default()).await;
    let mut sender = http2::<Full<Bytes>>(&node).await;
    let request = Request::post("http://app.acme.localhost/echo");
    let request = request.body(Full::from("over HTTP/2")).expect("a request");
    let response = sender.send_request(request).await.expect("answered");
    assert_eq!(response.status(), StatusCode::OK);
    assert!(response.headers().contains_key("x-request-id"));
    let body = response
        .into_body()
        .collect()
        .await
        .expect("whole")
        .to_bytes();
    assert_eq!(body, "over HTTP/2");

    let request = Request::builder()
        .method(Method::CONNECT)
        .uri("app.acme.localhost:80");
    let refused = sender
        .send_request(request.body(Full::default()).expect("a request"))
        .await;
    assert!(refused.is_err() || refused.is_ok_and(|r| r.status() == StatusCode::NOT_IMPLEMENTED));

    let differing =
        Request::get("http://app.acme.localhost/").header("host", "app.globex.localhost");
    let refused = sender
        .send_request(differing.body(Full::default()).expect("a request"))
        .await;
    assert_eq!(refused.expect("answered").status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn applications_see_what_the_platform_vouches_for() {
    let node = Node::start(Setup::default()).await;
    let request = get("/seen").replace(
        "Connection",
        "X-Canopy-Tenant: globex\r\nX-Forwarded-For: 1.2.3.4\r\nX-Request-Id: mine\r\nCookie: a=b\r\n\
         Upgrade: h2c\r\nHTTP2-Settings: x\r\nConnection",
    );
    let response = node.exchange(request).await;
    for line in [
        "uri: http://app.acme.localhost/seen\n",
        "host: app.acme.localhost\n",
        "x-forwarded-for: 127.0.0.1\n",
        "cookie: a=b\n",
        "x-request-id: req_",
    ] {
        assert!(response.contains(line), "{line} in {response}");
    }
    for gone in ["globex", "1.2.3.4", "mine", "h2c", "http2-settings"] {
        assert!(!response.contains(gone), "{gone} in {response}");
    }
}

#[tokio::test]
async fn a_permit_is_held_until_the_body_has_ended() {
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
        .write_all(get("/gated-body").as_bytes())
        .await
        .expect("sent");
    let mut head = [0; 15];
    first.read_exact(&mut head).await.expect("the head is here");
    assert_eq!(&head, b"HTTP/1.1 200 OK");
    assert_eq!(node.edge.in_flight(), 1);
    assert_eq!(status(&node.get("/").await), 429);
    node.stage.open.notify_one();
    read_all(&mut first).await;
    until(|| node.edge.in_flight() == 0).await;
    assert_eq!(status(&node.get("/").await), 200);
}

#[tokio::test]
async fn a_client_that_leaves_cancels_the_application() {
    let node = Node::start(Setup::default()).await;
    let mut stream = node.connect().await;
    stream
        .write_all(get("/hang").as_bytes())
        .await
        .expect("sent");
    node.entered(1).await;
    drop(stream);
    until(|| node.stage.cancelled.load(Ordering::SeqCst) == 1).await;
    assert_eq!(node.edge.in_flight(), 0);

    let mut sender = http2::<Empty<Bytes>>(&node).await;
    let request = Request::get("http://app.acme.localhost/hang").body(Empty::new());
    let answer = tokio::spawn(sender.send_request(request.expect("a request")));
    node.entered(2).await;
    answer.abort();
    until(|| node.stage.cancelled.load(Ordering::SeqCst) == 2).await;
    until(|| node.edge.in_flight() == 0).await;
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_given_up() {
    let edge = EdgeSettings {
        write_stall_timeout: Duration::from_millis(300),
        ..EdgeSettings::default()
    };
    let node = Node::start(Setup {
        edge,
        ..Setup::default()
    })
    .await;
    let mut stream = node.connect().await;
    stream
        .write_all(get("/endless").as_bytes())
        .await
        .expect("sent");
    until(|| node.stage.cancelled.load(Ordering::SeqCst) == 1).await;
    assert_eq!(node.edge.in_flight(), 0);
}

#[tokio::test]
async fn a_client_that_is_answered_while_it_sends_can_read_the_answer() {
    let node = Node::start(Setup::default()).await;
    let mut stream = node.connect().await;
    let length = 2 << 20;
    let head = format!(
        "POST / HTTP/1.1\r\nHost: nobody.acme.localhost\r\nContent-Length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.expect("sent");
    stream.readable().await.expect("answered");
    stream.write_all(&vec![b'x'; length]).await.expect("taken");
    assert_eq!(status(&read_all(&mut stream).await), 404);
}

#[tokio::test]
async fn an_http2_stream_that_is_never_read_ends_with_the_wall_limit() {
    let limits = Limits {
        wall: Duration::from_millis(300),
        ..Limits::default()
    };
    let node = Node::start(Setup {
        limits,
        ..Setup::default()
    })
    .await;
    let mut sender = http2::<Empty<Bytes>>(&node).await;
    let request = Request::get("http://app.acme.localhost/endless").body(Empty::new());
    let begun = Instant::now();
    // The window of the stream is used up and never given back; the connection is well.
    let response = sender
        .send_request(request.expect("a request"))
        .await
        .expect("a head");
    until(|| node.edge.in_flight() == 0).await;
    assert!(begun.elapsed() < Duration::from_secs(5));
    let again = Request::get("http://app.acme.localhost/")
        .body(Empty::new())
        .expect("a request");
    assert_eq!(
        sender.send_request(again).await.expect("answered").status(),
        StatusCode::OK
    );
    response
        .into_body()
        .collect()
        .await
        .expect_err("visibly broken off");
}

#[tokio::test]
async fn a_response_that_breaks_off_does_not_end_normally() {
    let node = Node::start(Setup::default()).await;
    let response = node.get("/breaks").await;
    assert_eq!(status(&response), 200);
    assert!(response.contains("part"), "{response:?}");
    assert!(!response.ends_with("0\r\n\r\n"), "{response:?}");

    let mut sender = http2::<Empty<Bytes>>(&node).await;
    let request = Request::get("http://app.acme.localhost/breaks").body(Empty::new());
    let response = sender
        .send_request(request.expect("a request"))
        .await
        .expect("a head");
    response
        .into_body()
        .collect()
        .await
        .expect_err("the stream is reset");
}

#[tokio::test]
async fn a_node_that_stops_finishes_what_is_under_way() {
    let node = Node::start(Setup::default()).await;
    let stage = std::sync::Arc::clone(&node.stage);
    let address = node.address;
    let mut under_way = node.connect().await;
    under_way
        .write_all(get("/gate").replace("close", "keep-alive").as_bytes())
        .await
        .expect("sent");
    node.entered(1).await;
    let mut idle = node.connect().await;
    let stopped = node.stop();
    assert_eq!(read_all(&mut idle).await, "");
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(
        tokio::net::TcpStream::connect(address).await.is_err(),
        "no new connections"
    );
    assert!(!stopped.is_finished());
    stage.open.notify_one();
    let response = read_all(&mut under_way).await;
    assert!(response.ends_with("through"), "{response}");
    stopped.await.expect("stopped");
}

#[tokio::test]
async fn the_grace_ends_what_does_not_end_itself() {
    let edge = EdgeSettings {
        drain_grace: Duration::from_millis(300),
        ..EdgeSettings::default()
    };
    let node = Node::start(Setup {
        edge,
        ..Setup::default()
    })
    .await;
    let mut stream = node.connect().await;
    stream
        .write_all(get("/hang").as_bytes())
        .await
        .expect("sent");
    node.entered(1).await;
    let begun = Instant::now();
    node.stop().await.expect("stopped");
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert_eq!(read_all(&mut stream).await, "");
}
