//! The control plane's database: publishers, packages, plans, tenants, tokens, driver instances,
//! installations, and the files of published components.
//!
//! One file per noun; every operation is asynchronous, one transaction, and takes plain rows. What
//! an operation has returned is on the disk. Every change takes the next number of one counter, the
//! revision; a row's revision is that of its last change, so it never repeats and callers can make
//! a write conditional on it ([`Precondition`]).
//!
//! Secrets are sealed before they reach the database, under a key of the node.

mod archive;
mod badge;
mod binding;
mod bound;
mod components;
mod database;
mod driver;
mod erasure;
mod error;
mod idempotency;
mod installation;
mod job;
mod package;
mod plan;
mod publisher;
mod schedule;
mod seal;
mod settings;
mod sql;
mod tenant;
mod token;
mod tombstone;
mod world;

pub use archive::{ArchiveRow, Holding, TenantImport};
pub use badge::BadgeRow;
pub use binding::{Bindings, BindingsWrite, DriverRef};
pub use bound::Told;
pub use components::{ComponentError, Components, Upload, Uploaded};
pub use database::Store;
pub use driver::{DriverRow, DriverWrite};
pub use erasure::Erasure;
pub use error::StoreError;
pub use idempotency::{Idempotency, Outcome};
pub use installation::{InstallationRow, InstallationWrite};
pub use job::{
    JobError, JobFilter, JobOutcome, JobProgress, JobRow, JobState, NewJob, UnknownJobState,
};
pub use package::{NewVersion, PackageFilter, PackageRow, Published, VersionRow};
pub use plan::{PlanRow, PlanWrite};
pub use publisher::PublisherRow;
pub use schedule::{
    Attempt, NextRun, RunRow, RunState, ScheduleDefinition, ScheduleRow, UnknownRunState,
};
pub use settings::{Counts, PageRequest, Precondition, Rows, SecretChanges, Written};
pub use tenant::{TenantRow, TenantWrite};
pub use token::{Access, NewToken, TokenRow, TokenScope, UnknownAccess};
pub use tombstone::{ErasureRecordRow, Tombstone};
pub use world::World;
