//! The files of published components, each named by the digest of its bytes.
//!
//! An upload is written to a file of its own, synced, and renamed to its digest before any row
//! names it; so a row never names a file that is not there whole. What an interrupted upload or
//! publication left behind is removed at the next start.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use canopy_ids::{Digest, DigestHasher};
use tokio::fs::File;
use tokio::io::AsyncWriteExt;

const SUFFIX: &str = ".wasm";
const UNFINISHED: &str = ".upload-";

/// Why a component was not stored or read.
#[derive(Debug, thiserror::Error)]
pub enum ComponentError {
    /// The upload is longer than a component may be.
    #[error("the component is larger than {limit} bytes, the most that this node takes")]
    TooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// The disk is full.
    #[error("the disk is full; nothing was stored")]
    Full,
    /// The bytes on the disk are not those that were published.
    #[error("the stored component {digest} is damaged; restore it from a backup")]
    Damaged {
        /// The digest that it should have.
        digest: Digest,
    },
    /// A file cannot be read or written.
    #[error("{action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// What happened.
        source: io::Error,
    },
}

/// The folder of components.
#[derive(Debug, Clone)]
pub struct Components {
    directory: PathBuf,
    limit: u64,
}

impl Components {
    /// Opens the folder `directory`, makes it if need be, and removes unfinished uploads. No
    /// component is longer than `limit` bytes.
    pub fn open(directory: impl Into<PathBuf>, limit: u64) -> Result<Self, ComponentError> {
        let this = Self {
            directory: directory.into(),
            limit,
        };
        let directory = &this.directory;
        make(directory).map_err(|error| failed("making", directory, error))?;
        this.remove(|name| name.starts_with(UNFINISHED))?;
        Ok(this)
    }

    /// Where the component with this digest is.
    pub fn path(&self, digest: &Digest) -> PathBuf {
        self.directory.join(format!("{}{SUFFIX}", digest.hex()))
    }

    /// The most bytes that a component may have.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Begins an upload.
    pub async fn upload(&self) -> Result<Upload, ComponentError> {
        let name = format!("{UNFINISHED}{}", canopy_ids::RequestId::new());
        let path = self.directory.join(name);
        let file = File::create_new(&path)
            .await
            .map_err(|error| failed("making", &path, error))?;
        Ok(Upload {
            components: self.clone(),
            file,
            path: Unfinished(path),
            hasher: DigestHasher::default(),
            size: 0,
        })
    }

    /// The bytes of a component, verified against its digest.
    pub async fn read(&self, digest: Digest) -> Result<Vec<u8>, ComponentError> {
        let path = self.path(&digest);
        let bytes = tokio::fs::read(&path).await;
        let bytes = bytes.map_err(|error| failed("reading", &path, error))?;
        let check = move || {
            if Digest::of(&bytes) == digest {
                Ok(bytes)
            } else {
                Err(ComponentError::Damaged { digest })
            }
        };
        tokio::task::spawn_blocking(check)
            .await
            .map_err(|error| failed("checking", &path, io::Error::other(error)))?
    }

    /// Removes components that `keep` does not name: what was uploaded and never published.
    pub fn retain(&self, keep: &HashSet<Digest>) -> Result<usize, ComponentError> {
        self.remove(|name| {
            name.strip_suffix(SUFFIX)
                .and_then(|hex| format!("sha256:{hex}").parse::<Digest>().ok())
                .is_some_and(|digest| !keep.contains(&digest))
        })
    }

    /// Bytes of all components.
    pub fn size(&self) -> u64 {
        let entries = fs::read_dir(&self.directory)
            .into_iter()
            .flatten()
            .flatten();
        entries
            .filter_map(|entry| entry.metadata().ok())
            .map(|metadata| metadata.len())
            .sum()
    }

    fn remove(&self, which: impl Fn(&str) -> bool) -> Result<usize, ComponentError> {
        let directory = &self.directory;
        let entries =
            fs::read_dir(directory).map_err(|error| failed("reading", directory, error))?;
        let mut removed = 0;
        for entry in entries {
            let entry = entry.map_err(|error| failed("reading", directory, error))?;
            if entry.file_name().to_str().is_some_and(&which) {
                let path = entry.path();
                fs::remove_file(&path).map_err(|error| failed("removing", &path, error))?;
                removed += 1;
            }
        }
        Ok(removed)
    }
}

/// A component that is being uploaded. Dropped unfinished, it leaves nothing behind.
pub struct Upload {
    components: Components,
    file: File,
    path: Unfinished,
    hasher: DigestHasher,
    size: u64,
}

impl Upload {
    /// Adds the next piece.
    pub async fn write(&mut self, piece: &[u8]) -> Result<(), ComponentError> {
        self.size = self.size.saturating_add(piece.len() as u64);
        if self.size > self.components.limit {
            return Err(ComponentError::TooLarge {
                limit: self.components.limit,
            });
        }
        self.hasher.update(piece);
        let written = self.file.write_all(piece).await;
        written.map_err(|error| failed("writing", &self.path.0, error))
    }

    /// Syncs the file, and says what its digest is.
    pub async fn finish(mut self) -> Result<Uploaded, ComponentError> {
        let synced = match self.file.flush().await {
            Ok(()) => self.file.sync_all().await,
            Err(error) => Err(error),
        };
        synced.map_err(|error| failed("syncing", &self.path.0, error))?;
        Ok(Uploaded {
            components: self.components,
            path: self.path,
            digest: self.hasher.finish(),
            size: self.size,
        })
    }
}

/// A component that is on the disk whole and not yet stored. Dropped so, it leaves nothing behind.
#[derive(Debug)]
pub struct Uploaded {
    components: Components,
    path: Unfinished,
    digest: Digest,
    size: u64,
}

impl Uploaded {
    /// Where its bytes are until it is stored.
    pub fn path(&self) -> &Path {
        &self.path.0
    }

    /// Its digest.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Its size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Stores it under its digest, for good.
    pub async fn store(self) -> Result<(), ComponentError> {
        let directory = self.components.directory.clone();
        let target = self.components.path(&self.digest);
        let error_path = target.clone();
        let work = move || -> io::Result<()> {
            fs::rename(&self.path.0, &target)?;
            fs::File::open(&directory)?.sync_all()
        };
        tokio::task::spawn_blocking(work)
            .await
            .unwrap_or_else(|error| Err(io::Error::other(error)))
            .map_err(|error| failed("storing", &error_path, error))
    }
}

/// A file that is removed with its owner, unless it has been renamed.
#[derive(Debug)]
struct Unfinished(PathBuf);

impl Drop for Unfinished {
    fn drop(&mut self) {
        match fs::remove_file(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %self.0.display(), %error, "an upload was not removed");
            }
            _ => {}
        }
    }
}

/// Makes a folder, and puts its name on the disk: what is in it is there after a power failure only
/// if its name is.
fn make(directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    match directory.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => fs::File::open(parent)?.sync_all(),
        _ => Ok(()),
    }
}

fn failed(action: &'static str, path: &Path, source: io::Error) -> ComponentError {
    if matches!(
        source.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    ) {
        ComponentError::Full
    } else {
        ComponentError::Io {
            action,
            path: path.to_owned(),
            source,
        }
    }
}
