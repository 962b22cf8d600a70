//! Serves `wasi:keyvalue` and keeps everything, encrypted, by `wasi:keyvalue` of another driver.
//!
//! The crate `vault` has the tenant's keys and says what a kept value looks like, [`names`] what it is
//! kept under, [`bucket`] puts them together; here the interface is joined to it on both sides.

mod bucket;
mod names;

use bindings::exports::wasi::keyvalue::store::{
    Bucket, BucketBorrow, Error, GuestBucket, KeyResponse,
};
use bindings::exports::wasi::keyvalue::{atomics, batch, store};
use bindings::wasi::keyvalue as beneath;
use bucket::{Inner, Page, Refusal, Vault};
use canopy_sdk::{config, identity, log};
use vault::keyring::Keyring;

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
struct Encrypt;

/// A bucket of the installation that opened it.
struct Opened {
    keys: Keyring,
    place: Vec<u8>,
    counters: bool,
    installation: String,
    inner: Beneath,
}

/// The bucket of the driver beneath.
struct Beneath(beneath::store::Bucket);

impl From<Refusal<beneath::store::Error>> for Error {
    fn from(refusal: Refusal<beneath::store::Error>) -> Self {
        match refusal {
            Refusal::Inner(error) => error,
            other => {
                log::error!("{other}");
                Self::Other(other.to_string())
            }
        }
    }
}

impl From<config::Error> for Error {
    fn from(error: config::Error) -> Self {
        log::error!("{error}");
        Self::Other(error.to_string())
    }
}

impl store::Guest for Encrypt {
    type Bucket = Opened;

    fn open(identifier: String) -> Result<Bucket, Error> {
        let installation = identity::installation().ok_or(Error::AccessDenied)?.id;
        let keys = Keyring::read(
            &config::require("key")?,
            config::get("old_keys")?.as_deref(),
            config::get("name_key")?.as_deref(),
        );
        let keys = keys.map_err(|unusable| {
            log::error!("{unusable}");
            Error::Other(unusable.to_string())
        })?;
        Ok(Bucket::new(Opened {
            keys,
            // Identifiers of installations have no slash.
            place: format!("{installation}/{identifier}").into_bytes(),
            counters: config::get("counters")?.is_none_or(|counters| counters == "clear"),
            inner: Beneath(beneath::store::open(&identifier)?),
            installation,
        }))
    }
}

impl Opened {
    /// A bucket works for the installation that opened it and nobody else, whoever may hold it.
    fn vault(&self) -> Result<Vault<'_, Beneath>, Error> {
        let caller = identity::installation();
        if caller.is_none_or(|caller| caller.id != self.installation) {
            return Err(Error::AccessDenied);
        }
        Ok(Vault {
            keys: &self.keys,
            place: &self.place,
            counters: self.counters,
            inner: &self.inner,
        })
    }
}

impl GuestBucket for Opened {
    fn get(&self, key: String) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.vault()?.get(&key)?)
    }

    fn set(&self, key: String, value: Vec<u8>) -> Result<(), Error> {
        Ok(self.vault()?.set(&key, &value)?)
    }

    fn delete(&self, key: String) -> Result<(), Error> {
        Ok(self.vault()?.delete(&key)?)
    }

    fn exists(&self, key: String) -> Result<bool, Error> {
        Ok(self.vault()?.exists(&key)?)
    }

    fn list_keys(&self, cursor: Option<u64>) -> Result<KeyResponse, Error> {
        let (keys, cursor) = self.vault()?.list(cursor)?;
        Ok(KeyResponse { keys, cursor })
    }
}

impl atomics::Guest for Encrypt {
    fn increment(bucket: BucketBorrow<'_>, key: String, delta: u64) -> Result<u64, Error> {
        Ok(bucket.get::<Opened>().vault()?.increment(&key, delta)?)
    }
}

impl batch::Guest for Encrypt {
    fn get_many(
        bucket: BucketBorrow<'_>,
        keys: Vec<String>,
    ) -> Result<Vec<Option<(String, Vec<u8>)>>, Error> {
        let values = bucket.get::<Opened>().vault()?.get_many(&keys)?;
        let pairs = keys.into_iter().zip(values);
        Ok(pairs
            .map(|(key, value)| value.map(|value| (key, value)))
            .collect())
    }

    fn set_many(bucket: BucketBorrow<'_>, key_values: Vec<(String, Vec<u8>)>) -> Result<(), Error> {
        Ok(bucket.get::<Opened>().vault()?.set_many(&key_values)?)
    }

    fn delete_many(bucket: BucketBorrow<'_>, keys: Vec<String>) -> Result<(), Error> {
        Ok(bucket.get::<Opened>().vault()?.delete_many(&keys)?)
    }
}

impl Inner for Beneath {
    type Error = beneath::store::Error;

    fn get(&self, name: &str) -> Result<Option<Vec<u8>>, Self::Error> {
        self.0.get(name)
    }

    fn set(&self, name: &str, value: &[u8]) -> Result<(), Self::Error> {
        self.0.set(name, value)
    }

    fn delete(&self, name: &str) -> Result<(), Self::Error> {
        self.0.delete(name)
    }

    fn exists(&self, name: &str) -> Result<bool, Self::Error> {
        self.0.exists(name)
    }

    fn list(&self, cursor: Option<u64>) -> Result<Page, Self::Error> {
        let page = self.0.list_keys(cursor)?;
        Ok((page.keys, page.cursor))
    }

    fn increment(&self, name: &str, delta: u64) -> Result<u64, Self::Error> {
        beneath::atomics::increment(&self.0, name, delta)
    }

    fn get_many(&self, names: &[String]) -> Result<Vec<Option<Vec<u8>>>, Self::Error> {
        let found = beneath::batch::get_many(&self.0, names)?;
        Ok(found
            .into_iter()
            .map(|pair| pair.map(|(_, value)| value))
            .collect())
    }

    fn set_many(&self, values: &[(String, Vec<u8>)]) -> Result<(), Self::Error> {
        beneath::batch::set_many(&self.0, values)
    }

    fn delete_many(&self, names: &[String]) -> Result<(), Self::Error> {
        beneath::batch::delete_many(&self.0, names)
    }
}
