//! Databases for a test, in a folder that goes with it.

use std::path::Path;
use std::sync::Arc;

use canopy_backend::{Ledger, StorageQuota};
use canopy_backend_keys::{Keyring, OperatorKey};
use canopy_backend_sql::{SqlSettings, SqlStorage};
use tempfile::TempDir;

pub(crate) fn keyring(dir: &Path) -> Keyring {
    let operator = OperatorKey::from_file(&dir.join("operator.key"), true);
    Keyring::open(operator.expect("an operator key"), &dir.join("storage")).expect("a keyring")
}

pub(crate) fn open_at(dir: &Path, settings: SqlSettings, quota: StorageQuota) -> SqlStorage {
    let ledger = Ledger::new(Arc::new(quota));
    SqlStorage::open(dir.join("storage"), keyring(dir), ledger, settings).expect("databases")
}

pub(crate) fn open_with(settings: SqlSettings) -> (SqlStorage, TempDir) {
    let dir = tempfile::tempdir().expect("a folder");
    let storage = open_at(dir.path(), settings, StorageQuota::default());
    (storage, dir)
}

pub(crate) fn open() -> (SqlStorage, TempDir) {
    open_with(SqlSettings::default())
}
