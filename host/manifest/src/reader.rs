//! Reads a TOML table key by key and collects every fault instead of stopping at the first.

use toml::{Table, Value};

use crate::error::{Fault, nearest};

/// A table being read. What has not been taken when it is finished is an unknown key.
pub(crate) struct Reader<'a> {
    path: String,
    table: Table,
    known: Vec<&'static str>,
    faults: &'a mut Vec<Fault>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(path: impl Into<String>, table: Table, faults: &'a mut Vec<Fault>) -> Self {
        Self {
            path: path.into(),
            table,
            known: Vec::new(),
            faults,
        }
    }

    /// The full path of `key`.
    pub(crate) fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }

    pub(crate) fn fault(&mut self, key: &str, message: impl Into<String>) {
        let key = self.path_of(key);
        self.faults.push(Fault {
            key,
            message: message.into(),
        });
    }

    pub(crate) fn faults(&mut self) -> &mut Vec<Fault> {
        self.faults
    }

    fn take(&mut self, key: &'static str) -> Option<Value> {
        self.known.push(key);
        self.table.remove(key)
    }

    fn take_as<T>(
        &mut self,
        key: &'static str,
        expected: &str,
        convert: impl FnOnce(Value) -> Result<T, Value>,
    ) -> Option<T> {
        match convert(self.take(key)?) {
            Ok(value) => Some(value),
            Err(other) => {
                self.fault(key, format!("must be {expected}, not {}", article(&other)));
                None
            }
        }
    }

    pub(crate) fn text(&mut self, key: &'static str) -> Option<String> {
        self.take_as(key, "a string", |value| match value {
            Value::String(text) => Ok(text),
            other => Err(other),
        })
    }

    /// A text of 1 to `limit` characters.
    pub(crate) fn short_text(&mut self, key: &'static str, limit: usize) -> Option<String> {
        let text = self.text(key)?;
        let length = text.chars().count();
        if text.trim().is_empty() {
            self.fault(key, "must not be empty");
            None
        } else if length > limit {
            self.fault(
                key,
                format!("has {length} characters; at most {limit} are allowed"),
            );
            None
        } else if text
            .chars()
            .any(|c| c.is_control() && c != '\n' && c != '\t')
        {
            self.fault(key, "must not contain control characters");
            None
        } else {
            Some(text)
        }
    }

    /// A text of 1 to `limit` characters that must be there; empty if it is not.
    pub(crate) fn required_text(&mut self, key: &'static str, limit: usize) -> String {
        if !self.table.contains_key(key) {
            self.known.push(key);
            self.fault(key, "is missing");
            return String::new();
        }
        self.short_text(key, limit).unwrap_or_default()
    }

    /// A text that `T` reads.
    pub(crate) fn parsed<T>(&mut self, key: &'static str) -> Option<T>
    where
        T: std::str::FromStr<Err: std::fmt::Display>,
    {
        let text = self.text(key)?;
        match text.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.fault(key, error.to_string());
                None
            }
        }
    }

    /// A text that `T` reads and that must be there.
    pub(crate) fn required_parsed<T>(&mut self, key: &'static str) -> Option<T>
    where
        T: std::str::FromStr<Err: std::fmt::Display>,
    {
        if !self.table.contains_key(key) {
            self.known.push(key);
            self.fault(key, "is missing");
            return None;
        }
        self.parsed(key)
    }

    /// A list of at most `limit` texts.
    pub(crate) fn texts(&mut self, key: &'static str, limit: usize) -> Vec<String> {
        let Some(values) = self.array(key) else {
            return Vec::new();
        };
        if values.len() > limit {
            self.fault(
                key,
                format!("has {} entries; at most {limit} are allowed", values.len()),
            );
            return Vec::new();
        }
        let mut texts = Vec::with_capacity(values.len());
        for (index, value) in values.into_iter().enumerate() {
            match value {
                Value::String(text) => texts.push(text),
                other => {
                    self.fault(
                        &format!("{key}[{index}]"),
                        format!("must be a string, not {}", article(&other)),
                    );
                }
            }
        }
        texts
    }

    fn array(&mut self, key: &'static str) -> Option<Vec<Value>> {
        self.take_as(key, "an array", |value| match value {
            Value::Array(values) => Ok(values),
            other => Err(other),
        })
    }

    pub(crate) fn table(&mut self, key: &'static str) -> Option<Table> {
        self.take_as(key, "a table", |value| match value {
            Value::Table(table) => Ok(table),
            other => Err(other),
        })
    }

    /// The tables of an array of at most `limit` tables.
    pub(crate) fn tables(&mut self, key: &'static str, limit: usize) -> Vec<(String, Table)> {
        let Some(values) = self.array(key) else {
            return Vec::new();
        };
        if values.len() > limit {
            self.fault(
                key,
                format!("has {} entries; at most {limit} are allowed", values.len()),
            );
            return Vec::new();
        }
        let mut tables = Vec::with_capacity(values.len());
        for (index, value) in values.into_iter().enumerate() {
            let path = format!("{key}[{index}]");
            match value {
                Value::Table(table) => tables.push((self.path_of(&path), table)),
                other => self.fault(&path, format!("must be a table, not {}", article(&other))),
            }
        }
        tables
    }

    /// A whole number from `least` to `most`.
    pub(crate) fn number(&mut self, key: &'static str, least: u64, most: u64) -> Option<u64> {
        let number = self.take_as(key, "a whole number", |value| match value {
            Value::Integer(number) => Ok(number),
            other => Err(other),
        })?;
        match u64::try_from(number) {
            Ok(number) if (least..=most).contains(&number) => Some(number),
            _ => {
                self.fault(key, format!("must be from {least} to {most}"));
                None
            }
        }
    }

    /// `true` or `false`.
    pub(crate) fn boolean(&mut self, key: &'static str) -> Option<bool> {
        self.take_as(key, "`true` or `false`", |value| match value {
            Value::Boolean(value) => Ok(value),
            other => Err(other),
        })
    }

    /// Reports every key that nobody took.
    pub(crate) fn finish(self) {
        for key in self.table.keys() {
            let shown: String = key.chars().take(80).collect();
            let path = if self.path.is_empty() {
                shown
            } else {
                format!("{}.{shown}", self.path)
            };
            let message = match nearest(key, self.known.iter().copied()) {
                Some(known) => format!("is not a key of the manifest; did you mean `{known}`?"),
                None => {
                    format!(
                        "is not a key of the manifest; known here: {}",
                        self.known.join(", ")
                    )
                }
            };
            self.faults.push(Fault { key: path, message });
        }
    }
}

fn article(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "a string",
        Value::Integer(_) => "an integer",
        Value::Float(_) => "a float",
        Value::Boolean(_) => "a boolean",
        Value::Datetime(_) => "a date",
        Value::Array(_) => "an array",
        Value::Table(_) => "a table",
    }
}
