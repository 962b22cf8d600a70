//! Durable key-value storage, the installation's own.
//!
//! Whatever has been written when a call returns outlives a crash of the platform. There are two
//! types, for two kinds of applications:
//!
//! - [`Bucket`] is what every engine can do, by `wasi:keyvalue`. Which engine keeps it is the
//!   tenant's choice, by a binding; the application does not notice.
//! - `Store`, with the feature `storage`, is what the platform's own engine can do, by
//!   `canopy:storage`: times to live, versions, conditions and transactions of several keys.
//!
//! Both keep the same data under the same name where the tenant has bound nothing else. Names other
//! than `default` are declared in the manifest, by `[[stores]]`.
//!
//! ```no_run
//! use canopy_sdk::kv::{self, Bucket};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize)]
//! struct Customer {
//!     name: String,
//! }
//!
//! fn rename(id: &str, name: &str) -> Result<bool, kv::Error> {
//!     let customers = Bucket::open("default")?;
//!     let Some(mut customer) = customers.get::<Customer>(id)? else {
//!         return Ok(false);
//!     };
//!     customer.name = name.to_owned();
//!     customers.set(id, &customer)?;
//!     Ok(true)
//! }
//! ```

use canopy_sdk_core::{Problem, StatusCode, log};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::bindings::wasi::keyvalue::{atomics, batch, store};

#[cfg(feature = "storage")]
mod versioned;

#[cfg(feature = "storage")]
pub use versioned::{Condition, Entry, Outcome, SetOptions, Store, Transaction};

/// Why a storage operation did not take place.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The manifest declares no store of that name, or the engine cannot make it.
    #[error("there is no such bucket")]
    NoSuchBucket,
    /// The installation may not use that bucket.
    #[error("access to the bucket is denied")]
    AccessDenied,
    /// The engine refused or failed; the text is its own.
    #[error("{0}")]
    Engine(String),
    /// The write would exceed a quota; the text says which. A [`Bucket`] says it by
    /// [`Error::Engine`], as it says all that follows.
    #[error("{0}")]
    QuotaExceeded(String),
    /// Something is over a limit; the text says what.
    #[error("{0}")]
    TooLarge(String),
    /// An argument means nothing; the text says which.
    #[error("{0}")]
    InvalidArgument(String),
    /// The condition of a write does not hold.
    #[error("somebody else has written meanwhile")]
    Conflict,
    /// The precondition of this index does not hold.
    #[error("precondition {0} of the transaction does not hold")]
    PreconditionFailed(usize),
    /// The value to be incremented is no number.
    #[error("the value of this key is not a number")]
    NotANumber,
    /// The sum is beyond a signed 64-bit number.
    #[error("the sum is beyond a 64-bit signed number")]
    Overflow,
    /// Too much is under way on the node; the operation did not begin.
    #[error("storage is busy")]
    Busy,
    /// The stored value is not of the type that was asked for.
    #[error("the value of {key:?} is not what it should be: {reason}")]
    Mismatch {
        /// The value's key.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        match error {
            store::Error::NoSuchStore => Self::NoSuchBucket,
            store::Error::AccessDenied => Self::AccessDenied,
            store::Error::Other(text) => Self::Engine(text),
        }
    }
}

/// Storage that fails is not the caller's fault: 503, with the reason in the log alone.
impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        log::error!("storage: {error}");
        Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "The storage did not answer as it should. Nothing is known to be lost; try again.",
        )
    }
}

/// A collection of keys and values. Values are written as JSON, or as bytes by the functions whose
/// names say so.
#[derive(Debug)]
pub struct Bucket(store::Bucket);

impl Bucket {
    /// The bucket `name` of this installation; `default` is there on every engine.
    ///
    /// # Errors
    /// [`Error::NoSuchBucket`] or [`Error::AccessDenied`] if the engine does not have it.
    pub fn open(name: &str) -> Result<Self, Error> {
        Ok(Self(store::open(name)?))
    }

    /// The value of `key`.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if the stored value is no `T`; else the engine's.
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, Error> {
        self.get_bytes(key)?
            .map(|bytes| decode(key, &bytes))
            .transpose()
    }

