//! What a component is asked to do.

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::{Fault, hex};

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

impl Asked {
    /// Does what only one interface knows, with what it is given for it.
    pub fn with<T: DeserializeOwned>(
        &self,
        run: impl FnOnce(T) -> Result<Value, Fault>,
    ) -> Result<Value, Fault> {
        let given = serde_json::from_value(self.with.clone());
        run(given.map_err(|error| Fault::said("misunderstood", error.to_string()))?)
    }
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

    #[test]
    fn what_one_interface_knows_is_read_or_said_to_be_misunderstood() {
        let asked: Asked = serde_json::from_str(r#"{"op":"put","with":[1,2]}"#).expect("asked");
        let sum = |numbers: Vec<u8>| Ok(Value::from(numbers.iter().sum::<u8>()));
        assert_eq!(asked.with(sum), Ok(Value::from(3)));
        let misunderstood = asked.with(|_: String| Ok(Value::Null));
        assert_eq!(
            misunderstood.map_err(|fault| fault.kind),
            Err("misunderstood")
        );
    }
}
