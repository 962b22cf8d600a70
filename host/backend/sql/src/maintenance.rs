//! Databases as operators handle them: counted, copied, checked, given another key, erased.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use canopy_backend::files::{erase_dir, incoming_dir, replace_dir, sync_dir};
use canopy_backend::{Finding, Maintenance, Scope, StorageError, StorageKind, Usage};
use canopy_backend_sqlite::Snapshot;
use canopy_ids::TenantId;

use crate::account::{SUFFIX, databases};
use crate::database::{Database, Whole};
use crate::node::Node;
use crate::storage::SqlStorage;

impl SqlStorage {
    /// The databases of `scope` that have a file.
    async fn existing(&self, scope: Scope) -> Result<Vec<Arc<Database>>, StorageError> {
        let folder = self.node.folder(scope);
        let names = blocking(move || Ok(databases(&folder)?)).await?;
        Ok(names
            .into_keys()
            .map(|name| self.node.database(scope, &name))
            .collect())
    }

    /// Every connection of `databases` closed, and none opened until the returned value goes.
    async fn close_all(
        &self,
        databases: Vec<Arc<Database>>,
    ) -> Result<Vec<(Arc<Database>, Whole)>, StorageError> {
        let mut whole = Vec::new();
        for database in databases {
            let held = database.whole(&self.node).await?;
            whole.push((database, held));
        }
        let node = self.node.clone();
        blocking(move || {
            for (database, _) in &whole {
                database.close_idle(&node, Instant::now());
            }
            Ok(whole)
        })
        .await
    }

    /// Ends all that goes on in `databases` and removes `folder`.
    async fn erase_all(
        &self,
        databases: Vec<Arc<Database>>,
        folders: Vec<std::path::PathBuf>,
    ) -> Result<(), StorageError> {
        for database in &databases {
            database.set_erased();
            database.end();
        }
        let whole = self.close_all(databases).await?;
        blocking(move || {
            for folder in folders {
                erase_dir(&folder)?;
            }
            drop(whole);
            Ok(())
        })
        .await
    }
}

#[async_trait]
impl Maintenance for SqlStorage {
    fn kind(&self) -> StorageKind {
        StorageKind::Sql
    }

    async fn usage(&self, scope: Scope) -> Result<Usage, StorageError> {
        let node = self.node.clone();
        blocking(move || Ok(node.account.usage(scope, &node.folder(scope))?)).await
    }

    async fn copy(&self, scope: Scope, into: &Path) -> Result<(), StorageError> {
        for database in self.existing(scope).await? {
            let lease = database.writer(&self.node).await.map_err(told)?;
            let into = into.join(format!("{}{SUFFIX}", database.name));
            let node = self.node.clone();
            blocking(move || {
                let mut lease = lease;
                let keys = database.keys(&node)?;
                let cache = node.settings.cache_bytes;
                let reader = canopy_backend_sqlite::open_reader(&database.path, &keys, cache)?;
                let writer = lease.open().map_err(told)?;
                let snapshot = Snapshot::take(&database.path, &writer.sqlite, reader)?;
                // From here on guests may write again.
                drop(lease);
                Ok(snapshot.copy(&into)?)
            })
            .await?;
        }
        Ok(())
    }

    async fn restore(&self, scope: Scope, from: &Path) -> Result<(), StorageError> {
        let (node, from) = (self.node.clone(), from.to_owned());
        let folder = node.folder(scope);
        let place = folder.clone();
        let (incoming, names) = blocking(move || {
            let copied = incoming_dir(&place)?;
            let names = databases(&from)?;
            for name in names.keys() {
                let file = format!("{name}{SUFFIX}");
                let path = copied.join(&file);
                fs::copy(from.join(&file), &path)?;
                fs::File::open(&path)?.sync_all()?;
            }
            sync_dir(&copied)?;
            Ok((copied, names))
        })
        .await?;
        let mut concerned = self.existing(scope).await?;
        for name in names.keys() {
            let database = self.node.database(scope, name);
            if !concerned.iter().any(|known| known.name == *name) {
                concerned.push(database);
            }
        }
        for database in &concerned {
            database.end();
        }
        let whole = self.close_all(concerned.clone()).await;
        let replaced = match whole {
            Ok(whole) => {
                blocking(move || {
                    replace_dir(&incoming, &folder)?;
                    node.account.forget(scope);
                    drop(whole);
                    Ok(())
                })
                .await
            }
            Err(error) => Err(error),
        };
        for database in concerned {
            database.go_on();
        }
        replaced
    }

