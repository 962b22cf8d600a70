//! Embedded storage on SQLite.
//!
//! Each installation has a database file of its own, encrypted with a key of its tenant,
//! `<dir>/<tenant>/<installation>/key-value/data.db`, so its quota is exact, its erasure is
//! complete, and damage to it is its alone.
//!
//! - **Acknowledged is durable.** A write returns when the commit that holds it has been
//!   synchronised to the disk. Writes that arrive while a commit is under way are committed
//!   together by the next one: see [`StorageStats`].
//! - **An error of the disk while committing ends the process**, after it was logged. What the
//!   disk then holds is unknown, and trying again would report success for data that is lost; the
//!   next start reads what is really there. A full disk is no such error.
//! - **Files are open while they are used**: at most [`EmbeddedSettings::open_databases`], and
//!   none longer than [`EmbeddedSettings::idle_close`] without use.

mod batch;
mod bucket;
mod database;
mod fault;
mod format;
mod maintenance;
mod pool;
mod portable;
mod query;
mod settings;
mod storage;
mod writer;

pub use settings::EmbeddedSettings;
pub use storage::{EmbeddedParts, EmbeddedStorage, OpenError, StorageStats};
