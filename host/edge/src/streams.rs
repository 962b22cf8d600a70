//! Whether anything goes on on an HTTP/2 connection, and since when nothing does.
//!
//! Threat: a client keeps connections that it does not use, until there are none left for others. It
//! may answer pings and send its own, and it may hold streams open: by opening no window for an
//! answer, by never ending a request's head. None of that is use. What is: a request that waits for
//! the node or for an application, a body that the application is at, and data that is sent.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::TryFutureExt as _;
use http::{Request, Response, Version};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until};

use crate::door::Sent;

/// The most that is handed over of a body at once: what is over the client's window then waits with
/// its limits and deadlines, not in the HTTP/2 implementation's memory.
const PIECE: usize = 16 << 10;

/// What goes on on a connection.
#[derive(Debug)]
pub(crate) struct Streams(Mutex<State>);

#[derive(Debug)]
struct State {
    /// Whether the client speaks HTTP/2.
    http2: bool,
    /// Streams on which the next step is the node's or an application's.
    ours: usize,
    /// When something went on last.
    last: Instant,
}

impl Streams {
    /// Of a connection that begins.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(State {
            http2: false,
            ours: 0,
            last: Instant::now(),
        })))
    }

    /// The client speaks HTTP/2.
    pub(crate) fn begin(&self) {
        self.0.lock().http2 = true;
        self.use_now();
    }

    /// Something goes on now.
    pub(crate) fn use_now(&self) {
        self.0.lock().last = Instant::now();
    }

    /// Ends when nothing has gone on for `time`. An HTTP/1 connection has timers of its own.
    pub(crate) async fn unused_for(&self, time: Duration) {
        loop {
            let now = Instant::now();
            let until = {
                let state = self.0.lock();
                match state.http2 && state.ours == 0 {
                    true => state.last + time,
                    false => now + time,
                }
            };
            if until <= now {
                return;
            }
            sleep_until(until).await;
        }
    }
}

/// One stream, on which the next step is the node's as long as this is taken.
#[derive(Debug)]
struct Step {
    streams: Arc<Streams>,
    taken: bool,
}

impl Step {
    fn new(streams: &Arc<Streams>) -> Self {
        let mut step = Self {
            streams: Arc::clone(streams),
            taken: false,
        };
        step.take();
        step
    }

    fn take(&mut self) {
        if !self.taken {
            self.taken = true;
            self.streams.0.lock().ours += 1;
        }
    }

    fn leave(&mut self) {
        if self.taken {
            self.taken = false;
            let mut state = self.streams.0.lock();
            state.ours -= 1;
            state.last = Instant::now();
        }
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        self.leave();
    }
}

/// The body of a response. Over HTTP/2 it is handed over in pieces, and known to be waited for.
pub(crate) struct Followed<B> {
    body: B,
    step: Option<Step>,
    /// What is left of the frame that is being handed over.
    rest: Bytes,
}

impl<B> Body for Followed<B>
where
    B: Body<Data = Bytes> + Unpin,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.get_mut();
        let Some(step) = &mut this.step else {
            return Pin::new(&mut this.body).poll_frame(cx);
        };
        if !this.rest.is_empty() {
            let piece = this.rest.split_to(PIECE.min(this.rest.len()));
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        step.take();
        let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) else {
            return Poll::Pending;
        };
        step.leave();
        let frame = frame.map(|frame| {
            frame.map(|frame| match frame.into_data() {
                Ok(mut data) if data.len() > PIECE => {
                    this.rest = data.split_off(PIECE);
                    Frame::data(data)
                }
                Ok(data) => Frame::data(data),
                Err(frame) => frame,
            })
        });
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.rest.len() as u64;
        let hint = self.body.size_hint();
        let mut whole = SizeHint::new();
        whole.set_lower(hint.lower() + rest);
        if let Some(upper) = hint.upper() {
            whole.set_upper(upper + rest);
        }
        whole
    }
}

/// `service`, with what goes on in it told to `streams`.
pub(crate) fn followed<S, B>(
    service: S,
    streams: Arc<Streams>,
) -> impl Service<
    Request<Incoming>,
    Response = Response<Followed<B>>,
    Error = Infallible,
    Future: Send + 'static,
> + Send
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Send,
    S::Future: Send + 'static,
    B: Sent,
{
    service_fn(move |request: Request<Incoming>| {
        let step = (request.version() == Version::HTTP_2).then(|| Step::new(&streams));
        service.call(request).map_ok(move |response| {
            response.map(|body| Followed {
                body,
                step,
                rest: Bytes::new(),
            })
        })
    })
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt, Full, StreamBody};

    use super::*;

    const TIME: Duration = Duration::from_secs(60);

    async fn is_unused(streams: &Streams) -> bool {
        tokio::time::timeout(Duration::ZERO, streams.unused_for(TIME))
            .await
            .is_ok()
    }

    fn of<B>(streams: &Arc<Streams>, body: B) -> Followed<B> {
        Followed {
            body,
            step: Some(Step::new(streams)),
            rest: Bytes::new(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn http1_is_not_followed() {
        let streams = Streams::new();
        tokio::time::advance(2 * TIME).await;
        assert!(!is_unused(&streams).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_used_while_an_answer_is_waited_for() {
        let streams = Streams::new();
        streams.begin();
        let chunks = StreamBody::new(futures::stream::pending::<Result<_, Infallible>>());
        let mut body = of(&streams, chunks);
        let frame = tokio::time::timeout(2 * TIME, body.frame());
        frame.await.expect_err("the application says nothing");
        assert!(!is_unused(&streams).await);
        drop(body);
        assert!(!is_unused(&streams).await, "its time begins now");
        tokio::time::advance(TIME).await;
        assert!(is_unused(&streams).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_the_client_does_not_go_on_with_is_no_use() {
        let streams = Streams::new();
        streams.begin();
        let mut body = of(&streams, Full::new(Bytes::from(vec![1; 3 * PIECE])));
        body.frame().await.expect("some").expect("well");
        tokio::time::advance(TIME).await;
        assert!(is_unused(&streams).await, "though there is more");
        streams.use_now();
        assert!(!is_unused(&streams).await, "some of it was sent");
    }

    #[tokio::test]
    async fn a_body_comes_whole_and_in_pieces() {
        let streams = Streams::new();
        let content: Vec<u8> = (0..=u8::MAX).cycle().take(3 * PIECE + 5).collect();
        let mut body = of(&streams, Full::new(Bytes::from(content.clone())));
        let mut pieces = Vec::new();
        while !body.is_end_stream() {
            let left = content.len() - pieces.iter().map(Bytes::len).sum::<usize>();
            assert_eq!(body.size_hint().exact(), Some(left as u64));
            let frame = body.frame().await.expect("not the end").expect("well");
            pieces.push(frame.into_data().expect("data"));
        }
        assert!(pieces.iter().all(|piece| piece.len() <= PIECE));
        assert_eq!(pieces.concat(), content);
    }
}
