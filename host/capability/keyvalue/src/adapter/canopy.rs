//! `canopy:storage/key-value@0.1.0`: everything that the implementation can do.

use std::sync::Arc;
use std::time::Duration;

use canopy_backend::{
    Action, Condition, Conditional, Entry, Kept, KeyValue, Operation, Outcome, SetOptions,
    StorageError, StorageLimits, Transaction,
};
use wasmtime::component::{Accessor, Resource};

use crate::adapter::Failure;
use crate::bindings::KeyValue as Face;
use crate::bindings::canopy::key_value;
use crate::bucket::{Bucket, PAGE};
use crate::ctx::KeyValueView;

impl key_value::Host for KeyValueView<'_> {
    fn convert_error(&mut self, failure: Failure) -> wasmtime::Result<key_value::Error> {
        let words = failure.to_string();
        Ok(match failure {
            Failure::NoSuchStore => key_value::Error::NoSuchStore,
            Failure::AccessDenied => key_value::Error::AccessDenied,
            Failure::Invalid(_) => key_value::Error::InvalidArgument(words),
            Failure::Conflict(found) => key_value::Error::Conflict(found.map(Into::into)),
            Failure::Precondition(index) => key_value::Error::PreconditionFailed(count(index)),
            Failure::Storage(error) => match error {
                StorageError::TooLarge { .. } | StorageError::TooManyKeys { .. } => {
                    key_value::Error::TooLarge(words)
                }
                StorageError::QuotaExceeded { .. } => key_value::Error::QuotaExceeded(words),
                StorageError::NotANumber => key_value::Error::NotANumber,
                StorageError::Overflow => key_value::Error::Overflow,
                StorageError::Busy(_) => key_value::Error::Busy,
                _ => key_value::Error::Other(words),
            },
            Failure::Trap(error) => return Err(error),
        })
    }
}

impl key_value::HostStore for KeyValueView<'_> {
    fn drop(&mut self, store: Resource<Bucket>) -> wasmtime::Result<()> {
        self.table.delete(store)?;
        Ok(())
    }
}

