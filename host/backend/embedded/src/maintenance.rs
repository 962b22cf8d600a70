//! What operators do with the keys and values of an installation.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use async_trait::async_trait;
use canopy_backend::files::{create_dir, sync_dir};
use canopy_backend::{Finding, Maintenance, Scope, StorageError, StorageKind, Usage};
use canopy_backend_keys::FileKeys;
use canopy_backend_sqlite::{self as sqlite, OpenError};
use canopy_ids::{InstallationId, TenantId};

use crate::database::Database;
use crate::format::{FILE_NAME, FORMAT, PURPOSE};
use crate::pool::Lease;
use crate::storage::EmbeddedStorage;
use crate::writer::{Change, Reply};

/// A database that is about to take the place of another.
const RESTORED_NAME: &str = "data.db.restored";
/// Memory for pages while a database is looked at.
const CACHE_BYTES: u64 = 1 << 20;

#[async_trait]
impl Maintenance for EmbeddedStorage {
    fn kind(&self) -> StorageKind {
        StorageKind::KeyValue
    }

    async fn usage(&self, scope: Scope) -> Result<Usage, StorageError> {
        self.pool.check(scope)?;
        if !self.stores(scope) {
            return Ok(Usage::default());
        }
        let lease = self.pool.lease(scope).await?;
        match Database::write(lease, Change::Count, 0).await? {
            Reply::Count(usage) => Ok(usage),
            other => Err(StorageError::Failed(format!("no count: {other:?}"))),
        }
    }

    async fn copy(&self, scope: Scope, into: &Path) -> Result<(), StorageError> {
        self.pool.check(scope)?;
        if !self.stores(scope) {
            return Ok(());
        }
        let lease = self.pool.lease(scope).await?;
        let into = into.join(FILE_NAME);
        aside(lease, move |database| database.copy(&into)).await
    }

    async fn restore(&self, scope: Scope, from: &Path) -> Result<(), StorageError> {
        let from = from.join(FILE_NAME);
        let (keyring, ledger) = (
            self.pool.shared.keys.clone(),
            self.pool.shared.ledger.clone(),
        );
        let restore = move |folder: &Path| {
            let keys = keyring.tenant(scope.tenant)?.file_keys(scope, PURPOSE);
            let result = replace(folder, &from, &keys);
            ledger.remove(scope, StorageKind::KeyValue);
            result
        };
        self.pool.alone(scope, restore).await?;
        // Tells the ledger what there is now.
        self.usage(scope).await.map(drop)
    }

    async fn check(&self, scope: Scope) -> Result<Vec<Finding>, StorageError> {
        self.pool.check(scope)?;
        if !self.stores(scope) {
            return Ok(Vec::new());
        }
        let found = match self.pool.lease(scope).await {
            Ok(lease) => aside(lease, Database::check).await?,
            Err(StorageError::Damaged(text)) => vec![text],
            Err(error) => return Err(error),
        };
        let place = format!("{scope}/{}/{FILE_NAME}", StorageKind::KeyValue.as_str());
        let finding = |what| Finding {
            place: place.clone(),
            what,
        };
        Ok(found.into_iter().map(finding).collect())
    }

    async fn rekey(&self, scope: Scope) -> Result<(), StorageError> {
        let keyring = self.pool.shared.keys.clone();
        let rekey = move |folder: &Path| {
            let path = folder.join(FILE_NAME);
            if path.exists() {
                let keys = keyring.tenant(scope.tenant)?.file_keys(scope, PURPOSE);
                sqlite::rekey(&path, &keys)?;
            }
            Ok(())
        };
        self.pool.alone(scope, rekey).await
    }

    async fn erase(&self, scope: Scope) -> Result<(), StorageError> {
        self.pool.erase(scope).await
    }

    async fn erase_tenant(&self, tenant: TenantId) -> Result<(), StorageError> {
        self.pool.close_tenant(tenant);
        let folder = self.pool.dir.join(tenant.to_string());
        let failed = |error: io::Error| {
            StorageError::Failed(format!("reading {}: {error}", folder.display()))
        };
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries.map_err(failed)?,
        };
        for entry in entries {
            let name = entry.map_err(failed)?.file_name();
            let installation = name.to_str().and_then(|name| name.parse().ok());
            if let Some(installation) = installation {
                let installation: InstallationId = installation;
                let scope = Scope {
                    tenant,
                    installation,
                };
                self.pool.erase(scope).await?;
            }
        }
        Ok(())
    }
}

/// Does on a thread that may wait what takes as long as the disk does.
async fn aside<T: Send + 'static>(
    lease: Lease,
    work: impl FnOnce(&Database) -> Result<T, StorageError> + Send + 'static,
) -> Result<T, StorageError> {
    tokio::task::spawn_blocking(move || work(&lease))
        .await
        .map_err(|error| StorageError::Failed(error.to_string()))?
}

/// Puts the database `from` in place of the one in `folder`, or nothing if it does not exist.
fn replace(folder: &Path, from: &Path, keys: &FileKeys) -> Result<(), StorageError> {
    let path = folder.join(FILE_NAME);
    let restored = folder.join(RESTORED_NAME);
    let failed = |error| StorageError::from(OpenError::from(error));
    if !from.exists() {
        return sqlite::remove(&path)
            .and_then(|()| {
                if folder.exists() {
                    sync_dir(folder)
                } else {
                    Ok(())
                }
            })
            .map_err(failed);
    }
    create_dir(folder).map_err(failed)?;
    sqlite::remove(&restored).map_err(failed)?;
    fs::copy(from, &restored).map_err(failed)?;
    // Refuses what is damaged, of another kind, or of another tenant, before anything is replaced.
    let look = sqlite::open(&restored, keys, &FORMAT, CACHE_BYTES).and_then(|conn| {
        let found = sqlite::check(&conn);
        conn.close().map_err(|(_, error)| error)?;
        match found.into_iter().next() {
            Some(finding) => Err(OpenError::Damaged(finding)),
            None => Ok(()),
        }
    });
    let put = |()| -> Result<(), OpenError> {
        File::open(&restored)?.sync_all()?;
        // The log of the one that goes must not be taken for that of the one that comes: closed in
        // order there is none, and of one that can't be opened nothing can be kept.
        match sqlite::open(&path, keys, &FORMAT, CACHE_BYTES) {
            Ok(conn) => conn.close().map_err(|(_, error)| error)?,
            Err(_) => sqlite::remove(&path)?,
        }
        sync_dir(folder)?;
        fs::rename(&restored, &path)?;
        Ok(sync_dir(folder)?)
    };
    look.and_then(put).map_err(|error| {
        // The error is what counts; the next attempt removes what is left.
        let _ = sqlite::remove(&restored);
        error.into()
    })
}
