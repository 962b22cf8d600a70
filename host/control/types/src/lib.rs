//! Request and response types of the control API, shared by the server and its clients.
//!
//! One file per noun. Every type is plain data: rules that need the state of the platform are
//! checked by the server, rules of form (names, digests, versions) by the types of `canopy-ids`.

mod backup;
mod badge;
mod common;
mod data;
mod driver;
mod erasure;
mod export;
mod installation;
mod job;
mod key;
mod log;
mod message;
mod package;
mod plan;
mod publisher;
mod schedule;
mod status;
mod tenant;
mod token;
mod usage;

pub use backup::{
    Backup, BackupCheck, BackupCreate, BackupList, BackupPrune, Found, RestoreCreate,
};
pub use badge::{Badge, BadgeCase, BadgeSource, CaseOutcome, RecordedBadge};
pub use common::{Page, Problem, SecretText};
pub use data::{
    Container, DatabaseName, EXPIRES_AT, KeyEntry, Object, SqlJson, SqlLine, SqlRun, StoreName,
};
pub use driver::{Driver, DriverChecked, DriverFailure, DriverHealth, DriverPut, DriverState};
pub use erasure::{Amount, ErasureCreate, ErasurePlan, ErasureRecord, SigningKey};
pub use export::{Export, ExportList, Import, ImportCreate, ImportStart};
pub use installation::{
    BindingPut, Config, Domain, EgressPut, Installation, InstallationPut, InterfaceSource,
    SecretNames, SecretPut, VersionPut,
};
pub use job::{Job, JobFailure, JobState};
pub use key::{KeyStatus, TenantKey};
pub use log::{LogLevel, LogPage, LogRecord, LogSource};
pub use message::{DeadMessage, MessageTopic};
pub use package::{
    LimitsAsked, Need, Package, PackageKind, PackageSchedule, PackageSubscription, PackageVersion,
    ServedInterface,
};
pub use plan::{
    InstallationLimits, Limit, LimitScope, LimitSource, LimitUnit, Plan, PlanLimit, PlanLimits,
    PlanPut, PlanValues, STANDARD_PLAN, TenantLimits,
};
pub use publisher::{Publisher, PublisherPut};
pub use schedule::{RunState, Schedule, ScheduleRun};
pub use status::{Counts, Identity, Load, Status, StorageUse};
pub use tenant::{Tenant, TenantPut};
pub use token::{Access, Token, TokenCreate, TokenCreated};
pub use usage::{InstallationUsage, KindUsage, StorageKind, TenantUsage};

/// Bytes of the longest badge.
pub const MAX_BADGE_BYTES: usize = 128 << 10;

/// The media type of errors (RFC 9457).
pub const PROBLEM_JSON: &str = "application/problem+json";

/// The media type of followed logs: one JSON document a line.
pub const NDJSON: &str = "application/x-ndjson";

/// Every problem's `type` is this and the problem's code.
pub const PROBLEM_TYPE_PREFIX: &str = "urn:canopy:problem:";
