//! Serves `wasi:keyvalue` from the `wasi:keyvalue` that it imports. Values lie there behind a mark
//! from the configuration, so that a test sees through which relays they went.

use bindings::exports::wasi::keyvalue::store::{
    Bucket, BucketBorrow, Error, GuestBucket, KeyResponse,
};
use bindings::exports::wasi::keyvalue::{atomics, batch, store};
use canopy_sdk::config;
use inner::wasi::keyvalue::store as below;

#[canopy_sdk::driver(
    "wasi:keyvalue/store@0.2.0-draft",
    "wasi:keyvalue/atomics@0.2.0-draft",
    "wasi:keyvalue/batch@0.2.0-draft",
    wit = ["../../../../wit/deps/keyvalue-0.2.0-draft"]
)]
struct Relay;

canopy_sdk::import!(
    inner: "wasi:keyvalue/store@0.2.0-draft",
    "wasi:keyvalue/atomics@0.2.0-draft",
    wit = ["../../../../wit/deps/keyvalue-0.2.0-draft"]
);

struct Opened(below::Bucket);

impl From<below::Error> for Error {
    fn from(error: below::Error) -> Self {
        match error {
            below::Error::NoSuchStore => Self::NoSuchStore,
            below::Error::AccessDenied => Self::AccessDenied,
            below::Error::Other(text) => Self::Other(text),
        }
    }
}

fn mark() -> Result<Vec<u8>, Error> {
    let mark = config::get("mark").map_err(|error| Error::Other(error.to_string()))?;
    Ok(format!("{}:", mark.unwrap_or_default()).into_bytes())
}

impl store::Guest for Relay {
    type Bucket = Opened;

    fn open(identifier: String) -> Result<Bucket, Error> {
        Ok(Bucket::new(Opened(below::open(&identifier)?)))
    }
}

impl GuestBucket for Opened {
    fn get(&self, key: String) -> Result<Option<Vec<u8>>, Error> {
        let Some(value) = self.0.get(&key)? else {
            return Ok(None);
        };
        match value.strip_prefix(mark()?.as_slice()) {
            Some(value) => Ok(Some(value.to_vec())),
            None => Err(Error::Other(format!("the value of {key} has no mark"))),
        }
    }

    fn set(&self, key: String, value: Vec<u8>) -> Result<(), Error> {
        let mut marked = mark()?;
        marked.extend(value);
        Ok(self.0.set(&key, &marked)?)
    }

    fn delete(&self, key: String) -> Result<(), Error> {
        Ok(self.0.delete(&key)?)
    }

    fn exists(&self, key: String) -> Result<bool, Error> {
        Ok(self.0.exists(&key)?)
    }

    fn list_keys(&self, cursor: Option<u64>) -> Result<KeyResponse, Error> {
        let page = self.0.list_keys(cursor)?;
        Ok(KeyResponse {
            keys: page.keys,
            cursor: page.cursor,
        })
    }
}

impl atomics::Guest for Relay {
    fn increment(bucket: BucketBorrow<'_>, key: String, delta: u64) -> Result<u64, Error> {
        let bucket = &bucket.get::<Opened>().0;
        Ok(inner::wasi::keyvalue::atomics::increment(
            bucket, &key, delta,
        )?)
    }
}

impl batch::Guest for Relay {
    fn get_many(
        bucket: BucketBorrow<'_>,
        keys: Vec<String>,
    ) -> Result<Vec<Option<(String, Vec<u8>)>>, Error> {
        let bucket = bucket.get::<Opened>();
        let values = keys.into_iter().map(|key| {
            let value = bucket.get(key.clone())?;
            Ok(value.map(|value| (key, value)))
        });
        values.collect()
    }

    fn set_many(bucket: BucketBorrow<'_>, key_values: Vec<(String, Vec<u8>)>) -> Result<(), Error> {
        let bucket = bucket.get::<Opened>();
        let mut pairs = key_values.into_iter();
        pairs.try_for_each(|(key, value)| bucket.set(key, value))
    }

    fn delete_many(bucket: BucketBorrow<'_>, keys: Vec<String>) -> Result<(), Error> {
        let bucket = bucket.get::<Opened>();
        keys.into_iter().try_for_each(|key| bucket.delete(key))
    }
}
