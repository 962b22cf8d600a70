//! Values between the interface and the server: what goes there as text of the type that the server
//! finds for a parameter, and what comes as the text of a column's type.

use bytes::Bytes;

use crate::bindings::exports::canopy::storage::sql::{Column, Error, Value};
use crate::session;
use crate::session::Parameter;

/// Numbers of types at the server, and what they are called there.
const TYPES: [(u32, &str); 24] = [
    (16, "boolean"),
    (17, "bytea"),
    (18, "\"char\""),
    (19, "name"),
    (20, "bigint"),
    (21, "smallint"),
    (23, "integer"),
    (25, "text"),
    (26, "oid"),
    (114, "json"),
    (700, "real"),
    (701, "double precision"),
    (869, "inet"),
    (1042, "character"),
    (1043, "character varying"),
    (1082, "date"),
    (1083, "time without time zone"),
    (1114, "timestamp without time zone"),
    (1184, "timestamp with time zone"),
    (1186, "interval"),
    (1700, "numeric"),
    (2950, "uuid"),
    (3614, "tsvector"),
    (3802, "jsonb"),
];

/// A parameter as it is sent.
pub fn parameter(value: Value) -> Parameter {
    match value {
        Value::Null => Parameter::Null,
        Value::Integer(number) => Parameter::Text(number.to_string()),
        Value::Real(number) => Parameter::Text(real(number)),
        Value::Text(text) => Parameter::Text(text),
        Value::Blob(bytes) => Parameter::Bytes(bytes),
    }
}

/// A number as the server reads it.
pub fn real(number: f64) -> String {
    if number.is_finite() {
        return number.to_string();
    }
    match (number.is_nan(), number > 0.0) {
        (true, _) => "NaN",
        (false, true) => "Infinity",
        (false, false) => "-Infinity",
    }
    .to_owned()
}

/// A column as the interface has it.
pub fn column(column: &session::Column) -> Column {
    let known = TYPES.iter().find(|(oid, _)| *oid == column.oid);
    Column {
        name: column.name.clone(),
        declared_type: known.map(|(_, name)| (*name).to_owned()),
    }
}

/// A value of a column of this type. Whole numbers and truth are integers, floating ones reals, bytes
/// are blobs, and anything else is the server's text for it: exact numbers, moments, JSON, arrays.
pub fn value(oid: u32, text: Option<&Bytes>) -> Result<Value, Error> {
    let Some(bytes) = text else {
        return Ok(Value::Null);
    };
    let confused = || Error::Other("the PostgreSQL server sent what is no value".to_owned());
    let text = std::str::from_utf8(bytes).map_err(|_| confused())?;
    Ok(match oid {
        16 => Value::Integer(i64::from(text == "t")),
        20 | 21 | 23 | 26 => Value::Integer(text.parse().map_err(|_| confused())?),
        700 | 701 => Value::Real(text.parse().map_err(|_| confused())?),
        17 => Value::Blob(unescaped(text).ok_or_else(confused)?),
        _ => Value::Text(text.to_owned()),
    })
}

/// Bytes from the hexadecimal form that the server gives them.
fn unescaped(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_prefix("\\x")?.as_bytes();
    let digit = |digit: u8| char::from(digit).to_digit(16);
    let pair = |pair: &[u8]| u8::try_from(digit(pair[0])? * 16 + digit(*pair.get(1)?)?).ok();
    digits.chunks(2).map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(oid: u32, text: &str) -> Option<Value> {
        value(oid, Some(&Bytes::from(text.to_owned()))).ok()
    }

    #[test]
    fn values_come_as_what_they_are() {
        assert!(matches!(value(20, None), Ok(Value::Null)));
        assert!(matches!(read(16, "t"), Some(Value::Integer(1))));
        assert!(matches!(read(16, "f"), Some(Value::Integer(0))));
        assert!(matches!(
            read(20, "-9223372036854775808"),
            Some(Value::Integer(i64::MIN))
        ));
        assert!(matches!(
            read(701, "Infinity"),
            Some(Value::Real(f64::INFINITY))
        ));
        assert!(matches!(read(17, "\\x00ff"), Some(Value::Blob(bytes)) if bytes == [0, 255]));
        assert!(matches!(read(17, "\\x"), Some(Value::Blob(bytes)) if bytes.is_empty()));
        assert!(matches!(read(1700, "0.10"), Some(Value::Text(text)) if text == "0.10"));
        for (oid, wrong) in [
            (20, "x"),
            (17, "00"),
            (17, "\\x0"),
            (17, "\\xzz"),
            (701, ""),
        ] {
            assert!(read(oid, wrong).is_none(), "{oid} {wrong}");
        }
    }

    #[test]
    fn reals_go_as_the_server_reads_them() {
        for (number, text) in [
            (1.5, "1.5"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "Infinity"),
            (f64::NEG_INFINITY, "-Infinity"),
        ] {
            assert_eq!(real(number), text);
        }
        assert_eq!(real(0.1 + 0.2).parse::<f64>(), Ok(0.1 + 0.2));
    }
}
