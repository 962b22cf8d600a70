//! The suite of `wasi:keyvalue@0.2.0-draft2`.

use canopy_sdk::Router;
use interface::wasi::keyvalue::atomics::{self, Cas, CasError};
use interface::wasi::keyvalue::batch;
use interface::wasi::keyvalue::store::{Bucket, Error, open};
use probe::{Fault, KeyValue};

canopy_sdk::import!(
    interface: "wasi:keyvalue/store@0.2.0-draft2",
    "wasi:keyvalue/atomics@0.2.0-draft2",
    "wasi:keyvalue/batch@0.2.0-draft2",
    wit = ["../../../wit/deps/keyvalue-0.2.0-draft2"]
);

#[canopy_sdk::app]
fn app() -> Router {
    probe::serve::<Store>()
}

struct Store(Bucket);

fn fault(error: Error) -> Fault {
    match error {
        Error::NoSuchStore => Fault::bare("no-such-store"),
        Error::AccessDenied => Fault::bare("access-denied"),
        Error::Other(text) => Fault::said("other", text),
    }
}

impl Store {
    fn compare_and_swap(
        &self,
        key: &str,
        expected: Option<&[u8]>,
        value: &[u8],
    ) -> Result<bool, Fault> {
        let cas = Cas::new(&self.0, key).map_err(fault)?;
        if cas.current().map_err(fault)?.as_deref() != expected {
            return Ok(false);
        }
        match atomics::swap(cas, value) {
            Ok(()) => Ok(true),
            Err(CasError::CasFailed(_)) => Ok(false),
            Err(CasError::StoreError(error)) => Err(fault(error)),
        }
    }
}

impl KeyValue for Store {
    fn open(name: &str) -> Result<Self, Fault> {
        open(name).map(Self).map_err(fault)
    }

    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Fault> {
        self.0.get(key).map_err(fault)
    }

    fn set(&self, key: &str, value: &[u8]) -> Result<(), Fault> {
        self.0.set(key, value).map_err(fault)
    }

    fn delete(&self, key: &str) -> Result<(), Fault> {
        self.0.delete(key).map_err(fault)
    }

    fn exists(&self, key: &str) -> Result<bool, Fault> {
        self.0.exists(key).map_err(fault)
    }

    fn keys(&self) -> Result<Vec<String>, Fault> {
        let (mut keys, mut cursor) = (Vec::new(), None::<String>);
        loop {
            let page = self.0.list_keys(cursor.as_deref()).map_err(fault)?;
            keys.extend(page.keys);
            cursor = page.cursor;
            if cursor.is_none() {
                return Ok(keys);
            }
        }
    }

    fn increment(&self, key: &str, delta: i64) -> Result<i64, Fault> {
        atomics::increment(&self.0, key, delta).map_err(fault)
    }

    fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Vec<u8>>>, Fault> {
        let values = batch::get_many(&self.0, keys).map_err(fault)?;
        Ok(values.into_iter().map(|(_, value)| value).collect())
    }

    fn set_many(&self, pairs: &[(String, Vec<u8>)]) -> Result<(), Fault> {
        batch::set_many(&self.0, pairs).map_err(fault)
    }

    fn delete_many(&self, keys: &[String]) -> Result<(), Fault> {
        batch::delete_many(&self.0, keys).map_err(fault)
    }

    fn swap(
        &self,
        key: &str,
        expected: Option<&[u8]>,
        value: &[u8],
    ) -> Option<Result<bool, Fault>> {
        Some(self.compare_and_swap(key, expected, value))
    }
}
