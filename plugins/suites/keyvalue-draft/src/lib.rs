//! The suite of `wasi:keyvalue@0.2.0-draft`.

use probe::{Fault, pages};

canopy_sdk::import!(
    interface: "wasi:keyvalue/store@0.2.0-draft",
    "wasi:keyvalue/atomics@0.2.0-draft",
    "wasi:keyvalue/batch@0.2.0-draft",
    wit = ["../../../wit/deps/keyvalue-0.2.0-draft"]
);

/// This draft has sums and steps without a sign.
fn step(delta: i64) -> Result<u64, Fault> {
    u64::try_from(delta).map_err(|_| Fault::bare("unsigned"))
}

probe::wasi_keyvalue! { interface,
    fn keys(&self) -> Result<Vec<String>, Fault> {
        pages(|cursor| {
            let page = self.0.list_keys(cursor).map_err(fault)?;
            Ok((page.keys, page.cursor))
        })
    }

    fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Vec<u8>>>, Fault> {
        let values = batch::get_many(&self.0, keys).map_err(fault)?;
        let value = |pair: Option<(String, Vec<u8>)>| pair.map(|(_, value)| value);
        Ok(values.into_iter().map(value).collect())
    }

    fn increment(&self, key: &str, delta: i64) -> Option<Result<i64, Fault>> {
        let sum = step(delta).and_then(|step| {
            let sum = atomics::increment(&self.0, key, step).map_err(fault)?;
            i64::try_from(sum).map_err(|_| Fault::bare("beyond-i64"))
        });
        Some(sum)
    }
}
