//! A package's configuration: its JSON Schema, the secrets in it, and checking values against it.
//!
//! Threat: the schema is a publisher's text that the platform executes for every change of every
//! tenant's configuration. So it must be self-contained and its cost bounded: references are
//! refused (a chain of them doubles the work with every link), patterns run on a matcher of linear
//! time, and formats that would need a network don't exist.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::error::{Fault, nearest};

const REFERENCES: [&str; 3] = ["$ref", "$dynamicRef", "$recursiveRef"];

/// The configuration that a package takes.
#[derive(Clone)]
pub struct ConfigSchema {
    document: Value,
    secrets: BTreeSet<String>,
    known: BTreeSet<String>,
    open: bool,
    validator: Arc<jsonschema::Validator>,
}

/// One value that the schema does not take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigFault {
    /// Where it is: a key, or a JSON pointer into its value as in `servers/0/port`.
    pub key: String,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for ConfigFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.key.is_empty() {
            f.write_str(&self.message)
        } else {
            write!(f, "`{}`: {}", self.key, self.message)
        }
    }
}

impl ConfigSchema {
    /// The schema of a package that has nothing to configure.
    pub(crate) fn none() -> Self {
        let document = serde_json::json!({ "type": "object", "properties": {} });
        Self {
            document,
            secrets: BTreeSet::new(),
            known: BTreeSet::new(),
            open: false,
            validator: Arc::new(accepts_objects()),
        }
    }

    /// Reads the schema from its table in the manifest.
    pub(crate) fn read(path: &str, table: toml::Table, faults: &mut Vec<Fault>) -> Option<Self> {
        let before = faults.len();
        let mut fault = |key: &str, message: String| {
            let key = if key.is_empty() {
                path.to_owned()
            } else {
                format!("{path}.{key}")
            };
            faults.push(Fault { key, message });
        };
        let mut document = match to_json(toml::Value::Table(table)) {
            Ok(Value::Object(document)) => document,
            Ok(_) => return None,
            Err(message) => {
                fault("", message);
                return None;
            }
        };
        match document.get("type") {
            None => {
                document.insert("type".into(), "object".into());
            }
            Some(kind) if kind == "object" => {}
            Some(_) => fault(
                "type",
                "must be \"object\": configuration is a set of keys".into(),
            ),
        }
        let document = Value::Object(document);
        if let Some(reference) = find_reference(&document) {
            fault(
                "",
                format!("`{reference}` is not allowed; write the schema out in place"),
            );
        }

        let mut secrets = BTreeSet::new();
        let mut known = BTreeSet::new();
        let properties = document.get("properties").and_then(Value::as_object);
        for (key, schema) in properties.into_iter().flatten() {
            if !is_config_key(key) {
                let shown: String = key.chars().take(80).collect();
                fault(
                    &format!("properties.{shown}"),
                    "a key is 1 to 128 of letters, digits, `-`, `_` and `.`".into(),
                );
            }
            known.insert(key.clone());
            if schema.get("writeOnly") == Some(&Value::Bool(true)) {
                if schema.get("type").is_none_or(|kind| kind != "string") {
                    fault(
                        &format!("properties.{key}"),
                        "a secret (`writeOnly = true`) must have `type = \"string\"`".into(),
                    );
                }
                if schema.get("default").is_some() {
                    fault(
                        &format!("properties.{key}"),
                        "a secret has no `default`".into(),
                    );
                }
                secrets.insert(key.clone());
            }
        }
        let says = |key| {
            document
                .get(key)
                .is_some_and(|value| *value != Value::Bool(false))
        };
        let open = says("additionalProperties") || says("patternProperties");
        if faults.len() > before {
            return None;
        }
        match compile(&document) {
            Ok(validator) => {
                let schema = Self {
                    document,
                    secrets,
                    known,
                    open,
                    validator: validator.into(),
                };
                schema.check_defaults(path, faults);
                (faults.len() == before).then_some(schema)
            }
            Err(message) => {
                let key = path.to_owned();
                faults.push(Fault {
                    key,
                    message: format!("is not a JSON Schema: {message}"),
                });
                None
            }
        }
    }

