//! The versions of the interface, each a thin adapter over [`crate::bucket`].

mod canopy;
mod draft;
pub(crate) mod draft2;
mod spin2;
mod spin3;
#[cfg(test)]
mod tests;

use std::fmt;

use canopy_backend::{Entry, KeptFull, StorageError};
use wasmtime::component::ResourceTableError;

use crate::bucket::Bucket;
use crate::ctx::{KeyValueCtx, KeyValueView};

/// Why a call brought no result: an error that the guest is told, or a trap. Versions of the
/// interface that do not know an error tell it in words.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The package did not declare that name, or it cannot be one.
    NoSuchStore,
    /// The component has no storage.
    AccessDenied,
    /// The storage refused or failed.
    Storage(StorageError),
    /// An argument means nothing.
    Invalid(String),
    /// The condition of a write does not hold.
    Conflict(Option<Entry>),
    /// A precondition of a transaction does not hold.
    Precondition(usize),
    /// A handle that is not one, or one too many.
    Trap(wasmtime::Error),
}

impl Failure {
    pub(crate) fn invalid(text: impl Into<String>) -> Self {
        Self::Invalid(text.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchStore => f.write_str("the manifest declares no such store"),
            Self::AccessDenied => f.write_str("the component has no storage"),
            Self::Storage(StorageError::Failed(_) | StorageError::Damaged(_)) => {
                f.write_str("storage is not available")
            }
            Self::Storage(StorageError::Busy(_)) => f.write_str("storage is busy"),
            Self::Storage(error) => error.fmt(f),
            Self::Invalid(text) => f.write_str(text),
            Self::Conflict(_) => f.write_str("the condition of the write does not hold"),
            Self::Precondition(index) => write!(f, "precondition {index} does not hold"),
            Self::Trap(error) => error.fmt(f),
        }
    }
}

impl From<StorageError> for Failure {
    fn from(error: StorageError) -> Self {
        if matches!(error, StorageError::Failed(_) | StorageError::Damaged(_)) {
            tracing::error!("{error}");
        }
        Self::Storage(error)
    }
}

impl From<KeptFull> for Failure {
    fn from(full: KeptFull) -> Self {
        Self::Storage(full.into())
    }
}

impl From<ResourceTableError> for Failure {
    fn from(error: ResourceTableError) -> Self {
        Self::Trap(error.into())
    }
}

impl KeyValueCtx {
    async fn open(&self, name: &str) -> Result<Bucket, Failure> {
        let buckets = self.buckets.as_ref().ok_or(Failure::AccessDenied)?;
        buckets.open(name).await?.ok_or(Failure::NoSuchStore)
    }
}

impl KeyValueView<'_> {
    async fn open_bucket(&mut self, name: &str) -> Result<Bucket, Failure> {
        self.ctx.open(name).await
    }
}
