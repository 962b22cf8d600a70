//! What an error of SQLite means: for the caller, for the operator, for the process.

use canopy_backend::StorageError;
use rusqlite::{Connection, Error, ErrorCode, ffi};

/// What a caller is told of `error`.
pub fn storage_error(error: &Error) -> StorageError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => StorageError::NoSpace,
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            StorageError::Damaged(error.to_string())
        }
        _ => StorageError::Failed(error.to_string()),
    }
}

/// Whether `error`, of a write or a commit, leaves open what is on the disk. An error of the
/// shared memory beside the file, which a start makes anew, does not.
pub fn is_fatal(error: &Error) -> bool {
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

/// Whether `error` is of a synchronisation that failed: another one would report success for what was
/// lost.
pub(crate) fn is_failed_synchronisation(error: &Error) -> bool {
    let code = error.sqlite_extended_error_code();
    matches!(
        code,
        Some(ffi::SQLITE_IOERR_FSYNC | ffi::SQLITE_IOERR_DIR_FSYNC)
    )
}

/// Whether the last call of the system that failed for `conn` found the disk full. SQLite says so
/// itself when it writes, and gives other errors when it makes or extends a file beside.
pub(crate) fn found_disk_full(conn: &Connection) -> bool {
    #[expect(unsafe_code, reason = "rusqlite has no function for this number")]
    // SAFETY: the handle is that of an open connection, borrowed for the call.
    let errno = unsafe { ffi::sqlite3_system_errno(conn.handle()) };
    let error = std::io::Error::from_raw_os_error(errno);
    matches!(
        error.kind(),
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded
    )
}

/// Ends the process: the disk did not take what was to be on it, and what it holds is unknown.
pub fn die(database: &str, what: &str, error: &dyn std::fmt::Display) -> ! {
    tracing::error!(database, %error, "{what}: the process ends, and its next start reads what the disk really holds");
    // A subscriber may not be installed or may not have written yet.
    eprintln!(
        "canopy: storage of {database}: {what}: {error}; the process ends, and its next start reads what the disk really holds"
    );
    std::process::abort()
}
