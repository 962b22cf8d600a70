//! A storage in a folder, with its keys beside it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use canopy_backend::{Ledger, Scope, StorageQuota, SystemClock};
use canopy_backend_embedded::{EmbeddedParts, EmbeddedSettings, EmbeddedStorage};
use canopy_backend_keys::{Keyring, OperatorKey};
use canopy_ids::{InstallationId, TenantId};

/// The storage in `dir`, whose operator's key is there too.
pub(crate) fn open(dir: &Path, settings: EmbeddedSettings) -> EmbeddedStorage {
    EmbeddedStorage::open(parts(dir, StorageQuota::default()), settings).expect("storage opens")
}

pub(crate) fn parts(dir: &Path, quota: StorageQuota) -> EmbeddedParts {
    let operator = OperatorKey::from_file(&dir.join("operator.key"), true).expect("a key");
    EmbeddedParts {
        dir: dir.to_owned(),
        keys: Keyring::open(operator, dir).expect("a ring"),
        ledger: Ledger::new(Arc::new(quota)),
        clock: Arc::new(SystemClock),
    }
}

/// An installation of a tenant of its own.
pub(crate) fn scope() -> Scope {
    Scope {
        tenant: TenantId::new(),
        installation: InstallationId::new(),
    }
}

/// Where its files are.
pub(crate) fn folder(dir: &Path, scope: Scope) -> PathBuf {
    dir.join(scope.to_string()).join("key-value")
}
