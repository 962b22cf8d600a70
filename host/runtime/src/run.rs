//! A guest at work, driven first by whoever asks for its answer and then, if need be, by a task.
//!
//! Most requests are answered whole within the first few polls. A task for each of them would cost
//! more than many of the guests: it is queued, taken over by another thread, woken, and hands every
//! piece of the answer back. So the task that asks drives the guest itself, and collects its answer
//! for as long as that needs no waiting. What waits after the answer has begun goes on by itself.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::task::AbortHandle;
use wasmtime_wasi_http::WasiBody;

use crate::body::Verdict;
use crate::error::ServeError;

/// As much of a response's body is collected before its head is sent. More is streamed.
const COLLECTED_BYTES: usize = 256 << 10;

/// The future that runs a guest to its end. Dropping it cancels the guest.
pub(crate) struct Run(Option<Pin<Box<dyn Future<Output = ()> + Send>>>);

impl Run {
    pub(crate) fn new(work: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(Some(Box::pin(work)))
    }

    /// Lets the guest go on. A panic of the host ends it as its own end would.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(work) = &mut self.0 else {
            return Poll::Ready(());
        };
        let polled = catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context)));
        if matches!(polled, Ok(Poll::Pending)) {
            return Poll::Pending;
        }
        self.0 = None;
        Poll::Ready(())
    }

    /// Lets the guest go on once. Whether it has ended.
    pub(crate) async fn turn(&mut self) -> bool {
        poll_fn(|context| Poll::Ready(self.poll(context).is_ready())).await
    }

    /// Lets the guest go on by itself, if it has not ended.
    pub(crate) fn detach(self) -> Option<AbortHandle> {
        self.0.map(|work| tokio::spawn(work).abort_handle())
    }
}

/// What has come of a response's body without waiting for it.
pub(crate) struct Collected {
    pub(crate) frames: VecDeque<Frame<Bytes>>,
    /// Why the body is not whole.
    pub(crate) failed: Option<ServeError>,
    /// Where the rest comes from; `None` if there is none.
    pub(crate) rest: Option<WasiBody>,
}

impl Collected {
    /// Nothing of `body`.
    pub(crate) fn nothing(body: WasiBody) -> Self {
        Self {
            frames: VecDeque::new(),
            failed: None,
            rest: Some(body),
        }
    }

    /// What `run` gives of `body` until it waits for something.
    pub(crate) async fn of(body: WasiBody, run: &mut Run, verdict: &Verdict) -> Self {
        let mut this = Self::nothing(body);
        let mut bytes = 0;
        poll_fn(|context| {
            let mut guest_waits = false;
            while let Some(body) = &mut this.rest {
                match Pin::new(body).poll_frame(context) {
                    Poll::Ready(Some(Ok(frame))) => {
                        bytes += frame.data_ref().map_or(0, Bytes::len);
                        this.frames.push_back(frame);
                        guest_waits = false;
                        if bytes >= COLLECTED_BYTES {
                            break;
                        }
                    }
                    Poll::Ready(Some(Err(error))) => {
                        this.failed = Some(verdict.on_error(&error));
                        this.rest = None;
                    }
                    Poll::Ready(None) => {
                        this.failed = verdict.failure();
                        this.rest = None;
                    }
                    Poll::Pending if guest_waits => break,
                    Poll::Pending => {
                        let _ = run.poll(context);
                        guest_waits = true;
                    }
                }
            }
            Poll::Ready(())
        })
        .await;
        this
    }

    /// Whether nothing follows, not even an error.
    pub(crate) fn is_over(&self) -> bool {
        self.frames.is_empty() && self.failed.is_none() && self.rest.is_none()
    }

    /// How long the body is, as far as that is known.
    pub(crate) fn size_hint(&self) -> SizeHint {
        let known = || {
            self.frames
                .iter()
                .map(|frame| frame.data_ref().map(Bytes::len))
        };
        match &self.rest {
            Some(rest) if self.frames.is_empty() => rest.size_hint(),
            None if self.failed.is_none() => match known().sum::<Option<usize>>() {
                Some(bytes) => SizeHint::with_exact(bytes as u64),
                // Trailers follow, for which an exact length would leave no room.
                None => SizeHint::default(),
            },
            _ => SizeHint::default(),
        }
    }
}
