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
use canopy_backend::{
    Clock, CpuPayer, CpuPayers, KeyValue, KeyValueProvider, Ledger, Operation, Scope, StorageError,
    StorageLimits, StorageQuota, SystemClock, Transaction,
};
use canopy_backend_keys::{KeyError, Keyring, OperatorKey};
use canopy_ids::{InstallationId, TenantId};

use crate::bucket::{Bucket, transact};
use crate::database::{Database, Place};
use crate::format::FILE_NAME;
use crate::pool::{Counters, Pool, Shared};
use crate::query;
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
    pub(crate) pool: Arc<Pool>,
}

/// What embedded storage works with.
#[derive(Clone)]
pub struct EmbeddedParts {
    /// The folder of storage, made if it does not exist.
    pub dir: PathBuf,
    /// The keys that everything is encrypted with.
    pub keys: Keyring,
    /// What tenants store in all, and may store.
    pub ledger: Ledger,
    /// The time, by which entries expire.
    pub clock: Arc<dyn Clock>,
}

impl EmbeddedParts {
    /// Those of a storage in `dir` that is not to be opened again: its operator's key is nowhere
    /// but here. For tests and measurements.
    pub fn temporary(dir: impl Into<PathBuf>) -> Result<Self, KeyError> {
        let dir = dir.into();
        Ok(Self {
            keys: Keyring::open(OperatorKey::generate()?, &dir)?,
            dir,
            ledger: Ledger::new(Arc::new(StorageQuota::default())),
            clock: Arc::new(SystemClock),
        })
    }
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
    /// Opens the storage, and finishes what a crash may have cut short. One process at a time may
    /// do so.
    pub fn open(parts: EmbeddedParts, settings: EmbeddedSettings) -> Result<Self, OpenError> {
        if let Some(fault) = settings.fault() {
            return Err(OpenError::Settings(fault));
        }
        let EmbeddedParts {
            dir,
            keys,
            ledger,
            clock,
        } = parts;
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
        finish_all(&dir).map_err(failed)?;
        let period =
            (settings.idle_close / 4).clamp(Duration::from_millis(5), Duration::from_secs(5));
        let (idle, ended) = mpsc::channel();
        let shared = Shared {
            settings,
            counters: Counters::default(),
            payers: CpuPayers::default(),
            keys,
            ledger,
            clock,
        };
        let pool = Arc::new(Pool::new(dir.clone(), shared, lock, idle));
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
        let counters = &self.pool.shared.counters;
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
        self.pool.shared.settings.limits
    }

    fn paid_by(&self, payer: CpuPayer) {
        self.pool.shared.payers.set(payer);
    }

    async fn open(&self, scope: Scope, name: &str) -> Result<Arc<dyn KeyValue>, StorageError> {
        Ok(Arc::new(Bucket::new(self.pool.clone(), scope, name)?))
    }

    async fn buckets(&self, scope: Scope) -> Result<Vec<String>, StorageError> {
        self.pool.check(scope)?;
        if !self.stores(scope) {
            return Ok(Vec::new());
        }
        let lease = self.pool.lease(scope).await?;
        Database::read(lease, Place::Aside, query::buckets).await
    }

    async fn transact(
        &self,
        scope: Scope,
        operations: Vec<Operation>,
    ) -> Result<Transaction, StorageError> {
        transact(&self.pool, scope, operations).await
    }
}

impl EmbeddedStorage {
    /// Whether `scope` has a database.
    pub(crate) fn stores(&self, scope: Scope) -> bool {
        self.pool.folder(scope).join(FILE_NAME).exists()
    }
}

/// Finishes the erasures of installations' folders that were cut short.
fn finish_all(dir: &Path) -> io::Result<()> {
    for tenant in folders::<TenantId>(dir)? {
        for installation in folders::<InstallationId>(&tenant)? {
            finish_erasures(&installation)?;
            // It goes only if nothing is in it: then it is what an erasure left.
            let _ = std::fs::remove_dir(&installation);
        }
    }
    Ok(())
}

/// The folders in `dir` that are named by an identifier.
fn folders<T: std::str::FromStr>(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        if name.is_some_and(|name| name.parse::<T>().is_ok()) {
            found.push(path);
        }
    }
    Ok(found)
}
