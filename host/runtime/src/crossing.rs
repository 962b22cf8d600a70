//! Which resources of the platform go from an application to a driver and back: those whose objects
//! know nothing of the store that they are in.
//!
//! A pollable does: it is the number of what it waits for in the table of its own store.

use canopy_driver::{HostObject, HostResource};
use wasmtime_wasi::p2::pipe::{ClosedInputStream, ClosedOutputStream};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, IoError};

use crate::guest::GuestState;

/// All of them.
pub(crate) static RESOURCES: [HostResource<GuestState>; 3] = [
    HostResource::of::<InputStream>(),
    HostResource::of::<OutputStream>(),
    HostResource::of::<Error>(),
];

struct InputStream;

impl HostObject for InputStream {
    type Object = DynInputStream;
    const INTERFACE: &'static str = "wasi:io/streams@0.2.12";
    const RESOURCE: &'static str = "input-stream";

    fn stand_in() -> DynInputStream {
        Box::new(ClosedInputStream)
    }

    async fn end(mut stream: DynInputStream) {
        stream.cancel().await;
    }
}

struct OutputStream;

impl HostObject for OutputStream {
    type Object = DynOutputStream;
    const INTERFACE: &'static str = "wasi:io/streams@0.2.12";
    const RESOURCE: &'static str = "output-stream";

    fn stand_in() -> DynOutputStream {
        Box::new(ClosedOutputStream)
    }

    async fn end(mut stream: DynOutputStream) {
        stream.cancel().await;
    }
}

struct Error;

impl HostObject for Error {
    type Object = IoError;
    const INTERFACE: &'static str = "wasi:io/error@0.2.12";
    const RESOURCE: &'static str = "error";

    fn stand_in() -> IoError {
        IoError::msg("it is lent to a driver")
    }

    async fn end(_: IoError) {}
}
