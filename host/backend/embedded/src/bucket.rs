//! One bucket of one installation: the limits, then a reading or a change.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use canopy_backend::{
    Action, Condition, Conditional, Entry, EntryPage, KeyPage, KeyValue, Operation, Outcome, Scope,
    SetOptions, StorageError, StorageLimits, Transaction,
};

use crate::batch::{Step, set};
use crate::database::{Database, Place};
use crate::fault::Fault;
use crate::pool::Pool;
use crate::query::{self, Range};
use crate::writer::{Change, Reply};

/// Names the database and does not hold it open.
#[derive(Debug)]
pub(crate) struct Bucket {
    pool: Arc<Pool>,
    scope: Scope,
    name: Arc<str>,
}

impl Bucket {
    pub(crate) fn new(pool: Arc<Pool>, scope: Scope, name: &str) -> Result<Self, StorageError> {
        check_name(&pool.shared.settings.limits, name)?;
        pool.check(scope)?;
        Ok(Self {
            pool,
            scope,
            name: name.into(),
        })
    }

    fn limits(&self) -> &StorageLimits {
        &self.pool.shared.settings.limits
    }

    fn check_key(&self, key: &str) -> Result<(), StorageError> {
        check("key", key.len(), self.limits().key_bytes)
    }

    fn check_keys(&self, keys: &[String]) -> Result<(), StorageError> {
        check_count(self.limits(), keys.len())?;
        keys.iter().try_for_each(|key| self.check_key(key))?;
        let bytes = keys.iter().map(String::len).sum();
        check("batch", bytes, self.limits().batch_bytes)
    }

    async fn read<T, Q>(&self, place: Place, query: Q) -> Result<T, StorageError>
    where
        T: Send + 'static,
        Q: FnOnce(&rusqlite::Connection, &str, i64) -> Result<T, StorageError> + Send + 'static,
    {
        let lease = self.pool.lease(self.scope).await?;
        let (bucket, now) = (self.name.clone(), self.pool.now());
        Database::read(lease, place, move |conn| query(conn, &bucket, now)).await
    }

    async fn change(
        &self,
        steps: impl IntoIterator<Item = (String, Action)>,
    ) -> Result<Transaction, StorageError> {
        let step = |(key, action)| Step {
            bucket: self.name.clone(),
            key,
            action,
        };
        let steps = steps.into_iter().map(step).collect();
        change(&self.pool, self.scope, steps).await
    }

    /// Takes one step without a condition.
    async fn change_one(&self, key: &str, action: Action) -> Result<Outcome, StorageError> {
        match self.change([(key.to_owned(), action)]).await? {
            Transaction::Done(mut outcomes) if outcomes.len() == 1 => Ok(outcomes.remove(0)),
            other => Err(unexpected(&other)),
        }
    }
}

/// Checks all steps against the limits, and takes them or none.
pub(crate) async fn transact(
    pool: &Arc<Pool>,
    scope: Scope,
    operations: Vec<Operation>,
) -> Result<Transaction, StorageError> {
    pool.check(scope)?;
    if operations.is_empty() {
        return Ok(Transaction::Done(Vec::new()));
    }
    let steps = operations
        .into_iter()
        .map(|operation| Step {
            bucket: operation.bucket.into(),
            key: operation.key,
            action: operation.action,
        })
        .collect();
    change(pool, scope, steps).await
}

async fn change(
    pool: &Arc<Pool>,
    scope: Scope,
    steps: Vec<Step>,
) -> Result<Transaction, StorageError> {
    let limits = &pool.shared.settings.limits;
    check_count(limits, steps.len())?;
    let mut bytes = 0;
    for step in &steps {
        check_name(limits, &step.bucket)?;
        check("key", step.key.len(), limits.key_bytes)?;
        bytes += step.key.len();
        let (value, condition) = match &step.action {
            Action::Set { value, options } => (value.len(), options.condition.bytes()),
            Action::Check(condition) | Action::Delete(condition) => (0, condition.bytes()),
            Action::Get | Action::Increment(_) => (0, 0),
        };
        for part in [value, condition] {
            check("value", part, limits.value_bytes)?;
            bytes += part;
        }
    }
    if steps.len() > 1 {
        check("batch", bytes, limits.batch_bytes)?;
    }
    pool.shared.ledger.ready(scope.tenant).await?;
    let lease = pool.lease(scope).await?;
    match Database::write(lease, Change::Steps(steps), bytes).await? {
        Reply::Done(outcomes) => Ok(Transaction::Done(outcomes)),
        Reply::Conflict { operation, found } => Ok(Transaction::Conflict { operation, found }),
        other => Err(unexpected(&other)),
    }
}

fn check_name(limits: &StorageLimits, name: &str) -> Result<(), StorageError> {
    check("bucket name", name.len(), limits.bucket_name_bytes)
}

