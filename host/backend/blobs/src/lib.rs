//! Objects of installations: an index in an encrypted SQLite file, and their content in encrypted
//! files beside it.
//!
//! ```text
//! <root>/<tenant>/<installation>/blobs/index.db          which objects there are
//!                                     /objects/<32 hex>  segments: the content, see `segment`
//!                                     /incoming/         segments being written
//! ```
//!
//! - **Acknowledged is durable.** A segment is written under another name, put on the disk, renamed,
//!   its folder put on the disk, and then the index is told of it in one commit. What is before
//!   that commit when the process ends is swept at the next start.
//! - **Damage is an error, never wrong bytes.** Every chunk carries a code that binds it to its
//!   place, its file, its installation and its tenant; it is checked before a byte is given.
//! - **Constant memory.** A body is collected in pieces of 256 KiB on its way in and read in such
//!   pieces on its way out, each only when somebody takes the one before.
//! - **Copies share segments**, and parts of an upload become the segments of its object: copying,
//!   moving and completing move no byte of content.

mod account;
mod check;
mod folder;
mod index;
mod maintenance;
mod objects;
mod pool;
mod portable;
mod segment;
mod settings;
mod storage;
mod store;
mod transfer;

pub use settings::BlobSettings;
pub use storage::BlobStorage;
