//! One bucket of one installation: the limits, then a reading or a change.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use canopy_backend::{KeyPage, KeyValue, StorageError, StorageLimits, Swap};
use canopy_ids::InstallationId;

use crate::database::{Database, Place};
use crate::fault::Fault;
use crate::pool::Pool;
use crate::query;
use crate::writer::{Change, Kind, Reply};

/// Names the database and does not hold it open.
#[derive(Debug)]
pub(crate) struct Bucket {
    pool: Arc<Pool>,
    installation: InstallationId,
    name: Arc<str>,
}

impl Bucket {
    pub(crate) fn new(
        pool: Arc<Pool>,
        installation: InstallationId,
        name: &str,
    ) -> Result<Self, StorageError> {
        check(
            "bucket name",
            name.len(),
            pool.settings.limits.bucket_name_bytes,
        )?;
        pool.check(installation)?;
        Ok(Self {
            pool,
            installation,
            name: name.into(),
        })
    }

    fn limits(&self) -> &StorageLimits {
        &self.pool.settings.limits
    }

    fn check_key(&self, key: &str) -> Result<(), StorageError> {
        check("key", key.len(), self.limits().key_bytes)
    }

    fn check_keys(&self, keys: &[String]) -> Result<usize, StorageError> {
        self.check_count(keys.len())?;
        keys.iter().try_for_each(|key| self.check_key(key))?;
        let bytes = keys.iter().map(String::len).sum();
        check("batch", bytes, self.limits().batch_bytes)?;
        Ok(bytes)
    }

    fn check_count(&self, actual: usize) -> Result<(), StorageError> {
        let limit = self.limits().batch_keys;
        if actual <= limit {
            Ok(())
        } else {
            Err(StorageError::TooManyKeys { actual, limit })
        }
    }

    fn check_value(&self, value: &[u8]) -> Result<(), StorageError> {
        check("value", value.len(), self.limits().value_bytes)
    }

    async fn change(&self, kind: Kind, bytes: usize) -> Result<Reply, StorageError> {
        let lease = self.pool.lease(self.installation).await?;
        let change = Change {
            bucket: self.name.clone(),
            kind,
        };
        Database::write(lease, change, bytes).await
    }
}

fn check(what: &'static str, actual: usize, limit: usize) -> Result<(), StorageError> {
    if actual <= limit {
        Ok(())
    } else {
        Err(StorageError::TooLarge {
            what,
            actual,
            limit,
        })
    }
}

fn unexpected(reply: &Reply) -> StorageError {
    StorageError::Failed(format!(
        "the writer gave an answer to another question: {reply:?}"
    ))
}

#[async_trait]
impl KeyValue for Bucket {
    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StorageError> {
        self.check_key(key)?;
        let lease = self.pool.lease(self.installation).await?;
        let (bucket, key) = (self.name.clone(), key.to_owned());
        Database::read(lease, Place::Here, move |conn| {
            query::get(conn, &bucket, &key).map_err(|error| Fault::of(&error).into())
        })
        .await
    }

    async fn set(&self, key: &str, value: Vec<u8>) -> Result<(), StorageError> {
        self.check_key(key)?;
        self.check_value(&value)?;
        let bytes = key.len() + value.len();
        self.change(Kind::Put(vec![(key.to_owned(), value)]), bytes)
            .await
            .map(drop)
    }

    async fn delete(&self, key: &str) -> Result<(), StorageError> {
        self.check_key(key)?;
        self.change(Kind::Delete(vec![key.to_owned()]), key.len())
            .await
            .map(drop)
    }

    async fn exists(&self, key: &str) -> Result<bool, StorageError> {
        self.check_key(key)?;
        let lease = self.pool.lease(self.installation).await?;
        let (bucket, key) = (self.name.clone(), key.to_owned());
        Database::read(lease, Place::Here, move |conn| {
            query::exists(conn, &bucket, &key).map_err(|error| Fault::of(&error).into())
        })
        .await
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<KeyPage, StorageError> {
        self.check_key(prefix)?;
        after.map_or(Ok(()), |after| self.check_key(after))?;
        let limit = limit.clamp(1, self.limits().page_keys);
        let lease = self.pool.lease(self.installation).await?;
        let (bucket, prefix) = (self.name.clone(), prefix.to_owned());
        let after = after.map(str::to_owned);
        Database::read(lease, Place::Aside, move |conn| {
            query::list(conn, &bucket, &prefix, after.as_deref(), limit)
        })
        .await
    }

    async fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Vec<u8>>>, StorageError> {
        self.check_keys(keys)?;
        let lease = self.pool.lease(self.installation).await?;
        let (bucket, keys) = (self.name.clone(), keys.to_vec());
        let limit = self.limits().batch_bytes;
        Database::read(lease, Place::Aside, move |conn| {
            query::get_many(conn, &bucket, &keys, limit)
        })
        .await
    }

    async fn set_many(&self, pairs: Vec<(String, Vec<u8>)>) -> Result<(), StorageError> {
        self.check_count(pairs.len())?;
        for (key, value) in &pairs {
            self.check_key(key)?;
            self.check_value(value)?;
        }
        let bytes = pairs
            .iter()
            .map(|(key, value)| key.len() + value.len())
            .sum();
        check("batch", bytes, self.limits().batch_bytes)?;
        // Without duplicates, and in the order in which they are stored.
        let pairs: BTreeMap<String, Vec<u8>> = pairs.into_iter().collect();
        if pairs.is_empty() {
            return self.pool.check(self.installation);
        }
        self.change(Kind::Put(pairs.into_iter().collect()), bytes)
            .await
            .map(drop)
    }

    async fn delete_many(&self, keys: Vec<String>) -> Result<(), StorageError> {
        let bytes = self.check_keys(&keys)?;
        if keys.is_empty() {
            return self.pool.check(self.installation);
        }
        self.change(Kind::Delete(keys), bytes).await.map(drop)
    }

    async fn increment(&self, key: &str, delta: i64) -> Result<i64, StorageError> {
        self.check_key(key)?;
        let kind = Kind::Increment {
            key: key.to_owned(),
            delta,
        };
        match self.change(kind, key.len()).await? {
            Reply::Sum(sum) => Ok(sum),
            other => Err(unexpected(&other)),
        }
    }

    async fn compare_and_set(
        &self,
        key: &str,
        expected: Option<Vec<u8>>,
        new: Vec<u8>,
    ) -> Result<Swap, StorageError> {
        self.check_key(key)?;
        self.check_value(&new)?;
        let bytes = key.len() + new.len() + expected.as_ref().map_or(0, Vec::len);
        match self
            .change(
                Kind::Swap {
                    key: key.to_owned(),
                    expected,
                    new,
                },
                bytes,
            )
            .await?
        {
            Reply::Swap(swap) => Ok(swap),
            other => Err(unexpected(&other)),
        }
    }
}
