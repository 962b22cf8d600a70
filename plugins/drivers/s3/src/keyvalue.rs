//! `wasi:keyvalue`: each value is an object.

use std::cell::RefCell;
use std::collections::BTreeMap;

use canopy_sdk::{config, identity, log};

use crate::S3;
use crate::bindings::exports::wasi::keyvalue::store::{
    Bucket, BucketBorrow, Error, GuestBucket, KeyResponse,
};
use crate::bindings::exports::wasi::keyvalue::{atomics, batch, store};
use crate::counting::{self, Refusal};
use crate::names::{MAX_KEY, MAX_NAME, MAX_REMOVED, MAX_VALUE, Names};
use crate::network::Network;
use crate::service::{Condition, Failure, Service};
use crate::settings::Settings;

/// Keys of one page of a listing.
const PAGE: usize = 500;

/// A bucket of the installation that opened it.
pub struct Opened {
    settings: Settings,
    names: Names,
    installation: String,
    /// After which object each page begins that has been given out, by its cursor: the number of
    /// keys before it.
    pages: RefCell<BTreeMap<u64, String>>,
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        log::error!("{failure}");
        Self::Other(failure.to_string())
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Failed(failure) => failure.into(),
            other => Self::Other(other.to_string()),
        }
    }
}

impl From<config::Error> for Error {
    fn from(error: config::Error) -> Self {
        log::error!("{error}");
        Self::Other(error.to_string())
    }
}

impl store::Guest for S3 {
    type Bucket = Opened;

    fn open(identifier: String) -> Result<Bucket, Error> {
        let settings = Settings::read()?;
        let installation = identity::installation().ok_or(Error::AccessDenied)?;
        let names = Names::of(
            &settings.prefix,
            &identity::tenant().id,
            &installation.id,
            &identifier,
        )
        .ok_or(Error::NoSuchStore)?;
        Ok(Bucket::new(Opened {
            settings,
            names,
            installation: installation.id,
            pages: RefCell::default(),
        }))
    }
}

impl GuestBucket for Opened {
    fn get(&self, key: String) -> Result<Option<Vec<u8>>, Error> {
        let found = self.service().get(&self.object(&key)?)?;
        Ok(found.map(|(value, _)| value))
    }

    fn set(&self, key: String, value: Vec<u8>) -> Result<(), Error> {
        check_value(&value)?;
        let object = self.object(&key)?;
        self.service().put(&object, &value, Condition::Always)?;
        Ok(())
    }

    fn delete(&self, key: String) -> Result<(), Error> {
        Ok(self.service().delete(&self.object(&key)?)?)
    }

    fn exists(&self, key: String) -> Result<bool, Error> {
        Ok(self.service().exists(&self.object(&key)?)?)
    }

    /// A cursor is the number of keys before the page. Within one opened bucket the page begins
    /// exactly where the one before it ended; elsewhere the keys are counted off anew.
    fn list_keys(&self, cursor: Option<u64>) -> Result<KeyResponse, Error> {
        self.check_caller()?;
        let cursor = cursor.unwrap_or(0);
        let known = self.pages.borrow().get(&cursor).cloned();
        let mut after = known;
        if after.is_none() && cursor > 0 {
            let mut left = cursor;
            while left > 0 {
                let most = usize::try_from(left).unwrap_or(PAGE).min(PAGE);
                let page = self
                    .service()
                    .list(self.names.base(), after.as_deref(), most)?;
                left = left.saturating_sub(page.objects.len() as u64);
                after = page.objects.last().map(|last| last.name.clone()).or(after);
                if !page.more {
                    break;
                }
            }
            if left > 0 {
                return Ok(KeyResponse {
                    keys: Vec::new(),
                    cursor: None,
                });
            }
        }
        let page = self
            .service()
            .list(self.names.base(), after.as_deref(), PAGE)?;
        let next = cursor + page.objects.len() as u64;
        let next = match page.objects.last() {
            Some(last) if page.more => {
                self.pages.borrow_mut().insert(next, last.name.clone());
                Some(next)
            }
            _ => None,
        };
        Ok(KeyResponse {
            keys: page
                .objects
                .iter()
                .filter_map(|object| self.names.key(&object.name))
                .collect(),
            cursor: next,
        })
    }
}

