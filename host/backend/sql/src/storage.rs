//! The SQL databases of a node.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use async_trait::async_trait;
use canopy_backend::files::create_dir;
use canopy_backend::sql::{
    DatabaseMigrations, Dialect, MigrateError, Migrated, Sql, SqlError, SqlLimits, SqlProvider,
};
use canopy_backend::{CpuPayer, Ledger, Scope, StorageError};
use canopy_backend_keys::Keyring;

use crate::account::{self, Account};
use crate::handle::Handle;
use crate::migrate;
use crate::node::Node;
use crate::settings::SqlSettings;

/// Bytes of a database's name.
const NAME_BYTES: usize = 63;

/// Why the databases could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// A setting can't work.
    #[error("SQL settings: {0}")]
    Settings(&'static str),
    /// Another process has them open.
    #[error("the SQL databases in {} are in use by another process", dir.display())]
    InUse {
        /// The folder of all storage.
        dir: PathBuf,
    },
    /// The folder can't be used.
    #[error("the storage folder {} can't be used: {error}", dir.display())]
    Dir {
        /// The folder of all storage.
        dir: PathBuf,
        /// Why.
        #[source]
        error: io::Error,
    },
}

/// The SQL databases of a node. Clones are the same databases.
///
/// Its operations run in a Tokio runtime with time enabled.
#[derive(Clone)]
pub struct SqlStorage {
    pub(crate) node: Arc<Node>,
}

impl SqlStorage {
    /// Opens the databases below `dir`, the folder of all storage, which is made if it does not
    /// exist. One process at a time may do so. To be called in the Tokio runtime that operations
    /// run in.
    pub fn open(
        dir: impl AsRef<Path>,
        keyring: Keyring,
        ledger: Ledger,
        settings: SqlSettings,
    ) -> Result<Self, OpenError> {
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
        let period =
            (settings.idle_close / 4).clamp(Duration::from_millis(5), Duration::from_secs(5));
        let (idle, ended) = mpsc::channel();
        let account = Account::new(ledger);
        let node = Node::new(dir.clone(), settings, keyring, account, lock, idle);
        let node = Arc::new(node);
        let watched = Arc::downgrade(&node);
        thread::Builder::new()
            .name("canopy-sql-idle".into())
            .spawn(move || {
                while ended.recv_timeout(period) == Err(mpsc::RecvTimeoutError::Timeout) {
                    let Some(node) = watched.upgrade() else {
                        return;
                    };
                    node.close_idle();
                }
            })
            .map_err(failed)?;
        Ok(Self { node })
    }

    /// Lets nothing begin any more, ends statements and transactions under way, and closes all
    /// files. What comes later is [`SqlError::Busy`].
    pub async fn close(&self) {
        self.node.close().await;
    }

    /// Connections that are open now.
    pub fn open_connections(&self) -> usize {
        self.node.open.load(std::sync::atomic::Ordering::Relaxed)
    }

    fn handle(&self, scope: Scope, name: &str, read_only: bool) -> Result<Handle, SqlError> {
        if !is_name(name) {
            return Err(SqlError::NoSuchDatabase);
        }
        let database = self.node.database(scope, name);
        database.check()?;
        if read_only && !database.exists() {
            return Err(SqlError::NoSuchDatabase);
        }
        Ok(Handle::new(&self.node, database, read_only))
    }
}

/// Whether a database can have this name, which is that of its file as well: lower-case letters,
/// digits and `-`, with a letter or digit first.
pub(crate) fn is_name(name: &str) -> bool {
    let fits = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    name.len() <= NAME_BYTES
        && name.bytes().all(fits)
        && name.bytes().next().is_some_and(|first| first != b'-')
}

fn lock_file(dir: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600);
    options.open(dir.join("sql.lock"))
}

#[async_trait]
impl SqlProvider for SqlStorage {
    fn dialect(&self) -> Dialect {
        Dialect::Sqlite
    }

    fn paid_by(&self, payer: CpuPayer) {
        self.node.payers.set(payer);
    }

    fn limits(&self) -> SqlLimits {
        self.node.settings.limits
    }

    async fn open(&self, scope: Scope, name: &str) -> Result<Arc<dyn Sql>, SqlError> {
        Ok(Arc::new(self.handle(scope, name, false)?))
    }

    async fn open_read_only(&self, scope: Scope, name: &str) -> Result<Arc<dyn Sql>, SqlError> {
        Ok(Arc::new(self.handle(scope, name, true)?))
    }

    async fn databases(&self, scope: Scope) -> Result<Vec<String>, SqlError> {
        let folder = self.node.folder(scope);
        let list = move || account::databases(&folder);
        match tokio::task::spawn_blocking(list).await {
            Ok(Ok(found)) => Ok(found.into_keys().collect()),
            Ok(Err(error)) => Err(StorageError::Failed(error.to_string()).into()),
            Err(error) => Err(StorageError::Failed(error.to_string()).into()),
        }
    }

    async fn migrate(
        &self,
        scope: Scope,
        databases: &[DatabaseMigrations],
    ) -> Result<Vec<Migrated>, MigrateError> {
        migrate::migrate(&self.node, scope, databases).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_plain_word() {
        for name in ["default", "a", "7", "search-index", &"n".repeat(63)] {
            assert!(is_name(name), "{name}");
        }
        for name in [
            "",
            "-a",
            "A",
            "a.b",
            "../a",
            "a/b",
            "a\0",
            "ä",
            &"n".repeat(64),
        ] {
            assert!(!is_name(name), "{name:?}");
        }
    }
}
