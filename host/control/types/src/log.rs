//! Records of an installation's or a driver instance's log.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;

/// How much a record matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LogLevel {
    /// Every step.
    Trace,
    /// For whoever looks for a fault.
    Debug,
    /// What happened.
    Info,
    /// What may become a fault.
    Warn,
    /// A fault.
    Error,
    /// A fault after which nothing works.
    Critical,
}

/// Where a record came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LogSource {
    /// A line on the guest's standard output.
    Stdout,
    /// A line on the guest's standard error.
    Stderr,
    /// A call of `wasi:logging`.
    Logging,
    /// The platform, about the guest.
    Platform,
}

/// One record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LogRecord {
    /// Its place in the log: ask for what follows with `?after=`.
    pub seq: u64,
    /// When it was written.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub time: OffsetDateTime,
    /// How much it matters.
    pub level: LogLevel,
    /// Where it came from.
    pub source: LogSource,
    /// One line, control characters escaped.
    pub message: String,
    /// The request that it was written in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// The package's version that wrote it.
    pub version: String,
}

/// A page of records, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LogPage {
    /// The records.
    pub items: Vec<LogRecord>,
    /// Ask again with `?after=` set to this for what follows, now or later.
    pub next_after: u64,
}
