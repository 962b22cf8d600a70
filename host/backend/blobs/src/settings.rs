//! The limits and habits of object storage, each with its default.

use std::time::Duration;

use canopy_backend::blob::BlobLimits;

/// The limits and habits of object storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobSettings {
    /// How much one operation may carry. Defaults: 1 KiB of a name, 5 GiB of a body, 8 KiB of
    /// metadata, 10 000 parts, 100 uploads, 32 bodies being written and 128 being read at once, 1000
    /// objects named at once, 1000 containers, 1000 entries and 1 MiB of a page.
    pub limits: BlobLimits,
    /// Installations whose index is open at once; each takes 3 file descriptors. Beyond that the
    /// one used least recently is closed. Default: 128.
    pub open_stores: usize,
    /// Installations of one tenant whose index is open at once; beyond that the tenant's own used
    /// least recently is closed. Default: 64.
    pub tenant_stores: usize,
    /// How long an operation waits for one of them when all are in use; then it fails with
    /// [`canopy_backend::StorageError::Busy`]. Default: 5 s.
    pub open_wait: Duration,
    /// Time without use after which an index is closed. Default: 60 s.
    pub idle_close: Duration,
    /// Time after which an upload in parts to which nothing was added is swept. Default: 7 days.
    pub upload_expiry: Duration,
    /// Bytes of pages that each index may keep in memory. Default: 1 MiB.
    pub cache_bytes: u64,
}

impl Default for BlobSettings {
    fn default() -> Self {
        Self {
            limits: BlobLimits {
                name_bytes: 1 << 10,
                object_bytes: 5 << 30,
                metadata_bytes: 8 << 10,
                parts: 10_000,
                uploads: 100,
                concurrent_writes: 32,
                concurrent_reads: 128,
                batch: 1000,
                containers: 1000,
                page: 1000,
                page_bytes: 1 << 20,
            },
            open_stores: 128,
            tenant_stores: 64,
            open_wait: Duration::from_secs(5),
            idle_close: Duration::from_secs(60),
            upload_expiry: Duration::from_secs(7 * 24 * 3600),
            cache_bytes: 1 << 20,
        }
    }
}
