//! From an error of the database to what `canopy:storage/sql` tells.

use canopy_backend::sql::{self, SqlError};
use canopy_backend::{KeptFull, StorageError};
use wasmtime::component::ResourceTableError;

use crate::bindings::storage::{Constraint, Error, Violation};

/// Why a call brought no result: an error that the guest is told, or a trap.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Told to the guest.
    Error(Error),
    /// A handle that is not one, or one too many.
    Trap(wasmtime::Error),
}

impl From<SqlError> for Failure {
    fn from(error: SqlError) -> Self {
        Self::Error(error.into())
    }
}

impl From<StorageError> for Failure {
    fn from(error: StorageError) -> Self {
        SqlError::from(error).into()
    }
}

impl From<KeptFull> for Failure {
    fn from(full: KeptFull) -> Self {
        SqlError::from(full).into()
    }
}

impl From<ResourceTableError> for Failure {
    fn from(error: ResourceTableError) -> Self {
        Self::Trap(error.into())
    }
}

impl From<wasmtime::Error> for Failure {
    fn from(error: wasmtime::Error) -> Self {
        Self::Trap(error)
    }
}

/// What a guest may read of `error`. What is for the operator alone goes to the node's log.
pub(crate) fn told(error: &SqlError) -> String {
    match error {
        SqlError::Storage(StorageError::Failed(text) | StorageError::Damaged(text)) => {
            tracing::error!("a statement failed: {text}");
            "the database is not available".into()
        }
        told => told.to_string(),
    }
}

impl From<SqlError> for Error {
    fn from(error: SqlError) -> Self {
        let text = told(&error);
        match error {
            SqlError::NoSuchDatabase => Self::NoSuchDatabase,
            SqlError::Denied(_) => Self::AccessDenied(text),
            SqlError::Invalid(_) => Self::InvalidStatement(text),
            SqlError::Constraint { constraint, .. } => Self::Constraint(Violation {
                constraint: match constraint {
                    sql::Constraint::Unique => Constraint::Unique,
                    sql::Constraint::ForeignKey => Constraint::ForeignKey,
                    sql::Constraint::NotNull => Constraint::NotNull,
                    sql::Constraint::Check => Constraint::Check,
                    sql::Constraint::Other => Constraint::Other,
                },
                message: text,
            }),
            SqlError::TooLarge(_) => Self::TooLarge(text),
            SqlError::Timeout(_) => Self::Timeout(text),
            SqlError::Busy(_) | SqlError::Storage(StorageError::Busy(_)) => Self::Busy,
            SqlError::TransactionOver(why) => Self::TransactionOver(why),
            SqlError::Storage(StorageError::QuotaExceeded { .. }) => Self::QuotaExceeded(text),
            _ => Self::Other(text),
        }
    }
}
