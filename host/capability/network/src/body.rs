//! Bodies of outgoing requests and their responses, under their limits.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Empty};
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::{Instant, Sleep, sleep_until};
use wasmtime_wasi_http::{Error, WasiBody};

use crate::account::Place;
use crate::gateway::Meter;
use crate::http_client::over;
use crate::pool::Lease;

/// A request's body on its way out.
pub(crate) struct RequestBody {
    inner: WasiBody,
    left: u64,
    limit: u64,
    meter: Meter,
}

impl RequestBody {
    pub(crate) fn new(inner: WasiBody, limit: u64, meter: Meter) -> Self {
        Self {
            inner,
            left: limit,
            limit,
            meter,
        }
    }

    /// No body.
    pub(crate) fn empty(meter: Meter) -> Self {
        let inner = Empty::new().map_err(|never| match never {});
        Self::new(inner.boxed_unsync(), 0, meter)
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
            Some(Ok(frame)) => {
                let length = frame.data_ref().map_or(0, |data| data.len() as u64);
                match self.left.checked_sub(length) {
                    Some(left) => {
                        self.left = left;
                        let counted = self.meter.count(length);
                        Some(counted.map(|()| frame).map_err(over))
                    }
                    None => Some(Err(Error::HttpRequestBodySize(Some(self.limit)))),
                }
            }
            other => other,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
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
