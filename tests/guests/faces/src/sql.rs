//! What the guests have in common that reach the same SQL databases by interfaces of different names:
//! `?op=sql&store=DATABASE&key=STATEMENT&value=PARAMETERS` runs a statement, with its parameters as a
//! JSON array, and answers the rows; `columns` answers their names and `told` how many rows were
//! changed, and the last row id. `script` runs the statements of the JSON array `value`, each an array
//! of a statement and its parameters, on one connection, and answers what became of each: its rows, or
//! `{"error": TEXT}`. A blob is written as `{"blob": [1, 2, 3]}`.

use std::fmt::Debug;

use serde_json::{Value, json};

use crate::Asked;

/// A value of SQL.
pub enum Cell {
    Null,
    Integer(i64),
    Real(f64),
    Text(String),
    Blob(Vec<u8>),
}

impl From<&Value> for Cell {
    fn from(value: &Value) -> Self {
        match value {
            Value::Number(number) => match number.as_i64() {
                Some(integer) => Self::Integer(integer),
                None => Self::Real(number.as_f64().unwrap_or(f64::NAN)),
            },
            Value::String(text) => Self::Text(text.clone()),
            Value::Object(object) => {
                let bytes = object.get("blob").and_then(Value::as_array);
                let byte = |value: &Value| value.as_u64().and_then(|byte| u8::try_from(byte).ok());
                Self::Blob(bytes.into_iter().flatten().filter_map(byte).collect())
            }
            _ => Self::Null,
        }
    }
}

impl From<Cell> for Value {
    fn from(cell: Cell) -> Self {
        match cell {
            Cell::Null => Self::Null,
            Cell::Integer(integer) => json!(integer),
            Cell::Real(real) => json!(real),
            Cell::Text(text) => json!(text),
            Cell::Blob(bytes) => json!({ "blob": bytes }),
        }
    }
}

fn values<V: From<Cell>>(written: &[Value]) -> Vec<V> {
    let value = |value| Cell::from(value).into();
    written.iter().map(value).collect()
}

/// The parameters that were asked for.
pub fn parameters<V: From<Cell>>(asked: &Asked) -> Vec<V> {
    let written: Vec<Value> = serde_json::from_slice(&asked.value).unwrap_or_default();
    values(&written)
}

/// The statements of a script, each with its parameters.
pub fn script<V: From<Cell>>(asked: &Asked) -> Vec<(String, Vec<V>)> {
    let written: Vec<(String, Vec<Value>)> =
        serde_json::from_slice(&asked.value).unwrap_or_default();
    let statement = |(text, parameters): (String, Vec<Value>)| (text, values(&parameters));
    written.into_iter().map(statement).collect()
}

/// What became of a statement of a script.
pub fn step<E: Debug>(result: Result<Value, E>) -> Value {
    result.unwrap_or_else(|error| json!({ "error": format!("{error:?}") }))
}

/// Rows as they are answered.
pub fn rows<V: Into<Cell>>(rows: impl IntoIterator<Item = Vec<V>>) -> Value {
    let row = |row: Vec<V>| {
        row.into_iter()
            .map(|value| Value::from(value.into()))
            .collect()
    };
    Value::Array(rows.into_iter().map(row).collect())
}

/// The conversions between [`Cell`] and the `value` that bindings have made of an interface.
#[macro_export]
macro_rules! cells {
    ($value:ident) => {
        impl From<$crate::sql::Cell> for $value {
            fn from(cell: $crate::sql::Cell) -> Self {
                match cell {
                    $crate::sql::Cell::Null => Self::Null,
                    $crate::sql::Cell::Integer(integer) => Self::Integer(integer),
                    $crate::sql::Cell::Real(real) => Self::Real(real),
                    $crate::sql::Cell::Text(text) => Self::Text(text),
                    $crate::sql::Cell::Blob(bytes) => Self::Blob(bytes),
                }
            }
        }

        impl From<$value> for $crate::sql::Cell {
            fn from(value: $value) -> Self {
                match value {
                    $value::Null => Self::Null,
                    $value::Integer(integer) => Self::Integer(integer),
                    $value::Real(real) => Self::Real(real),
                    $value::Text(text) => Self::Text(text),
                    $value::Blob(bytes) => Self::Blob(bytes),
                }
            }
        }
    };
}