fn check_count(limits: &StorageLimits, actual: usize) -> Result<(), StorageError> {
    let limit = limits.batch_keys;
    if actual <= limit {
        Ok(())
    } else {
        Err(StorageError::TooManyKeys { actual, limit })
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

fn unexpected(reply: &impl std::fmt::Debug) -> StorageError {
    StorageError::Failed(format!(
        "the writer gave an answer to another question: {reply:?}"
    ))
}

#[async_trait]
impl KeyValue for Bucket {
    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StorageError> {
        self.check_key(key)?;
        let key = key.to_owned();
        self.read(Place::Here, move |conn, bucket, now| {
            query::get(conn, bucket, &key, now).map_err(|error| Fault::of(&error).into())
        })
        .await
    }

    async fn get_entry(&self, key: &str) -> Result<Option<Entry>, StorageError> {
        self.check_key(key)?;
        let key = key.to_owned();
        self.read(Place::Here, move |conn, bucket, now| {
            query::get_entry(conn, bucket, &key, now).map_err(|error| Fault::of(&error).into())
        })
        .await
    }

    async fn set(&self, key: &str, value: Vec<u8>) -> Result<(), StorageError> {
        self.change_one(key, set(value)).await.map(drop)
    }

    async fn set_with(
        &self,
        key: &str,
        value: Vec<u8>,
        options: SetOptions,
    ) -> Result<Conditional<u64>, StorageError> {
        let action = Action::Set { value, options };
        match self.change([(key.to_owned(), action)]).await? {
            Transaction::Conflict { found, .. } => Ok(Conditional::Conflict(found)),
            Transaction::Done(outcomes) => match outcomes.as_slice() {
                [Outcome::Stored(version)] => Ok(Conditional::Done(*version)),
                other => Err(unexpected(&other)),
            },
        }
    }

    async fn delete(&self, key: &str) -> Result<(), StorageError> {
        let action = Action::Delete(Condition::Always);
        self.change_one(key, action).await.map(drop)
    }

    async fn delete_if(
        &self,
        key: &str,
        condition: Condition,
    ) -> Result<Conditional<bool>, StorageError> {
        let action = Action::Delete(condition);
        match self.change([(key.to_owned(), action)]).await? {
            Transaction::Conflict { found, .. } => Ok(Conditional::Conflict(found)),
            Transaction::Done(outcomes) => match outcomes.as_slice() {
                [Outcome::Removed(was_there)] => Ok(Conditional::Done(*was_there)),
                other => Err(unexpected(&other)),
            },
        }
    }

    async fn exists(&self, key: &str) -> Result<bool, StorageError> {
        self.check_key(key)?;
        let key = key.to_owned();
        self.read(Place::Here, move |conn, bucket, now| {
            query::exists(conn, bucket, &key, now).map_err(|error| Fault::of(&error).into())
        })
        .await
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<KeyPage, StorageError> {
        let range = self.range(prefix, after, limit)?;
        self.read(Place::Aside, move |conn, bucket, _| {
            query::list(conn, bucket, &range)
        })
        .await
    }

    async fn list_entries(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<EntryPage, StorageError> {
        let range = self.range(prefix, after, limit)?;
        let bytes = self.limits().batch_bytes;
        self.read(Place::Aside, move |conn, bucket, _| {
            query::list_entries(conn, bucket, &range, bytes)
        })
        .await
    }

    async fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Vec<u8>>>, StorageError> {
        self.check_keys(keys)?;
        let keys = keys.to_vec();
        let limit = self.limits().batch_bytes;
        self.read(Place::Aside, move |conn, bucket, now| {
            query::get_many(conn, bucket, &keys, now, limit)
        })
        .await
    }

    async fn set_many(&self, pairs: Vec<(String, Vec<u8>)>) -> Result<(), StorageError> {
        check_count(self.limits(), pairs.len())?;
        // Without duplicates, and in the order in which they are stored.
        let pairs: BTreeMap<String, Vec<u8>> = pairs.into_iter().collect();
        if pairs.is_empty() {
            return self.pool.check(self.scope);
        }
        let steps = pairs.into_iter().map(|(key, value)| (key, set(value)));
        self.change(steps).await.map(drop)
    }

    async fn delete_many(&self, keys: Vec<String>) -> Result<(), StorageError> {
        if keys.is_empty() {
            return self.pool.check(self.scope);
        }
        let delete = |key| (key, Action::Delete(Condition::Always));
        self.change(keys.into_iter().map(delete)).await.map(drop)
    }

    async fn increment(&self, key: &str, delta: i64) -> Result<i64, StorageError> {
        match self.change_one(key, Action::Increment(delta)).await? {
            Outcome::Sum(sum) => Ok(sum),
            other => Err(unexpected(&other)),
        }
    }
}

impl Bucket {
    fn range(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Range, StorageError> {
        self.check_key(prefix)?;
        after.map_or(Ok(()), |after| self.check_key(after))?;
        Ok(Range {
            prefix: prefix.to_owned(),
            after: after.map(str::to_owned),
            limit: limit.clamp(1, self.limits().page_keys),
            now: self.pool.now(),
        })
    }
}
