//! The suite of `wasi:keyvalue@0.2.0-draft2`.

use interface::wasi::keyvalue::atomics::{Cas, CasError};
use probe::{Fault, pages};

canopy_sdk::import!(
    interface: "wasi:keyvalue/store@0.2.0-draft2",
    "wasi:keyvalue/atomics@0.2.0-draft2",
    "wasi:keyvalue/batch@0.2.0-draft2",
    wit = ["../../../wit/deps/keyvalue-0.2.0-draft2"]
);

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

probe::wasi_keyvalue! { interface,
    fn keys(&self) -> Result<Vec<String>, Fault> {
        pages(|cursor: Option<String>| {
            let page = self.0.list_keys(cursor.as_deref()).map_err(fault)?;
            Ok((page.keys, page.cursor))
        })
    }

    fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Vec<u8>>>, Fault> {
        let values = batch::get_many(&self.0, keys).map_err(fault)?;
        Ok(values.into_iter().map(|(_, value)| value).collect())
    }

    fn increment(&self, key: &str, delta: i64) -> Option<Result<i64, Fault>> {
        Some(atomics::increment(&self.0, key, delta).map_err(fault))
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
