//! Traits that storage backends implement, and their conformance suite.
//!
//! Backends are plain Rust and know no WebAssembly. A capability receives a store that already
//! belongs to one installation: no function here takes a tenant.
//!
//! The feature `conformance` adds the suite that every backend passes in its own tests; see
//! `keyvalue_conformance!`.

pub mod blob;
mod clock;
#[cfg(feature = "conformance")]
pub mod conformance;
mod cpu;
mod error;
pub mod files;
mod kept;
mod keyvalue;
mod ledger;
mod maintenance;
mod portable;
pub mod queue;
mod quota;
mod scope;
pub mod sql;

pub use clock::{Clock, SystemClock};
pub use cpu::{CpuMeter, CpuPayer, CpuPayers};
pub use error::{QuotaOf, StorageError};
pub use kept::{Held, Kept, KeptFull};
pub use keyvalue::{
    Action, Condition, Conditional, Entry, EntryPage, KeyPage, KeyValue, KeyValueProvider,
    Operation, Outcome, SetOptions, StorageLimits, Swap, Transaction,
};
pub use ledger::Ledger;
pub use maintenance::{Finding, Maintenance, StorageKind, Usage};
pub use portable::Portable;
pub use quota::{Quota, Quotas, StorageQuota};
pub use scope::Scope;
