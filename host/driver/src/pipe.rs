//! Streams and futures between two stores.
//!
//! In the writer's store an *outlet* takes from the guest's end, in the reader's store an *inlet*
//! gives to the guest's end, and between them is room for one chunk: whoever is slower sets the
//! pace.

use std::any::Any;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use canopy_backend::{Held, Kept, KeptFull};
use futures::channel::{mpsc, oneshot};
use futures::{FutureExt, StreamExt};
use wasmtime::component::{
    Destination, FutureAny, FutureConsumer, FutureProducer, FutureReader, Source, StreamAny,
    StreamConsumer, StreamProducer, StreamReader, StreamResult, VecBuffer,
};
use wasmtime::{AsContextMut, StoreContextMut};

use crate::payload::{Heap as _, Item, Payload, Visit};
use crate::session::{Ending, Link, ReaderEnd, Readiness, Session, StoreLife, WriterEnd};
use crate::values::Value;

/// The store of the guest that writes.
pub(crate) struct Writer {
    pub(crate) life: StoreLife,
    pub(crate) kept: Kept,
}

/// What was written, and what it takes of the writer's account until the reader has it.
type Written<T> = (T, Held);

/// Counts what a guest has written. Beside other calls it is at most what the account has.
fn hold(kept: &Kept, bytes: usize) -> Result<Held, KeptFull> {
    let held = kept.hold(bytes)?;
    held.settle(bytes);
    Ok(held)
}

/// The reader's end of a stream or future on its way to the other store.
pub(crate) struct Pipe {
    payload: Payload,
    is_future: bool,
    /// A [`StreamInlet`] or [`FutureInlet`] of the payload's type.
    inlet: Box<dyn Any + Send>,
    link: Arc<Link>,
}

impl Pipe {
    /// Takes the guest's end of a stream or future out of its store. `payloads` are those that the function's type has.
    pub(crate) fn take<D: Send + 'static>(
        store: StoreContextMut<'_, D>,
        end: &Value,
        payloads: &[Payload],
        from: &Writer,
        into_driver: bool,
    ) -> wasmtime::Result<Self> {
        let mut store = store;
        for &payload in payloads {
            let taken = payload.visit(Take {
                store: store.as_context_mut(),
                end,
                payload,
                from,
                into_driver,
            })?;
            if let Some(pipe) = taken {
                return Ok(pipe);
            }
        }
        Err(wasmtime::Error::msg(
            "a value holds a stream or future of another type than its function has",
        ))
    }

    /// Counts it to a call in the driver.
    pub(crate) fn attach(&self, session: &Arc<Session>) {
        struct Tells;
        impl Visit for Tells {
            type Output = bool;

            fn visit<T: Item>(self) -> bool {
                T::TELLS
            }
        }
        if self.is_future && self.payload.visit(Tells) {
            session.set_tells();
        }
        self.link.attach(session);
    }

    /// Puts the reader's end into a store.
    pub(crate) fn give<D: Send + 'static>(
        self,
        store: StoreContextMut<'_, D>,
    ) -> wasmtime::Result<Value> {
        self.payload.visit(Give { store, pipe: self })
    }
}

struct Take<'a, D: 'static> {
    store: StoreContextMut<'a, D>,
    end: &'a Value,
    payload: Payload,
    from: &'a Writer,
    into_driver: bool,
}

impl<D: Send + 'static> Visit for Take<'_, D> {
    type Output = wasmtime::Result<Option<Pipe>>;

