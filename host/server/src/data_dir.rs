//! The folder of everything that a node keeps.
//!
//! ```text
//! lock          held by the process that serves; holds its process id
//! format        number of the form of all this; a later one is refused
//! operator.key  the key that wraps all others, unless a setting names another place
//! control/      database of the control plane
//! components/   published components, by digest
//! artifacts/    native code compiled from them; can be deleted at any time
//! storage/      data of tenants, a folder each with their wrapped keys, and node.key, the node's own
//! logs/         logs of installations and drivers
//! archives/     exports that wait to be fetched, and imports that are being sent
//! work/         what jobs need meanwhile; emptied at every start
//! ```
//!
//! Whoever can write here can have any code run, so a folder that others may write to is refused.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use canopy_backend::files::{create_dir, sync_dir};
use rustix::fs::FlockOperation;

/// The folder, locked for this process as long as this exists.
#[derive(Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
    _lock: File,
}

/// Why the folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DataDirError {
    #[error("data folder {path}: {error}")]
    Io { path: PathBuf, error: io::Error },
    #[error("data folder {path}: not a folder")]
    NotAFolder { path: PathBuf },
    #[error(
        "data folder {path}: others than its owner may write to it (mode {mode:04o}); \
         run `chmod go-w {path}`"
    )]
    Writable { path: PathBuf, mode: u32 },
    #[error(
        "data folder {path}: it belongs to user {owner} and this process runs as user {user}; run \
         it as the owner, or choose another `data_dir`"
    )]
    Foreign {
        path: PathBuf,
        owner: u32,
        user: u32,
    },
    #[error("data folder {path}: another canopy uses it (process {process})")]
    Locked { path: PathBuf, process: String },
    #[error(
        "data folder {path}: it has format {found}, made by a later version, and this one knows \
         format {FORMAT}; nothing was touched: run the later version, or restore a backup that was \
         made before it"
    )]
    Newer { path: PathBuf, found: u32 },
    #[error("data folder {path}: its file `format` does not hold a format but {found:?}")]
    NoFormat { path: PathBuf, found: String },
    #[error(
        "data folder {path}: {free} bytes are free on its disk, and a node starts with {needed} at \
         least (setting `min_free_bytes`); free some space first"
    )]
    Full {
        path: PathBuf,
        free: u64,
        needed: u64,
    },
}

/// The form of the folder as a whole; its databases have versions of their own. A change that an
/// earlier version of this program would misunderstand is a new number.
const FORMAT: u32 = 1;

impl DataDir {
    /// Makes the folder if it is missing, checks who may write to it, and locks it.
    pub(crate) fn open(path: &Path) -> Result<Self, DataDirError> {
        let io_error = |error| DataDirError::Io {
            path: path.to_owned(),
            error,
        };
        make(path).map_err(io_error)?;
        let path = path.canonicalize().map_err(io_error)?;
        let io_error = |error| DataDirError::Io {
            path: path.clone(),
            error,
        };
        let found = path.metadata().map_err(io_error)?;
        if !found.is_dir() {
            return Err(DataDirError::NotAFolder { path });
        }
        let user = rustix::process::geteuid().as_raw();
        if found.uid() != user {
            return Err(DataDirError::Foreign {
                path,
                owner: found.uid(),
                user,
            });
        }
        let mode = found.mode() & 0o7777;
        if mode & 0o022 != 0 {
            return Err(DataDirError::Writable { path, mode });
        }
        let lock = lock(&path)?;
        check_format(&path)?;
        let this = Self { path, _lock: lock };
        for folder in [
            this.control(),
            this.components(),
            this.artifacts(),
            this.storage(),
            this.logs(),
            this.archives(),
            this.work(),
        ] {
            make(&folder).map_err(|error| DataDirError::Io {
                path: folder,
                error,
            })?;
        }
        Ok(this)
    }

    /// Refuses a disk with so little space that a node could not keep what it is about to promise.
    pub(crate) fn require_free(&self, needed: u64) -> Result<(), DataDirError> {
        let path = &self.path;
        let disk = rustix::fs::statvfs(path).map_err(|errno| DataDirError::Io {
            path: path.clone(),
            error: errno.into(),
        })?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        if free < needed {
            return Err(DataDirError::Full {
                path: path.clone(),
                free,
                needed,
            });
        }
        Ok(())
    }

    /// The folder itself.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether a node has kept anything here that is encrypted.
    pub(crate) fn is_used(&self) -> bool {
        self.storage().join("node.key").exists() || self.control().join("control.db").exists()
    }

    /// The control plane's.
    pub(crate) fn control(&self) -> PathBuf {
        self.path.join("control")
    }

    /// Published components.
    pub(crate) fn components(&self) -> PathBuf {
        self.path.join("components")
    }

    /// Native code.
    pub(crate) fn artifacts(&self) -> PathBuf {
        self.path.join("artifacts")
    }

    /// Data of installations.
    pub(crate) fn storage(&self) -> PathBuf {
        self.path.join("storage")
    }

    /// Archives of tenants that wait to be fetched, or are being sent.
    pub(crate) fn archives(&self) -> PathBuf {
        self.path.join("archives")
    }

