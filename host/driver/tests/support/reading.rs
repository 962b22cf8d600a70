//! What a test reads of streams and futures.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::Duration;

use wasmtime::StoreContextMut;
use wasmtime::component::{FutureConsumer, Lift, Source, StreamConsumer, StreamResult};

use super::App;

/// What has come of a stream, or of a future as its only item.
pub(crate) struct Read<T> {
    came: Arc<Mutex<Came<T>>>,
    limit: usize,
}

struct Came<T> {
    items: Vec<T>,
    ended: bool,
}

impl<T> Read<T> {
    pub(crate) fn new() -> Self {
        Self::up_to(usize::MAX)
    }

    /// Stops reading, without an end, when it has as many.
    pub(crate) fn up_to(limit: usize) -> Self {
        let came = Came {
            items: Vec::new(),
            ended: false,
        };
        Self {
            came: Arc::new(Mutex::new(came)),
            limit,
        }
    }

    /// The end that reads.
    pub(crate) fn reader(&self) -> Reader<T> {
        Reader(Self {
            came: self.came.clone(),
            limit: self.limit,
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().items.len()
    }

    /// Whether the writer has ended, or is gone.
    pub(crate) fn has_ended(&self) -> bool {
        self.lock().ended
    }

    pub(crate) fn take(&self) -> Vec<T> {
        std::mem::take(&mut self.lock().items)
    }

    fn lock(&self) -> MutexGuard<'_, Came<T>> {
        self.came.lock().expect("lock")
    }
}

/// The end that reads, which notes when the other has ended.
pub(crate) struct Reader<T>(Read<T>);

impl<T> Drop for Reader<T> {
    fn drop(&mut self) {
        self.0.lock().ended = true;
    }
}

impl<D: 'static, T: Lift + Send + Sync + 'static> StreamConsumer<D> for Reader<T> {
    type Item = T;

    fn poll_consume(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        mut store: StoreContextMut<'_, D>,
        mut source: Source<'_, T>,
        _: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        if self.0.len() >= self.0.limit {
            return Poll::Pending;
        }
        let mut chunk = Vec::with_capacity(source.remaining(&mut store));
        source.read(store, &mut chunk)?;
        self.0.lock().items.extend(chunk);
        Poll::Ready(Ok(StreamResult::Completed))
    }
}

impl<D: 'static, T: Lift + Send + Sync + 'static> FutureConsumer<D> for Reader<T> {
    type Item = T;

    fn poll_consume(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        store: StoreContextMut<'_, D>,
        mut source: Source<'_, T>,
        _: bool,
    ) -> Poll<wasmtime::Result<()>> {
        let mut value = None;
        source.read(store, &mut value)?;
        self.0.lock().items.extend(value);
        Poll::Ready(Ok(()))
    }
}

/// Lets the application's store run until `done`.
pub(crate) async fn until(
    app: &mut App,
    done: impl Fn() -> bool + Send + Sync,
) -> wasmtime::Result<()> {
    let run = app.store.run_concurrent(async |_| {
        while !done() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    let run = tokio::time::timeout(Duration::from_secs(10), run);
    run.await.expect("in time")
}
