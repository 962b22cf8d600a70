//! Traits that storage backends implement, and their conformance suite.
//!
//! Backends are plain Rust and know no WebAssembly. A capability receives a store that already
//! belongs to one installation: no function here takes a tenant.
//!
//! The feature `conformance` adds the suite that every backend passes in its own tests; see
//! `keyvalue_conformance!`.

pub mod blob;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod files;
mod keyvalue;
mod maintenance;
mod portable;
mod quota;
mod scope;

pub use keyvalue::{KeyPage, KeyValue, KeyValueProvider, StorageError, StorageLimits, Swap};
pub use maintenance::{Finding, Maintenance, StorageKind, Usage};
pub use quota::{Quota, Quotas, StorageQuota};
pub use portable::Portable;
pub use scope::Scope;
