//! Bodies of requests whose instance ends before they do.

use std::task::{Context, Poll};

use http_body::{Body, Frame};
use tokio::sync::mpsc;

use super::*;

/// A body that ends when its pieces do, as those of wasmtime, whatever became of who made them.
struct Pieces(mpsc::UnboundedReceiver<Bytes>);

impl Body for Pieces {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let piece = self.0.poll_recv(context);
        piece.map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }
}

#[tokio::test]
async fn a_body_that_ends_with_its_instance_does_not_pass_for_a_whole_one() {
    for is_whole in [true, false] {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.expect("listener");
        let port = listener.local_addr().expect("address").port();
        let received = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a client");
            let mut all = Vec::new();
            while !all.ends_with(b"\r\n0\r\n\r\n") {
                if !matches!(stream.read_buf(&mut all).await, Ok(1..)) {
                    return all;
                }
            }
            stream.write_all(HELLO.as_bytes()).await.expect("answered");
            all
        });
        let mut guest = guest(quick());
        let ending = guest.ending();
        let (pieces, body) = mpsc::unbounded_channel();
        pieces.send(Bytes::from("a part")).expect("taken");
        let request = Request::post(format!("http://127.0.0.1:{port}/"));
        let request = request.body(Pieces(body).boxed_unsync()).expect("request");
        let _kept = is_whole.then_some(ending);
        drop(pieces);
        let answer = send(&mut guest, request, None).await;
        let received = received.await.expect("no panic");
        let received = String::from_utf8_lossy(&received);
        assert_eq!(received.ends_with("\r\n0\r\n\r\n"), is_whole, "{received}");
        assert_eq!(answer.is_ok(), is_whole, "{:?}", answer.err());
    }
}
