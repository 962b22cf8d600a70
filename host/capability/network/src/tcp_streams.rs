//! What TCP sockets of WASI 0.3 carry, counted.
//!
//! Every byte counts for the tenant's day, whichever way it goes. With the first that is too many the
//! connection ends, and so do its streams: what was being sent or received resolves to an error that
//! names the quota.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use rustix::net::{Shutdown, shutdown};
use tokio::sync::oneshot;
use wasmtime::component::{
    Destination, FutureReader, Source, StreamConsumer, StreamProducer, StreamReader, StreamResult,
};
use wasmtime::{AsContextMut as _, StoreContextMut};
use wasmtime_wasi::p3::bindings::sockets::types::ErrorCode;

use crate::tcp::Carrier;

/// Bytes that are carried at once, and so how many may come on top of a quota.
const PIECE: usize = 64 << 10;

type Told = Result<(), ErrorCode>;

/// Sends what `data` brings. The future resolves when all of it is on its way, or why it is not.
pub(crate) fn send<T: 'static>(
    mut store: StoreContextMut<'_, T>,
    carrier: Result<Arc<Carrier>, ErrorCode>,
    mut data: StreamReader<u8>,
) -> wasmtime::Result<FutureReader<Told>> {
    match carrier {
        Ok(carrier) => {
            let (told, outcome) = oneshot::channel();
            let half = Half::new(carrier, Shutdown::Write, told);
            data.pipe(&mut store, Outward(half))?;
            FutureReader::new(&mut store, outcome)
        }
        Err(code) => {
            data.close(&mut store)?;
            told(store, code)
        }
    }
}

/// Receives. The future resolves when the stream has ended.
pub(crate) fn receive<T: 'static>(
    mut store: StoreContextMut<'_, T>,
    carrier: Result<Arc<Carrier>, ErrorCode>,
) -> wasmtime::Result<(StreamReader<u8>, FutureReader<Told>)> {
    match carrier {
        Ok(carrier) => {
            let (told, outcome) = oneshot::channel();
            let half = Half::new(carrier, Shutdown::Read, told);
            let stream = StreamReader::new(&mut store, Inward(half))?;
            Ok((stream, FutureReader::new(&mut store, outcome)?))
        }
        Err(code) => {
            let nothing = StreamReader::new(&mut store, std::iter::empty())?;
            Ok((nothing, told(store, code)?))
        }
    }
}

fn told<T: 'static>(
    store: StoreContextMut<'_, T>,
    code: ErrorCode,
) -> wasmtime::Result<FutureReader<Told>> {
    FutureReader::new(store, async move { wasmtime::error::Ok(Err(code)) })
}

/// One direction of a connection. It ends by being dropped, at the latest.
struct Half(Option<Open>);

struct Open {
    carrier: Arc<Carrier>,
    direction: Shutdown,
    told: oneshot::Sender<Told>,
}

impl Half {
    fn new(carrier: Arc<Carrier>, direction: Shutdown, told: oneshot::Sender<Told>) -> Self {
        Self(Some(Open {
            carrier,
            direction,
            told,
        }))
    }

    /// Ends this direction, and both where the quota ends the connection.
    fn end(&mut self, outcome: Told) -> StreamResult {
        if let Some(open) = self.0.take() {
            let over = open.carrier.over();
            let direction = over.as_ref().map_or(open.direction, |_| Shutdown::Both);
            // A connection that is gone already is what is wanted.
            let _ = shutdown(&open.carrier.stream, direction);
            // Whoever asked may not care.
            let _ = open.told.send(over.map_or(outcome, Err));
        }
        StreamResult::Dropped
    }

    /// Counts what was carried. `Some`: it was too much, and all is over.
    fn count(&mut self, bytes: usize) -> Option<StreamResult> {
        let code = self.0.as_ref()?.carrier.count(bytes).err()?;
        Some(self.end(Err(code)))
    }
}

impl Drop for Half {
    fn drop(&mut self) {
        self.end(Ok(()));
    }
}

/// Does `work` once the socket is `ready` for it.
fn poll_io<R>(
    context: &mut Context<'_>,
    ready: impl Fn(&mut Context<'_>) -> Poll<io::Result<()>>,
    mut work: impl FnMut() -> io::Result<R>,
) -> Poll<io::Result<R>> {
    loop {
        ready!(ready(context))?;
        match work() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            done => return Poll::Ready(done),
        }
    }
}

/// What a guest sends.
struct Outward(Half);

impl<D: 'static> StreamConsumer<D> for Outward {
    type Item = u8;

    fn poll_consume(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        store: StoreContextMut<'_, D>,
        source: Source<'_, u8>,
        finish: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        let Some(open) = &self.0.0 else {
            return Poll::Ready(Ok(StreamResult::Dropped));
        };
        let stream = &open.carrier.stream;
        let writable = |context: &mut Context<'_>| stream.poll_write_ready(context);
        let mut source = source.as_direct(store);
        let written = match source.remaining() {
            // The guest asks whether it could send.
            [] => writable(context).map_ok(|()| 0),
            bytes => {
                let piece = &bytes[..bytes.len().min(PIECE)];
                poll_io(context, writable, || stream.try_write(piece))
            }
        };
        Poll::Ready(Ok(match written {
            Poll::Ready(Ok(bytes)) => {
                source.mark_read(bytes);
                self.0.count(bytes).unwrap_or(StreamResult::Completed)
            }
            Poll::Ready(Err(error)) => self.0.end(Err(error.into())),
            Poll::Pending if finish => StreamResult::Cancelled,
            Poll::Pending => return Poll::Pending,
        }))
    }
}

/// What a guest receives.
struct Inward(Half);

impl<D: 'static> StreamProducer<D> for Inward {
    type Item = u8;
    type Buffer = BytesMut;

    fn poll_produce<'a>(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut store: StoreContextMut<'a, D>,
        destination: Destination<'a, u8, BytesMut>,
        finish: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        let Some(open) = &self.0.0 else {
            return Poll::Ready(Ok(StreamResult::Dropped));
        };
        let stream = &open.carrier.stream;
        let readable = |context: &mut Context<'_>| stream.poll_read_ready(context);
        // The guest asks whether it could receive.
        let only_asks = destination.remaining(store.as_context_mut()) == Some(0);
        let mut destination = destination.as_direct(store, PIECE);
        let read = match only_asks {
            true => readable(context).map_ok(|()| None),
            false => {
                let space = destination.remaining();
                let most = space.len().min(PIECE);
                let space = &mut space[..most];
                poll_io(context, readable, || stream.try_read(space)).map_ok(Some)
            }
        };
        Poll::Ready(Ok(match read {
            Poll::Ready(Ok(None)) => StreamResult::Completed,
            Poll::Ready(Ok(Some(0))) => self.0.end(Ok(())),
            Poll::Ready(Ok(Some(bytes))) => match self.0.count(bytes) {
                Some(over) => over,
                None => {
                    destination.mark_written(bytes);
                    StreamResult::Completed
                }
            },
            Poll::Ready(Err(error)) => self.0.end(Err(error.into())),
            Poll::Pending if finish => StreamResult::Cancelled,
            Poll::Pending => return Poll::Pending,
        }))
    }
}
