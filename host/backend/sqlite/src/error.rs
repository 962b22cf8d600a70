//! Why a file could not be opened.

use std::io;

use canopy_backend::StorageError;

/// Why a file could not be opened. Nothing in it was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The file or its folder can't be read or made.
    #[error("{0}")]
    Io(io::Error),
    /// The disk is full.
    #[error("the disk is full")]
    Full,
    /// SQLite.
    #[error("{0}")]
    Sqlite(rusqlite::Error),
    /// Changes can't be written to a log beside the file.
    #[error("its log of writes can't be begun; what the disk answered is in the system's log")]
    NoLog,
    /// None of the keys is the file's.
    #[error(
        "it is encrypted with a key that is not known here (key id {0}), or its first bytes are \
         damaged"
    )]
    WrongKey(String),
    /// The key is right and the content is not what was written with it.
    #[error("it is damaged: {0}")]
    Damaged(String),
    /// A SQLite file without encryption.
    #[error("it is a SQLite database that is not encrypted, so none of this platform's")]
    NotEncrypted,
    /// A file of another kind.
    #[error(
        "it is a database of another kind (application id {found:#010x}, not {expected:#010x})"
    )]
    Foreign {
        /// What it says it is.
        found: i32,
        /// What it should be.
        expected: i32,
    },
    /// A newer version of the platform has changed its tables.
    #[error(
        "it was written by a newer version (tables {found}, this version knows {known}): run that \
         version"
    )]
    Newer {
        /// The version of its tables.
        found: i32,
        /// The newest that is known.
        known: i32,
    },
}

impl From<io::Error> for OpenError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full,
            _ => Self::Io(error),
        }
    }
}

impl From<rusqlite::Error> for OpenError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DiskFull) => Self::Full,
            Some(rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase) => {
                Self::Damaged(error.to_string())
            }
            _ => Self::Sqlite(error),
        }
    }
}

impl From<OpenError> for StorageError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Full => Self::NoSpace,
            OpenError::Damaged(text) => Self::Damaged(text),
            // The file is not the one that was written there.
            OpenError::WrongKey(_) | OpenError::NotEncrypted | OpenError::Foreign { .. } => {
                Self::Damaged(error.to_string())
            }
            other => Self::Failed(other.to_string()),
        }
    }
}
