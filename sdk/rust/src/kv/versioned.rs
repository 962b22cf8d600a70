//! The platform's own stores in full: versions, times to live, conditions and transactions.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use canopy_sdk_core::stream::block_on;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Error, decode, encode};
use crate::bindings::storage::key_value as wit;

/// A store of this installation with all that the platform can do with it.
///
/// It keeps the same data as the [`Bucket`](super::Bucket) of the same name, unless the tenant has
/// bound `wasi:keyvalue` to a driver. Values are written as JSON, or as bytes by the functions
/// whose names say so. A function that returns an error has changed nothing.
///
/// ```no_run
/// use canopy_sdk::kv::{self, Condition, SetOptions, Store};
/// use std::time::Duration;
///
/// fn transfer(from: &str, to: &str, amount: i64) -> Result<(), kv::Error> {
///     let accounts = Store::open("accounts")?;
///     loop {
///         let Some(account) = accounts.entry::<i64>(from)? else {
///             return Ok(());
///         };
///         let outcome = accounts
///             .transaction()
///             .require(from, Condition::Version(account.version))
///             .set(from, &(account.value - amount))?
///             .increment(to, amount)
///             .commit();
///         match outcome {
///             Err(kv::Error::PreconditionFailed(_)) => continue,
///             other => return other.map(drop),
///         }
///     }
/// }
///
/// fn remember(session: &str, user: &str) -> Result<(), kv::Error> {
///     let for_an_hour = SetOptions::new().ttl(Duration::from_secs(3600)).absent();
///     Store::open("sessions")?.set_with(session, user, for_an_hour).map(drop)
/// }
/// ```
#[derive(Debug)]
pub struct Store(wit::Store);

/// A value and what is known about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry<T> {
    /// The value.
    pub value: T,
    /// Another one after every write of the key, and never one that the store gave before.
    pub version: u64,
    /// When it goes by itself.
    pub expires_at: Option<SystemTime>,
}

/// What must be stored under a key for a write to take place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// Nothing.
    Absent,
    /// Any value.
    Present,
    /// The value that has this version.
    Version(u64),
    /// Exactly these bytes.
    Bytes(Vec<u8>),
}

/// How a value is set; without more it stays until it is replaced or deleted.
#[derive(Debug, Clone, Default)]
pub struct SetOptions {
    ttl: Option<Duration>,
    condition: Option<Condition>,
}

impl SetOptions {
    /// Without a condition, for ever.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The entry goes by itself after `ttl`, counted in whole milliseconds.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// Only if `condition` holds; otherwise [`Error::Conflict`].
    #[must_use]
    pub fn only_if(mut self, condition: Condition) -> Self {
        self.condition = Some(condition);
        self
    }

    /// Only if nothing is stored under the key.
    #[must_use]
    pub fn absent(self) -> Self {
        self.only_if(Condition::Absent)
    }
}

impl Store {
    /// The store `name` of this installation, which the manifest declares; `default` is always
    /// there.
    ///
    /// # Errors
    /// [`Error::NoSuchBucket`] if the manifest does not declare it.
    pub fn open(name: &str) -> Result<Self, Error> {
        Ok(Self(block_on(wit::Store::open(name.to_owned()))?))
    }

    /// The value of `key`.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if the stored value is no `T`.
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, Error> {
        let bytes = self.get_bytes(key)?;
        bytes.map(|bytes| decode(key, &bytes)).transpose()
    }

    /// The value of `key` as it is stored.
    ///
    /// # Errors
    /// The platform's.
    pub fn get_bytes(&self, key: &str) -> Result<Option<Vec<u8>>, Error> {
        Ok(block_on(self.0.get(key.to_owned()))?)
    }

    /// The value of `key`, its version and when it expires.
    ///
    /// # Errors
    /// As [`Store::get`].
    pub fn entry<T: DeserializeOwned>(&self, key: &str) -> Result<Option<Entry<T>>, Error> {
        let entry = block_on(self.0.get_entry(key.to_owned()))?;
        entry.map(|entry| typed(key, entry)).transpose()
    }

    /// Sets the value of `key` and returns its version.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if `value` has no form in JSON; else the platform's.
    pub fn set<T: Serialize + ?Sized>(&self, key: &str, value: &T) -> Result<u64, Error> {
        self.set_with(key, value, SetOptions::new())
    }

    /// Sets the value of `key` with a time to live or a condition, and returns its version.
    ///
    /// # Errors
    /// [`Error::Conflict`] if the condition does not hold; else as [`Store::set`].
    pub fn set_with<T: Serialize + ?Sized>(
        &self,
        key: &str,
        value: &T,
        options: SetOptions,
    ) -> Result<u64, Error> {
        self.set_bytes(key, encode(key, value)?, options)
    }

    /// Sets the value of `key` to bytes and returns its version.
    ///
    /// # Errors
    /// As [`Store::set_with`].
    pub fn set_bytes(&self, key: &str, value: Vec<u8>, options: SetOptions) -> Result<u64, Error> {
        let options = wit::SetOptions {
            ttl_ms: options.ttl.map(milliseconds),
            condition: options.condition.map(Into::into),
        };
        Ok(block_on(self.0.set(key.to_owned(), value, options))?)
    }

