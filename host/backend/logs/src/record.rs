//! What a log consists of.

use std::fmt;

use canopy_ids::{DriverInstanceId, InstallationId, Label, PackageName, RequestId};
use semver::Version;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

/// Whose log it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LogOwner {
    /// An installation's.
    Installation(InstallationId),
    /// A driver instance's.
    Driver(DriverInstanceId),
}

impl From<InstallationId> for LogOwner {
    fn from(id: InstallationId) -> Self {
        Self::Installation(id)
    }
}

impl From<DriverInstanceId> for LogOwner {
    fn from(id: DriverInstanceId) -> Self {
        Self::Driver(id)
    }
}

/// The identifier; also the name of the log's folder.
impl fmt::Display for LogOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Installation(id) => id.fmt(f),
            Self::Driver(id) => id.fmt(f),
        }
    }
}

/// How serious a record is, as in `wasi:logging`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Every step.
    Trace,
    /// For who looks for a fault.
    Debug,
    /// What happened.
    Info,
    /// What may become a fault.
    Warn,
    /// A fault.
    Error,
    /// A fault that ends the work.
    Critical,
}

impl Level {
    /// The level as it stands in a record.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
            Self::Critical => "critical",
        }
    }
}

/// Where a record came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// A line of the guest's standard output.
    Stdout,
    /// A line of the guest's standard error.
    Stderr,
    /// A call of `wasi:logging`.
    Logging,
    /// The platform itself: a guest cannot write such a record.
    Platform,
}

impl Source {
    /// The source as it stands in a record.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
            Self::Logging => "logging",
            Self::Platform => "platform",
        }
    }
}

/// What the records of one log writer have in common: who wrote them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogContext {
    /// The tenant's name.
    pub tenant: Label,
    /// The installation's name; absent in a driver instance's log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<Label>,
    /// The driver instance's name; absent in an installation's log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<Label>,
    /// The package that ran.
    pub package: PackageName,
    /// Its version.
    pub version: Version,
}

/// One record as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogRecord {
    /// Its number in this log, counted from 1 and never used again.
    pub seq: u64,
    /// When it was appended (RFC 3339, UTC).
    #[serde(with = "time::serde::rfc3339")]
    pub time: OffsetDateTime,
    /// How serious it is.
    pub level: Level,
    /// Where it came from.
    pub source: Source,
    /// The text: one line, without control characters.
    pub message: String,
    /// The context that the guest named, as in `wasi:logging`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// The request during which it was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<RequestId>,
    /// Who wrote it.
    #[serde(flatten)]
    pub writer: LogContext,
}

/// What is to be appended.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// How serious it is.
    pub level: Level,
    /// Where it comes from.
    pub source: Source,
    /// The text. Control characters in it are stored escaped.
    pub message: &'a str,
    /// The context that the guest named.
    pub context: Option<&'a str>,
    /// The request during which it is written.
    pub request_id: Option<RequestId>,
}

impl<'a> Entry<'a> {
    /// An entry without context and request.
    pub fn new(level: Level, source: Source, message: &'a str) -> Self {
        Self {
            level,
            source,
            message,
            context: None,
            request_id: None,
        }
    }

    /// With the context that the guest named; an empty one counts as none.
    pub fn context(mut self, context: &'a str) -> Self {
        self.context = (!context.is_empty()).then_some(context);
        self
    }

    /// With the request during which it is written.
    pub fn request(mut self, request_id: RequestId) -> Self {
        self.request_id = Some(request_id);
        self
    }
}
