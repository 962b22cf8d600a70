//! Bodies stream both ways, break off visibly, and cancel.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use canopy_ids::RequestId;
use canopy_runtime::{Call, RequestBodyError, ServeError};
use http::Request;
use http_body::{Body, Frame};
use http_body_util::{BodyExt, StreamBody};
use tokio::sync::mpsc;

use crate::support::{Node, request};

struct Channel(mpsc::Receiver<Bytes>);

impl Body for Channel {
    type Data = Bytes;
    type Error = RequestBodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RequestBodyError>>> {
        self.0
            .poll_recv(context)
            .map(|piece| piece.map(|bytes| Ok(Frame::data(bytes))))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_piece_comes_back_before_the_next_is_sent() {
    let node = Node::new();
    let app = node.app("echo-stream");
    let (sender, receiver) = mpsc::channel(1);
    let request = Request::post("http://app.tenant.example/")
        .body(Channel(receiver).boxed_unsync())
        .expect("request");
    sender.send("first".into()).await.expect("sent");
    let response = node.serve(&app, request).await.expect("response");
    let mut body = response.into_body();
    for piece in ["first", "second", "third"] {
        if piece != "first" {
            sender.send(piece.into()).await.expect("sent");
        }
        let frame = body.frame().await.expect("frame").expect("data");
        assert_eq!(frame.into_data().expect("data"), piece);
    }
    drop(sender);
    assert!(body.frame().await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_request_body_is_an_error_for_the_guest_and_not_an_end() {
    let node = Node::new();
    let app = node.app("echo-stream");
    let pieces = [
        Ok(Frame::data(Bytes::from("half"))),
        Err(RequestBodyError::Timeout),
    ];
    let stream = StreamBody::new(futures::stream::iter(pieces));
    let request = Request::post("http://app.tenant.example/")
        .body(stream.boxed_unsync())
        .expect("request");
    let outcome = match node.serve(&app, request).await {
        Ok(response) => response
            .into_body()
            .collect()
            .await
            .map(|body| body.to_bytes()),
        Err(error) => Err(error),
    };
    assert!(outcome.is_err(), "{outcome:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trap_after_the_head_breaks_the_body_off() {
    let node = Node::new();
    let app = node.app("late-trap");
    let response = node
        .serve(&app, request("/?bytes=1000", ""))
        .await
        .expect("head");
    assert_eq!(response.status(), 200);
    let body = response.into_body().collect().await;
    assert!(
        matches!(body, Err(ServeError::Trap { .. })),
        "{:?}",
        body.map(|b| b.to_bytes())
    );
}

/// Tells when it is dropped.
struct Flag(Arc<AtomicBool>);

impl Drop for Flag {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

async fn comes_true(flag: &AtomicBool, within: Duration) -> bool {
    let start = Instant::now();
    while start.elapsed() < within {
        if flag.load(Ordering::SeqCst) {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    false
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_cancels_the_guest() {
    let node = Node::new();
    let app = node.app("sleep");
    let spec = app.spec();
    node.runtime.prepare(&spec).await.expect("ready");
    let released = Arc::new(AtomicBool::new(false));
    let deadline = Instant::now() + Duration::from_secs(60);
    let call =
        Call::new(RequestId::new(), app.caller.clone(), deadline).holding(Flag(released.clone()));
    let serving = node.runtime.serve(&spec, call, request("/?ms=60000", ""));
    let gone = tokio::time::timeout(Duration::from_millis(300), serving).await;
    assert!(gone.is_err(), "the guest should still be sleeping");
    assert!(
        comes_true(&released, Duration::from_secs(2)).await,
        "the permit is still held"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_that_is_dropped_halfway_cancels_the_guest() {
    let node = Node::new();
    let app = node.app("echo-stream");
    let spec = app.spec();
    let released = Arc::new(AtomicBool::new(false));
    let deadline = Instant::now() + Duration::from_secs(60);
    let call =
        Call::new(RequestId::new(), app.caller.clone(), deadline).holding(Flag(released.clone()));
    let (sender, receiver) = mpsc::channel(1);
    let request = Request::post("http://app.tenant.example/")
        .body(Channel(receiver).boxed_unsync())
        .expect("request");
    sender.send("first".into()).await.expect("sent");
    let response = node
        .runtime
        .serve(&spec, call, request)
        .await
        .expect("response");
    assert!(!released.load(Ordering::SeqCst));
    drop(response);
    assert!(
        comes_true(&released, Duration::from_secs(2)).await,
        "the guest goes on"
    );
    assert!(sender.is_closed(), "the request's body is still wanted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_permit_is_held_until_the_body_is_read() {
    let node = Node::new();
    for guest in ["hello-p2-wstd", "hello-p3"] {
        let app = node.app(guest);
        let released = Arc::new(AtomicBool::new(false));
        let deadline = Instant::now() + Duration::from_secs(60);
        let call = Call::new(RequestId::new(), app.caller.clone(), deadline)
            .holding(Flag(released.clone()));
        let response = node
            .runtime
            .serve(&app.spec(), call, request("/", ""))
            .await
            .expect("response");
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(!released.load(Ordering::SeqCst), "{guest}");
        response.into_body().collect().await.expect("body");
        assert!(
            comes_true(&released, Duration::from_secs(2)).await,
            "{guest}"
        );
    }
}
