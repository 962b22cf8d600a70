//! Bodies of outgoing requests and their responses, under their limits.
//!
//! Threat: a guest says of a body that it is longer or shorter than it is, so that who reads it takes
//! the rest of it for a request, or the next request for the rest; or it has fields in its trailers
//! that it may not have in its head. So a body that is not as long as was said ends the connection
//! with its last frame that fits, and what could be seen before is not sent at all.
//!
//! A request's body that ends because its instance does, in the middle, is broken off: who gets it must
//! not take a part for the whole. wasmtime ends it as if the guest had.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Empty};
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::{Instant, Sleep, sleep_until};
use wasmtime_wasi_http::{Error, WasiBody};

use crate::account::Place;
use crate::gateway::Meter;
use crate::http_client::{is_forbidden, over};
use crate::pool::Lease;

/// A request's body on its way out.
pub(crate) struct RequestBody {
    inner: WasiBody,
    sent: u64,
    limit: u64,
    /// How long the request's head says that it is.
    said: Option<u64>,
    meter: Meter,
    /// Whether the instance that sends it has ended.
    ended: Arc<AtomicBool>,
}

impl RequestBody {
    /// A body of a request whose head has `headers`.
    pub(crate) fn new(
        inner: WasiBody,
        headers: &HeaderMap,
        limit: u64,
        meter: Meter,
    ) -> Result<Self, Error> {
        let said = said_length(headers)?;
        let known = inner.size_hint().exact();
        if let (Some(said), Some(known)) = (said, known)
            && said != known
        {
            return Err(Error::HttpRequestBodySize(Some(known)));
        }
        Ok(Self {
            inner,
            sent: 0,
            limit,
            said,
            meter,
            ended: Arc::default(),
        })
    }

    /// No body.
    pub(crate) fn empty(meter: Meter) -> Self {
        let inner = Empty::new().map_err(|never| match never {});
        Self {
            inner: inner.boxed_unsync(),
            sent: 0,
            limit: 0,
            said: None,
            meter,
            ended: Arc::default(),
        }
    }

    /// The same of an instance that tells by `ended` when it has ended.
    pub(crate) fn sent_by(self, ended: Arc<AtomicBool>) -> Self {
        Self { ended, ..self }
    }

    /// `frame` may go out.
    fn pass(&mut self, mut frame: Frame<Bytes>) -> Result<Frame<Bytes>, Error> {
        let length = frame.data_ref().map_or(0, |data| data.len() as u64);
        let sent = self.sent.saturating_add(length);
        if sent > self.limit {
            return Err(Error::HttpRequestBodySize(Some(self.limit)));
        }
        if self.said.is_some_and(|said| sent > said) {
            return Err(Error::HttpRequestBodySize(Some(sent)));
        }
        if let Some(trailers) = frame.trailers_mut() {
            self.is_whole()?;
            remove(trailers, |name| {
                is_forbidden(name) || NOT_IN_TRAILERS.contains(name)
            });
        }
        self.sent = sent;
        self.meter.count(length).map_err(over)?;
        Ok(frame)
    }

    /// Whether as much has gone out as was said.
    fn is_whole(&self) -> Result<(), Error> {
        match self.said {
            Some(said) if said != self.sent => Err(Error::HttpRequestBodySize(Some(self.sent))),
            _ => Ok(()),
        }
    }
}

/// How a message is to be read, and for whom, is said in its head.
const NOT_IN_TRAILERS: [HeaderName; 3] = [
    header::CONTENT_LENGTH,
    header::TRAILER,
    header::AUTHORIZATION,
];

/// Removes the fields that `unwanted` says.
pub(crate) fn remove(fields: &mut HeaderMap, unwanted: impl Fn(&HeaderName) -> bool) {
    let names: Vec<_> = fields
        .keys()
        .filter(|name| unwanted(name))
        .cloned()
        .collect();
    for name in names {
        fields.remove(name);
    }
}

