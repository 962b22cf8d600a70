//! What tenants and their installations store.

use canopy_ids::Label;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A kind of storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StorageKind {
    /// Keys and values.
    KeyValue,
    /// Objects in containers.
    Blobs,
    /// SQL databases.
    Sql,
}

/// What an installation stores of one kind, and may.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KindUsage {
    /// The kind.
    pub kind: StorageKind,
    /// Bytes that are stored.
    pub bytes: u64,
    /// Bytes that may be.
    pub bytes_limit: u64,
    /// Keys, objects, or databases that are stored.
    pub items: u64,
    /// Those that may be.
    pub items_limit: u64,
}

/// What an installation stores.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InstallationUsage {
    /// The installation.
    #[schema(value_type = String)]
    pub installation: Label,
    /// By kind.
    pub kinds: Vec<KindUsage>,
}

/// What a tenant stores and uses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TenantUsage {
    /// Bytes of all kinds and all installations.
    pub bytes: u64,
    /// Bytes that may be.
    pub bytes_limit: u64,
    /// Milliseconds of processor time that the own code of its applications and drivers has used on
    /// this node, since it was started or since the first of them was loaded.
    pub cpu_ms: u64,
    /// Milliseconds of processor time that the platform has used since then in calls that they made
    /// of it, statements of SQL included.
    pub host_cpu_ms: u64,
    /// By installation, in the order of their names.
    pub installations: Vec<InstallationUsage>,
}
