//! Keys and values.

use canopy_sdk::{IntoResponse, Json, Response, Router, StatusCode, post};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{Fault, Outcome, answer, hex};

/// A store of keys and values, by whichever interface. What an interface does not have, it leaves out.
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
    /// Adds to a number and gives the sum.
    fn increment(&self, key: &str, delta: i64) -> Result<i64, Fault>;
    /// The values of several keys, in their order.
    fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Vec<u8>>>, Fault>;
    /// Sets several values.
    fn set_many(&self, pairs: &[(String, Vec<u8>)]) -> Result<(), Fault>;
    /// Deletes several keys.
    fn delete_many(&self, keys: &[String]) -> Result<(), Fault>;
    /// Sets a value if that stored is `expected`, and says whether it was.
    fn swap(
        &self,
        _key: &str,
        _expected: Option<&[u8]>,
        _value: &[u8],
    ) -> Option<Result<bool, Fault>> {
        None
    }
}

/// What is asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    op: String,
    #[serde(default = "default_store")]
    store: String,
    #[serde(default)]
    key: String,
    #[serde(default)]
    keys: Vec<String>,
    /// In hexadecimal digits, as all values.
    #[serde(default)]
    value: String,
    #[serde(default)]
    expected: Option<String>,
    #[serde(default)]
    delta: i64,
    /// How often, or how many.
    #[serde(default)]
    count: usize,
    /// Bytes of a value that is made here.
    #[serde(default)]
    bytes: usize,
}

fn default_store() -> String {
    "default".to_owned()
}

/// The application that does what it is asked to by `S`.
pub fn serve<S: KeyValue>() -> Router {
    Router::new().route("/", post(|Json(asked): Json<Asked>| respond::<S>(&asked)))
}

fn respond<S: KeyValue>(asked: &Asked) -> Response {
    let bytes = |text: &str| hex::decode(text).ok_or(StatusCode::BAD_REQUEST);
    let value = match bytes(&asked.value) {
        Ok(value) => value,
        Err(status) => return (status, "`value` is not in hexadecimal digits").into_response(),
    };
    let expected = match asked.expected.as_deref().map(bytes).transpose() {
        Ok(expected) => expected,
        Err(status) => return (status, "`expected` is not in hexadecimal digits").into_response(),
    };
    Json(answer(run::<S>(asked, &value, expected.as_deref()))).into_response()
}

fn run<S: KeyValue>(asked: &Asked, value: &[u8], expected: Option<&[u8]>) -> Outcome {
    let Asked { key, keys, .. } = asked;
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
        "increment" => store.increment(key, asked.delta).map(Value::from),
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
        "swap" => store.swap(key, expected, value)?.map(Value::from),
        "churn" => churn(&store, asked).map(Value::from),
        "abandon" => abandon::<S>(asked).map(Value::from),
        _ => return None,
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

/// Opens the store `count` times and lets go of none before the application ends.
fn abandon<S: KeyValue>(asked: &Asked) -> Result<usize, Fault> {
    let mut opened = Vec::new();
    for _ in 0..asked.count {
        opened.push(S::open(&asked.store)?);
    }
    let count = opened.len();
    std::mem::forget(opened);
    Ok(count)
}

fn text(value: Option<Vec<u8>>) -> Value {
    json!(value.map(|bytes| hex::encode(&bytes)))
}
