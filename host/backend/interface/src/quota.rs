//! How much may be stored. The control plane says it; backends ask before every write.

use crate::{Scope, StorageKind};

/// How much of one kind one installation may store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// Bytes, counted as [`Usage::bytes`](crate::Usage) are.
    pub bytes: u64,
    /// Keys, objects, or databases.
    pub items: u64,
}

/// How much an installation may store, and its tenant with all its installations together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StorageQuota {
    /// Keys and values of the installation.
    pub key_value: Quota,
    /// Objects of the installation.
    pub blobs: Quota,
    /// SQL databases of the installation.
    pub sql: Quota,
    /// Bytes of all kinds and all installations of the tenant.
    pub tenant_bytes: u64,
}

impl StorageQuota {
    /// The installation's quota of `kind`.
    pub fn of(&self, kind: StorageKind) -> Quota {
        match kind {
            StorageKind::KeyValue => self.key_value,
            StorageKind::Blobs => self.blobs,
            StorageKind::Sql => self.sql,
        }
    }
}

impl Default for StorageQuota {
    fn default() -> Self {
        Self {
            key_value: Quota {
                bytes: 1 << 30,
                items: 1_000_000,
            },
            blobs: Quota {
                bytes: 10 << 30,
                items: 1_000_000,
            },
            sql: Quota {
                bytes: 1 << 30,
                items: 8,
            },
            tenant_bytes: 20 << 30,
        }
    }
}

/// Knows how much everybody may store.
///
/// It is asked at every write, so it answers from memory, and what it answers may change from one
/// call to the next. Whoever stores more than a quota that was lowered keeps it all, and may delete
/// but not add.
pub trait Quotas: Send + Sync + 'static {
    /// What `scope` may store.
    fn of(&self, scope: Scope) -> StorageQuota;
}

/// The same for everybody.
impl Quotas for StorageQuota {
    fn of(&self, _: Scope) -> StorageQuota {
        *self
    }
}
