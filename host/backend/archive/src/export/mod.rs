//! The archive of one tenant: a tar file that opens with `manifest.json`, which names every file
//! that follows with its length and SHA-256. `docs/export-format.md` describes it for others.
//!
//! Nothing in an archive is believed: only regular files with the names and contents that the
//! manifest says are taken, and nothing is written outside the folder that was given.

mod manifest;
mod read;
mod write;

pub use manifest::{ArchivedFile, ExportManifest, PackageUsed};
pub use read::{read_manifest, unpack};
pub use write::pack;

/// The name of the first file.
pub(crate) const MANIFEST: &str = "manifest.json";
/// Bytes of a manifest, at most: enough for a few hundred thousand files.
pub(crate) const MANIFEST_BYTES: u64 = 64 << 20;
/// Bytes that are read at once.
pub(crate) const PIECE: usize = 256 << 10;