    fn visit<T: Item>(self) -> Self::Output {
        let Self {
            store,
            end,
            payload,
            from,
            into_driver,
        } = self;
        let kept = from.kept.clone();
        let link = Link::new(into_driver);
        let reader = ReaderEnd::new(link.clone());
        let inlet: Box<dyn Any + Send> = match end {
            Value::Stream(stream) => {
                let Ok(stream) = StreamAny::clone(stream).try_into_stream_reader::<T>() else {
                    return Ok(None);
                };
                // No room beyond the one chunk that each sender has.
                let (sender, chunks) = mpsc::channel::<Written<Vec<T>>>(0);
                let writer = WriterEnd::of_stream(link.clone(), from.life.clone());
                let outlet = StreamOutlet {
                    writer,
                    sender,
                    kept,
                };
                stream.pipe(store, outlet)?;
                Box::new(StreamInlet {
                    reader,
                    chunks,
                    peeked: None,
                    given: None,
                })
            }
            Value::Future(future) => {
                let Ok(future) = FutureAny::clone(future).try_into_future_reader::<T>() else {
                    return Ok(None);
                };
                let (sender, value) = oneshot::channel::<Written<T>>();
                let outlet = FutureOutlet {
                    writer: WriterEnd::of_future(link.clone()),
                    sender: Some(sender),
                    kept,
                };
                future.pipe(store, outlet)?;
                Box::new(FutureInlet { reader, value })
            }
            _ => return Ok(None),
        };
        Ok(Some(Pipe {
            payload,
            is_future: matches!(end, Value::Future(_)),
            inlet,
            link,
        }))
    }
}

struct Give<'a, D: 'static> {
    store: StoreContextMut<'a, D>,
    pipe: Pipe,
}

impl<D: Send + 'static> Visit for Give<'_, D> {
    type Output = wasmtime::Result<Value>;

    fn visit<T: Item>(self) -> Self::Output {
        let Self { mut store, pipe } = self;
        let mistaken = |_| wasmtime::Error::msg("a stream changed its type on the way");
        if pipe.is_future {
            let inlet = pipe.inlet.downcast::<FutureInlet<T>>().map_err(mistaken)?;
            let future = FutureReader::new(store.as_context_mut(), *inlet)?;
            let future = FutureAny::try_from_future_reader(store, future)?;
            return Ok(Value::Future(Box::new(future)));
        }
        let inlet = pipe.inlet.downcast::<StreamInlet<T>>().map_err(mistaken)?;
        let stream = StreamReader::new(store.as_context_mut(), *inlet)?;
        let stream = StreamAny::try_from_stream_reader(store, stream)?;
        Ok(Value::Stream(Box::new(stream)))
    }
}

/// Takes what a guest writes. `writer` comes first: the reader wakes when the sender is dropped,
/// and then wants to know how it ended.
struct StreamOutlet<T> {
    writer: WriterEnd,
    sender: mpsc::Sender<Written<Vec<T>>>,
    kept: Kept,
}

impl<D: 'static, T: Item> StreamConsumer<D> for StreamOutlet<T> {
    type Item = T;

    fn poll_consume(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut store: StoreContextMut<'_, D>,
        mut source: Source<'_, T>,
        finish: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        let wait = match finish {
            true => Poll::Ready(Ok(StreamResult::Cancelled)),
            false => Poll::Pending,
        };
        match self.writer.link().writer_ready(cx) {
            Readiness::Ready => {}
            Readiness::Wait => return wait,
            Readiness::Over => return Poll::Ready(Ok(StreamResult::Dropped)),
        }
        match self.sender.poll_ready(cx) {
            Poll::Ready(Ok(())) => {}
            // The reader is gone.
            Poll::Ready(Err(_)) => return Poll::Ready(Ok(StreamResult::Dropped)),
            Poll::Pending => return wait,
        }
        let count = source.remaining(store.as_context_mut()).min(T::CHUNK);
        if count == 0 {
            return Poll::Ready(Ok(StreamResult::Completed));
        }
        let mut chunk = Vec::with_capacity(count);
        source.read(store, &mut chunk)?;
        let held = hold(&self.kept, chunk.heap())?;
        Poll::Ready(Ok(match self.sender.try_send((chunk, held)) {
            Ok(()) => StreamResult::Completed,
            Err(_) => StreamResult::Dropped,
        }))
    }
}

/// Gives to a guest what comes from the other store.
struct StreamInlet<T> {
    reader: ReaderEnd,
    chunks: mpsc::Receiver<Written<Vec<T>>>,
    /// Received for a guest that only asked whether there is something.
    peeked: Option<Written<Vec<T>>>,
    /// What the chunk takes that the guest takes now.
    given: Option<Held>,
}

