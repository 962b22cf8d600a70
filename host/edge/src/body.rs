//! Bodies on their way in and out, with the limits and the accounting of the edge.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use canopy_runtime::{RequestBodyError, ServeError};
use http_body::{Body, Frame, SizeHint};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::headers::clean_trailers;
use crate::record::{Outcome, Record};

/// What has come in of a request's body.
#[derive(Debug, Default)]
pub(crate) struct Received {
    bytes: AtomicU64,
    over: AtomicBool,
    notify: Notify,
}

impl Received {
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn is_over_limit(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// Ends when the body has gone over its limit.
    pub(crate) async fn over_limit(&self) {
        while !self.is_over_limit() {
            self.notify.notified().await;
        }
    }
}

/// A client's body, within the installation's limit and coming in without long pauses.
pub(crate) struct ClientBody<B> {
    inner: B,
    limit: u64,
    idle: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    received: Arc<Received>,
}

impl<B> ClientBody<B> {
    pub(crate) fn new(inner: B, limit: u64, idle: Duration, received: Arc<Received>) -> Self {
        Self {
            inner,
            limit,
            idle,
            timer: None,
            received,
        }
    }
}

/// A client's body that comes in without pauses longer than `idle`.
pub fn patient<B>(body: B, idle: Duration) -> impl Body<Data = Bytes, Error = RequestBodyError>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    ClientBody::new(body, u64::MAX, idle, Arc::default())
}

