//! `wasi:blobstore@0.2.0-draft`: streams of WASI 0.2, errors as texts, times in seconds.

mod blobstore;
mod container;
mod types;

use std::sync::Arc;

use canopy_backend::blob::{BlobError, Blobs};

use crate::ctx::{BlobsView, told};

#[expect(unreachable_pub, reason = "generated bindings re-export it")]
pub use container::{Container, ObjectNames};
#[expect(unreachable_pub, reason = "generated bindings re-export it")]
pub use types::{IncomingValue, OutgoingValue};

/// What a guest gets: the error is told, the outer one ends it.
type Told<T> = wasmtime::Result<Result<T, String>>;

impl BlobsView<'_> {
    async fn blobs(&mut self) -> Result<Arc<dyn Blobs>, String> {
        let objects = self
            .ctx
            .objects()
            .map_err(|_| "this component has no storage of its own".to_owned())?;
        objects.open().await.map_err(|error| told(&error.into()))
    }
}

/// The text that a guest gets.
fn text(error: BlobError) -> String {
    told(&error)
}
