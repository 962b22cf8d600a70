//! Key-value storage.

use std::sync::Arc;

use async_trait::async_trait;
use canopy_ids::InstallationId;

/// Why a storage operation did not take place.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// A name, a key, a value or several of them together are longer than the backend takes.
    #[error("{what} of {actual} bytes is over the limit of {limit}")]
    TooLarge {
        /// `bucket name`, `key`, `value` or `batch`.
        what: &'static str,
        /// Its length in bytes.
        actual: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// One operation names more keys than the backend takes at once.
    #[error("{actual} keys in one operation are over the limit of {limit}")]
    TooManyKeys {
        /// How many it names.
        actual: usize,
        /// How many it may name.
        limit: usize,
    },
    /// The write would exceed a quota.
    #[error("{}", quota_exceeded(*quota, *limit))]
    QuotaExceeded {
        /// Which one.
        quota: QuotaOf,
        /// How much it is, in bytes or items.
        limit: u64,
    },
    /// The value is not of the kind that the operation works on, as in an increment of a text.
    #[error("the value of this key is not a number")]
    NotANumber,
    /// The sum of an increment is no 64-bit signed number. Nothing was changed.
    #[error("the sum is beyond a 64-bit signed number")]
    Overflow,
    /// The installation's storage has been erased and takes nothing any more.
    #[error("the storage of this installation has been erased")]
    Erased,
    /// The disk of the node is full. Nothing was changed; reading goes on.
    #[error("the disk of the node is full")]
    NoSpace,
    /// What is stored is not what was written. The text is for the operator, not for the guest.
    #[error("what is stored is damaged: {0}")]
    Damaged(String),
    /// Too much is under way on the node; the operation did not begin.
    #[error("storage is busy: {0}")]
    Busy(String),
    /// The backend failed. The text is for the operator, not for the guest.
    #[error("storage failed: {0}")]
    Failed(String),
}

/// What a quota counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum QuotaOf {
    /// Bytes of one kind of storage of the installation.
    InstallationBytes,
    /// Keys, objects or databases of the installation.
    InstallationItems,
    /// Bytes of all that the tenant stores.
    TenantBytes,
}

fn quota_exceeded(quota: QuotaOf, limit: u64) -> String {
    match quota {
        QuotaOf::InstallationBytes => {
            format!("the installation's storage quota of {limit} bytes is used up")
        }
        QuotaOf::InstallationItems => {
            format!("the installation's storage quota of {limit} entries is used up")
        }
        QuotaOf::TenantBytes => format!("the tenant's storage quota of {limit} bytes is used up"),
    }
}

/// How much a backend takes. Every operation over a limit is refused whole, with
/// [`StorageError::TooLarge`], [`StorageError::TooManyKeys`] or [`StorageError::QuotaExceeded`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StorageLimits {
    /// Bytes of a bucket's name.
    pub bucket_name_bytes: usize,
    /// Bytes of a key.
    pub key_bytes: usize,
    /// Bytes of a value.
    pub value_bytes: usize,
    /// Keys named by one operation.
    pub batch_keys: usize,
    /// Bytes of all keys and values that one operation takes or gives.
    pub batch_bytes: usize,
    /// Keys of one page of a listing; a larger page is asked for in vain, not refused.
    pub page_keys: usize,
    /// Bytes that one installation may store.
    pub quota_bytes: u64,
}

/// One page of a listing of keys, in the order of their bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyPage {
    /// The keys.
    pub keys: Vec<String>,
    /// Where the next page begins: list again with `after` set to this. `None`: no more keys.
    pub next: Option<String>,
}

/// What a compare-and-set found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Swap {
    /// The value was as expected and has been replaced.
    Done,
    /// The value was another one, given here; nothing was changed.
    Conflict(Option<Vec<u8>>),
}

/// One named bucket of one installation.
///
/// A write that has returned is durable, and every read that begins later sees it. A write whose
/// future is dropped takes place whole or not at all.
#[async_trait]
pub trait KeyValue: Send + Sync + 'static {
    /// The value of `key`, or `None`.
    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StorageError>;
    /// Sets the value of `key`.
    async fn set(&self, key: &str, value: Vec<u8>) -> Result<(), StorageError>;
    /// Removes `key`; no error if it was not there.
    async fn delete(&self, key: &str) -> Result<(), StorageError>;
    /// Whether `key` has a value.
    async fn exists(&self, key: &str) -> Result<bool, StorageError>;
    /// Up to `limit` keys, at least one and at most [`StorageLimits::page_keys`], that begin with
    /// `prefix` and are greater than `after`, in the order of their bytes.
    async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<KeyPage, StorageError>;
    /// The values of `keys`, in their order.
    async fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Vec<u8>>>, StorageError>;
    /// Sets all pairs, or none. Of several pairs with one key, the last counts.
    async fn set_many(&self, pairs: Vec<(String, Vec<u8>)>) -> Result<(), StorageError>;
    /// Removes all keys, or none.
    async fn delete_many(&self, keys: Vec<String>) -> Result<(), StorageError>;
    /// Adds `delta` to the number at `key` (absent counts as 0) and returns the sum. The number is
    /// stored as decimal text.
    async fn increment(&self, key: &str, delta: i64) -> Result<i64, StorageError>;
    /// Sets `key` to `new` if its value is `expected` (`None`: absent).
    async fn compare_and_set(
        &self,
        key: &str,
        expected: Option<Vec<u8>>,
        new: Vec<u8>,
    ) -> Result<Swap, StorageError>;
}

/// Opens and erases the storage of installations.
#[async_trait]
pub trait KeyValueProvider: Send + Sync + 'static {
    /// How much one installation may store, and one operation may carry.
    fn limits(&self) -> StorageLimits;
    /// The bucket `name` of `installation`, made if it does not exist yet.
    async fn open(
        &self,
        installation: InstallationId,
        name: &str,
    ) -> Result<Arc<dyn KeyValue>, StorageError>;
    /// Removes everything that `installation` ever stored. Idempotent. Whoever still holds one of
    /// its buckets, or opens one later, gets [`StorageError::Erased`]: identifiers are never given
    /// twice, so what comes back to life is a mistake.
    async fn erase(&self, installation: InstallationId) -> Result<(), StorageError>;
}