    /// What jobs need meanwhile.
    pub(crate) fn work(&self) -> PathBuf {
        self.path.join("work")
    }

    /// Logs of installations and drivers.
    pub(crate) fn logs(&self) -> PathBuf {
        self.path.join("logs")
    }
}

/// Reads the folder's format, before anything else is. A folder without one is new, or of the
/// first format, from before it was written down.
fn check_format(folder: &Path) -> Result<(), DataDirError> {
    let path = folder.join("format");
    let io_error = |error| DataDirError::Io {
        path: path.clone(),
        error,
    };
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(true).mode(0o600);
            // Written beside it and renamed, so that a kill leaves none by half.
            let beside = folder.join("format.new");
            let mut file = options.open(&beside).map_err(io_error)?;
            let written = writeln!(file, "{FORMAT}").and_then(|()| file.sync_all());
            let renamed = written.and_then(|()| std::fs::rename(&beside, &path));
            return renamed.and_then(|()| sync_dir(folder)).map_err(io_error);
        }
        Err(error) => return Err(io_error(error)),
    };
    match text.trim().parse::<u32>() {
        Ok(1..=FORMAT) => Ok(()),
        Ok(found) if found > FORMAT => Err(DataDirError::Newer {
            path: folder.into(),
            found,
        }),
        _ => Err(DataDirError::NoFormat {
            path: folder.into(),
            found: text.chars().take(40).collect(),
        }),
    }
}

fn make(folder: &Path) -> io::Result<()> {
    match create_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

fn lock(folder: &Path) -> Result<File, DataDirError> {
    let path = folder.join("lock");
    let io_error = |error| DataDirError::Io {
        path: path.clone(),
        error,
    };
    let mut options = OpenOptions::new();
    options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600);
    let mut file = options.open(&path).map_err(io_error)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut process = String::new();
            let _ = file.read_to_string(&mut process);
            let process = process.trim();
            let process = if process.is_empty() {
                "unknown"
            } else {
                process
            };
            return Err(DataDirError::Locked {
                path: folder.into(),
                process: process.into(),
            });
        }
        Err(errno) => return Err(io_error(errno.into())),
    }
    let written = file
        .set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| writeln!(file, "{}", std::process::id()));
    written.map_err(io_error)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn made_private_and_found_again() {
        let parent = tempfile::tempdir().expect("a folder");
        let path = parent.path().join("a/b");
        drop(DataDir::open(&path).expect("made"));
        let again = DataDir::open(&path).expect("found");
        for folder in [again.path().to_owned(), again.control(), again.storage()] {
            assert_eq!(
                folder.metadata().expect("a folder").mode() & 0o777,
                0o700,
                "{folder:?}"
            );
        }
    }

    #[test]
    fn a_second_process_is_refused() {
        let parent = tempfile::tempdir().expect("a folder");
        let first = DataDir::open(parent.path()).expect("free");
        let refused = DataDir::open(parent.path()).expect_err("taken").to_string();
        assert!(
            refused.contains(&std::process::id().to_string()),
            "{refused}"
        );
        drop(first);
        DataDir::open(parent.path()).expect("free again");
    }

    #[test]
    fn a_folder_that_others_may_write_to_is_refused() {
        let parent = tempfile::tempdir().expect("a folder");
        for mode in [0o770, 0o707, 0o777] {
            std::fs::set_permissions(parent.path(), Permissions::from_mode(mode)).expect("changed");
            let refused = DataDir::open(parent.path());
            assert!(
                matches!(refused, Err(DataDirError::Writable { .. })),
                "{mode:o}"
            );
        }
        std::fs::set_permissions(parent.path(), Permissions::from_mode(0o755)).expect("changed");
        DataDir::open(parent.path()).expect("others may read");
    }

    #[test]
    fn a_later_format_is_refused_and_left_alone() {
        let parent = tempfile::tempdir().expect("a folder");
        let format = parent.path().join("format");
        drop(DataDir::open(parent.path()).expect("made"));
        assert_eq!(std::fs::read_to_string(&format).expect("written"), "1\n");
        std::fs::remove_dir(parent.path().join("logs")).expect("removed");
        for (text, said) in [
            ("2\n", "format 2"),
            ("", "does not hold"),
            ("0", "does not hold"),
        ] {
            std::fs::write(&format, text).expect("changed");
            let refused = DataDir::open(parent.path()).expect_err(text).to_string();
            assert!(refused.contains(said), "{refused}");
        }
        assert!(!parent.path().join("logs").exists(), "it was touched");
        std::fs::remove_file(&format).expect("removed");
        DataDir::open(parent.path()).expect("from before formats were written down");
    }

    #[test]
    fn a_disk_without_space_is_refused() {
        let parent = tempfile::tempdir().expect("a folder");
        let data = DataDir::open(parent.path()).expect("made");
        data.require_free(1).expect("some space");
        let refused = data.require_free(u64::MAX).expect_err("no such disk");
        assert!(refused.to_string().contains("min_free_bytes"), "{refused}");
    }

    #[test]
    fn a_file_is_no_folder() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        assert!(DataDir::open(file.path()).is_err());
    }
}
