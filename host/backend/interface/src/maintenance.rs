//! What the platform does with stored data as a whole: counting, copying, checking, erasing.

use std::path::Path;

use async_trait::async_trait;
use canopy_ids::TenantId;

use crate::{Scope, StorageError};

/// A kind of storage that an installation has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StorageKind {
    /// Keys and values.
    KeyValue,
    /// Objects in containers.
    Blobs,
    /// SQL databases.
    Sql,
}

impl StorageKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::KeyValue, Self::Blobs, Self::Sql];

    /// Its name in folders, settings and the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::KeyValue => "key-value",
            Self::Blobs => "blobs",
            Self::Sql => "sql",
        }
    }
}

/// What an installation stores of one kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes that count against the quota.
    pub bytes: u64,
    /// Keys, objects, or databases.
    pub items: u64,
}

/// Something in a store that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The file, relative to the folder of the storage, or the object.
    pub place: String,
    /// What is wrong with it.
    pub what: String,
}

/// One kind of storage, as operators handle it. Every backend that keeps data has it.
#[async_trait]
pub trait Maintenance: Send + Sync + 'static {
    /// Which kind it is.
    fn kind(&self) -> StorageKind;
    /// What `scope` stores; nothing if it never stored anything.
    async fn usage(&self, scope: Scope) -> Result<Usage, StorageError>;
    /// Writes a consistent copy of all that `scope` stores, encrypted as it is, into the empty
    /// folder `into`, while guests go on reading and writing. Nothing stored: nothing written.
    async fn copy(&self, scope: Scope, into: &Path) -> Result<(), StorageError>;
    /// Puts a copy back, in place of what is there. It takes place whole or not at all.
    async fn restore(&self, scope: Scope, from: &Path) -> Result<(), StorageError>;
    /// Reads all that `scope` stores and compares it with its checksums.
    async fn check(&self, scope: Scope) -> Result<Vec<Finding>, StorageError>;
    /// Encrypts all that `scope` stores with its tenant's newest key, while guests go on.
    async fn rekey(&self, scope: Scope) -> Result<(), StorageError>;
    /// Removes all that `scope` stores, for ever. Idempotent.
    async fn erase(&self, scope: Scope) -> Result<(), StorageError>;
    /// Removes all that any installation of `tenant` stores, for ever. Idempotent.
    async fn erase_tenant(&self, tenant: TenantId) -> Result<(), StorageError>;
}
