//! Bodies of requests and responses.

use std::error::Error as StdError;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use wasmtime_wasi_http::Error as HttpError;

use crate::call::Permit;
use crate::error::ServeError;
use crate::pace::Pace;
use crate::run::Collected;

/// The body of a request on its way to a guest.
pub type RequestBody = UnsyncBoxBody<Bytes, RequestBodyError>;

/// Why a request's body ends early. The guest is told by the error code that `wasi:http` has for
/// it.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum RequestBodyError {
    /// The body is longer than the installation takes.
    #[error("the request's body is longer than {limit} bytes")]
    TooLarge {
        /// [`Limits::request_body_bytes`](crate::spec::Limits::request_body_bytes).
        limit: u64,
    },
    /// The client sends too slowly.
    #[error("the client did not send the request's body in time")]
    Timeout,
    /// The client is gone, or broke the protocol.
    #[error("the request's body broke off: {0}")]
    Broken(Arc<dyn StdError + Send + Sync>),
}

impl From<RequestBodyError> for HttpError {
    fn from(error: RequestBodyError) -> Self {
        match error {
            RequestBodyError::TooLarge { limit } => Self::HttpRequestBodySize(Some(limit)),
            RequestBodyError::Timeout => Self::ConnectionReadTimeout,
            RequestBodyError::Broken(_) => Self::ConnectionTerminated,
        }
    }
}

/// What became of a guest, told to the body of its response.
#[derive(Debug, Clone, Default)]
pub(crate) struct Verdict(Arc<Mutex<Option<ServeError>>>);

impl Verdict {
    /// The guest failed. To be called before its store is dropped: a body whose guest is gone looks
    /// like one that has ended.
    pub(crate) fn fail(&self, error: ServeError) {
        self.0.lock().get_or_insert(error);
    }

    pub(crate) fn failure(&self) -> Option<ServeError> {
        self.0.lock().clone()
    }

    /// Why a body ends with `error`: because its guest has failed, if it has.
    pub(crate) fn on_error(&self, error: &HttpError) -> ServeError {
        self.failure().unwrap_or_else(|| ServeError::GuestError {
            code: error.to_string(),
        })
    }
}

/// Ends the task that runs a guest when dropped, if there is one and unless it was told not to.
pub(crate) struct CancelOnDrop(Option<tokio::task::AbortHandle>);

impl CancelOnDrop {
    pub(crate) fn new(task: Option<tokio::task::AbortHandle>) -> Self {
        Self(task)
    }

    pub(crate) fn disarm(&mut self) {
        self.0 = None;
    }
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        if let Some(task) = self.0.take() {
            task.abort();
        }
    }
}

/// The body of a guest's response.
///
/// It fails with the guest's [`ServeError`] where the guest does before the end, so that a server
/// can break the connection off and no part of a body passes for the whole. Dropping it before the
/// end cancels the guest; after the end the guest goes on until it returns or its time is over.
pub struct ResponseBody {
    collected: Collected,
    verdict: Verdict,
    cancel: CancelOnDrop,
    /// Bytes that are still to come, where the response says how many they are.
    remaining: Option<u64>,
    /// Dropped with the body, which tells the guest's task that it is read.
    _done: Option<oneshot::Sender<()>>,
    pace: Pace,
    _permit: Permit,
}

impl ResponseBody {
    /// `head_only`: the response has no body on the wire whatever its headers say, so that not
    /// reading it is no reason to cancel the guest.
    pub(crate) fn new(
        collected: Collected,
        verdict: Verdict,
        mut cancel: CancelOnDrop,
        content_length: Option<u64>,
        head_only: bool,
        done: Option<oneshot::Sender<()>>,
        (pace, permit): (Pace, Permit),
    ) -> Self {
        if head_only {
            cancel.disarm();
        }
        let mut this = Self {
            collected,
            verdict,
            cancel,
            remaining: content_length,
            _done: done,
            pace,
            _permit: permit,
        };
        this.count(0);
        this
    }

    fn count(&mut self, bytes: u64) {
        if let Some(remaining) = &mut self.remaining {
            *remaining = remaining.saturating_sub(bytes);
            if *remaining == 0 {
                self.cancel.disarm();
            }
        }
    }
}

/// A server may know from [`Body::is_end_stream`] that nothing follows, and not ask again.
impl Drop for ResponseBody {
    fn drop(&mut self) {
        if self.is_end_stream() {
            self.cancel.disarm();
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = ServeError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ServeError>>> {
        let collected = &mut self.collected;
        let frame = match (collected.frames.pop_front(), &mut collected.rest) {
            (Some(frame), _) => Some(Ok(frame)),
            (None, Some(rest)) => match ready!(Pin::new(rest).poll_frame(context)) {
                Some(frame) => Some(frame.map_err(|error| self.verdict.on_error(&error))),
                None => self.verdict.failure().map(Err),
            },
            (None, None) => collected.failed.take().map(Err),
        };
        Poll::Ready(match frame {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    self.count(data.len() as u64);
                    self.pace.go_on();
                }
                Some(Ok(frame))
            }
            Some(Err(failure)) if self.remaining != Some(0) => Some(Err(failure)),
            Some(Err(_)) | None => {
                self.cancel.disarm();
                None
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        let collected = &self.collected;
        match &collected.rest {
            Some(rest) => {
                collected.frames.is_empty()
                    && rest.is_end_stream()
                    && self.verdict.failure().is_none()
            }
            None => collected.is_over(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.collected.size_hint()
    }
}
