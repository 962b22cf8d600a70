//! Databases for a test, in a folder that goes with it.

use std::sync::Arc;

use canopy_backend::{Ledger, StorageQuota};
use canopy_backend_keys::{Keyring, OperatorKey};
use canopy_backend_sql::{SqlSettings, SqlStorage};
use tempfile::TempDir;

pub(crate) fn keyring(dir: &TempDir) -> Keyring {
    let operator = OperatorKey::from_file(&dir.path().join("operator.key"), true);
    Keyring::open(
        operator.expect("an operator key"),
        &dir.path().join("storage"),
    )
    .expect("a keyring")
}

pub(crate) fn open_in(dir: &TempDir, settings: SqlSettings, quota: StorageQuota) -> SqlStorage {
    let storage = dir.path().join("storage");
    let ledger = Ledger::new(Arc::new(quota));
    SqlStorage::open(storage, keyring(dir), ledger, settings).expect("databases")
}

pub(crate) fn open_with(settings: SqlSettings) -> (SqlStorage, TempDir) {
    let dir = tempfile::tempdir().expect("a folder");
    (open_in(&dir, settings, StorageQuota::default()), dir)
}

pub(crate) fn open() -> (SqlStorage, TempDir) {
    open_with(SqlSettings::default())
}
