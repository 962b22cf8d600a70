//! Why a key can't be used.

use std::io;
use std::path::{Path, PathBuf};

use canopy_backend::StorageError;
use canopy_ids::TenantId;

/// Why a key can't be used. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// There is no file with the operator's key.
    #[error(
        "the operator's key {} is missing, and without it nothing that is stored can be read; \
         put it back from where you keep it", path.display()
    )]
    OperatorKeyMissing {
        /// Where it should be.
        path: PathBuf,
    },
    /// Others can read the file with the operator's key.
    #[error(
        "the operator's key {} can be read by others (mode {mode:04o}); run `chmod 600` on it",
        path.display()
    )]
    OperatorKeyReadable {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// What should be the operator's key is not written as one.
    #[error("{place} gives no operator key: {problem}; expected 64 hexadecimal digits on one line")]
    NotAKey {
        /// The file or the command.
        place: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The command that prints the operator's key failed.
    #[error("the command for the operator's key, `{command}`, {problem}")]
    Command {
        /// The program.
        command: String,
        /// What happened.
        problem: String,
    },
    /// The operator's key is not the one that wrapped what is stored.
    #[error(
        "the operator's key is the wrong one: what is stored needs {expected}, and this one is \
         {given}. Give the right one; to change it, give the present one as the previous key"
    )]
    WrongOperatorKey {
        /// Fingerprint of the key that is needed.
        expected: String,
        /// Fingerprint of the key that was given.
        given: String,
    },
    /// An earlier start was about to change the operator's key.
    #[error(
        "a change of the operator's key to {to} was begun and is not finished: give {to} as the \
         operator's key, and {from} as the previous one"
    )]
    ChangeUnderWay {
        /// Fingerprint of the key that wrapped everything before.
        from: String,
        /// Fingerprint of the key that is to wrap everything.
        to: String,
    },
    /// There is data of tenants, and the node's own key is not there.
    #[error(
        "{} is missing, although there is data of tenants; put it back from a backup", path.display()
    )]
    NodeKeyMissing {
        /// Where it should be.
        path: PathBuf,
    },
    /// A file of wrapped keys is not as it was written.
    #[error("the file of keys {place} is damaged: {problem}")]
    Damaged {
        /// The file.
        place: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The tenant's keys have been destroyed.
    #[error("the keys of {0} have been erased")]
    Erased(TenantId),
    /// The system gives no random bytes.
    #[error("the system gives no random bytes: {0}")]
    Random(String),
    /// The disk.
    #[error("{action} {}: {error}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What came of it.
        #[source]
        error: io::Error,
    },
}

impl KeyError {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::Io {
            action,
            path,
            error,
        }
    }
}

impl From<KeyError> for StorageError {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::Erased(_) => Self::Erased,
            KeyError::Io { error, .. }
                if matches!(
                    error.kind(),
                    io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
                ) =>
            {
                Self::NoSpace
            }
            other => Self::Failed(other.to_string()),
        }
    }
}
