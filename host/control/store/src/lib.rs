//! The control plane's database: publishers, packages, tenants, tokens, driver instances,
//! installations, and the files of published components.
//!
//! One file per noun; every operation is asynchronous, one transaction, and takes plain rows. What
//! an operation has returned is on the disk. Every change takes the next number of one counter, the
//! revision; a row's revision is that of its last change, so it never repeats and callers can make
//! a write conditional on it ([`Precondition`]).
//!
//! Secrets are sealed before they reach the database, under a key that is in a file of its own.

mod components;
mod database;
mod driver;
mod erasure;
mod error;
mod idempotency;
mod installation;
mod package;
mod publisher;
mod seal;
mod settings;
mod sql;
mod tenant;
mod token;
mod world;

pub use components::{ComponentError, Components, Upload, Uploaded};
pub use database::Store;
pub use driver::{DriverRow, DriverWrite};
pub use erasure::Erasure;
pub use error::StoreError;
pub use idempotency::{Idempotency, Outcome};
pub use installation::{DriverRef, InstallationRow, InstallationWrite};
pub use package::{NewVersion, PackageFilter, PackageRow, Published, VersionRow};
pub use publisher::PublisherRow;
pub use settings::{Counts, PageRequest, Precondition, Rows, SecretChanges, Written};
pub use tenant::{TenantRow, TenantWrite};
pub use token::{NewToken, TokenRow, TokenScope};
pub use world::World;
