//! Why a backup, a restore, an export or an import did not take place.

use std::io;
use std::path::{Path, PathBuf};

/// Why a backup, a restore, an export or an import did not take place.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// The folder or file is something else.
    #[error("{} is not {expected}: {why}", path.display())]
    Foreign {
        /// The folder or file.
        path: PathBuf,
        /// What it should be, with its article.
        expected: &'static str,
        /// Why it is not.
        why: String,
    },
    /// It was made by a newer version of the platform.
    #[error(
        "{what} has format {found}, made by a newer version; this one knows formats up to {known}"
    )]
    TooNew {
        /// What it is.
        what: String,
        /// Its format.
        found: u64,
        /// The newest that is known.
        known: u64,
    },
    /// What is read is not what was written.
    #[error("{place} is damaged: {what}")]
    Damaged {
        /// The file.
        place: String,
        /// What is wrong with it.
        what: String,
    },
    /// Someone else uses the repository.
    #[error("the repository {} is in use by another process or job; try again later", path.display())]
    InUse {
        /// The repository.
        path: PathBuf,
    },
    /// There is no such snapshot.
    #[error("the repository has no snapshot {0}")]
    NoSnapshot(String),
    /// The disk is full.
    #[error("the disk of {} is full", path.display())]
    NoSpace {
        /// What was to be written.
        path: PathBuf,
    },
    /// Whoever asked for it has taken it back.
    #[error("cancelled")]
    Cancelled,
    /// A file cannot be read or written.
    #[error("{action} {}: {source}", path.display())]
    Io {
        /// What was tried, as in `reading`.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// What happened.
        source: io::Error,
    },
}

impl ArchiveError {
    /// What `source` means for `path`.
    pub fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        if matches!(
            source.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        ) {
            Self::NoSpace { path }
        } else {
            Self::Io {
                action,
                path,
                source,
            }
        }
    }

    pub(crate) fn damaged(place: impl Into<String>, what: impl Into<String>) -> Self {
        Self::Damaged {
            place: place.into(),
            what: what.into(),
        }
    }
}