/// The length that a request's head says its body has. What could be read as two lengths is refused.
fn said_length(headers: &HeaderMap) -> Result<Option<u64>, Error> {
    let mut values = headers.get_all(header::CONTENT_LENGTH).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let text = value.to_str().unwrap_or_default();
    let is_plain = text.bytes().all(|c| c.is_ascii_digit());
    match (text.parse(), values.next()) {
        (Ok(said), None) if is_plain => Ok(Some(said)),
        _ => Err(Error::HttpProtocolError),
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(context));
        Poll::Ready(match frame {
            Some(Ok(frame)) => Some(self.pass(frame)),
            Some(Err(error)) => Some(Err(error)),
            None if self.ended.load(Ordering::SeqCst) => Some(Err(Error::HttpProtocolError)),
            None => self.is_whole().err().map(Err),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream() && self.is_whole().is_ok()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// A response's body on its way in. Holds the request's place among those under way, and the
/// connection until it has been read to its end.
pub(crate) struct ResponseBody {
    inner: hyper::body::Incoming,
    left: u64,
    limit: u64,
    between: Duration,
    deadline: Instant,
    sleep: Pin<Box<Sleep>>,
    connection: Option<(Lease, oneshot::Sender<()>)>,
    meter: Meter,
    _held: Held,
}

/// A request's place among those of its instance, and among those of its tenant.
pub(crate) type Held = (OwnedSemaphorePermit, Place);

impl ResponseBody {
    pub(crate) fn new(
        inner: hyper::body::Incoming,
        limit: u64,
        (between, deadline): (Duration, Instant),
        meter: Meter,
        held: Held,
        connection: (Lease, oneshot::Sender<()>),
    ) -> Self {
        let sleep = Box::pin(sleep_until(next(between, deadline)));
        let mut body = Self {
            inner,
            left: limit,
            limit,
            between,
            deadline,
            sleep,
            connection: Some(connection),
            meter,
            _held: held,
        };
        if body.inner.is_end_stream() {
            body.finish();
        }
        body
    }

    /// The body has been read: the connection is free for another request.
    fn finish(&mut self) {
        if let Some((mut lease, _)) = self.connection.take() {
            lease.finish();
        }
    }
}

fn next(between: Duration, deadline: Instant) -> Instant {
    Instant::now()
        .checked_add(between)
        .map_or(deadline, |next| next.min(deadline))
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(context) {
            return Poll::Ready(match frame {
                Some(Ok(frame)) => {
                    let length = frame.data_ref().map_or(0, |data| data.len() as u64);
                    match self.left.checked_sub(length) {
                        Some(left) => {
                            self.left = left;
                            let until = next(self.between, self.deadline);
                            self.sleep.as_mut().reset(until);
                            if let Err(quota) = self.meter.count(length) {
                                self.connection = None;
                                return Poll::Ready(Some(Err(over(quota))));
                            }
                            if self.inner.is_end_stream() {
                                self.finish();
                            }
                            Some(Ok(frame))
                        }
                        None => {
                            self.connection = None;
                            Some(Err(Error::HttpResponseBodySize(Some(self.limit))))
                        }
                    }
                }
                Some(Err(error)) => {
                    self.connection = None;
                    Some(Err(broken(&error)))
                }
                None => {
                    self.finish();
                    None
                }
            });
        }
        ready!(self.sleep.as_mut().poll(context));
        if let Some((lease, _)) = &mut self.connection {
            lease.spoil();
        }
        self.connection = None;
        Poll::Ready(Some(Err(if Instant::now() >= self.deadline {
            Error::HttpResponseTimeout
        } else {
            Error::ConnectionReadTimeout
        })))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// What a failure of the connection is called in `wasi:http`.
pub(crate) fn broken(error: &hyper::Error) -> Error {
    if error.is_incomplete_message() {
        Error::HttpResponseIncomplete
    } else if error.is_timeout() {
        Error::HttpResponseTimeout
    } else if error.is_canceled() || error.is_closed() {
        Error::ConnectionTerminated
    } else {
        Error::HttpProtocolError
    }
}

/// The guest's own body may be what broke the exchange off; then its error is the one to tell.
pub(crate) fn caused(error: hyper::Error) -> Error {
    let own = std::error::Error::source(&error).and_then(|cause| cause.downcast_ref::<Error>());
    match own {
        Some(Error::InternalError(told)) => Error::InternalError(told.clone()),
        Some(Error::HttpRequestBodySize(size)) => Error::HttpRequestBodySize(*size),
        Some(_) => Error::ConnectionTerminated,
        None => broken(&error),
    }
}
