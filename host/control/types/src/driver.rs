//! Driver instances: one driver version configured for one tenant.

use std::collections::BTreeMap;

use canopy_ids::{BindingKey, Digest, DriverInstanceId, InterfaceName, Label, PackageName};
use semver::Version;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;

use crate::{Config, SecretText};

/// Creates or replaces a driver instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DriverPut {
    /// The driver package.
    #[schema(value_type = String)]
    pub package: PackageName,
    /// Its version. Absent: the newest for a new driver instance, the present one for an old.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub version: Option<Version>,
    /// The whole configuration.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub config: Config,
    /// Secrets to set. Those not named here stay as they are.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = BTreeMap<String, String>)]
    pub secrets: BTreeMap<String, SecretText>,
    /// What it may reach: rules such as `api.example.com:443` or `GET https://api.example.com`,
    /// and networks that are not public, which only the operator can add.
    #[serde(default)]
    pub egress: Vec<String>,
    /// Who serves what it imports: another of the tenant's drivers by its name, or `platform`.
    /// Storage of the platform is that of the installation that calls. Keys are as those of an
    /// installation's bindings.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = BTreeMap<String, String>)]
    pub bindings: BTreeMap<BindingKey, Label>,
}

impl DriverPut {
    /// The newest version of `package` with nothing set.
    pub fn new(package: PackageName) -> Self {
        Self {
            package,
            version: None,
            config: Config::new(),
            secrets: BTreeMap::new(),
            egress: Vec::new(),
            bindings: BTreeMap::new(),
        }
    }
}

/// What asking a driver whether its configuration works came to. Where it does not, the answer is a
/// problem `check-failed` with the driver's words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DriverChecked {
    /// The driver's name within the tenant.
    #[schema(value_type = String)]
    pub driver: Label,
    /// Whether it was asked; `false` for a driver that has nothing to say about its configuration.
    pub checked: bool,
}

/// How a driver instance is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DriverState {
    /// None of its stores is there; the next call starts one.
    Idle,
    /// Its first store is being started.
    Starting,
    /// It answers.
    Ready,
    /// It has failed, and no store is started before `retry_at`.
    BackingOff,
    /// It has failed so often in a row that calls are refused before `retry_at`; then one is let
    /// through to try.
    Broken,
}

/// The last failure of a driver instance: a trap, or a start that did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DriverFailure {
    /// When it was.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub at: OffsetDateTime,
    /// What it was. The driver's log has more of it.
    pub message: String,
}

/// How a driver instance is on the node that answers, since it was changed last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DriverHealth {
    /// How it is.
    pub state: DriverState,
    /// Its stores that are there.
    pub stores: u64,
    /// How many stores it may have at once: what its package asks for, within plan and node.
    pub max_stores: u64,
    /// Calls under way or waiting.
    pub calls: u64,
    /// Stores that were replaced because they failed.
    pub restarts: u64,
    /// Failures since it answered last.
    pub failures: u64,
    /// When it is tried again.
    #[serde(
        default,
        with = "time::serde::rfc3339::option",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub retry_at: Option<OffsetDateTime>,
    /// The last failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<DriverFailure>,
}

/// A driver instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Driver {
    /// Never used again for another driver instance.
    #[schema(value_type = String)]
    pub id: DriverInstanceId,
    /// Its name within the tenant.
    #[schema(value_type = String)]
    pub name: Label,
    /// The tenant's name.
    #[schema(value_type = String)]
    pub tenant: Label,
    /// The driver package.
    #[schema(value_type = String)]
    pub package: PackageName,
    /// The version that runs.
    #[schema(value_type = String)]
    pub version: Version,
    /// The digest of that version's component.
    #[schema(value_type = String)]
    pub digest: Digest,
    /// The interfaces that it serves.
    #[schema(value_type = Vec<String>)]
    pub serves: Vec<InterfaceName>,
    /// The version that a rollback would return to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub previous_version: Option<Version>,
    /// Who serves what it imports, as it was set.
    #[schema(value_type = BTreeMap<String, String>)]
    pub bindings: BTreeMap<BindingKey, Label>,
    /// The installations that are bound to it.
    #[schema(value_type = Vec<String>)]
    pub used_by: Vec<Label>,
    /// The other drivers that are bound to it.
    #[schema(value_type = Vec<String>)]
    pub used_by_drivers: Vec<Label>,
    /// The whole configuration.
    #[schema(value_type = Object)]
    pub config: Config,
    /// The names of the secrets that are set.
    pub secrets: Vec<String>,
    /// What it may reach: rules, and networks that the operator opened.
    pub egress: Vec<String>,
    /// How it is.
    pub health: DriverHealth,
    /// When it was created.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub created_at: OffsetDateTime,
    /// When it was changed last.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: OffsetDateTime,
    /// Grows with every change; the ETag.
    pub revision: u64,
}
