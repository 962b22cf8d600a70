//! The versions of the interface, each a thin adapter over [`crate::bucket`].

mod draft;
pub(crate) mod draft2;
#[cfg(test)]
mod tests;

use canopy_backend::StorageError;
use wasmtime::component::ResourceTableError;

use crate::bucket::Bucket;
use crate::ctx::KeyValueView;

/// Why a call brought no result: an error that the guest is told, or a trap.
#[derive(Debug)]
pub(crate) enum Failure {
    /// That cannot be a bucket's name.
    NoSuchStore,
    /// The component has no storage.
    AccessDenied,
    /// Told to the guest in words.
    Other(String),
    /// A handle that is not one, or one too many.
    Trap(wasmtime::Error),
}

impl Failure {
    pub(crate) fn other(text: impl Into<String>) -> Self {
        Self::Other(text.into())
    }
}

impl From<StorageError> for Failure {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::Failed(text) => {
                tracing::error!("{text}");
                Self::other("storage is not available")
            }
            told => Self::Other(told.to_string()),
        }
    }
}

impl From<ResourceTableError> for Failure {
    fn from(error: ResourceTableError) -> Self {
        Self::Trap(error.into())
    }
}

impl KeyValueView<'_> {
    async fn open_bucket(&mut self, name: &str) -> Result<Bucket, Failure> {
        let buckets = self.ctx.buckets.as_ref().ok_or(Failure::AccessDenied)?;
        buckets.open(name).await?.ok_or(Failure::NoSuchStore)
    }
}
