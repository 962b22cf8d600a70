//! The embedded storage of a node.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use async_trait::async_trait;
use canopy_backend::files::{create_dir, finish_erasures};
use canopy_backend::{KeyValue, KeyValueProvider, StorageError, StorageLimits};
use canopy_ids::InstallationId;

use crate::bucket::Bucket;
use crate::pool::Pool;
use crate::settings::EmbeddedSettings;

/// Why storage could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// A setting can't work.
    #[error("storage settings: {0}")]
    Settings(&'static str),
    /// Another process has it open.
    #[error("the storage folder {} is in use by another process", dir.display())]
    InUse {
        /// The folder.
        dir: PathBuf,
    },
    /// The folder can't be used.
    #[error("the storage folder {} can't be used: {error}", dir.display())]
    Dir {
        /// The folder.
        dir: PathBuf,
        /// Why.
        #[source]
        error: io::Error,
    },
}

/// The embedded storage of a node. Clones are the same storage.
///
/// Its operations run in a Tokio runtime with time enabled.
#[derive(Debug, Clone)]
pub struct EmbeddedStorage {
    pool: Arc<Pool>,
}

/// What the storage has done since it was opened. Writes that were committed together make fewer
/// commits than writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StorageStats {
    /// Writes that were acknowledged.
    pub writes: u64,
    /// Commits that put them on the disk, one synchronisation each.
    pub commits: u64,
    /// Databases open now.
    pub open_databases: usize,
    /// Times a database was opened.
    pub opened: u64,
    /// Times a database was closed.
    pub closed: u64,
}

impl EmbeddedStorage {
    /// Opens the storage in `dir`, which is made if it does not exist, and finishes what a crash
    /// may have cut short. One process at a time may do so.
    pub fn open(dir: impl AsRef<Path>, settings: EmbeddedSettings) -> Result<Self, OpenError> {
        if let Some(fault) = settings.fault() {
            return Err(OpenError::Settings(fault));
        }
        let dir = dir.as_ref().to_path_buf();
        let failed = |error| OpenError::Dir {
            dir: dir.clone(),
            error,
        };
        create_dir(&dir).map_err(failed)?;
        let lock = lock_file(&dir).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(OpenError::InUse { dir }),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        finish_erasures(&dir).map_err(failed)?;
        let period =
            (settings.idle_close / 4).clamp(Duration::from_millis(5), Duration::from_secs(5));
        let (idle, ended) = mpsc::channel();
        let pool = Arc::new(Pool::new(dir.clone(), settings, lock, idle));
        let watched = Arc::downgrade(&pool);
        thread::Builder::new()
            .name("canopy-storage-idle".into())
            .spawn(move || {
                while ended.recv_timeout(period) == Err(mpsc::RecvTimeoutError::Timeout) {
                    let Some(pool) = watched.upgrade() else {
                        return;
                    };
                    pool.close_idle();
                }
            })
            .map_err(failed)?;
        Ok(Self { pool })
    }

    /// What it has done so far.
    pub fn stats(&self) -> StorageStats {
        let counters = &self.pool.counters;
        StorageStats {
            writes: counters.writes.load(Ordering::Relaxed),
            commits: counters.commits.load(Ordering::Relaxed),
            open_databases: self.pool.open_databases(),
            opened: counters.opened.load(Ordering::Relaxed),
            closed: counters.closed.load(Ordering::Relaxed),
        }
    }

    /// Lets no operation begin any more, waits for those under way, and closes all files; then
    /// the folder can be opened again. What comes later fails with [`StorageError::Busy`].
    /// Without it, files are closed when the last operation and the last clone have gone.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

fn lock_file(dir: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600);
    options.open(dir.join("lock"))
}

#[async_trait]
impl KeyValueProvider for EmbeddedStorage {
    fn limits(&self) -> StorageLimits {
        self.pool.settings.limits
    }

    async fn open(
        &self,
        installation: InstallationId,
        name: &str,
    ) -> Result<Arc<dyn KeyValue>, StorageError> {
        Ok(Arc::new(Bucket::new(
            self.pool.clone(),
            installation,
            name,
        )?))
    }

    async fn erase(&self, installation: InstallationId) -> Result<(), StorageError> {
        self.pool.erase(installation).await
    }
}
