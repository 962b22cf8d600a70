//! From an engine's error to what `canopy:storage/blobs` tells.

use canopy_backend::blob::BlobError;
use canopy_backend::{KeptFull, StorageError};

use crate::bindings::storage::Error;
use crate::ctx::{NoStorage, told};

/// Why a call brought no result: an error that the guest is told, or a trap.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Told to the guest.
    Error(Error),
    /// The store does not work.
    Trap(wasmtime::Error),
}

impl From<wasmtime::Error> for Failure {
    fn from(error: wasmtime::Error) -> Self {
        Self::Trap(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl From<NoStorage> for Failure {
    fn from(_: NoStorage) -> Self {
        Self::Error(Error::AccessDenied)
    }
}

impl From<BlobError> for Failure {
    fn from(error: BlobError) -> Self {
        Self::Error(error.into())
    }
}

impl From<KeptFull> for Failure {
    fn from(full: KeptFull) -> Self {
        StorageError::from(full).into()
    }
}

impl From<StorageError> for Failure {
    fn from(error: StorageError) -> Self {
        Self::Error(BlobError::from(error).into())
    }
}

impl From<BlobError> for Error {
    fn from(error: BlobError) -> Self {
        let text = told(&error);
        match error {
            BlobError::NoSuchContainer => Self::NoSuchContainer,
            BlobError::NoSuchObject => Self::NoSuchObject,
            BlobError::NoSuchUpload => Self::NoSuchUpload,
            BlobError::ContainerNotEmpty => Self::ContainerNotEmpty,
            BlobError::Invalid { .. } => Self::Invalid(text),
            BlobError::Condition { etag } => Self::ConditionFailed(etag),
            BlobError::Range { size } => Self::InvalidRange(size),
            BlobError::Part { .. } => Self::InvalidPart(text),
            BlobError::WrongSize { .. } => Self::WrongSize,
            BlobError::TooLarge { .. }
            | BlobError::TooMany { .. }
            | BlobError::Storage(
                StorageError::TooLarge { .. } | StorageError::TooManyKeys { .. },
            ) => Self::TooLarge(text),
            BlobError::Damaged => Self::Damaged,
            BlobError::Storage(StorageError::QuotaExceeded { .. }) => Self::QuotaExceeded(text),
            BlobError::Storage(StorageError::Busy(_)) => Self::Busy,
            _ => Self::Other(text),
        }
    }
}
