//! Scheduled calls of installations.

use canopy_ids::{Label, RequestId, RunId};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;

/// A call that an application gets at certain times, as its package asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Schedule {
    /// The installation that is called.
    #[schema(value_type = String)]
    pub installation: Label,
    /// Its name within the package.
    #[schema(value_type = String)]
    pub name: Label,
    /// When, as a cron expression: minute, hour, day of the month, month, day of the week; six
    /// fields begin with the second.
    pub cron: String,
    /// In which time zone.
    pub timezone: String,
    /// The method of the request.
    pub method: String,
    /// Its path and query.
    pub path: String,
    /// Whether a call may begin while the one before is not done.
    pub overlap: bool,
    /// What it is for.
    pub reason: String,
    /// Whether it was told to make no calls.
    pub paused: bool,
    /// When it comes next; absent while it is paused, and for a moment after a change.
    #[serde(with = "time::serde::rfc3339::option")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub next_at: Option<OffsetDateTime>,
    /// How often its time was passed over because the call before was not done.
    pub skipped: u64,
    /// The last call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_run: Option<ScheduleRun>,
}

/// How far a scheduled call is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RunState {
    /// It waits for its turn, or for the time of its next attempt.
    Waiting,
    /// It is under way.
    Running,
    /// The application has answered that it is done.
    Done,
    /// It was given up.
    Failed,
}

impl RunState {
    /// Whether nothing more will happen.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Done | Self::Failed)
    }
}

/// One scheduled call, with all its attempts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ScheduleRun {
    /// Its identifier, the same for all attempts; the application gets it as `canopy-run`.
    #[schema(value_type = String)]
    pub id: RunId,
    /// The time for which it was scheduled, or at which it was asked for.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub scheduled_at: OffsetDateTime,
    /// Whether somebody asked for it, rather than its time having come.
    pub manual: bool,
    /// How far it is.
    pub state: RunState,
    /// How often it was begun.
    pub attempts: u64,
    /// When it may be tried, while it waits.
    #[serde(
        default,
        with = "time::serde::rfc3339::option",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub next_attempt_at: Option<OffsetDateTime>,
    /// When the last attempt began.
    #[serde(with = "time::serde::rfc3339::option")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub started_at: Option<OffsetDateTime>,
    /// When it was done or given up.
    #[serde(with = "time::serde::rfc3339::option")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub finished_at: Option<OffsetDateTime>,
    /// The request of the last attempt, as it stands in the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub request_id: Option<RequestId>,
    /// What the application answered to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u64>,
    /// Why the last attempt failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}
