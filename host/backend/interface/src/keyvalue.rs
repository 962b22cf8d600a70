//! Key-value storage.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::{CpuPayer, Scope, StorageError};

/// How much a backend takes. Every operation over a limit is refused whole, with
/// [`StorageError::TooLarge`] or [`StorageError::TooManyKeys`].
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
}

/// What is stored under a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The value.
    pub value: Vec<u8>,
    /// Which write it is: greater than that of every write before it in the same bucket, and never
    /// the same again, also if the key was removed meanwhile.
    pub version: u64,
    /// When it ends to exist, in milliseconds since 1970.
    pub expires_at: Option<u64>,
}

/// What must be so for a write to take place.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Condition {
    /// Nothing.
    #[default]
    Always,
    /// The key has no value.
    Absent,
    /// The key has a value.
    Present,
    /// The key has a value, and it is of this version.
    Version(u64),
    /// The key has this value.
    Value(Vec<u8>),
}

impl Condition {
    /// Whether it holds where `found` is what there is.
    pub fn holds(&self, found: Option<&Entry>) -> bool {
        match (self, found) {
            (Self::Always, _) | (Self::Absent, None) | (Self::Present, Some(_)) => true,
            (Self::Version(version), Some(found)) => *version == found.version,
            (Self::Value(value), Some(found)) => *value == found.value,
            _ => false,
        }
    }

    /// Bytes that it carries.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Value(value) => value.len(),
            _ => 0,
        }
    }
}

/// How a value is set.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SetOptions {
    /// After which time the value ends to exist, counted in whole milliseconds, upwards; `None`:
    /// never. A value set without it has none, whatever the one before had.
    pub ttl: Option<Duration>,
    /// What must be so for it to be set.
    pub condition: Condition,
}

/// What became of a write with a condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Conditional<T> {
    /// It took place.
    Done(T),
    /// The condition did not hold for what was found, given here; nothing was changed.
    Conflict(Option<Entry>),
}

/// What a compare-and-set found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Swap {
    /// The value was as expected and has been replaced.
    Done,
    /// The value was another one, given here; nothing was changed.
    Conflict(Option<Vec<u8>>),
}

/// One step of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// The bucket, of the transaction's installation.
    pub bucket: String,
    /// The key.
    pub key: String,
    /// What is done with it.
    pub action: Action,
}

/// What a step of a transaction does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Ends the transaction unless the condition holds.
    Check(Condition),
    /// Reads the entry.
    Get,
    /// Sets the value; ends the transaction if the condition does not hold.
    Set {
        /// The value.
        value: Vec<u8>,
        /// How it is set.
        options: SetOptions,
    },
    /// Removes the key; ends the transaction if the condition does not hold.
    Delete(Condition),
    /// Adds to the number.
    Increment(i64),
}

/// What a step of a transaction that took place gave, in the form of its action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The condition held.
    Checked,
    /// What there was.
    Found(Option<Entry>),
    /// The version that the new entry has.
    Stored(u64),
    /// Whether there was something to remove.
    Removed(bool),
    /// The sum.
    Sum(i64),
}

/// What became of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transaction {
    /// All steps took place, with these outcomes in their order.
    Done(Vec<Outcome>),
    /// A condition did not hold; nothing was changed.
    Conflict {
        /// Which step it was, counted from 0.
        operation: usize,
        /// What it found.
        found: Option<Entry>,
    },
}

/// One page of a listing of keys, in the order of their bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyPage {
    /// The keys.
    pub keys: Vec<String>,
    /// Where the next page begins: list again with `after` set to this. `None`: no more keys.
    pub next: Option<String>,
}

/// One page of a listing of entries, in the order of the bytes of their keys.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EntryPage {
    /// The keys and what is under them.
    pub entries: Vec<(String, Entry)>,
    /// Where the next page begins: list again with `after` set to this. `None`: no more keys.
    pub next: Option<String>,
}

/// One named bucket of one installation.
///
/// A write that has returned is durable, and every read that begins later sees it. A write whose
/// future is dropped takes place whole or not at all. An entry whose time has come is as if it had
/// been removed at that moment.
#[async_trait]
pub trait KeyValue: Send + Sync + 'static {
    /// The value of `key`, or `None`.
    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StorageError>;
    /// The entry of `key`, or `None`.
    async fn get_entry(&self, key: &str) -> Result<Option<Entry>, StorageError>;
    /// Sets the value of `key`.
    async fn set(&self, key: &str, value: Vec<u8>) -> Result<(), StorageError>;
    /// Sets the value of `key` for a time, or under a condition. Gives the new entry's version.
    async fn set_with(
        &self,
        key: &str,
        value: Vec<u8>,
        options: SetOptions,
    ) -> Result<Conditional<u64>, StorageError>;
    /// Removes `key`; no error if it was not there.
    async fn delete(&self, key: &str) -> Result<(), StorageError>;
    /// Removes `key` under a condition. Gives whether it was there.
    async fn delete_if(
        &self,
        key: &str,
        condition: Condition,
    ) -> Result<Conditional<bool>, StorageError>;
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
    /// The same with what is under the keys, all of one moment. A page also ends before its keys
    /// and values are more than [`StorageLimits::batch_bytes`].
    async fn list_entries(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<EntryPage, StorageError>;
    /// The values of `keys`, in their order, all of one moment.
    async fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Vec<u8>>>, StorageError>;
    /// Sets all pairs, or none. Of several pairs with one key, the last counts.
    async fn set_many(&self, pairs: Vec<(String, Vec<u8>)>) -> Result<(), StorageError>;
    /// Removes all keys, or none.
    async fn delete_many(&self, keys: Vec<String>) -> Result<(), StorageError>;
    /// Adds `delta` to the number at `key` (absent counts as 0) and returns the sum. The number is
    /// stored as decimal text. When it expires stays as it was.
    async fn increment(&self, key: &str, delta: i64) -> Result<i64, StorageError>;
    /// Sets `key` to `new` if its value is `expected` (`None`: absent).
    async fn compare_and_set(
        &self,
        key: &str,
        expected: Option<Vec<u8>>,
        new: Vec<u8>,
    ) -> Result<Swap, StorageError> {
        let options = SetOptions {
            ttl: None,
            condition: expected.map_or(Condition::Absent, Condition::Value),
        };
        Ok(match self.set_with(key, new, options).await? {
            Conditional::Done(_) => Swap::Done,
            Conditional::Conflict(found) => Swap::Conflict(found.map(|entry| entry.value)),
        })
    }
}

/// Opens the buckets of installations. What becomes of all their data is
/// [`Maintenance`](crate::Maintenance).
#[async_trait]
pub trait KeyValueProvider: Send + Sync + 'static {
    /// How much one operation may carry.
    fn limits(&self) -> StorageLimits;
    /// Has `payer` told, from now on, of the processor time that operations use on threads of this
    /// node. A backend that works elsewhere has nothing to tell.
    fn paid_by(&self, _payer: CpuPayer) {}
    /// The bucket `name` of `scope`, made if it does not exist yet.
    async fn open(&self, scope: Scope, name: &str) -> Result<Arc<dyn KeyValue>, StorageError>;
    /// The buckets of `scope` that something was stored in, in the order of their names' bytes.
    async fn buckets(&self, scope: Scope) -> Result<Vec<String>, StorageError>;
    /// Takes all steps, over any buckets of `scope`, in their order, each seeing what those before
    /// it did; or none of them. Nobody sees some of them. No steps: nothing is done.
    async fn transact(
        &self,
        scope: Scope,
        operations: Vec<Operation>,
    ) -> Result<Transaction, StorageError>;
}
