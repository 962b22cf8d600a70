//! `spin:key-value@3.0.0`: asynchronous, and keys as a stream.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use canopy_backend::{Held, Kept, KeyPage, KeyValue, StorageError, StorageLimits};
use tokio::sync::oneshot;
use wasmtime::StoreContextMut;
use wasmtime::component::{
    Access, Accessor, Destination, FutureReader, Resource, StreamProducer, StreamReader,
    StreamResult, VecBuffer,
};

use crate::adapter::Failure;
use crate::bindings::KeyValue as Face;
use crate::bindings::spin3::key_value;
use crate::bucket::{Bucket, PAGE};
use crate::ctx::KeyValueView;

impl key_value::Host for KeyValueView<'_> {
    fn convert_error(&mut self, failure: Failure) -> wasmtime::Result<key_value::Error> {
        match failure {
            Failure::Trap(error) => Err(error),
            told => Ok(told_as(&told)),
        }
    }
}

fn told_as(failure: &Failure) -> key_value::Error {
    match failure {
        Failure::NoSuchStore => key_value::Error::NoSuchStore,
        Failure::AccessDenied => key_value::Error::AccessDenied,
        told => key_value::Error::Other(told.to_string()),
    }
}

impl key_value::HostStore for KeyValueView<'_> {
    fn drop(&mut self, store: Resource<Bucket>) -> wasmtime::Result<()> {
        self.table.delete(store)?;
        Ok(())
    }
}

impl<T: Send + 'static> key_value::HostStoreWithStore<T> for Face {
    async fn open(
        accessor: &Accessor<T, Self>,
        label: String,
    ) -> Result<Resource<Bucket>, Failure> {
        let ctx = accessor.with(|mut access| access.get().ctx.clone());
        let bucket = ctx.open(&label).await?;
        accessor.with(|mut access| Ok(access.get().table.push(bucket)?))
    }

    async fn get(
        accessor: &Accessor<T, Self>,
        store: Resource<Bucket>,
        key: String,
    ) -> Result<Option<Vec<u8>>, Failure> {
        let (store, kept, limits) = opened(accessor, &store)?;
        let _held = kept.room(key.len() + limits.value_bytes).await?;
        Ok(store.get(&key).await?)
    }

    async fn set(
        accessor: &Accessor<T, Self>,
        store: Resource<Bucket>,
        key: String,
        value: Vec<u8>,
    ) -> Result<(), Failure> {
        let (store, kept, _) = opened(accessor, &store)?;
        let _held = kept.hold(key.len() + value.len())?;
        Ok(store.set(&key, value).await?)
    }

    async fn delete(
        accessor: &Accessor<T, Self>,
        store: Resource<Bucket>,
        key: String,
    ) -> Result<(), Failure> {
        let (store, kept, _) = opened(accessor, &store)?;
        let _held = kept.hold(key.len())?;
        Ok(store.delete(&key).await?)
    }

    async fn exists(
        accessor: &Accessor<T, Self>,
        store: Resource<Bucket>,
        key: String,
    ) -> Result<bool, Failure> {
        let (store, kept, _) = opened(accessor, &store)?;
        let _held = kept.hold(key.len())?;
        Ok(store.exists(&key).await?)
    }

    async fn get_keys(
        accessor: &Accessor<T, Self>,
        store: Resource<Bucket>,
    ) -> wasmtime::Result<(
        StreamReader<String>,
        FutureReader<Result<(), key_value::Error>>,
    )> {
        accessor.with(|mut access| {
            let view = access.get();
            let bucket = view.table.get(&store)?;
            let listed = Listed {
                store: bucket.store.clone(),
                kept: view.kept.clone(),
                most: PAGE * (bucket.buckets.limits().key_bytes + KEY_BYTES),
            };
            let (outcome, told) = oneshot::channel();
            let keys = Keys {
                state: State::Asking(listed.clone().ask(None)),
                listed,
                given: None,
                outcome: Some(outcome),
            };
            let keys = StreamReader::new(&mut access, keys)?;
            let ended = async move {
                // Without a word the guest dropped the stream.
                let outcome = told.await.unwrap_or(Ok(()));
                Ok::<_, wasmtime::Error>(outcome)
            };
            Ok((keys, FutureReader::new(&mut access, ended)?))
        })
    }
}

/// The store that a handle stands for, what the host keeps, and how much one operation may carry.
fn opened<T: Send + 'static>(
    accessor: &Accessor<T, Face>,
    store: &Resource<Bucket>,
) -> Result<(Arc<dyn KeyValue>, Kept, StorageLimits), Failure> {
    accessor.with(|mut access: Access<'_, T, Face>| {
        let view = access.get();
        let bucket = view.table.get(store)?;
        let limits = bucket.buckets.limits();
        Ok((bucket.store.clone(), view.kept.clone(), limits))
    })
}

/// What a key in a list takes beside its text.
const KEY_BYTES: usize = size_of::<String>();

type Asked = Pin<Box<dyn Future<Output = Result<(KeyPage, Held), StorageError>> + Send>>;

/// A store whose keys are listed.
#[derive(Clone)]
struct Listed {
    store: Arc<dyn KeyValue>,
    kept: Kept,
    /// Bytes of the largest page.
    most: usize,
}

impl Listed {
    /// Reads a page when there is room for it.
    fn ask(self, after: Option<String>) -> Asked {
        Box::pin(async move {
            let held = self.kept.room(self.most).await?;
            let page = self.store.list("", after.as_deref(), PAGE).await?;
            held.settle(page.keys.iter().map(|key| key.len() + KEY_BYTES).sum());
            Ok((page, held))
        })
    }
}

/// The keys of a store, read page by page as the guest takes them.
struct Keys {
    listed: Listed,
    state: State,
    /// What the page takes that the guest takes now.
    given: Option<Held>,
    outcome: Option<oneshot::Sender<Result<(), key_value::Error>>>,
}

enum State {
    Asking(Asked),
    Ended,
}

impl Keys {
    fn end(&mut self, outcome: Result<(), key_value::Error>) -> StreamResult {
        self.state = State::Ended;
        if let Some(told) = self.outcome.take() {
            // It fails if the guest does not want to know.
            let _ = told.send(outcome);
        }
        StreamResult::Dropped
    }
}

impl<D> StreamProducer<D> for Keys {
    type Item = String;
    type Buffer = VecBuffer<String>;

    fn poll_produce<'a>(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut store: StoreContextMut<'a, D>,
        mut destination: Destination<'a, String, VecBuffer<String>>,
        finish: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        if destination.remaining(&mut store) == Some(0) {
            return Poll::Ready(Ok(StreamResult::Completed));
        }
        // It has taken all of the page before.
        self.given = None;
        let State::Asking(asked) = &mut self.state else {
            return Poll::Ready(Ok(self.end(Ok(()))));
        };
        let (page, held) = match asked.as_mut().poll(context) {
            Poll::Ready(Ok(page)) => page,
            Poll::Ready(Err(error)) => {
                let error = told_as(&Failure::from(error));
                return Poll::Ready(Ok(self.end(Err(error))));
            }
            Poll::Pending if finish => return Poll::Ready(Ok(StreamResult::Cancelled)),
            Poll::Pending => return Poll::Pending,
        };
        if page.keys.is_empty() {
            return Poll::Ready(Ok(self.end(Ok(()))));
        }
        self.given = Some(held);
        self.state = match page.next {
            Some(next) => State::Asking(self.listed.clone().ask(Some(next))),
            None => State::Ended,
        };
        destination.set_buffer(page.keys.into());
        Poll::Ready(Ok(StreamResult::Completed))
    }
}