    /// The value of `key` as it is stored.
    ///
    /// # Errors
    /// The engine's.
    pub fn get_bytes(&self, key: &str) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.0.get(key)?)
    }

    /// Sets the value of `key`.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if `value` has no form in JSON; else the engine's.
    pub fn set<T: Serialize + ?Sized>(&self, key: &str, value: &T) -> Result<(), Error> {
        self.set_bytes(key, &encode(key, value)?)
    }

    /// Sets the value of `key` to bytes.
    ///
    /// # Errors
    /// The engine's.
    pub fn set_bytes(&self, key: &str, value: &[u8]) -> Result<(), Error> {
        Ok(self.0.set(key, value)?)
    }

    /// Removes `key`; no error if it is not there.
    ///
    /// # Errors
    /// The engine's.
    pub fn delete(&self, key: &str) -> Result<(), Error> {
        Ok(self.0.delete(key)?)
    }

    /// Whether `key` has a value.
    ///
    /// # Errors
    /// The engine's.
    pub fn exists(&self, key: &str) -> Result<bool, Error> {
        Ok(self.0.exists(key)?)
    }

    /// Adds `delta` to the number at `key` (absent counts as 0) and returns the sum, as one
    /// indivisible step. No two callers ever get the same sum for a `delta` above 0.
    ///
    /// # Errors
    /// The engine's, as if the value is no number or the sum is beyond what it holds; then
    /// nothing has changed.
    pub fn increment(&self, key: &str, delta: u64) -> Result<u64, Error> {
        Ok(atomics::increment(&self.0, key, delta)?)
    }

    /// The number at `key`, which [`Bucket::increment`] has made.
    ///
    /// Engines write numbers down as decimal text. One that does not is asked by adding nothing,
    /// which costs it a write.
    ///
    /// # Errors
    /// The engine's.
    pub fn number(&self, key: &str) -> Result<Option<u64>, Error> {
        let Some(bytes) = self.get_bytes(key)? else {
            return Ok(None);
        };
        let text = std::str::from_utf8(&bytes).ok();
        match text.and_then(|text| text.parse().ok()) {
            Some(number) => Ok(Some(number)),
            None => self.increment(key, 0).map(Some),
        }
    }

    /// All keys, fetched page by page as the iterator goes on. Each key comes once if nothing is
    /// written meanwhile.
    #[must_use]
    pub fn keys(&self) -> Keys<'_> {
        Keys {
            bucket: self,
            page: Vec::new().into_iter(),
            next: Next::First,
        }
    }

    /// All keys that begin with `prefix`, sorted.
    ///
    /// # Errors
    /// The engine's.
    pub fn keys_with_prefix(&self, prefix: &str) -> Result<Vec<String>, Error> {
        let mut keys = self
            .keys()
            .filter(|key| key.as_ref().map_or(true, |key| key.starts_with(prefix)))
            .collect::<Result<Vec<_>, _>>()?;
        keys.sort_unstable();
        // An engine may name a key twice if it moves while the listing goes on.
        keys.dedup();
        Ok(keys)
    }

    /// The values of `keys` in one call, in their order.
    ///
    /// # Errors
    /// As [`Bucket::get`].
    pub fn get_many<T: DeserializeOwned>(&self, keys: &[String]) -> Result<Vec<Option<T>>, Error> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let values = batch::get_many(&self.0, keys)?;
        values
            .into_iter()
            .map(|pair| pair.map(|(key, bytes)| decode(&key, &bytes)).transpose())
            .collect()
    }

    /// Sets all pairs in one call.
    ///
    /// # Errors
    /// As [`Bucket::set`]. Whether some pairs are set then depends on the engine.
    pub fn set_many<T: Serialize>(&self, pairs: &[(String, T)]) -> Result<(), Error> {
        let pairs = pairs
            .iter()
            .map(|(key, value)| Ok((key.clone(), encode(key, value)?)))
            .collect::<Result<Vec<_>, Error>>()?;
        Ok(batch::set_many(&self.0, &pairs)?)
    }

    /// Removes all `keys` in one call.
    ///
    /// # Errors
    /// The engine's. Whether some are removed then depends on the engine.
    pub fn delete_many(&self, keys: &[String]) -> Result<(), Error> {
        Ok(batch::delete_many(&self.0, keys)?)
    }
}

/// The keys of a bucket; made by [`Bucket::keys`].
#[derive(Debug)]
pub struct Keys<'a> {
    bucket: &'a Bucket,
    page: std::vec::IntoIter<String>,
    next: Next,
}

#[derive(Debug, Clone, Copy)]
enum Next {
    First,
    Page(u64),
    End,
}

impl Iterator for Keys<'_> {
    type Item = Result<String, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(key) = self.page.next() {
                return Some(Ok(key));
            }
            let cursor = match self.next {
                Next::First => None,
                Next::Page(cursor) => Some(cursor),
                Next::End => return None,
            };
            match self.bucket.0.list_keys(cursor) {
                Ok(response) => {
                    self.page = response.keys.into_iter();
                    self.next = response.cursor.map_or(Next::End, Next::Page);
                }
                Err(error) => {
                    self.next = Next::End;
                    return Some(Err(error.into()));
                }
            }
        }
    }
}

fn encode<T: Serialize + ?Sized>(key: &str, value: &T) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(value).map_err(|error| mismatch(key, &error))
}

fn decode<T: DeserializeOwned>(key: &str, bytes: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(bytes).map_err(|error| mismatch(key, &error))
}

fn mismatch(key: &str, error: &serde_json::Error) -> Error {
    Error::Mismatch {
        key: key.to_owned(),
        reason: error.to_string(),
    }
}
