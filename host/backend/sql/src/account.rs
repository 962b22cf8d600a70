//! How many bytes the databases of an installation have, and how many they may have.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::path::Path;

use canopy_backend::{Ledger, QuotaOf, Scope, StorageError, StorageKind, Usage};
use parking_lot::Mutex;

/// The suffix of a database's file.
pub(crate) const SUFFIX: &str = ".db";

/// The databases of installations by name, with their bytes.
pub(crate) struct Account {
    ledger: Ledger,
    used: Mutex<HashMap<Scope, BTreeMap<String, u64>>>,
}

impl Account {
    pub(crate) fn new(ledger: Ledger) -> Self {
        Self {
            ledger,
            used: Mutex::default(),
        }
    }

    /// Bytes that `database` may grow to beside the others of `scope`.
    pub(crate) fn room(
        &self,
        scope: Scope,
        folder: &Path,
        database: &str,
    ) -> Result<u64, StorageError> {
        let quota = self.ledger.quotas().installation(scope, StorageKind::Sql);
        let others: u64 = self.with(scope, folder, |used| {
            used.iter()
                .filter(|(name, _)| *name != database)
                .map(|(_, bytes)| bytes)
                .sum()
        })?;
        Ok(quota.bytes.saturating_sub(others))
    }

    /// Counts `database` in, if it is not there and one more may be made.
    pub(crate) fn make(
        &self,
        scope: Scope,
        folder: &Path,
        database: &str,
    ) -> Result<(), StorageError> {
        let limit = self
            .ledger
            .quotas()
            .installation(scope, StorageKind::Sql)
            .items;
        self.with(scope, folder, |used| {
            if !used.contains_key(database) {
                if used.len() as u64 >= limit {
                    return Err(StorageError::QuotaExceeded {
                        quota: QuotaOf::InstallationItems,
                        limit,
                    });
                }
                used.insert(database.to_owned(), 0);
            }
            Ok(())
        })?
    }

    /// Notes that `database` has `bytes` now, unless that is more than it had and more than it may
    /// have.
    pub(crate) fn settle(
        &self,
        scope: Scope,
        folder: &Path,
        database: &str,
        bytes: u64,
    ) -> Result<(), StorageError> {
        let room = self.room(scope, folder, database)?;
        self.with(scope, folder, |used| {
            let had = used.get(database).copied().unwrap_or(0);
            if bytes > room && bytes > had {
                return Err(self.exceeded(scope));
            }
            match bytes.checked_sub(had) {
                Some(more) => self.ledger.grow(scope, StorageKind::Sql, more)?,
                None => self.ledger.shrink(scope, StorageKind::Sql, had - bytes),
            }
            used.insert(database.to_owned(), bytes);
            Ok(())
        })?
    }

    /// The quota that a write of `scope` would exceed.
    pub(crate) fn exceeded(&self, scope: Scope) -> StorageError {
        StorageError::QuotaExceeded {
            quota: QuotaOf::InstallationBytes,
            limit: self
                .ledger
                .quotas()
                .installation(scope, StorageKind::Sql)
                .bytes,
        }
    }

    pub(crate) fn usage(&self, scope: Scope, folder: &Path) -> Result<Usage, StorageError> {
        self.with(scope, folder, |used| Usage {
            bytes: used.values().sum(),
            items: used.len() as u64,
        })
    }

    /// Waits until all that the tenant of `scope` stores is known.
    pub(crate) async fn ready(&self, scope: Scope) -> Result<(), StorageError> {
        self.ledger.ready(scope.tenant).await
    }

    /// What is on the disk has been changed by somebody else.
    pub(crate) fn forget(&self, scope: Scope) {
        let mut used = self.used.lock();
        used.remove(&scope);
        self.ledger.remove(scope, StorageKind::Sql);
    }

    fn with<T>(
        &self,
        scope: Scope,
        folder: &Path,
        work: impl FnOnce(&mut BTreeMap<String, u64>) -> T,
    ) -> Result<T, StorageError> {
        let mut used = self.used.lock();
        if let Some(used) = used.get_mut(&scope) {
            return Ok(work(used));
        }
        let found = databases(folder).map_err(|error| StorageError::Failed(error.to_string()))?;
        self.ledger
            .set(scope, StorageKind::Sql, found.values().sum());
        Ok(work(used.entry(scope).or_insert(found)))
    }
}

/// The databases in `folder`, with the bytes of their files.
pub(crate) fn databases(folder: &Path) -> io::Result<BTreeMap<String, u64>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        entries => entries?,
    };
    let mut found = BTreeMap::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str().and_then(|name| name.strip_suffix(SUFFIX)) else {
            continue;
        };
        let bytes = entry.metadata()?.len();
        // An empty file is one that was about to be made.
        if bytes > 0 {
            found.insert(name.to_owned(), bytes);
        }
    }
    Ok(found)
}
