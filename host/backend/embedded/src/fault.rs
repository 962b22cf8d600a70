//! An error of one database that each of several callers is told.

use canopy_backend::StorageError;
use canopy_backend_sqlite::storage_error;
use rusqlite::Error;

#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// The disk is full.
    NoSpace,
    /// The file is not as it was written.
    Damaged(String),
    /// Anything else, for the operator.
    Failed(String),
}

impl Fault {
    pub(crate) fn of(error: &Error) -> Self {
        match storage_error(error) {
            StorageError::NoSpace => Self::NoSpace,
            StorageError::Damaged(text) => Self::Damaged(text),
            _ => Self::Failed(error.to_string()),
        }
    }
}

impl From<Fault> for StorageError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::NoSpace => Self::NoSpace,
            Fault::Damaged(text) => Self::Damaged(text),
            Fault::Failed(text) => Self::Failed(text),
        }
    }
}
