//! What a node says about itself.

use canopy_ids::Label;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;

use crate::Access;

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
    /// What is under way.
    pub load: Load,
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

/// What is under way on the node at this moment, and what it takes of the pool of instances.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Load {
    /// Requests of applications.
    pub requests: usize,
    /// Component instances: those that answer, those that wait, and those of drivers.
    pub instances: usize,
    /// Of these, instances of applications that wait for their next request.
    pub waiting_instances: usize,
    /// Linear memories.
    pub memories: usize,
    /// Tables.
    pub tables: usize,
    /// Stacks of guest calls.
    pub stacks: usize,
}

/// Bytes on disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StorageUse {
    /// The control plane's database.
    pub control_bytes: u64,
    /// Published components.
    pub component_bytes: u64,
}

/// Whose token a request carries, and what it lets him do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Identity {
    /// Version of the node's software.
    pub version: String,
    /// The tenant whose token it is; absent for the operator's, which may do everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub tenant: Option<Label>,
    /// Who shows the tenant's token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// What the tenant's token lets him do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<Access>,
}