impl<T: Send + 'static> key_value::HostStoreWithStore<T> for Face {
    async fn open(accessor: &Accessor<T, Self>, name: String) -> Result<Resource<Bucket>, Failure> {
        let ctx = accessor.with(|mut access| access.get().ctx.clone());
        let bucket = ctx.open(&name).await?;
        accessor.with(|mut access| Ok(access.get().table.push(bucket)?))
    }

    async fn get(
        accessor: &Accessor<T, Self>,
        store: Resource<Bucket>,
        key: String,
    ) -> Result<Option<Vec<u8>>, Failure> {
        let (store, kept, limits) = opened(accessor, &store)?;
        let _held = kept.room(key.len() + limits.value_bytes).await?;
        Ok(store.get(&key).await?)
    }

    async fn get_entry(
        accessor: &Accessor<T, Self>,
        store: Resource<Bucket>,
        key: String,
    ) -> Result<Option<key_value::Entry>, Failure> {
        let (store, kept, limits) = opened(accessor, &store)?;
        let _held = kept.room(key.len() + limits.value_bytes).await?;
        let entry = store.get_entry(&key).await?;
        Ok(entry.map(Into::into))
    }

    async fn set(
        accessor: &Accessor<T, Self>,
        store: Resource<Bucket>,
        key: String,
        value: Vec<u8>,
        options: key_value::SetOptions,
    ) -> Result<u64, Failure> {
        let (store, kept, limits) = opened(accessor, &store)?;
        let conditional = options.condition.is_some();
        let bytes = key.len() + value.len() + condition_bytes(options.condition.as_ref());
        let options = SetOptions {
            ttl: ttl(options.ttl_ms)?,
            condition: condition(options.condition),
        };
        let _held = match conditional {
            // What is found where the condition does not hold comes back.
            true => kept.room(bytes + limits.value_bytes).await?,
            false => kept.hold(bytes)?,
        };
        done(store.set_with(&key, value, options).await?)
    }

    async fn delete(
        accessor: &Accessor<T, Self>,
        store: Resource<Bucket>,
        key: String,
        wanted: Option<key_value::Condition>,
    ) -> Result<bool, Failure> {
        let (store, kept, limits) = opened(accessor, &store)?;
        let bytes = key.len() + condition_bytes(wanted.as_ref());
        let _held = match wanted {
            Some(_) => kept.room(bytes + limits.value_bytes).await?,
            None => kept.hold(bytes)?,
        };
        done(store.delete_if(&key, condition(wanted)).await?)
    }

    async fn exists(
        accessor: &Accessor<T, Self>,
        store: Resource<Bucket>,
        key: String,
    ) -> Result<bool, Failure> {
        let (store, kept, _) = opened(accessor, &store)?;
        let _held = kept.hold(key.len())?;
        Ok(store.exists(&key).await?)
    }

    async fn list(
        accessor: &Accessor<T, Self>,
        store: Resource<Bucket>,
        options: key_value::ListOptions,
    ) -> Result<key_value::Page, Failure> {
        let (store, kept, limits) = opened(accessor, &store)?;
        let after = options.after.as_deref();
        let limit = match options.limit {
            Some(0) => return Err(Failure::invalid("the limit of a listing is at least 1")),
            Some(limit) => usize::try_from(limit).unwrap_or(PAGE).min(PAGE),
            None => PAGE,
        };
        let keys = limit * (limits.key_bytes + ENTRY_BYTES);
        let values = match options.values {
            true => (limit * limits.value_bytes).min(limits.batch_bytes),
            false => 0,
        };
        let _held = kept.room(keys + values).await?;
        if options.values {
            let page = store.list_entries(&options.prefix, after, limit).await?;
            let listed = |(key, entry): (String, Entry)| key_value::Listed {
                key,
                entry: Some(entry.into()),
            };
            return Ok(key_value::Page {
                entries: page.entries.into_iter().map(listed).collect(),
                next: page.next,
            });
        }
        let page = store.list(&options.prefix, after, limit).await?;
        let listed = |key| key_value::Listed { key, entry: None };
        Ok(key_value::Page {
            entries: page.keys.into_iter().map(listed).collect(),
            next: page.next,
        })
    }

    async fn get_many(
        accessor: &Accessor<T, Self>,
        store: Resource<Bucket>,
        keys: Vec<String>,
    ) -> Result<Vec<Option<Vec<u8>>>, Failure> {
        let (store, kept, limits) = opened(accessor, &store)?;
        let values = (keys.len() * (limits.value_bytes + ENTRY_BYTES)).min(limits.batch_bytes);
        let _held = kept.room(list_bytes(&keys) + values).await?;
        Ok(store.get_many(&keys).await?)
    }

    async fn set_many(
        accessor: &Accessor<T, Self>,
        store: Resource<Bucket>,
        pairs: Vec<(String, Vec<u8>)>,
    ) -> Result<(), Failure> {
        let (store, kept, _) = opened(accessor, &store)?;
        let bytes = pairs
            .iter()
            .map(|(key, value)| key.len() + value.len() + ENTRY_BYTES);
        let _held = kept.hold(bytes.sum())?;
        Ok(store.set_many(pairs).await?)
    }

    async fn delete_many(
        accessor: &Accessor<T, Self>,
        store: Resource<Bucket>,
        keys: Vec<String>,
    ) -> Result<(), Failure> {
        let (store, kept, _) = opened(accessor, &store)?;
        let _held = kept.hold(list_bytes(&keys))?;
        Ok(store.delete_many(keys).await?)
    }

    async fn increment(
        accessor: &Accessor<T, Self>,
        store: Resource<Bucket>,
        key: String,
        delta: i64,
    ) -> Result<i64, Failure> {
        let (store, kept, _) = opened(accessor, &store)?;
        let _held = kept.hold(key.len())?;
        Ok(store.increment(&key, delta).await?)
    }

    async fn transact(
        accessor: &Accessor<T, Self>,
        store: Resource<Bucket>,
        preconditions: Vec<key_value::Precondition>,
        changes: Vec<key_value::Change>,
    ) -> Result<Vec<key_value::Outcome>, Failure> {
        let (buckets, bucket, kept) = accessor.with(|mut access| {
            let view = access.get();
            let bucket = view.table.get(&store)?;
            Ok::<_, Failure>((
                bucket.buckets.clone(),
                bucket.name.clone(),
                view.kept.clone(),
            ))
        })?;
        let checked = preconditions
            .iter()
            .map(|check| check.key.len() + condition_bytes(Some(&check.condition)));
        let each = checked.chain(changes.iter().map(change_bytes));
        let bytes = each.map(|bytes| bytes + ENTRY_BYTES).sum::<usize>();
        let checks = preconditions.len();
        let _held = match checks {
            0 => kept.hold(bytes)?,
            // What one of them finds comes back as far as here.
            _ => kept.room(bytes + buckets.limits().value_bytes).await?,
        };
        let checked = preconditions.into_iter().map(|precondition| {
            let action = Action::Check(condition(Some(precondition.condition)));
            Ok((precondition.key, action))
        });
        let changed = changes.into_iter().map(action);
        let operations = checked.chain(changed).map(|step| {
            let (key, action) = step?;
            Ok(Operation {
                bucket: bucket.to_string(),
                key,
                action,
            })
        });
        let operations = operations.collect::<Result<_, Failure>>()?;
        match buckets.transact(operations).await? {
            Transaction::Done(outcomes) => outcomes.into_iter().skip(checks).map(outcome).collect(),
            Transaction::Conflict { operation, .. } => Err(Failure::Precondition(operation)),
        }
    }
}

