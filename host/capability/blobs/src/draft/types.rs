//! Values on their way in and out.

use canopy_backend::blob::{BlobBody, BlobError, Reading, whole_body};
use tokio::task::JoinHandle;
use wasmtime::component::Resource;
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream};

use super::{Told, text};
use crate::bindings::draft::types::{Host, HostIncomingValue, HostOutgoingValue};
use crate::ctx::BlobsView;
use crate::pipe::{BodyStream, Pipe, ValueStream};

/// An object, or a part of one, to be read once.
#[expect(unreachable_pub, reason = "generated bindings re-export it")]
pub struct IncomingValue(pub(super) Reading);

/// A value that a guest writes. What is dropped unfinished is written nowhere.
#[expect(unreachable_pub, reason = "generated bindings re-export it")]
pub struct OutgoingValue {
    pipe: Pipe,
    /// Whether the guest has its stream.
    streamed: bool,
    /// Where it is written to.
    written: Option<Writing>,
}

/// An object being put; dropping this ends it.
struct Writing(JoinHandle<Result<(), BlobError>>);

impl Drop for Writing {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl OutgoingValue {
    /// Begins to write it by `put`.
    pub(super) fn write<F>(&mut self, put: impl FnOnce(BlobBody) -> F) -> Result<(), String>
    where
        F: Future<Output = Result<(), BlobError>> + Send + 'static,
    {
        if self.written.is_some() {
            return Err("the value is written to an object already".into());
        }
        self.written = Some(Writing(tokio::spawn(put(self.pipe.take()))));
        Ok(())
    }

    /// Waits until it is on the disk.
    async fn finish(mut self) -> Result<(), String> {
        let Some(mut writing) = self.written.take() else {
            return Err("the value was not written to an object".into());
        };
        self.pipe.end();
        match (&mut writing.0).await {
            Ok(put) => put.map_err(text),
            Err(error) => Err(text(BlobError::failed(error))),
        }
    }
}

impl Host for BlobsView<'_> {}

impl HostOutgoingValue for BlobsView<'_> {
    async fn new_outgoing_value(&mut self) -> wasmtime::Result<Resource<OutgoingValue>> {
        let value = OutgoingValue {
            pipe: Pipe::new(self.kept),
            streamed: false,
            written: None,
        };
        Ok(self.table.push(value)?)
    }

    async fn outgoing_value_write_body(
        &mut self,
        value: Resource<OutgoingValue>,
    ) -> wasmtime::Result<Result<Resource<DynOutputStream>, ()>> {
        let outgoing = self.table.get_mut(&value)?;
        if std::mem::replace(&mut outgoing.streamed, true) {
            return Ok(Err(()));
        }
        let stream: DynOutputStream = Box::new(ValueStream(outgoing.pipe.clone()));
        Ok(Ok(self.table.push_child(stream, &value)?))
    }

    async fn finish(&mut self, value: Resource<OutgoingValue>) -> Told<()> {
        // Traps while the guest still has the stream.
        let value = self.table.delete(value)?;
        Ok(value.finish().await)
    }

    async fn drop(&mut self, value: Resource<OutgoingValue>) -> wasmtime::Result<()> {
        self.table.delete(value)?;
        Ok(())
    }
}

impl HostIncomingValue for BlobsView<'_> {
    async fn incoming_value_consume_sync(
        &mut self,
        value: Resource<IncomingValue>,
    ) -> Told<Vec<u8>> {
        let IncomingValue(reading) = self.table.delete(value)?;
        let limit = self
            .ctx
            .objects()
            .map_or(0, |objects| objects.settings().sync_bytes);
        let body = whole_body(reading.body, limit).await;
        Ok(body.map(Vec::from).map_err(text))
    }

    async fn incoming_value_consume_async(
        &mut self,
        value: Resource<IncomingValue>,
    ) -> Told<Resource<DynInputStream>> {
        let IncomingValue(reading) = self.table.delete(value)?;
        let stream: DynInputStream = Box::new(BodyStream::new(reading.body, self.kept));
        Ok(Ok(self.table.push(stream)?))
    }

    async fn size(&mut self, value: Resource<IncomingValue>) -> wasmtime::Result<u64> {
        Ok(self.table.get(&value)?.0.length)
    }

    async fn drop(&mut self, value: Resource<IncomingValue>) -> wasmtime::Result<()> {
        self.table.delete(value)?;
        Ok(())
    }
}