    async fn check(&self, scope: Scope) -> Result<Vec<Finding>, StorageError> {
        let mut findings = Vec::new();
        for database in self.existing(scope).await? {
            let node = self.node.clone();
            findings.extend(blocking(move || Ok(check(&node, &database)?)).await?);
        }
        Ok(findings)
    }

    async fn rekey(&self, scope: Scope) -> Result<(), StorageError> {
        for database in self.existing(scope).await? {
            let whole = self.close_all(vec![database.clone()]).await?;
            let node = self.node.clone();
            blocking(move || {
                let keys = database.keys(&node)?;
                canopy_backend_sqlite::rekey(&database.path, &keys)?;
                drop(whole);
                Ok(())
            })
            .await?;
        }
        Ok(())
    }

    async fn erase(&self, scope: Scope) -> Result<(), StorageError> {
        let mut concerned = self.node.known(|known| known == scope);
        concerned.extend(self.existing(scope).await?);
        concerned.sort_by_key(|database| database.name.clone());
        concerned.dedup_by_key(|database| database.name.clone());
        self.node.set_erased(scope);
        self.erase_all(concerned, vec![self.node.folder(scope)])
            .await?;
        self.node.account.forget(scope);
        Ok(())
    }

    async fn erase_tenant(&self, tenant: TenantId) -> Result<(), StorageError> {
        let folder = self.node.dir.join(tenant.to_string());
        let scopes = blocking(move || Ok(scopes(tenant, &folder)?)).await?;
        for scope in scopes {
            self.erase(scope).await?;
        }
        Ok(())
    }
}

/// The installations of `tenant` that store something.
fn scopes(tenant: TenantId, folder: &Path) -> io::Result<Vec<Scope>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut scopes = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        if let Some(installation) = name.to_str().and_then(|name| name.parse().ok()) {
            scopes.push(Scope {
                tenant,
                installation,
            });
        }
    }
    Ok(scopes)
}

fn check(node: &Node, database: &Database) -> Result<Vec<Finding>, StorageError> {
    let place = format!("{}{SUFFIX}", database.name);
    let keys = database.keys(node)?;
    let cache = node.settings.cache_bytes;
    let found = match canopy_backend_sqlite::open_reader(&database.path, &keys, cache) {
        Ok(conn) => canopy_backend_sqlite::check(&conn),
        Err(error) => vec![error.to_string()],
    };
    Ok(found
        .into_iter()
        .map(|what| Finding {
            place: place.clone(),
            what,
        })
        .collect())
}

/// An error that only waiting for a database can have given.
fn told(error: canopy_backend::sql::SqlError) -> StorageError {
    match error {
        canopy_backend::sql::SqlError::Storage(error) => error,
        other => StorageError::Busy(other.to_string()),
    }
}

/// Why work with files failed.
pub(crate) enum Failure {
    Storage(StorageError),
    Io(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<StorageError> for Failure {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}

impl From<canopy_backend_sqlite::OpenError> for Failure {
    fn from(error: canopy_backend_sqlite::OpenError) -> Self {
        Self::Storage(error.into())
    }
}

pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, StorageError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(Failure::Storage(error))) => Err(error),
        Ok(Err(Failure::Io(error))) if error.kind() == io::ErrorKind::StorageFull => {
            Err(StorageError::NoSpace)
        }
        Ok(Err(Failure::Io(error))) => Err(StorageError::Failed(error.to_string())),
        Err(error) => Err(StorageError::Failed(error.to_string())),
    }
}
