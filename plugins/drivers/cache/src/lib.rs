//! Serves `wasi:keyvalue` from `wasi:keyvalue` of another driver, and remembers what was read and
//! written.
//!
//! The crate `remember` is what is remembered, [`front`] says when it is used; here the interface is joined to
//! it on both sides.

mod front;

use std::cell::RefCell;
use std::time::{Duration, Instant};

use bindings::exports::wasi::keyvalue::store::{
    Bucket, BucketBorrow, Error, GuestBucket, KeyResponse,
};
use bindings::exports::wasi::keyvalue::{atomics, batch, store};
use bindings::wasi::keyvalue as beneath;
use canopy_sdk::{config, identity, log};
use front::{Front, Inner};
use remember::Memory;

#[canopy_sdk::driver(
    "wasi:keyvalue/store@0.2.0-draft",
    "wasi:keyvalue/atomics@0.2.0-draft",
    "wasi:keyvalue/batch@0.2.0-draft",
    imports = [
        "wasi:keyvalue/store@0.2.0-draft",
        "wasi:keyvalue/atomics@0.2.0-draft",
        "wasi:keyvalue/batch@0.2.0-draft",
    ],
    wit = ["../../../wit/deps/keyvalue-0.2.0-draft"]
)]
struct Cache;

thread_local! {
    static MEMORY: RefCell<Memory<Option<Vec<u8>>>> = RefCell::default();
    static BEGUN: Instant = Instant::now();
}

/// A bucket of the installation that opened it.
struct Opened {
    installation: String,
    bucket: String,
    ttl: Duration,
    max_bytes: usize,
    inner: Beneath,
}

/// The bucket of the driver beneath.
struct Beneath(beneath::store::Bucket);

impl From<config::Error> for Error {
    fn from(error: config::Error) -> Self {
        log::error!("{error}");
        Self::Other(error.to_string())
    }
}

impl store::Guest for Cache {
    type Bucket = Opened;

    fn open(identifier: String) -> Result<Bucket, Error> {
        let installation = identity::installation().ok_or(Error::AccessDenied)?.id;
        Ok(Bucket::new(Opened {
            installation,
            ttl: Duration::from_millis(config::parse_or("ttl_ms", 1000)?),
            max_bytes: config::parse_or("max_bytes", 16 << 20)?,
            inner: Beneath(beneath::store::open(&identifier)?),
            bucket: identifier,
        }))
    }
}

impl Opened {
    /// Does `work` for the installation that opened the bucket, whoever may hold it.
    fn with<R>(
        &self,
        work: impl FnOnce(Front<'_, Beneath>) -> Result<R, beneath::store::Error>,
    ) -> Result<R, Error> {
        let caller = identity::installation();
        if caller.is_none_or(|caller| caller.id != self.installation) {
            return Err(Error::AccessDenied);
        }
        MEMORY.with(|memory| {
            let front = Front {
                memory,
                installation: &self.installation,
                bucket: &self.bucket,
                ttl: self.ttl,
                max_bytes: self.max_bytes,
                now: &|| BEGUN.with(Instant::elapsed),
                inner: &self.inner,
            };
            work(front)
        })
    }
}

impl GuestBucket for Opened {
    fn get(&self, key: String) -> Result<Option<Vec<u8>>, Error> {
        self.with(|front| front.get(&key))
    }

    fn set(&self, key: String, value: Vec<u8>) -> Result<(), Error> {
        self.with(|front| front.set(&key, value))
    }

    fn delete(&self, key: String) -> Result<(), Error> {
        self.with(|front| front.delete(&key))
    }

    fn exists(&self, key: String) -> Result<bool, Error> {
        self.with(|front| front.exists(&key))
    }

    fn list_keys(&self, cursor: Option<u64>) -> Result<KeyResponse, Error> {
        self.with(|front| front.inner.0.list_keys(cursor))
    }
}

impl atomics::Guest for Cache {
    fn increment(bucket: BucketBorrow<'_>, key: String, delta: u64) -> Result<u64, Error> {
        bucket
            .get::<Opened>()
            .with(|front| front.increment(&key, delta))
    }
}

impl batch::Guest for Cache {
    fn get_many(
        bucket: BucketBorrow<'_>,
        keys: Vec<String>,
    ) -> Result<Vec<Option<(String, Vec<u8>)>>, Error> {
        let values = bucket.get::<Opened>().with(|front| front.get_many(&keys))?;
        let pairs = keys.into_iter().zip(values);
        Ok(pairs
            .map(|(key, value)| value.map(|value| (key, value)))
            .collect())
    }

    fn set_many(bucket: BucketBorrow<'_>, key_values: Vec<(String, Vec<u8>)>) -> Result<(), Error> {
        bucket
            .get::<Opened>()
            .with(|front| front.set_many(key_values))
    }

    fn delete_many(bucket: BucketBorrow<'_>, keys: Vec<String>) -> Result<(), Error> {
        bucket
            .get::<Opened>()
            .with(|front| front.delete_many(&keys))
    }
}

impl Inner for Beneath {
    type Error = beneath::store::Error;

    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Self::Error> {
        self.0.get(key)
    }

    fn set(&self, key: &str, value: &[u8]) -> Result<(), Self::Error> {
        self.0.set(key, value)
    }

    fn delete(&self, key: &str) -> Result<(), Self::Error> {
        self.0.delete(key)
    }

    fn exists(&self, key: &str) -> Result<bool, Self::Error> {
        self.0.exists(key)
    }

    fn increment(&self, key: &str, delta: u64) -> Result<u64, Self::Error> {
        beneath::atomics::increment(&self.0, key, delta)
    }

    fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Vec<u8>>>, Self::Error> {
        let found = beneath::batch::get_many(&self.0, keys)?;
        Ok(found
            .into_iter()
            .map(|pair| pair.map(|(_, value)| value))
            .collect())
    }

    fn set_many(&self, values: &[(String, Vec<u8>)]) -> Result<(), Self::Error> {
        beneath::batch::set_many(&self.0, values)
    }

    fn delete_many(&self, keys: &[String]) -> Result<(), Self::Error> {
        beneath::batch::delete_many(&self.0, keys)
    }
}
