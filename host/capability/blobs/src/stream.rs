//! Bodies between the engine and WASI 0.3 streams.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use canopy_backend::blob::{BlobBody, BlobError};
use canopy_backend::{Held, Kept, StorageError};
use futures::stream;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::PollSender;
use wasmtime::StoreContextMut;
use wasmtime::component::{Destination, Source, StreamConsumer, StreamProducer, StreamResult};

/// Bytes taken from a guest at once.
const CHUNK: usize = 64 << 10;

/// A body that a guest writes, and what takes it in: one chunk waits at most, so the guest writes
/// as fast as the engine takes.
pub(crate) fn from_guest() -> (GuestBody, BlobBody) {
    let (send, receive) = mpsc::channel(1);
    let body = stream::unfold(receive, |mut receive: mpsc::Receiver<Bytes>| async move {
        receive.recv().await.map(|bytes| (Ok(bytes), receive))
    });
    (GuestBody(PollSender::new(send)), Box::pin(body))
}

/// Takes what a guest writes.
pub(crate) struct GuestBody(PollSender<Bytes>);

impl<D> StreamConsumer<D> for GuestBody {
    type Item = u8;

    fn poll_consume(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        store: StoreContextMut<'_, D>,
        source: Source<'_, u8>,
        finish: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        let result = match self.0.poll_reserve(cx) {
            Poll::Pending if finish => StreamResult::Cancelled,
            Poll::Pending => return Poll::Pending,
            // Whoever took the body has ended, and says why by other means.
            Poll::Ready(Err(_)) => StreamResult::Dropped,
            Poll::Ready(Ok(())) => {
                let mut source = source.as_direct(store);
                let bytes = source.remaining();
                let bytes = &bytes[..bytes.len().min(CHUNK)];
                let length = bytes.len();
                let sent = length == 0 || self.0.send_item(Bytes::copy_from_slice(bytes)).is_ok();
                source.mark_read(length);
                match sent {
                    true => StreamResult::Completed,
                    false => StreamResult::Dropped,
                }
            }
        };
        Poll::Ready(Ok(result))
    }
}

/// Gives an object's body to a guest, a piece whenever it has taken the one before.
pub(crate) struct ObjectBody {
    body: BlobBody,
    kept: Kept,
    /// What the piece takes that the guest takes now.
    given: Option<Held>,
    outcome: Option<oneshot::Sender<Result<(), BlobError>>>,
}

impl ObjectBody {
    /// The body, and what is told when it has ended.
    pub(crate) fn new(
        body: BlobBody,
        kept: Kept,
    ) -> (Self, oneshot::Receiver<Result<(), BlobError>>) {
        let (tell, outcome) = oneshot::channel();
        let body = Self {
            body,
            kept,
            given: None,
            outcome: Some(tell),
        };
        (body, outcome)
    }

    fn end(&mut self, result: Result<(), BlobError>) -> StreamResult {
        if let Some(tell) = self.outcome.take() {
            // The guest may not want to know.
            let _ = tell.send(result);
        }
        StreamResult::Dropped
    }
}

impl<D> StreamProducer<D> for ObjectBody {
    type Item = u8;
    type Buffer = Bytes;

    fn poll_produce<'a>(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut store: StoreContextMut<'a, D>,
        mut destination: Destination<'a, u8, Bytes>,
        finish: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        // A look whether there is something; the reading that follows waits.
        if destination.remaining(&mut store) == Some(0) {
            return Poll::Ready(Ok(StreamResult::Completed));
        }
        // It has taken all of the piece before.
        self.given = None;
        let result = match self.body.as_mut().poll_next(cx) {
            Poll::Pending if finish => StreamResult::Cancelled,
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Some(Ok(bytes))) => match self.kept.keep(bytes.len()) {
                Ok(held) => {
                    self.given = Some(held);
                    destination.set_buffer(bytes);
                    StreamResult::Completed
                }
                Err(full) => self.end(Err(StorageError::from(full).into())),
            },
            Poll::Ready(None) => self.end(Ok(())),
            Poll::Ready(Some(Err(error))) => self.end(Err(error)),
        };
        Poll::Ready(Ok(result))
    }
}
