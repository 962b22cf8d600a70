//! The limits and habits of embedded storage, each with its default.

use std::time::Duration;

use canopy_backend::StorageLimits;

/// The limits and habits of embedded storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmbeddedSettings {
    /// How much one operation may carry. Defaults: 256 bytes of a bucket's name, 1 KiB of a key,
    /// 1 MiB of a value, 1000 keys and 4 MiB of one operation, 1000 keys of a page.
    pub limits: StorageLimits,
    /// Databases open at once; each takes 3 file descriptors and 3 more for each of its readers
    /// in use. Beyond that the one used least recently is closed. Default: 128.
    pub open_databases: usize,
    /// Databases of one tenant open at once; beyond that the tenant's own used least recently is
    /// closed. Default: 64.
    pub tenant_databases: usize,
    /// How long an operation waits for one of them when all are in use; then it fails with
    /// [`canopy_backend::StorageError::Busy`]. Default: 5 s.
    pub open_wait: Duration,
    /// Time without use after which a database is closed. Default: 60 s.
    pub idle_close: Duration,
    /// Reading connections of one database: how many of its readings go on at once. Default: 4.
    pub readers: usize,
    /// Bytes of pages that each connection may keep in memory. Default: 1 MiB.
    pub cache_bytes: u64,
    /// Writes of one installation that one commit takes. Default: 512.
    pub commit_writes: usize,
    /// Bytes of writes of one installation that wait to be committed; who comes on top waits to
    /// be let in. At least [`StorageLimits::batch_bytes`]. Default: 16 MiB.
    pub queue_bytes: usize,
}

impl Default for EmbeddedSettings {
    fn default() -> Self {
        Self {
            limits: StorageLimits {
                bucket_name_bytes: 256,
                key_bytes: 1 << 10,
                value_bytes: 1 << 20,
                batch_keys: 1000,
                batch_bytes: 4 << 20,
                page_keys: 1000,
            },
            open_databases: 128,
            tenant_databases: 64,
            open_wait: Duration::from_secs(5),
            idle_close: Duration::from_secs(60),
            readers: 4,
            cache_bytes: 1 << 20,
            commit_writes: 512,
            queue_bytes: 16 << 20,
        }
    }
}

impl EmbeddedSettings {
    /// The first setting that can't work, and why.
    pub(crate) fn fault(&self) -> Option<&'static str> {
        let limits = &self.limits;
        if self.open_databases == 0 {
            Some("open_databases must be at least 1")
        } else if self.tenant_databases == 0 {
            Some("tenant_databases must be at least 1")
        } else if self.readers == 0 {
            Some("readers must be at least 1")
        } else if self.commit_writes == 0 {
            Some("commit_writes must be at least 1")
        } else if limits.batch_keys == 0 || limits.page_keys == 0 {
            Some("limits.batch_keys and limits.page_keys must be at least 1")
        } else if limits.batch_bytes < limits.key_bytes.saturating_add(limits.value_bytes) {
            Some("limits.batch_bytes must hold at least one key and one value")
        } else if self.queue_bytes < limits.batch_bytes {
            Some("queue_bytes must be at least limits.batch_bytes")
        } else if self.queue_bytes > 1 << 31 {
            Some("queue_bytes must be at most 2 GiB")
        } else if limits.value_bytes > 512 << 20 {
            Some("limits.value_bytes must be at most 512 MiB: a row of the database holds 1 GB")
        } else {
            None
        }
    }
}
