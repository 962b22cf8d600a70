//! What the guests have in common that reach the same data by interfaces of different names:
//! `?op=&store=&key=&value=&expected=&delta=` does one operation and answers its outcome as JSON. An
//! operation that an interface does not have is answered by 501, an error by 500.

use std::fmt::Debug;

use serde_json::{Value, json};

pub mod sql;

/// What was asked for.
pub struct Asked {
    pub op: String,
    /// The store, the container, or the database.
    pub store: String,
    pub key: String,
    pub value: Vec<u8>,
    pub expected: Option<Vec<u8>>,
    pub delta: i64,
    /// The container of a copy.
    pub other: String,
    /// The first byte of a range, or how many names are skipped.
    pub from: u64,
    /// The last byte of a range.
    pub to: u64,
}

impl Asked {
    /// Reads a path with a query.
    pub fn read(path: &str) -> Self {
        let query = path.split_once('?').map_or("", |(_, query)| query);
        let mut asked = Self {
            op: String::new(),
            store: "default".to_owned(),
            key: String::new(),
            value: Vec::new(),
            expected: None,
            delta: 0,
            other: String::new(),
            from: 0,
            to: u64::MAX,
        };
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "op" => asked.op = value.into_owned(),
                "store" => asked.store = value.into_owned(),
                "key" => asked.key = value.into_owned(),
                "value" => asked.value = value.into_owned().into_bytes(),
                "expected" => asked.expected = Some(value.into_owned().into_bytes()),
                "delta" => asked.delta = value.parse().unwrap_or_default(),
                "other" => asked.other = value.into_owned(),
                "from" => asked.from = value.parse().unwrap_or_default(),
                "to" => asked.to = value.parse().unwrap_or(u64::MAX),
                _ => {}
            }
        }
        asked
    }

    /// The value as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.value).into_owned()
    }

    /// The value as a JSON array of texts.
    pub fn names(&self) -> Vec<String> {
        serde_json::from_slice(&self.value).unwrap_or_default()
    }

    /// The value as a JSON array of pairs of texts.
    pub fn pairs(&self) -> Vec<(String, Vec<u8>)> {
        let pairs: Vec<(String, String)> = serde_json::from_slice(&self.value).unwrap_or_default();
        let bytes = |(key, value): (String, String)| (key, value.into_bytes());
        pairs.into_iter().map(bytes).collect()
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
