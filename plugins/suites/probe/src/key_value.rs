//! Values under names: what all storage has in common.

use serde_json::{Value, json};

use crate::{Asked, Fault, Outcome, hex};

/// A store of keys and values, by whichever interface. Objects under their names and rows under their
/// keys are such, too. What an interface does not have, it leaves out.
pub trait KeyValue: Sized {
    /// Opens the store `name`.
    fn open(name: &str) -> Result<Self, Fault>;
    /// The value of `key`.
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Fault>;
    /// Sets the value of `key`.
    fn set(&self, key: &str, value: &[u8]) -> Result<(), Fault>;
    /// Deletes `key`.
    fn delete(&self, key: &str) -> Result<(), Fault>;
    /// Whether `key` has a value.
    fn exists(&self, key: &str) -> Result<bool, Fault>;
    /// All keys, over as many pages as it takes.
    fn keys(&self) -> Result<Vec<String>, Fault>;
    /// The values of several keys, in their order.
    fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Vec<u8>>>, Fault> {
        keys.iter().map(|key| self.get(key)).collect()
    }
    /// Sets several values.
    fn set_many(&self, pairs: &[(String, Vec<u8>)]) -> Result<(), Fault> {
        pairs
            .iter()
            .try_for_each(|(key, value)| self.set(key, value))
    }
    /// Deletes several keys.
    fn delete_many(&self, keys: &[String]) -> Result<(), Fault>;
    /// Adds to a number and gives the sum.
    fn increment(&self, _key: &str, _delta: i64) -> Option<Result<i64, Fault>> {
        None
    }
    /// Sets a value if that stored is `expected`, and says whether it was.
    fn swap(
        &self,
        _key: &str,
        _expected: Option<&[u8]>,
        _value: &[u8],
    ) -> Option<Result<bool, Fault>> {
        None
    }
    /// Opens something that has to be closed, and does not close it.
    fn abandon(&self, asked: &Asked) -> Result<(), Fault> {
        std::mem::forget(Self::open(&asked.store)?);
        Ok(())
    }
    /// What only this interface has.
    fn own(&self, _asked: &Asked) -> Outcome {
        None
    }
}

/// Does what is asked for by `S`.
pub fn perform<S: KeyValue>(asked: &Asked) -> Outcome {
    let Asked { key, keys, .. } = asked;
    let value = asked.value.0.as_slice();
    let store = match S::open(&asked.store) {
        Ok(store) => store,
        Err(fault) => return Some(Err(fault)),
    };
    Some(match asked.op.as_str() {
        "open" => Ok(Value::Null),
        "get" => store.get(key).map(text),
        "set" => store.set(key, value).map(|()| Value::Null),
        "delete" => store.delete(key).map(|()| Value::Null),
        "exists" => store.exists(key).map(Value::from),
        "list" => store.keys().map(Value::from),
        "increment" => store.increment(key, asked.delta)?.map(Value::from),
        "get-many" => {
            let values = store.get_many(keys);
            values.map(|values| values.into_iter().map(text).collect())
        }
        "set-many" => {
            let pairs: Vec<_> = keys
                .iter()
                .map(|key| (key.clone(), value.to_vec()))
                .collect();
            store.set_many(&pairs).map(|()| Value::Null)
        }
        "delete-many" => store.delete_many(keys).map(|()| Value::Null),
        "swap" => {
            let expected = asked.expected.as_ref().map(|bytes| bytes.0.as_slice());
            store.swap(key, expected, value)?.map(Value::from)
        }
        "churn" => churn(&store, asked).map(Value::from),
        "abandon" => (0..asked.count)
            .try_for_each(|_| store.abandon(asked))
            .map(|()| Value::Null),
        _ => return store.own(asked),
    })
}

/// Writes and reads `count` values of `bytes` bytes, one after the other under one key, and says how
/// many came back as they went.
fn churn<S: KeyValue>(store: &S, asked: &Asked) -> Result<usize, Fault> {
    let mut same = 0;
    for round in 0..asked.count {
        let byte = u8::try_from(round % 251).unwrap_or_default();
        let value = vec![byte; asked.bytes];
        store.set(&asked.key, &value)?;
        same += usize::from(store.get(&asked.key)? == Some(value));
    }
    Ok(same)
}

fn text(value: Option<Vec<u8>>) -> Value {
    json!(value.map(|bytes| hex::encode(&bytes)))
}
