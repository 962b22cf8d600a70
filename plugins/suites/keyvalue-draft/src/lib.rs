//! The suite of `wasi:keyvalue@0.2.0-draft`.

use canopy_sdk::Router;
use interface::wasi::keyvalue::store::{Bucket, Error, open};
use interface::wasi::keyvalue::{atomics, batch};
use probe::{Fault, KeyValue};

canopy_sdk::import!(
    interface: "wasi:keyvalue/store@0.2.0-draft",
    "wasi:keyvalue/atomics@0.2.0-draft",
    "wasi:keyvalue/batch@0.2.0-draft",
    wit = ["../../../wit/deps/keyvalue-0.2.0-draft"]
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
        let (mut keys, mut cursor) = (Vec::new(), None);
        loop {
            let page = self.0.list_keys(cursor).map_err(fault)?;
            keys.extend(page.keys);
            cursor = page.cursor;
            if cursor.is_none() {
                return Ok(keys);
            }
        }
    }

    /// This draft has sums and steps without a sign.
    fn increment(&self, key: &str, delta: i64) -> Result<i64, Fault> {
        let delta = u64::try_from(delta).map_err(|_| Fault::bare("unsigned"))?;
        let sum = atomics::increment(&self.0, key, delta).map_err(fault)?;
        i64::try_from(sum).map_err(|_| Fault::bare("beyond-i64"))
    }

    fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Vec<u8>>>, Fault> {
        let values = batch::get_many(&self.0, keys).map_err(fault)?;
        Ok(values
            .into_iter()
            .map(|pair| pair.map(|(_, value)| value))
            .collect())
    }

    fn set_many(&self, pairs: &[(String, Vec<u8>)]) -> Result<(), Fault> {
        batch::set_many(&self.0, pairs).map_err(fault)
    }

    fn delete_many(&self, keys: &[String]) -> Result<(), Fault> {
        batch::delete_many(&self.0, keys).map_err(fault)
    }
}
