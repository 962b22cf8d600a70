//! Jobs: work that takes long, and goes on when nobody waits and after a restart.

use canopy_ids::{JobId, Label};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;

/// How far a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum JobState {
    /// It waits for its turn or its time.
    Queued,
    /// It is under way.
    Running,
    /// It took place.
    Done,
    /// It was given up; nothing half-done is left.
    Failed,
    /// It was taken back.
    Cancelled,
}

impl JobState {
    /// Whether nothing more will happen.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Cancelled)
    }
}

/// Why a job failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JobFailure {
    /// A code that stays the same across versions.
    pub code: String,
    /// What went wrong, and what to do about it.
    pub message: String,
}

/// Work that takes long.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Job {
    /// Its identifier.
    #[schema(value_type = String)]
    pub id: JobId,
    /// What kind of work it is: `backup`, `restore`, `export`, …
    pub kind: String,
    /// The tenant that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub tenant: Option<Label>,
    /// Who asked for it.
    pub requested_by: String,
    /// How far it is.
    pub state: JobState,
    /// What is done now, in a few words.
    pub step: String,
    /// Bytes done.
    pub bytes_done: u64,
    /// Bytes known to be done in all; it grows while more is found.
    pub bytes_total: u64,
    /// Items done: files, installations, or whatever the work counts.
    pub items_done: u64,
    /// Items known to be done in all.
    pub items_total: u64,
    /// When it may begin.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub not_before: OffsetDateTime,
    /// When it was asked for.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub created_at: OffsetDateTime,
    /// When it began last.
    #[serde(with = "time::serde::rfc3339::option")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub started_at: Option<OffsetDateTime>,
    /// When it ended.
    #[serde(with = "time::serde::rfc3339::option")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub finished_at: Option<OffsetDateTime>,
    /// What came of it; depends on the kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<serde_json::Value>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<JobFailure>,
}