impl<B> Body for ClientBody<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = RequestBodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RequestBodyError>>> {
        let this = &mut *self;
        let Poll::Ready(frame) = Pin::new(&mut this.inner).poll_frame(cx) else {
            let until = Instant::now() + this.idle;
            let timer = this
                .timer
                .get_or_insert_with(|| Box::pin(sleep_until(until)));
            ready!(timer.as_mut().poll(cx));
            return Poll::Ready(Some(Err(RequestBodyError::Timeout)));
        };
        this.timer = None;
        Poll::Ready(match frame {
            Some(Ok(mut frame)) => {
                if let Some(trailers) = frame.trailers_mut() {
                    clean_trailers(trailers);
                }
                let more = frame.data_ref().map_or(0, |data| data.len() as u64);
                let sum = this.received.bytes.fetch_add(more, Ordering::Relaxed) + more;
                if sum > this.limit {
                    this.received.over.store(true, Ordering::Release);
                    this.received.notify.notify_one();
                    Some(Err(RequestBodyError::TooLarge { limit: this.limit }))
                } else {
                    Some(Ok(frame))
                }
            }
            Some(Err(error)) => Some(Err(RequestBodyError::Broken(Arc::from(error.into())))),
            None => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// The body of a response.
pub(crate) enum ResponseBody<B: Body> {
    /// The platform's own answer.
    Whole(
        Option<Bytes>,
        #[expect(dead_code, reason = "written when dropped")] Box<Record>,
    ),
    /// An application's answer.
    Open(Arc<Open<B>>),
    /// Nothing: another protocol follows, and whoever carries it writes the record.
    Switched,
}

/// An application's response while it is being sent. It can be ended from outside, since a client
/// that takes nothing also keeps this body from ever being asked for more.
pub(crate) struct Open<B: Body>(Mutex<Option<Sending<B>>>);

struct Sending<B: Body> {
    body: B,
    record: Record,
    /// Bytes that are still to come, where the response says how many they are.
    remaining: Option<u64>,
    waker: Option<Waker>,
    failed: Option<ServeError>,
}

impl<B: Body<Data = Bytes, Error = ServeError> + Unpin> ResponseBody<B> {
    pub(crate) fn open(body: B, record: Record, length: Option<u64>) -> Self {
        let sending = Sending {
            body,
            record,
            remaining: length,
            waker: None,
            failed: None,
        };
        Self::Open(Arc::new(Open(Mutex::new(Some(sending)))))
    }
}

impl<B: Body> Open<B> {
    /// Breaks the response off.
    pub(crate) fn end(&self) {
        let sending = self.0.lock().take();
        if let Some(mut sending) = sending {
            if sending.remaining != Some(0) {
                sending.record.outcome = Outcome::BrokenOff;
                sending.record.code = Some("deadline-exceeded");
            }
            if let Some(waker) = sending.waker.take() {
                waker.wake();
            }
        }
    }
}

/// Shows a client whose response was ended from outside that it isn't whole.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BrokenOff {
    #[error("the response did not end in time")]
    Late,
    #[error(transparent)]
    Guest(#[from] ServeError),
}

impl<B: Body<Data = Bytes, Error = ServeError> + Unpin> Body for ResponseBody<B> {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        let open = match self.get_mut() {
            Self::Whole(bytes, _) => return Poll::Ready(bytes.take().map(|b| Ok(Frame::data(b)))),
            Self::Switched => return Poll::Ready(None),
            Self::Open(open) => open,
        };
        let mut slot = open.0.lock();
        let Some(sending) = &mut *slot else {
            return Poll::Ready(Some(Err(BrokenOff::Late)));
        };
        if let Some(error) = sending.failed.take() {
            return Poll::Ready(Some(Err(error.into())));
        }
        match Pin::new(&mut sending.body).poll_frame(cx) {
            Poll::Pending => {
                sending.waker = Some(cx.waker().clone());
                Poll::Pending
            }
            Poll::Ready(Some(Ok(mut frame))) => {
                if let Some(trailers) = frame.trailers_mut() {
                    clean_trailers(trailers);
                }
                let bytes = frame.data_ref().map_or(0, |data| data.remaining() as u64);
                sending.record.bytes_sent += bytes;
                if let Some(remaining) = &mut sending.remaining {
                    *remaining = remaining.saturating_sub(bytes);
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                sending.record.outcome = Outcome::BrokenOff;
                sending.record.failure(&error);
                // An error makes hyper drop what it has not yet written. Being asked again lets it
                // write first, so that the client sees how far the response came.
                sending.failed = Some(error);
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Poll::Ready(None) => {
                sending.remaining = Some(0);
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes, _) => bytes.is_none(),
            Self::Switched => true,
            Self::Open(open) => open
                .0
                .lock()
                .as_ref()
                .is_some_and(|sending| sending.body.is_end_stream()),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes, _) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Self::Switched => SizeHint::with_exact(0),
            Self::Open(open) => open
                .0
                .lock()
                .as_ref()
                .map_or_else(SizeHint::new, |s| s.body.size_hint()),
        }
    }
}

impl<B: Body> Drop for Sending<B> {
    fn drop(&mut self) {
        let whole = self.remaining == Some(0) || self.body.is_end_stream();
        if whole && self.record.outcome == Outcome::ClientGone {
            self.record.outcome = Outcome::Complete;
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt, Full, StreamBody};

    use super::*;

    type Never = std::convert::Infallible;

    #[tokio::test]
    async fn a_body_in_its_limit_passes_whole() {
        let received = Arc::new(Received::default());
        let inner = Full::new(Bytes::from_static(b"hello"));
        let body = ClientBody::new(inner, 5, Duration::from_secs(1), Arc::clone(&received));
        assert_eq!(body.collect().await.expect("whole").to_bytes(), "hello");
        assert_eq!(received.bytes(), 5);
    }

    #[tokio::test]
    async fn nobody_poses_as_the_platform_in_trailers() {
        let mut trailers = http::HeaderMap::new();
        for name in ["x-own", "x-canopy-depth", "x-forwarded-for", "host"] {
            trailers.insert(name, "1".parse().expect("a value"));
        }
        let frames = [Ok::<_, Never>(Frame::trailers(trailers))];
        let inner = StreamBody::new(futures::stream::iter(frames));
        let body = ClientBody::new(inner, 4, Duration::from_secs(1), Arc::default());
        let whole = body.collect().await.expect("whole");
        let left: Vec<_> = whole.trailers().expect("trailers").keys().collect();
        assert_eq!(left, ["x-own"]);
    }

    #[tokio::test]
    async fn a_body_over_its_limit_breaks_off_and_says_so() {
        let received = Arc::new(Received::default());
        let inner = Full::new(Bytes::from_static(b"hello"));
        let body = ClientBody::new(inner, 4, Duration::from_secs(1), Arc::clone(&received));
        let error = body.collect().await.expect_err("too long");
        assert!(matches!(error, RequestBodyError::TooLarge { limit: 4 }));
        received.over_limit().await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_pauses_for_too_long_times_out() {
        let inner = StreamBody::new(futures::stream::pending::<Result<Frame<Bytes>, Never>>());
        let body = ClientBody::new(inner, 4, Duration::from_secs(1), Arc::default());
        let error = body.collect().await.expect_err("nothing came");
        assert!(matches!(error, RequestBodyError::Timeout));
    }
}
