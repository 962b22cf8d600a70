//! Formats of backups, exports and records of erasure.
//!
//! - [`Repository`]: a folder of backups. Files are cut into chunks that are named by the blake3
//!   digest of their bytes, so that what did not change is kept once; a snapshot names the chunks
//!   of every file and is written last.
//! - [`export`]: the archive of one tenant, a tar file that opens with its manifest.
//! - [`ErasureRecord`]: what was erased and when, signed.
//!
//! Everything here works on files and is blocking. It knows nothing of the control plane, and reads
//! what others may have changed: every digest is compared before anything is believed.

mod chunks;
mod disk;
mod error;
pub mod export;
mod gather;
mod keep;
mod progress;
mod record;
mod repository;
mod restore;
mod snapshot;

pub use chunks::Swept;
pub use disk::{empty_dir, relative_path};
pub use error::ArchiveError;
pub use gather::Gathering;
pub use keep::{Keep, keep};
pub use progress::Progress;
pub use record::{ErasedCount, ErasedKey, ErasureRecord, ErasureStatement, SigningKey};
pub use repository::{Access, CheckReport, Pruned, Repository};
pub use restore::{Difference, compare, materialise, read_file};
pub use snapshot::{BackupScope, FileEntry, Named, Snapshot};