    fn check_defaults(&self, path: &str, faults: &mut Vec<Fault>) {
        for (key, default) in self.defaults() {
            let schema = &self.document["properties"][key];
            // The document compiled, so does every schema in it.
            let fault = compile(schema).ok().and_then(|validator| {
                validator
                    .validate(default)
                    .err()
                    .map(|error| shorten(&error.to_string()))
            });
            if let Some(message) = fault {
                faults.push(Fault {
                    key: format!("{path}.properties.{key}.default"),
                    message,
                });
            }
        }
    }

    /// The schema as JSON.
    pub fn document(&self) -> &Value {
        &self.document
    }

    /// The keys that are secrets.
    pub fn secrets(&self) -> &BTreeSet<String> {
        &self.secrets
    }

    fn defaults(&self) -> impl Iterator<Item = (&str, &Value)> {
        let properties = self.document.get("properties").and_then(Value::as_object);
        properties
            .into_iter()
            .flatten()
            .filter_map(|(key, schema)| {
                schema.get("default").map(|default| (key.as_str(), default))
            })
    }

    /// Checks one secret's name and value; the value is never in the fault.
    pub fn check_secret(&self, key: &str, value: &str) -> Result<(), ConfigFault> {
        let fault = |message: String| ConfigFault {
            key: key.chars().take(128).collect(),
            message,
        };
        if !self.secrets.contains(key) {
            let message = match nearest(key, self.secrets.iter().map(String::as_str)) {
                Some(near) => format!("is not a secret of this package; did you mean `{near}`?"),
                None if self.secrets.is_empty() => "this package has no secrets".into(),
                None => {
                    let names = Vec::from_iter(self.secrets.iter().map(String::as_str)).join(", ");
                    format!("is not a secret of this package; its secrets are {names}")
                }
            };
            return Err(fault(message));
        }
        let validator = compile(&self.document["properties"][key])
            .map_err(|_| fault("its schema cannot be used".into()))?;
        let value = Value::String(value.to_owned());
        validator
            .validate(&value)
            .map_err(|error| fault(error.masked().to_string()))
    }

    /// Checks a whole configuration together with the secrets that are set.
    pub fn check(
        &self,
        config: &Map<String, Value>,
        secrets: &BTreeMap<String, String>,
    ) -> Result<(), Vec<ConfigFault>> {
        let mut faults = Vec::new();
        for key in config.keys() {
            let shown: String = key.chars().take(128).collect();
            if self.secrets.contains(key) {
                let message = "is a secret: set it as one, not as configuration".into();
                faults.push(ConfigFault {
                    key: shown,
                    message,
                });
            } else if !self.open && !self.known.contains(key) {
                let plain = self.known.difference(&self.secrets).map(String::as_str);
                let message = match nearest(key, plain) {
                    Some(near) => format!("is not known; did you mean `{near}`?"),
                    None if self.known.is_empty() => "this package has no configuration".into(),
                    None => {
                        let plain = self.known.difference(&self.secrets).map(String::as_str);
                        format!(
                            "is not known; known are {}",
                            Vec::from_iter(plain).join(", ")
                        )
                    }
                };
                faults.push(ConfigFault {
                    key: shown,
                    message,
                });
            } else if !is_config_key(key) {
                let message = "a key is 1 to 128 of letters, digits, `-`, `_` and `.`".into();
                faults.push(ConfigFault {
                    key: shown,
                    message,
                });
            }
        }
        if !faults.is_empty() {
            return Err(faults);
        }

        let mut whole = config.clone();
        for (key, default) in self.defaults() {
            if !whole.contains_key(key) {
                whole.insert(key.to_owned(), default.clone());
            }
        }
        for (key, value) in secrets {
            if self.secrets.contains(key) {
                whole.insert(key.clone(), Value::String(value.clone()));
            }
        }
        let whole = Value::Object(whole);
        for error in self.validator.iter_errors(&whole).take(20) {
            let key = error.instance_path().to_string();
            let key = key.trim_start_matches('/').to_owned();
            let first = key.split('/').next().unwrap_or_default();
            // Faults of the whole quote every value, secrets among them.
            let message = if key.is_empty() || self.secrets.contains(first) {
                error.masked().to_string()
            } else {
                error.to_string()
            };
            faults.push(ConfigFault {
                key,
                message: shorten(&message),
            });
        }
        if faults.is_empty() {
            Ok(())
        } else {
            Err(faults)
        }
    }

