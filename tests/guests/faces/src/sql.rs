//! What the guests have in common that reach the same SQL databases by interfaces of different names:
//! `?op=sql&store=DATABASE&key=STATEMENT&value=PARAMETERS` runs a statement, with its parameters as a
//! JSON array, and answers the rows. A blob is written as `{"blob": [1, 2, 3]}`.

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

/// The parameters that were asked for.
pub fn parameters<V: From<Cell>>(asked: &Asked) -> Vec<V> {
    let written: Vec<Value> = serde_json::from_slice(&asked.value).unwrap_or_default();
    written
        .iter()
        .map(|value| Cell::from(value).into())
        .collect()
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