/// What a key or an entry in a list takes beside its bytes.
const ENTRY_BYTES: usize = 64;

/// The store that a handle stands for, what the host keeps, and how much one operation may carry.
fn opened<T: Send + 'static>(
    accessor: &Accessor<T, Face>,
    store: &Resource<Bucket>,
) -> Result<(Arc<dyn KeyValue>, Kept, StorageLimits), Failure> {
    accessor.with(|mut access| {
        let view = access.get();
        let bucket = view.table.get(store)?;
        let limits = bucket.buckets.limits();
        Ok((bucket.store.clone(), view.kept.clone(), limits))
    })
}

fn list_bytes(keys: &[String]) -> usize {
    keys.iter().map(|key| key.len() + ENTRY_BYTES).sum()
}

fn condition_bytes(condition: Option<&key_value::Condition>) -> usize {
    match condition {
        Some(key_value::Condition::Value(value)) => value.len(),
        _ => 0,
    }
}

fn change_bytes(change: &key_value::Change) -> usize {
    match change {
        key_value::Change::Set(setting) => setting.key.len() + setting.value.len(),
        key_value::Change::Delete(key) | key_value::Change::Increment((key, _)) => key.len(),
    }
}

fn done<T>(outcome: Conditional<T>) -> Result<T, Failure> {
    match outcome {
        Conditional::Done(value) => Ok(value),
        Conditional::Conflict(found) => Err(Failure::Conflict(found)),
    }
}

fn action(change: key_value::Change) -> Result<(String, Action), Failure> {
    Ok(match change {
        key_value::Change::Set(setting) => {
            let options = SetOptions {
                ttl: ttl(setting.ttl_ms)?,
                condition: Condition::Always,
            };
            let value = setting.value;
            (setting.key, Action::Set { value, options })
        }
        key_value::Change::Delete(key) => (key, Action::Delete(Condition::Always)),
        key_value::Change::Increment((key, delta)) => (key, Action::Increment(delta)),
    })
}

fn outcome(outcome: Outcome) -> Result<key_value::Outcome, Failure> {
    Ok(match outcome {
        Outcome::Stored(version) => key_value::Outcome::Set(version),
        Outcome::Removed(was_there) => key_value::Outcome::Deleted(was_there),
        Outcome::Sum(sum) => key_value::Outcome::Incremented(sum),
        other => {
            let text = format!("a change was answered by {other:?}");
            return Err(StorageError::Failed(text).into());
        }
    })
}

fn condition(condition: Option<key_value::Condition>) -> Condition {
    match condition {
        None => Condition::Always,
        Some(key_value::Condition::Absent) => Condition::Absent,
        Some(key_value::Condition::Present) => Condition::Present,
        Some(key_value::Condition::Version(version)) => Condition::Version(version),
        Some(key_value::Condition::Value(value)) => Condition::Value(value),
    }
}

fn ttl(milliseconds: Option<u64>) -> Result<Option<Duration>, Failure> {
    match milliseconds {
        Some(0) => Err(Failure::invalid("a time to live is at least 1 ms")),
        other => Ok(other.map(Duration::from_millis)),
    }
}

fn count(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

impl From<Entry> for key_value::Entry {
    fn from(entry: Entry) -> Self {
        Self {
            value: entry.value,
            version: entry.version,
            expires_at: entry.expires_at,
        }
    }
}
