//! What an error of SQLite means: for the caller, for the operator, for the process.

use canopy_backend::StorageError;
use rusqlite::{Error, ErrorCode, ffi};

/// An error of one database that each of several callers is told.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// The disk is full.
    NoSpace,
    /// Anything else, for the operator.
    Failed(String),
}

impl Fault {
    pub(crate) fn of(error: &Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::NoSpace,
            _ => Self::Failed(error.to_string()),
        }
    }
}

impl From<Fault> for StorageError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::NoSpace => Self::NoSpace,
            Fault::Failed(text) => Self::Failed(text),
        }
    }
}

/// Whether `error`, of a write or a commit, leaves open what is on the disk. An error of the
/// shared memory beside the file, which a start makes anew, does not.
pub(crate) fn is_fatal(error: &Error) -> bool {
    let Some(code) = error.sqlite_extended_error_code() else {
        return false;
    };
    code & 0xff == ffi::SQLITE_IOERR
        && !matches!(
            code,
            ffi::SQLITE_IOERR_NOMEM
                | ffi::SQLITE_IOERR_SHMOPEN
                | ffi::SQLITE_IOERR_SHMSIZE
                | ffi::SQLITE_IOERR_SHMLOCK
                | ffi::SQLITE_IOERR_SHMMAP
        )
}

/// Ends the process.
pub(crate) fn die(database: &str, what: &str, error: &dyn std::fmt::Display) -> ! {
    tracing::error!(database, %error, "{what}: the process ends, and its next start reads what the disk really holds");
    // A subscriber may not be installed or may not have written yet.
    eprintln!(
        "canopy: storage of {database}: {what}: {error}; the process ends, and its next start reads what the disk really holds"
    );
    std::process::abort()
}
