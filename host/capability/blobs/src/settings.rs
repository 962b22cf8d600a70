//! What guests may do with objects, whatever the engine allows.

use std::time::Duration;

/// Limits of the interfaces to objects, each with its default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobsSettings {
    /// Bytes of a body that `wasi:blobstore` gives in one piece. Default: 16 MiB; beyond it the
    /// guest is told to read the stream.
    pub sync_bytes: u64,
    /// The longest time for which a pre-signed address works. Default: 7 days.
    pub address_expiry: Duration,
}

impl Default for BlobsSettings {
    fn default() -> Self {
        Self {
            sync_bytes: 16 << 20,
            address_expiry: Duration::from_secs(7 * 24 * 3600),
        }
    }
}
