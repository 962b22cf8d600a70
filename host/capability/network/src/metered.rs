//! Streams of TCP sockets of WASI 0.2, counted: their bytes and that they are open are the tenant's.

use std::sync::Arc;

use bytes::Bytes;
use wasmtime_wasi::async_trait;
use wasmtime_wasi::p2::{
    DynInputStream, DynOutputStream, InputStream, OutputStream, Pollable, StreamError, StreamResult,
};

use crate::account::Place;
use crate::ctx::Outlet;

/// Bytes of one write, which the host keeps until the socket has taken them.
const WRITE_BYTES: usize = 16 << 10;

/// What comes in.
pub(crate) struct MeteredInput {
    pub(crate) inner: DynInputStream,
    pub(crate) outlet: Arc<Outlet>,
    pub(crate) _place: Arc<Place>,
}

/// What goes out.
pub(crate) struct MeteredOutput {
    pub(crate) inner: DynOutputStream,
    pub(crate) outlet: Arc<Outlet>,
    pub(crate) _place: Arc<Place>,
}

fn count(outlet: &Outlet, bytes: usize) -> StreamResult<()> {
    outlet
        .carry(bytes as u64)
        .map_err(|over| StreamError::LastOperationFailed(wasmtime::Error::from(over)))
}

#[async_trait]
impl Pollable for MeteredInput {
    async fn ready(&mut self) {
        self.inner.ready().await;
    }
}

#[async_trait]
impl InputStream for MeteredInput {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        let bytes = self.inner.read(size)?;
        count(&self.outlet, bytes.len())?;
        Ok(bytes)
    }

    async fn cancel(&mut self) {
        self.inner.cancel().await;
    }
}

#[async_trait]
impl Pollable for MeteredOutput {
    async fn ready(&mut self) {
        self.inner.ready().await;
    }
}

#[async_trait]
impl OutputStream for MeteredOutput {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        count(&self.outlet, bytes.len())?;
        self.inner.write(bytes)
    }

    fn flush(&mut self) -> StreamResult<()> {
        self.inner.flush()
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(self.inner.check_write()?.min(WRITE_BYTES))
    }

    async fn cancel(&mut self) {
        self.inner.cancel().await;
    }
}
