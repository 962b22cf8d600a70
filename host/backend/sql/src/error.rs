//! What an error of SQLite means: for whoever wrote the statement, for the operator, for the
//! process.

use canopy_backend::StorageError;
use canopy_backend::sql::{Constraint, SqlError};
use rusqlite::{Error, ErrorCode, ffi};

use crate::guard::{Cancel, Guard};
use crate::settings::SqlSettings;

/// What is known about the statement that failed.
pub(crate) struct Circumstances<'a> {
    pub(crate) settings: &'a SqlSettings,
    pub(crate) guard: &'a Guard,
    pub(crate) cancel: &'a Cancel,
    /// Whether all statements together have as much memory as they may.
    pub(crate) memory_is_shared_out: bool,
}

impl Circumstances<'_> {
    /// What the failure of an application's statement is.
    pub(crate) fn of(&self, error: &Error) -> SqlError {
        let (code, message) = match error {
            Error::SqliteFailure(code, message) => (code, message.as_deref()),
            Error::SqlInputError { error, msg, .. } => (error, Some(msg.as_str())),
            Error::MultipleStatement => {
                return SqlError::Invalid("the text has more than one statement in it".into());
            }
            other => return failed(other),
        };
        let told = || {
            message
                .map(str::to_owned)
                .unwrap_or_else(|| code.to_string())
        };
        if let Some(refusal) = self.guard.refusal() {
            return SqlError::Denied(refusal);
        }
        match code.code {
            ErrorCode::AuthorizationForStatementDenied => SqlError::Denied(told()),
            ErrorCode::ConstraintViolation => SqlError::Constraint {
                constraint: constraint(code.extended_code),
                message: told(),
            },
            ErrorCode::OperationInterrupted if self.cancel.is_cancelled() => {
                SqlError::Busy("nobody waits for the statement any more".into())
            }
            ErrorCode::OperationInterrupted => timeout(self.settings),
            ErrorCode::OutOfMemory if self.memory_is_shared_out => SqlError::Busy(format!(
                "all statements that run take the {} bytes of memory that those of a tenant may take \
                 together, or the {} of the node",
                self.settings.tenant_memory_bytes, self.settings.node_memory_bytes
            )),
            ErrorCode::OutOfMemory => SqlError::TooLarge(format!(
                "the statement needs more than the {} bytes of memory that one may take",
                self.settings.statement_memory_bytes
            )),
            ErrorCode::TooBig => SqlError::TooLarge(format!(
                "a value or a row is over the limit of {} bytes",
                self.settings.limits.value_bytes
            )),
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::SchemaChanged => {
                SqlError::Busy("another transaction has written in the meantime".into())
            }
            ErrorCode::ReadOnly => {
                SqlError::Denied("the statement writes where only reading is open".into())
            }
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => {
                if code.extended_code == ffi::SQLITE_CORRUPT_VTAB {
                    return SqlError::Invalid(told());
                }
                failed(error)
            }
            ErrorCode::DiskFull
            | ErrorCode::SystemIoFailure
            | ErrorCode::CannotOpen
            | ErrorCode::PermissionDenied
            | ErrorCode::FileLockingProtocolFailed
            | ErrorCode::InternalMalfunction => failed(error),
            _ => SqlError::Invalid(told()),
        }
    }
}

/// What the failure of something that is the platform's own is.
pub(crate) fn failed(error: &Error) -> SqlError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            SqlError::Busy("another transaction writes".into())
        }
        Some(ErrorCode::DiskFull) => StorageError::NoSpace.into(),
        _ => StorageError::Failed(error.to_string()).into(),
    }
}

/// What the failure of a commit is.
pub(crate) fn refused(error: &Error) -> SqlError {
    match error {
        Error::SqliteFailure(code, message) if code.code == ErrorCode::ConstraintViolation => {
            SqlError::Constraint {
                constraint: constraint(code.extended_code),
                message: message.clone().unwrap_or_else(|| code.to_string()),
            }
        }
        _ => failed(error),
    }
}

pub(crate) fn is_full(error: &Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::DiskFull)
}

/// The statement ran for too long.
pub(crate) fn timeout(settings: &SqlSettings) -> SqlError {
    SqlError::Timeout(format!(
        "a statement may run for {:?}",
        settings.statement_time
    ))
}

fn constraint(extended: std::ffi::c_int) -> Constraint {
    match extended {
        ffi::SQLITE_CONSTRAINT_UNIQUE
        | ffi::SQLITE_CONSTRAINT_PRIMARYKEY
        | ffi::SQLITE_CONSTRAINT_ROWID => Constraint::Unique,
        ffi::SQLITE_CONSTRAINT_FOREIGNKEY => Constraint::ForeignKey,
        ffi::SQLITE_CONSTRAINT_NOTNULL => Constraint::NotNull,
        ffi::SQLITE_CONSTRAINT_CHECK => Constraint::Check,
        _ => Constraint::Other,
    }
}