impl atomics::Guest for S3 {
    /// Numbers are signed and of 64 bits; a sum beyond them is refused and leaves the value as it
    /// was.
    fn increment(bucket: BucketBorrow<'_>, key: String, delta: u64) -> Result<u64, Error> {
        let bucket = bucket.get::<Opened>();
        let delta = i64::try_from(delta)
            .map_err(|_| other(format!("an increment of {delta} is over {}", i64::MAX)))?;
        let object = bucket.object(&key)?;
        let service = bucket.service();
        counting::prove_once(&service)?;
        let sum = counting::increment(&service, &object, delta)?;
        u64::try_from(sum).map_err(|_| other(format!("the number is {sum}, below zero")))
    }
}

impl batch::Guest for S3 {
    fn get_many(
        bucket: BucketBorrow<'_>,
        keys: Vec<String>,
    ) -> Result<Vec<Option<(String, Vec<u8>)>>, Error> {
        let bucket = bucket.get::<Opened>();
        check_count(keys.len(), bucket.settings.max_batch)?;
        let values = bucket.service().get_many(&bucket.objects(&keys)?)?;
        let pairs = keys.into_iter().zip(values);
        Ok(pairs
            .map(|(key, value)| value.map(|value| (key, value)))
            .collect())
    }

    /// Each value by itself; of a key that is there twice the last value counts.
    fn set_many(bucket: BucketBorrow<'_>, key_values: Vec<(String, Vec<u8>)>) -> Result<(), Error> {
        let bucket = bucket.get::<Opened>();
        check_count(key_values.len(), bucket.settings.max_batch)?;
        let mut given = BTreeMap::new();
        for (key, value) in key_values {
            check_value(&value)?;
            given.insert(bucket.object(&key)?, value);
        }
        let given: Vec<_> = given.into_iter().collect();
        Ok(bucket.service().put_many(&given)?)
    }

    fn delete_many(bucket: BucketBorrow<'_>, keys: Vec<String>) -> Result<(), Error> {
        let bucket = bucket.get::<Opened>();
        check_count(keys.len(), MAX_REMOVED)?;
        if keys.is_empty() {
            return Ok(());
        }
        Ok(bucket.service().delete_many(&bucket.objects(&keys)?)?)
    }
}

impl Opened {
    /// A bucket works for the installation that opened it and nobody else, whoever may hold it.
    fn check_caller(&self) -> Result<(), Error> {
        let caller = identity::installation();
        if caller.is_none_or(|caller| caller.id != self.installation) {
            return Err(Error::AccessDenied);
        }
        Ok(())
    }

    fn object(&self, key: &str) -> Result<String, Error> {
        self.check_caller()?;
        if key.len() > MAX_KEY {
            return Err(other(format!(
                "a key of {} bytes is over the limit of {MAX_KEY}",
                key.len()
            )));
        }
        let object = self.names.object(key);
        if object.len() > MAX_NAME {
            return Err(other(format!(
                "the name of the key's object has {} bytes, which is over the limit of {MAX_NAME} of S3",
                object.len()
            )));
        }
        Ok(object)
    }

    fn objects(&self, keys: &[String]) -> Result<Vec<String>, Error> {
        keys.iter().map(|key| self.object(key)).collect()
    }

    fn service(&self) -> Service<'_, Network> {
        Service {
            settings: &self.settings,
            transport: Network::of(&self.settings),
        }
    }
}

fn check_value(value: &[u8]) -> Result<(), Error> {
    if value.len() > MAX_VALUE {
        return Err(other(format!(
            "a value of {} bytes is over the limit of {MAX_VALUE}",
            value.len()
        )));
    }
    Ok(())
}

fn check_count(count: usize, most: usize) -> Result<(), Error> {
    if count > most {
        return Err(other(format!(
            "a batch of {count} keys is over the limit of {most}"
        )));
    }
    Ok(())
}

fn other(text: String) -> Error {
    Error::Other(text)
}
