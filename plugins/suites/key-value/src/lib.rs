//! The suite of `canopy:storage/key-value@0.1.0`.

mod entries;

use canopy_sdk::stream::block_on;
use interface::canopy::storage::key_value::{
    Condition, Error, ListOptions, SetOptions, Store as Opened,
};
use probe::{Asked, Fault, KeyValue, Outcome, pages};

canopy_sdk::import!(
    interface: "canopy:storage/key-value@0.1.0",
    wit = ["../../../wit/storage/0.1.0"]
);

probe::suite! { probe::perform::<Store>, Error {
    Error::NoSuchStore => "no-such-store";
    Error::AccessDenied => "access-denied";
    Error::QuotaExceeded(text) => "quota-exceeded", text;
    Error::TooLarge(text) => "too-large", text;
    Error::InvalidArgument(text) => "invalid-argument", text;
    Error::Conflict(stored) => "conflict", entries::told(stored).to_string();
    Error::PreconditionFailed(index) => "precondition-failed", index.to_string();
    Error::NotANumber => "not-a-number";
    Error::Overflow => "overflow";
    Error::Busy => "busy";
    Error::Other(text) => "other", text;
}}

struct Store(Opened);

fn plain(condition: Option<Condition>) -> SetOptions {
    SetOptions {
        ttl_ms: None,
        condition,
    }
}

impl KeyValue for Store {
    fn open(name: &str) -> Result<Self, Fault> {
        let opened = block_on(Opened::open(name.to_owned()));
        opened.map(Self).map_err(fault)
    }

    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Fault> {
        block_on(self.0.get(key.to_owned())).map_err(fault)
    }

    fn set(&self, key: &str, value: &[u8]) -> Result<(), Fault> {
        let set = self.0.set(key.to_owned(), value.to_vec(), plain(None));
        block_on(set).map(drop).map_err(fault)
    }

    fn delete(&self, key: &str) -> Result<(), Fault> {
        let deleted = block_on(self.0.delete(key.to_owned(), None));
        deleted.map(drop).map_err(fault)
    }

    fn exists(&self, key: &str) -> Result<bool, Fault> {
        block_on(self.0.exists(key.to_owned())).map_err(fault)
    }

    fn keys(&self) -> Result<Vec<String>, Fault> {
        pages(|after| {
            let page = block_on(self.0.list(ListOptions {
                prefix: String::new(),
                after,
                limit: None,
                values: false,
            }));
            let page = page.map_err(fault)?;
            let keys = page.entries.into_iter().map(|listed| listed.key);
            Ok((keys.collect(), page.next))
        })
    }

    fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Vec<u8>>>, Fault> {
        block_on(self.0.get_many(keys.to_vec())).map_err(fault)
    }

    fn set_many(&self, pairs: &[(String, Vec<u8>)]) -> Result<(), Fault> {
        block_on(self.0.set_many(pairs.to_vec())).map_err(fault)
    }

    fn delete_many(&self, keys: &[String]) -> Result<(), Fault> {
        block_on(self.0.delete_many(keys.to_vec())).map_err(fault)
    }

    fn increment(&self, key: &str, delta: i64) -> Option<Result<i64, Fault>> {
        Some(block_on(self.0.increment(key.to_owned(), delta)).map_err(fault))
    }

    fn swap(
        &self,
        key: &str,
        expected: Option<&[u8]>,
        value: &[u8],
    ) -> Option<Result<bool, Fault>> {
        let condition = match expected {
            Some(expected) => Condition::Value(expected.to_vec()),
            None => Condition::Absent,
        };
        let set = self
            .0
            .set(key.to_owned(), value.to_vec(), plain(Some(condition)));
        Some(match block_on(set) {
            Ok(_) => Ok(true),
            Err(Error::Conflict(_)) => Ok(false),
            Err(error) => Err(fault(error)),
        })
    }

    fn own(&self, asked: &Asked) -> Outcome {
        entries::perform(&self.0, asked)
    }
}
