//! What a component is asked to do.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::hex;

/// What is asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    pub op: String,
    #[serde(default = "default_store")]
    pub store: String,
    #[serde(default)]
    pub key: String,
    #[serde(default)]
    pub keys: Vec<String>,
    #[serde(default)]
    pub value: Bytes,
    #[serde(default)]
    pub expected: Option<Bytes>,
    #[serde(default)]
    pub delta: i64,
    /// How often, or how many.
    #[serde(default)]
    pub count: usize,
    /// Bytes of a value that is made here.
    #[serde(default)]
    pub bytes: usize,
    /// What only one interface knows.
    #[serde(default)]
    pub with: Value,
}

/// Bytes, which are written in hexadecimal digits.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Bytes(pub Vec<u8>);

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = hex::decode(&text);
        bytes
            .map(Self)
            .ok_or_else(|| D::Error::custom("not in hexadecimal digits"))
    }
}

fn default_store() -> String {
    "default".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_read_from_digits() {
        let asked: Asked = serde_json::from_str(r#"{"op":"set","value":"0aff"}"#).expect("asked");
        assert_eq!(asked.value, Bytes(vec![10, 255]));
        assert_eq!(asked.store, "default");
        for wrong in [r#"{"op":"set","value":"0"}"#, r#"{"op":"set","unknown":1}"#] {
            assert!(serde_json::from_str::<Asked>(wrong).is_err(), "{wrong}");
        }
    }
}
