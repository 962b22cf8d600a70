//! Values of parameters.

use crate::bindings::storage::sql as wit;

/// A value of a parameter. Whatever converts to one can stand in [`params!`](crate::params).
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// No value.
    Null,
    /// A whole number.
    Integer(i64),
    /// A floating-point number.
    Real(f64),
    /// A text.
    Text(String),
    /// Bytes.
    Blob(Vec<u8>),
}

/// The values of a statement's parameters, in their order.
///
/// ```
/// use canopy_sdk::{params, sql::Value};
///
/// let none: Option<i64> = None;
/// assert_eq!(params!["a", 1, none], [Value::Text("a".into()), Value::Integer(1), Value::Null]);
/// assert!(params![].is_empty());
/// ```
#[macro_export]
macro_rules! params {
    ($($value:expr),* $(,)?) => {{
        let values: ::std::vec::Vec<$crate::sql::Value> =
            ::std::vec![$($crate::sql::Value::from($value)),*];
        values
    }};
}

macro_rules! from {
    ($($type:ty, $value:ident => $into:expr;)*) => {
        $(
            impl From<$type> for Value {
                fn from($value: $type) -> Self {
                    $into
                }
            }

            impl From<&$type> for Value {
                fn from(value: &$type) -> Self {
                    Self::from(value.clone())
                }
            }
        )*
    };
}

from! {
    i64, value => Self::Integer(value);
    i32, value => Self::Integer(value.into());
    i16, value => Self::Integer(value.into());
    i8, value => Self::Integer(value.into());
    u32, value => Self::Integer(value.into());
    u16, value => Self::Integer(value.into());
    u8, value => Self::Integer(value.into());
    bool, value => Self::Integer(value.into());
    f64, value => Self::Real(value);
    f32, value => Self::Real(value.into());
    String, value => Self::Text(value);
    Vec<u8>, value => Self::Blob(value);
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<&&str> for Value {
    fn from(text: &&str) -> Self {
        Self::Text((*text).to_owned())
    }
}

impl From<&[u8]> for Value {
    fn from(bytes: &[u8]) -> Self {
        Self::Blob(bytes.to_vec())
    }
}

impl<T: Into<Self>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

pub(super) fn wire(values: Vec<Value>) -> Vec<wit::Value> {
    let wire = |value| match value {
        Value::Null => wit::Value::Null,
        Value::Integer(value) => wit::Value::Integer(value),
        Value::Real(value) => wit::Value::Real(value),
        Value::Text(value) => wit::Value::Text(value),
        Value::Blob(value) => wit::Value::Blob(value),
    };
    values.into_iter().map(wire).collect()
}