impl<D: 'static, T: Item> StreamProducer<D> for StreamInlet<T> {
    type Item = T;
    type Buffer = VecBuffer<T>;

    fn poll_produce<'a>(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        store: StoreContextMut<'a, D>,
        mut destination: Destination<'a, T, VecBuffer<T>>,
        finish: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        // It has taken all of the chunk before.
        self.given = None;
        let next = match self.peeked.take() {
            Some(chunk) => Poll::Ready(Some(chunk)),
            None if self.reader.link().reader_waits(cx) => self.chunks.poll_next_unpin(cx),
            None => Poll::Ready(None),
        };
        match next {
            Poll::Ready(Some((chunk, held))) => {
                match destination.remaining(store) {
                    Some(0) => self.peeked = Some((chunk, held)),
                    _ => {
                        self.given = Some(held);
                        destination.set_buffer(chunk.into());
                    }
                }
                Poll::Ready(Ok(StreamResult::Completed))
            }
            Poll::Ready(None) => match self.reader.link().ending() {
                Ending::Whole => Poll::Ready(Ok(StreamResult::Dropped)),
                Ending::Failed(session) if session.tells() => {
                    Poll::Ready(Ok(StreamResult::Dropped))
                }
                Ending::Failed(session) => {
                    Poll::Ready(Err(wasmtime::Error::new(session.failure())))
                }
                Ending::Never if finish => Poll::Ready(Ok(StreamResult::Cancelled)),
                Ending::Never => Poll::Pending,
            },
            Poll::Pending if finish => Poll::Ready(Ok(StreamResult::Cancelled)),
            Poll::Pending => Poll::Pending,
        }
    }
}

/// Takes the value that a guest writes.
struct FutureOutlet<T> {
    writer: WriterEnd,
    sender: Option<oneshot::Sender<Written<T>>>,
    kept: Kept,
}

impl<D: 'static, T: Item> FutureConsumer<D> for FutureOutlet<T> {
    type Item = T;

    fn poll_consume(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        store: StoreContextMut<'_, D>,
        mut source: Source<'_, T>,
        finish: bool,
    ) -> Poll<wasmtime::Result<()>> {
        if self.writer.link().writer_ready(cx) == Readiness::Wait {
            return match finish {
                true => Poll::Ready(Ok(())),
                false => Poll::Pending,
            };
        }
        let mut value = None;
        source.read(store, &mut value)?;
        if let (Some(value), Some(sender)) = (value, self.sender.take()) {
            let held = hold(&self.kept, value.heap())?;
            self.writer.set_done();
            // A reader that is gone does not want it.
            let _ = sender.send((value, held));
        }
        Poll::Ready(Ok(()))
    }
}

/// Gives the value to a guest.
struct FutureInlet<T> {
    reader: ReaderEnd,
    value: oneshot::Receiver<Written<T>>,
}

impl<D: 'static, T: Item> FutureProducer<D> for FutureInlet<T> {
    type Item = T;

    fn poll_produce(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        _: StoreContextMut<'_, D>,
        finish: bool,
    ) -> Poll<wasmtime::Result<Option<T>>> {
        self.reader.link().reader_waits(cx);
        match self.value.poll_unpin(cx) {
            Poll::Ready(Ok((value, _held))) => {
                self.reader.link().close();
                return Poll::Ready(Ok(Some(value)));
            }
            Poll::Pending if !self.reader.link().is_broken() => {}
            Poll::Pending | Poll::Ready(Err(_)) => {
                if let Ending::Failed(session) = self.reader.link().ending() {
                    let failure = session.failure();
                    return Poll::Ready(match T::failed(&failure) {
                        Some(value) => Ok(Some(value)),
                        None => Err(wasmtime::Error::new(failure)),
                    });
                }
            }
        }
        match finish {
            true => Poll::Ready(Ok(None)),
            false => Poll::Pending,
        }
    }
}
