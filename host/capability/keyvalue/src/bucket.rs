//! The one implementation beneath all versions of the interface.

use std::collections::HashMap;
use std::sync::Arc;

use canopy_backend::{
    Held, Kept, KeyPage, KeyValue, KeyValueProvider, Operation, Scope, StorageError, StorageLimits,
    Transaction,
};

use crate::names::StoreNames;

/// The longest name of a bucket in bytes.
pub const MAX_BUCKET_NAME: usize = 128;
/// Keys in one page of a listing.
pub const PAGE: usize = 1_000;
/// Positions that one open bucket remembers for listings by number.
const MAX_POSITIONS: usize = 64;
/// What remembering one takes beside its key.
const POSITION_BYTES: usize = 128;

/// The buckets of one installation that its package declared.
#[derive(Clone)]
pub struct Buckets {
    provider: Arc<dyn KeyValueProvider>,
    scope: Scope,
    names: Arc<StoreNames>,
}

impl Buckets {
    /// The buckets of `scope` with these names, and no others.
    pub fn of(provider: Arc<dyn KeyValueProvider>, scope: Scope, names: Arc<StoreNames>) -> Self {
        Self {
            provider,
            scope,
            names,
        }
    }

    /// Opens the bucket `name`, made if need be. `None`: it is not declared, or cannot be a
    /// bucket's name.
    pub(crate) async fn open(&self, name: &str) -> Result<Option<Bucket>, StorageError> {
        let name = if name.is_empty() {
            StoreNames::DEFAULT
        } else {
            name
        };
        let impossible = name.len() > MAX_BUCKET_NAME || name.chars().any(char::is_control);
        if impossible || !self.names.contain(name) {
            return Ok(None);
        }
        let store = self.provider.open(self.scope, name).await?;
        Ok(Some(Bucket {
            store,
            buckets: self.clone(),
            name: name.into(),
            positions: HashMap::new(),
        }))
    }

    /// How much one operation may carry.
    pub(crate) fn limits(&self) -> StorageLimits {
        self.provider.limits()
    }

    pub(crate) async fn transact(
        &self,
        operations: Vec<Operation>,
    ) -> Result<Transaction, StorageError> {
        self.provider.transact(self.scope, operations).await
    }
}

/// An open bucket; what a guest's `bucket` handle stands for.
#[expect(unreachable_pub, reason = "generated bindings re-export it")]
pub struct Bucket {
    pub(crate) store: Arc<dyn KeyValue>,
    pub(crate) buckets: Buckets,
    pub(crate) name: Arc<str>,
    /// Where pages begin that were reached by counting keys: the number of keys before, and the
    /// last of them.
    positions: HashMap<u64, (String, Held)>,
}

impl Bucket {
    /// The page after the key `after`.
    pub(crate) async fn page(&self, after: Option<&str>) -> Result<KeyPage, StorageError> {
        self.store.list("", after, PAGE).await
    }

    /// The page that begins after `skip` keys, and the number to go on with.
    ///
    /// Versions of the interface whose cursor is a number mean this by it. Within one opened
    /// bucket the page goes on after the very key that the page before ended with, where the host may
    /// keep it; a number from elsewhere is counted off from the first key.
    pub(crate) async fn numbered_page(
        &mut self,
        skip: u64,
        kept: &Kept,
    ) -> Result<(Vec<String>, Option<u64>), StorageError> {
        let after = match self.positions.get(&skip) {
            Some((key, _)) => Some(key.clone()),
            None => match self.count_off(skip).await? {
                Ok(after) => after,
                Err(TooFew) => return Ok((Vec::new(), None)),
            },
        };
        let page = self.page(after.as_deref()).await?;
        let end = skip.saturating_add(page.keys.len() as u64);
        let next = page.next.map(|last| {
            if self.positions.len() >= MAX_POSITIONS {
                self.positions.clear();
            }
            if let Ok(held) = kept.keep(last.len() + POSITION_BYTES) {
                self.positions.insert(end, (last, held));
            }
            end
        });
        Ok((page.keys, next))
    }

    async fn count_off(&self, skip: u64) -> Result<Result<Option<String>, TooFew>, StorageError> {
        let mut after: Option<String> = None;
        let mut left = skip;
        while left > 0 {
            let limit = usize::try_from(left).unwrap_or(PAGE).min(PAGE);
            let page = self.store.list("", after.as_deref(), limit).await?;
            left -= (page.keys.len() as u64).min(left);
            match (left, page.next) {
                (0, _) => after = page.keys.last().cloned(),
                (_, Some(next)) => after = Some(next),
                (_, None) => return Ok(Err(TooFew)),
            }
        }
        Ok(Ok(after))
    }
}

/// There are fewer keys than are to be skipped.
struct TooFew;

/// A value as it was seen, to be replaced if it still is that.
#[expect(unreachable_pub, reason = "generated bindings re-export it")]
pub struct Cas {
    pub(crate) store: Arc<dyn KeyValue>,
    pub(crate) key: String,
    pub(crate) seen: Option<Vec<u8>>,
    pub(crate) held: Held,
}

impl Cas {
    /// Looks at `key` now, and keeps what it sees.
    pub(crate) async fn look(
        bucket: &Bucket,
        key: String,
        kept: &Kept,
    ) -> Result<Self, StorageError> {
        let seen = bucket.store.get(&key).await?;
        Self::seen(bucket.store.clone(), key, seen, kept)
    }

    /// What was seen at `key`.
    pub(crate) fn seen(
        store: Arc<dyn KeyValue>,
        key: String,
        seen: Option<Vec<u8>>,
        kept: &Kept,
    ) -> Result<Self, StorageError> {
        let held = kept.keep(key.len() + seen.as_ref().map_or(0, Vec::len))?;
        Ok(Self {
            store,
            key,
            seen,
            held,
        })
    }
}
