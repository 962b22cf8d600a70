//! What a node says about itself.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;

/// The state of the node that answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// The platform's version.
    pub version: String,
    /// When the node started.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub started_at: OffsetDateTime,
    /// Seconds since then.
    pub uptime_seconds: u64,
    /// Where applications answer: `APP.TENANT.` and this, as in `http://localhost:8080`.
    pub apps_base_url: String,
    /// How many of each noun there are.
    pub counts: Counts,
    /// What is used of the disk.
    pub storage: StorageUse,
}

/// How many of each noun there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Counts {
    /// Publishers.
    pub publishers: u64,
    /// Packages.
    pub packages: u64,
    /// Versions of packages.
    pub versions: u64,
    /// Tenants.
    pub tenants: u64,
    /// Installations.
    pub installations: u64,
    /// Driver instances.
    pub drivers: u64,
}

/// Bytes on disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StorageUse {
    /// The control plane's database.
    pub control_bytes: u64,
    /// Published components.
    pub component_bytes: u64,
}
