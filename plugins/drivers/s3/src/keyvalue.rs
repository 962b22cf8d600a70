//! `wasi:keyvalue`: each value is an object.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use buckets::{Fault, KeyValue, Page, check_count, check_key, check_value, other};
use canopy_sdk::{identity, log};

use crate::counting::{self, Refusal};
use crate::names::{MAX_NAME, MAX_REMOVED, Names};
use crate::network::Network;
use crate::service::{Condition, Failure, Service};
use crate::settings::Settings;
use crate::{S3, answers, bindings};

buckets::drafts!(bindings, S3, Opened);

/// Keys of one page of a listing.
const PAGE: usize = 500;

/// A bucket of the installation that opened it.
#[derive(Clone)]
pub struct Opened {
    settings: Settings,
    names: Names,
    installation: String,
    /// After which object each page begins that has been given out, by its cursor: the number of
    /// keys before it.
    pages: Rc<RefCell<BTreeMap<u64, String>>>,
}

/// A value, and the tag that its object has as long as nobody writes another one.
pub struct Found {
    value: Vec<u8>,
    etag: String,
}

impl AsRef<[u8]> for Found {
    fn as_ref(&self) -> &[u8] {
        &self.value
    }
}

impl From<Found> for Vec<u8> {
    fn from(found: Found) -> Self {
        found.value
    }
}

impl From<Failure> for Fault {
    fn from(failure: Failure) -> Self {
        log::error!("{failure}");
        Self::Other(failure.to_string())
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Failed(failure) => failure.into(),
            refusal => Self::Other(refusal.to_string()),
        }
    }
}

impl KeyValue for Opened {
    type Found = Found;

    fn open(identifier: &str) -> Result<Self, Fault> {
        let settings = Settings::read()?;
        let installation = identity::installation().ok_or(Fault::AccessDenied)?;
        let names = Names::of(
            &settings.prefix,
            &identity::tenant().id,
            &installation.id,
            identifier,
        )
        .ok_or(Fault::NoSuchStore)?;
        Ok(Self {
            settings,
            names,
            installation: installation.id,
            pages: Rc::default(),
        })
    }

    fn check_caller(&self) -> Result<(), Fault> {
        buckets::check_caller(&self.installation)
    }

    fn find(&self, key: &str) -> Result<Option<Found>, Fault> {
        let found = self.service().get(&self.object(key)?)?;
        Ok(found.map(|(value, etag)| Found { value, etag }))
    }

    fn set(&self, key: &str, value: &[u8]) -> Result<(), Fault> {
        check_value(value)?;
        let object = self.object(key)?;
        self.service().put(&object, value, Condition::Always)?;
        Ok(())
    }

    fn delete(&self, key: &str) -> Result<(), Fault> {
        Ok(self.service().delete(&self.object(key)?)?)
    }

    fn exists(&self, key: &str) -> Result<bool, Fault> {
        Ok(self.service().exists(&self.object(key)?)?)
    }

    /// A cursor is the number of keys before the page. Within one opened bucket the page begins
    /// exactly where the one before it ended; elsewhere the keys are counted off anew.
    fn page(&self, cursor: Option<u64>) -> Result<Page<u64>, Fault> {
        self.check_caller()?;
        let cursor = cursor.unwrap_or(0);
        let known = self.pages.borrow().get(&cursor).cloned();
        let mut after = known;
        if after.is_none() && cursor > 0 {
            let mut left = cursor;
            while left > 0 {
                let most = usize::try_from(left).unwrap_or(PAGE).min(PAGE);
                let page = self.listed(after.as_deref(), most)?;
                left = left.saturating_sub(page.objects.len() as u64);
                after = page.objects.last().map(|last| last.name.clone()).or(after);
                if !page.more {
                    break;
                }
            }
            if left > 0 {
                return Ok(Page {
                    keys: Vec::new(),
                    cursor: None,
                });
            }
        }
        let page = self.listed(after.as_deref(), PAGE)?;
        let next = cursor + page.objects.len() as u64;
        let next = match page.objects.last() {
            Some(last) if page.more => {
                self.pages.borrow_mut().insert(next, last.name.clone());
                Some(next)
            }
            _ => None,
        };
        Ok(Page {
            keys: self.keys_of(&page),
            cursor: next,
        })
    }

    /// A cursor of text is the last key of the page before.
    fn page_by_text(&self, cursor: Option<String>) -> Result<Page<String>, Fault> {
        self.check_caller()?;
        let mut after = cursor.map(|key| self.object(&key)).transpose()?;
        loop {
            let page = self.listed(after.as_deref(), PAGE)?;
            let keys = self.keys_of(&page);
            // Objects that are no keys may fill a page; the next one then begins after them.
            if !keys.is_empty() || !page.more {
                let cursor = keys.last().filter(|_| page.more).cloned();
                return Ok(Page { keys, cursor });
            }
            after = page.objects.last().map(|last| last.name.clone()).or(after);
        }
    }

    fn increment(&self, key: &str, delta: i64) -> Result<i64, Fault> {
        let object = self.object(key)?;
        let service = self.service();
        counting::prove_once(&service)?;
        Ok(counting::increment(&service, &object, delta)?)
    }

    /// Tags are made of what an object holds, so a value that has come back has its tag again.
    fn swap(&self, key: &str, expected: Option<&Found>, value: &[u8]) -> Result<bool, Fault> {
        check_value(value)?;
        let object = self.object(key)?;
        let service = self.service();
        counting::prove_once(&service)?;
        let condition = match expected {
            None => Condition::Absent,
            Some(found) => Condition::Unchanged(&found.etag),
        };
        Ok(service.put(&object, value, condition)?)
    }

    fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Vec<u8>>>, Fault> {
        check_count(keys.len(), self.settings.max_batch)?;
        Ok(self.service().get_many(&self.objects(keys)?)?)
    }

    /// Each value by itself.
    fn set_many(&self, key_values: Vec<(String, Vec<u8>)>) -> Result<(), Fault> {
        check_count(key_values.len(), self.settings.max_batch)?;
        let mut given = BTreeMap::new();
        for (key, value) in key_values {
            check_value(&value)?;
            given.insert(self.object(&key)?, value);
        }
        let given: Vec<_> = given.into_iter().collect();
        Ok(self.service().put_many(&given)?)
    }

    fn delete_many(&self, keys: Vec<String>) -> Result<(), Fault> {
        check_count(keys.len(), MAX_REMOVED)?;
        if keys.is_empty() {
            return Ok(());
        }
        Ok(self.service().delete_many(&self.objects(&keys)?)?)
    }
}

impl Opened {
    fn object(&self, key: &str) -> Result<String, Fault> {
        self.check_caller()?;
        check_key(key)?;
        let object = self.names.object(key);
        if object.len() > MAX_NAME {
            return Err(other(format!(
                "the name of the key's object has {} bytes, which is over the limit of {MAX_NAME} of S3",
                object.len()
            )));
        }
        Ok(object)
    }

    fn objects(&self, keys: &[String]) -> Result<Vec<String>, Fault> {
        keys.iter().map(|key| self.object(key)).collect()
    }

    fn listed(&self, after: Option<&str>, most: usize) -> Result<answers::Page, Failure> {
        self.service().list(self.names.base(), after, most)
    }

    fn keys_of(&self, page: &answers::Page) -> Vec<String> {
        let objects = page.objects.iter();
        objects
            .filter_map(|object| self.names.key(&object.name))
            .collect()
    }

    fn service(&self) -> Service<'_, Network> {
        Service {
            settings: &self.settings,
            transport: Network::of(&self.settings),
        }
    }
}
