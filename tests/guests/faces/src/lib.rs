//! What the guests have in common that reach the same keys and values by interfaces of different
//! names: `?op=&store=&key=&value=&expected=&delta=` does one operation and answers its outcome as
//! JSON. An operation that an interface does not have is answered by 501, an error by 500.

use std::fmt::Debug;

use serde_json::{Value, json};

pub mod sql;

/// What was asked for.
#[derive(Default)]
pub struct Asked {
    pub op: String,
    pub store: String,
    pub key: String,
    pub value: Vec<u8>,
    pub expected: Option<Vec<u8>>,
    pub delta: i64,
}

impl Asked {
    /// Reads a path with a query.
    pub fn read(path: &str) -> Self {
        let query = path.split_once('?').map_or("", |(_, query)| query);
        let mut asked = Self {
            store: "default".to_owned(),
            ..Self::default()
        };
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "op" => asked.op = value.into_owned(),
                "store" => asked.store = value.into_owned(),
                "key" => asked.key = value.into_owned(),
                "value" => asked.value = value.into_owned().into_bytes(),
                "expected" => asked.expected = Some(value.into_owned().into_bytes()),
                "delta" => asked.delta = value.parse().unwrap_or_default(),
                _ => {}
            }
        }
        asked
    }
}

/// An outcome, `None` for an operation that the interface does not have.
pub type Outcome<E> = Option<Result<Value, E>>;

/// A value as it is answered.
pub fn text(value: Option<Vec<u8>>) -> Value {
    json!(value.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

/// The status and the body of the answer.
pub fn answer<E: Debug>(outcome: Outcome<E>) -> (u16, String) {
    match outcome {
        Some(Ok(value)) => (200, value.to_string()),
        Some(Err(error)) => (500, format!("{error:?}")),
        None => (501, "this interface does not have it".to_owned()),
    }
}
