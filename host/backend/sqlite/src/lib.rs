//! SQLite files as every room of the node opens them: encrypted, checked, durable.
//!
//! - **Encrypted** page by page (SQLCipher: AES-256-CBC with a new nonce for each page written, and
//!   an HMAC-SHA512 of each page), so a page that was changed or moved does not open. The first 16
//!   bytes of a file are the public [`FileKey::id`](canopy_backend_keys::FileKey::id) of its key:
//!   which version it is encrypted with, and whether it is ours at all, is known without trying.
//! - **Durable**: write-ahead log, `synchronous=FULL`, folders synchronised when a file is made.
//! - **Defensive**: no SQL can damage the file's structure or write its schema, schemas are not
//!   trusted, and the cells of each page are checked when it is read.
//!
//! Files are copied as they are ([`Snapshot`]), verified ([`check`]), and given another key
//! ([`rekey`]) here alone.

mod check;
mod error;
mod fault;
mod library;
mod log;
pub mod memory;
mod open;
mod plain;
mod rekey;
mod rowid;
mod snapshot;

pub use check::check;
pub use error::OpenError;
pub use fault::{die, is_fatal, storage_error};
pub use log::Log;
pub use open::{Format, key_version, open, open_reader, pragma, remove};
pub use plain::{export_plain, import_plain};
pub use rekey::rekey;
pub use rowid::set_last_insert_rowid;
pub use snapshot::Snapshot;
