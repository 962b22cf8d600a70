//! Request and response types of the control API, shared by the server and its clients.
//!
//! One file per noun. Every type is plain data: rules that need the state of the platform are
//! checked by the server, rules of form (names, digests, versions) by the types of `canopy-ids`.

mod common;
mod driver;
mod installation;
mod log;
mod package;
mod publisher;
mod status;
mod tenant;
mod token;

pub use common::{Page, Problem, SecretText};
pub use driver::{Driver, DriverPut};
pub use installation::{
    BindingPut, Config, Domain, EgressPut, Installation, InstallationPut, InterfaceSource,
    SecretNames, SecretPut, VersionPut,
};
pub use log::{LogLevel, LogPage, LogRecord, LogSource};
pub use package::{LimitsAsked, Need, Package, PackageKind, PackageVersion, ServedInterface};
pub use publisher::{Publisher, PublisherPut};
pub use status::{Counts, Status, StorageUse};
pub use tenant::{Tenant, TenantPut};
pub use token::{Token, TokenCreate, TokenCreated};

/// The media type of errors (RFC 9457).
pub const PROBLEM_JSON: &str = "application/problem+json";

/// The media type of followed logs: one JSON document a line.
pub const NDJSON: &str = "application/x-ndjson";

/// Every problem's `type` is this and the problem's code.
pub const PROBLEM_TYPE_PREFIX: &str = "urn:canopy:problem:";