    /// Replaces the value of `key` by what `change` makes of it, again and again until nobody else
    /// has written meanwhile. Returns the value that was set. `change` may be called several times.
    ///
    /// # Errors
    /// As [`Store::get`] and [`Store::set`].
    pub fn update<T>(&self, key: &str, mut change: impl FnMut(Option<T>) -> T) -> Result<T, Error>
    where
        T: Serialize + DeserializeOwned,
    {
        loop {
            let entry = self.entry::<T>(key)?;
            let condition = entry
                .as_ref()
                .map_or(Condition::Absent, |entry| Condition::Version(entry.version));
            let value = change(entry.map(|entry| entry.value));
            match self.set_with(key, &value, SetOptions::new().only_if(condition)) {
                Ok(_) => return Ok(value),
                Err(Error::Conflict) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Deletes `key`, and says whether it was there.
    ///
    /// # Errors
    /// The platform's.
    pub fn delete(&self, key: &str) -> Result<bool, Error> {
        Ok(block_on(self.0.delete(key.to_owned(), None))?)
    }

    /// Deletes `key` if `condition` holds, and says whether it was there.
    ///
    /// # Errors
    /// [`Error::Conflict`] if it does not hold; else the platform's.
    pub fn delete_if(&self, key: &str, condition: Condition) -> Result<bool, Error> {
        let condition = Some(condition.into());
        Ok(block_on(self.0.delete(key.to_owned(), condition))?)
    }

    /// Whether `key` has a value.
    ///
    /// # Errors
    /// The platform's.
    pub fn exists(&self, key: &str) -> Result<bool, Error> {
        Ok(block_on(self.0.exists(key.to_owned()))?)
    }

    /// Adds `delta` to the number at `key` (absent counts as 0) and returns the sum, as one
    /// indivisible step.
    ///
    /// # Errors
    /// [`Error::NotANumber`] and [`Error::Overflow`]; else the platform's.
    pub fn increment(&self, key: &str, delta: i64) -> Result<i64, Error> {
        Ok(block_on(self.0.increment(key.to_owned(), delta))?)
    }

    /// The keys that begin with `prefix`, in the order of their bytes, fetched page by page.
    pub fn keys(&self, prefix: &str) -> impl Iterator<Item = Result<String, Error>> + '_ {
        Scan::new(self, prefix, false).map(|listed| Ok(listed?.key))
    }

    /// The keys that begin with `prefix` with their entries, in the order of the keys' bytes,
    /// fetched page by page.
    pub fn entries<T: DeserializeOwned>(
        &self,
        prefix: &str,
    ) -> impl Iterator<Item = Result<(String, Entry<T>), Error>> + '_ {
        Scan::new(self, prefix, true).filter_map(|listed| match listed {
            Ok(listed) => {
                let entry = typed(&listed.key, listed.entry?);
                Some(entry.map(|entry| (listed.key, entry)))
            }
            Err(error) => Some(Err(error)),
        })
    }

    /// The values of `keys` at one moment, in their order.
    ///
    /// # Errors
    /// As [`Store::get`].
    pub fn get_many<T: DeserializeOwned>(&self, keys: &[String]) -> Result<Vec<Option<T>>, Error> {
        let values = block_on(self.0.get_many(keys.to_vec()))?;
        let pairs = keys.iter().zip(values);
        pairs
            .map(|(key, bytes)| bytes.map(|bytes| decode(key, &bytes)).transpose())
            .collect()
    }

    /// Sets all pairs or none.
    ///
    /// # Errors
    /// As [`Store::set`].
    pub fn set_many<T: Serialize>(&self, pairs: &[(String, T)]) -> Result<(), Error> {
        let pairs = pairs
            .iter()
            .map(|(key, value)| Ok((key.clone(), encode(key, value)?)))
            .collect::<Result<_, Error>>()?;
        Ok(block_on(self.0.set_many(pairs))?)
    }

    /// Deletes all `keys` or none.
    ///
    /// # Errors
    /// The platform's.
    pub fn delete_many(&self, keys: &[String]) -> Result<(), Error> {
        Ok(block_on(self.0.delete_many(keys.to_vec()))?)
    }

    /// Several changes that take place together or not at all.
    pub fn transaction(&self) -> Transaction<'_> {
        Transaction {
            store: self,
            preconditions: Vec::new(),
            changes: Vec::new(),
        }
    }
}

/// Several changes of one store; made by [`Store::transaction`].
#[derive(Debug)]
#[must_use = "nothing happens until `commit`"]
pub struct Transaction<'a> {
    store: &'a Store,
    preconditions: Vec<wit::Precondition>,
    changes: Vec<wit::Change>,
}

/// What a change of a transaction did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The version of the value that was set.
    Set(u64),
    /// Whether there was anything to delete.
    Deleted(bool),
    /// The sum.
    Incremented(i64),
}

