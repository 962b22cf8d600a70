//! Backups: snapshots in a repository, and what is done with them.

use canopy_ids::{Label, SnapshotId};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;

/// Makes a backup: of the node, or of a tenant, or of an installation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BackupCreate {
    /// The tenant; without one, the whole node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub tenant: Option<Label>,
    /// The tenant's installation; without one, the whole tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub installation: Option<Label>,
    /// The repository's folder on the node; the setting `backup.dir` where none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
}

/// What was stored at one point in time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Backup {
    /// Its identifier.
    #[schema(value_type = String)]
    pub id: SnapshotId,
    /// `node`, `tenant` or `installation`.
    pub scope: String,
    /// The tenant's name at the time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub tenant: Option<Label>,
    /// The installation's name at the time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub installation: Option<Label>,
    /// When it began. What was written later may or may not be in it.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub taken_at: OffsetDateTime,
    /// When it was complete.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub finished_at: OffsetDateTime,
    /// The version of the platform that made it.
    pub made_by: String,
    /// Files in it.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes that had to be written for it.
    pub new_bytes: u64,
    /// Bytes that were in the repository already.
    pub shared_bytes: u64,
}

/// The snapshots of a repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BackupList {
    /// Where they are.
    pub repository: String,
    /// Those that can be read, the oldest first.
    pub items: Vec<Backup>,
    /// Those that cannot.
    pub damaged: Vec<Found>,
}

/// Something that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Found {
    /// Where.
    pub place: String,
    /// What is wrong with it.
    pub what: String,
}

/// Checks a repository: reads everything in it and compares it with its digests.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BackupCheck {
    /// The repository's folder on the node; the setting `backup.dir` where none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    /// Instead, restores this snapshot to a temporary folder and compares every file with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub snapshot: Option<SnapshotId>,
}

/// Removes snapshots that are not to be kept. What is not named is as the settings say.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BackupPrune {
    /// The repository's folder on the node; the setting `backup.dir` where none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    /// Only says what would go.
    #[serde(default)]
    pub dry_run: bool,
    /// Newest snapshots of each scope to keep.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_last: Option<usize>,
    /// Days of which the newest is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_daily: Option<usize>,
    /// Weeks of which the newest is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_weekly: Option<usize>,
    /// Months of which the newest is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_monthly: Option<usize>,
}

/// Puts what a tenant or an installation stored back, in place of what it stores now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RestoreCreate {
    /// The tenant.
    #[schema(value_type = String)]
    pub tenant: Label,
    /// The installation; without one, all of the tenant's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub installation: Option<Label>,
    /// The snapshot; without one, the newest that was taken no later than `before`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub snapshot: Option<SnapshotId>,
    /// A point in time; now where none is given.
    #[serde(
        default,
        with = "time::serde::rfc3339::option",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub before: Option<OffsetDateTime>,
    /// The repository's folder on the node; the setting `backup.dir` where none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
}