    /// What the component reads: the configuration, the defaults of what it leaves out, and the
    /// secrets. Texts are as they are, everything else is JSON.
    pub fn effective(
        &self,
        config: &Map<String, Value>,
        secrets: &BTreeMap<String, String>,
    ) -> BTreeMap<String, String> {
        let text = |value: &Value| match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let mut effective: BTreeMap<String, String> = self
            .defaults()
            .map(|(key, value)| (key.to_owned(), text(value)))
            .collect();
        effective.extend(config.iter().map(|(key, value)| (key.clone(), text(value))));
        let known = secrets
            .iter()
            .filter(|(key, _)| self.secrets.contains(*key));
        effective.extend(known.map(|(key, value)| (key.clone(), value.clone())));
        effective
    }
}

impl fmt::Debug for ConfigSchema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ConfigSchema").field(&self.document).finish()
    }
}

fn compile(document: &Value) -> Result<jsonschema::Validator, String> {
    jsonschema::options()
        .with_draft(jsonschema::Draft::Draft202012)
        .with_pattern_options(jsonschema::PatternOptions::regex())
        .should_validate_formats(true)
        .build(document)
        .map_err(|error| shorten(&error.to_string()))
}

#[expect(clippy::expect_used, reason = "the schema is a constant")]
fn accepts_objects() -> jsonschema::Validator {
    compile(&serde_json::json!({ "type": "object" })).expect("a valid schema")
}

fn is_config_key(key: &str) -> bool {
    (1..=128).contains(&key.len())
        && key
            .bytes()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.'))
}

fn shorten(text: &str) -> String {
    const LONGEST: usize = 300;
    if text.chars().count() <= LONGEST {
        text.to_owned()
    } else {
        text.chars().take(LONGEST).chain("…".chars()).collect()
    }
}

fn find_reference(value: &Value) -> Option<&'static str> {
    match value {
        Value::Object(object) => REFERENCES
            .into_iter()
            .find(|reference| object.get(*reference).is_some_and(Value::is_string))
            .or_else(|| object.values().find_map(find_reference)),
        Value::Array(values) => values.iter().find_map(find_reference),
        _ => None,
    }
}

fn to_json(value: toml::Value) -> Result<Value, String> {
    Ok(match value {
        toml::Value::String(text) => Value::String(text),
        toml::Value::Integer(number) => number.into(),
        toml::Value::Float(number) => serde_json::Number::from_f64(number)
            .map(Value::Number)
            .ok_or("`nan` and `inf` are not numbers of JSON")?,
        toml::Value::Boolean(truth) => truth.into(),
        toml::Value::Datetime(_) => {
            return Err("a date is not a value of JSON; write it as a string".into());
        }
        toml::Value::Array(values) => {
            Value::Array(values.into_iter().map(to_json).collect::<Result<_, _>>()?)
        }
        toml::Value::Table(table) => Value::Object(
            table
                .into_iter()
                .map(|(key, value)| to_json(value).map(|value| (key, value)))
                .collect::<Result<_, _>>()?,
        ),
    })
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