impl Transaction<'_> {
    /// Relies on `condition` of `key`.
    pub fn require(mut self, key: &str, condition: Condition) -> Self {
        self.preconditions.push(wit::Precondition {
            key: key.to_owned(),
            condition: condition.into(),
        });
        self
    }

    /// Sets the value of `key`.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if `value` has no form in JSON.
    pub fn set<T: Serialize + ?Sized>(self, key: &str, value: &T) -> Result<Self, Error> {
        let value = encode(key, value)?;
        Ok(self.setting(key, value, None))
    }

    /// Sets the value of `key` for the time `ttl`.
    ///
    /// # Errors
    /// As [`Transaction::set`].
    pub fn set_for<T: Serialize + ?Sized>(
        self,
        key: &str,
        value: &T,
        ttl: Duration,
    ) -> Result<Self, Error> {
        let value = encode(key, value)?;
        Ok(self.setting(key, value, Some(ttl)))
    }

    fn setting(mut self, key: &str, value: Vec<u8>, ttl: Option<Duration>) -> Self {
        self.changes.push(wit::Change::Set(wit::Setting {
            key: key.to_owned(),
            value,
            ttl_ms: ttl.map(milliseconds),
        }));
        self
    }

    /// Deletes `key`.
    pub fn delete(mut self, key: &str) -> Self {
        self.changes.push(wit::Change::Delete(key.to_owned()));
        self
    }

    /// Adds `delta` to the number at `key`.
    pub fn increment(mut self, key: &str, delta: i64) -> Self {
        self.changes
            .push(wit::Change::Increment((key.to_owned(), delta)));
        self
    }

    /// Makes all changes in their order, if everything holds that they rely on.
    ///
    /// # Errors
    /// [`Error::PreconditionFailed`] with the index of what does not hold; else the platform's.
    pub fn commit(self) -> Result<Vec<Outcome>, Error> {
        let outcomes = block_on(self.store.0.transact(self.preconditions, self.changes))?;
        let outcome = |outcome| match outcome {
            wit::Outcome::Set(version) => Outcome::Set(version),
            wit::Outcome::Deleted(was_there) => Outcome::Deleted(was_there),
            wit::Outcome::Incremented(sum) => Outcome::Incremented(sum),
        };
        Ok(outcomes.into_iter().map(outcome).collect())
    }
}

/// A listing that fetches its pages as it goes on.
struct Scan<'a> {
    store: &'a Store,
    prefix: String,
    values: bool,
    page: std::vec::IntoIter<wit::Listed>,
    after: Option<String>,
    ended: bool,
}

impl<'a> Scan<'a> {
    fn new(store: &'a Store, prefix: &str, values: bool) -> Self {
        Self {
            store,
            prefix: prefix.to_owned(),
            values,
            page: Vec::new().into_iter(),
            after: None,
            ended: false,
        }
    }
}

impl Iterator for Scan<'_> {
    type Item = Result<wit::Listed, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(listed) = self.page.next() {
                return Some(Ok(listed));
            }
            if self.ended {
                return None;
            }
            let options = wit::ListOptions {
                prefix: self.prefix.clone(),
                after: self.after.take(),
                limit: None,
                values: self.values,
            };
            match block_on(self.store.0.list(options)) {
                Ok(page) => {
                    self.page = page.entries.into_iter();
                    self.ended = page.next.is_none();
                    self.after = page.next;
                }
                Err(error) => {
                    self.ended = true;
                    return Some(Err(error.into()));
                }
            }
        }
    }
}

fn typed<T: DeserializeOwned>(key: &str, entry: wit::Entry) -> Result<Entry<T>, Error> {
    Ok(Entry {
        value: decode(key, &entry.value)?,
        version: entry.version,
        expires_at: entry
            .expires_at
            .and_then(|ms| UNIX_EPOCH.checked_add(Duration::from_millis(ms))),
    })
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl From<Condition> for wit::Condition {
    fn from(condition: Condition) -> Self {
        match condition {
            Condition::Absent => Self::Absent,
            Condition::Present => Self::Present,
            Condition::Version(version) => Self::Version(version),
            Condition::Bytes(bytes) => Self::Value(bytes),
        }
    }
}

impl From<wit::Error> for Error {
    fn from(error: wit::Error) -> Self {
        match error {
            wit::Error::NoSuchStore => Self::NoSuchBucket,
            wit::Error::AccessDenied => Self::AccessDenied,
            wit::Error::QuotaExceeded(text) => Self::QuotaExceeded(text),
            wit::Error::TooLarge(text) => Self::TooLarge(text),
            wit::Error::InvalidArgument(text) => Self::InvalidArgument(text),
            wit::Error::Conflict(_) => Self::Conflict,
            wit::Error::PreconditionFailed(index) => {
                Self::PreconditionFailed(usize::try_from(index).unwrap_or(usize::MAX))
            }
            wit::Error::NotANumber => Self::NotANumber,
            wit::Error::Overflow => Self::Overflow,
            wit::Error::Busy => Self::Busy,
            wit::Error::Other(text) => Self::Engine(text),
        }
    }
}
