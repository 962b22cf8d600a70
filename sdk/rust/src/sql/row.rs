//! From a row to a value of the application.

use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{self, DeserializeOwned, Deserializer, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;

use super::Error;
use crate::bindings::storage::sql::Value;

type Fault = de::value::Error;

pub(super) fn decode<T: DeserializeOwned>(
    columns: &[String],
    values: Vec<Value>,
) -> Result<T, Error> {
    T::deserialize(Row { columns, values }).map_err(|fault| Error::Mismatch(fault.to_string()))
}

/// A struct or a map by the columns' names, a tuple by their order, anything else is the value of
/// the first column.
struct Row<'a> {
    columns: &'a [String],
    values: Vec<Value>,
}

impl Row<'_> {
    fn first(self) -> Result<Cell, Fault> {
        let value = self.values.into_iter().next();
        value
            .map(Cell)
            .ok_or_else(|| de::Error::custom("the row has no column"))
    }
}

macro_rules! of_first {
    ($($method:ident)*) => {
        $(
            fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
                self.first()?.$method(visitor)
            }
        )*
    };
}

impl<'de> Deserializer<'de> for Row<'_> {
    type Error = Fault;

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let names = self.columns.iter().map(String::as_str);
        let cells = self.values.into_iter().map(Cell);
        visitor.visit_map(MapDeserializer::new(names.zip(cells)))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.deserialize_map(visitor)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let mut cells = SeqDeserializer::new(self.values.into_iter().map(Cell));
        let value = visitor.visit_seq(&mut cells)?;
        cells.end()?;
        Ok(value)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_unit()
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.first()?.deserialize_enum(name, variants, visitor)
    }

    of_first! {
        deserialize_any deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32
        deserialize_i64 deserialize_i128 deserialize_u8 deserialize_u16 deserialize_u32
        deserialize_u64 deserialize_u128 deserialize_f32 deserialize_f64 deserialize_char
        deserialize_str deserialize_string deserialize_bytes deserialize_byte_buf
        deserialize_option deserialize_identifier deserialize_ignored_any
    }
}

/// One value of a row.
struct Cell(Value);

impl<'de> IntoDeserializer<'de, Fault> for Cell {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for Cell {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.0 {
            Value::Null => visitor.visit_unit(),
            Value::Integer(value) => visitor.visit_i64(value),
            Value::Real(value) => visitor.visit_f64(value),
            Value::Text(value) => visitor.visit_string(value),
            Value::Blob(value) => visitor.visit_byte_buf(value),
        }
    }

    /// The database has no type for it: 0 and 1 stand for it.
    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.0 {
            Value::Integer(0) => visitor.visit_bool(false),
            Value::Integer(1) => visitor.visit_bool(true),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.0 {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    /// `Vec<u8>` asks for a sequence.
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.0 {
            Value::Blob(bytes) => visitor.visit_seq(SeqDeserializer::new(bytes.into_iter())),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    /// A text names a variant.
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match self.0 {
            Value::Text(name) => visitor.visit_enum(name.into_deserializer()),
            _ => Err(de::Error::custom("a variant is named by a text")),
        }
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct tuple tuple_struct map struct identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(rename_all = "lowercase")]
    enum Kind {
        Folder,
        Document,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    struct Id(i64);

    #[derive(Debug, Deserialize, PartialEq)]
    struct Node {
        id: Id,
        kind: Kind,
        note: Option<String>,
        shared: bool,
        key: Vec<u8>,
        share: f64,
    }

    fn row<T: DeserializeOwned>(cells: &[(&str, Value)]) -> Result<T, Error> {
        let columns: Vec<String> = cells.iter().map(|(name, _)| (*name).to_owned()).collect();
        let values = cells.iter().map(|(_, value)| value.clone()).collect();
        decode(&columns, values)
    }

    #[test]
    fn a_struct_is_read_by_the_names_of_the_columns() {
        let node: Node = row(&[
            ("share", Value::Real(0.5)),
            ("id", Value::Integer(7)),
            ("kind", Value::Text("folder".into())),
            ("note", Value::Null),
            ("shared", Value::Integer(1)),
            ("key", Value::Blob(vec![1, 2])),
            ("more", Value::Text("left out".into())),
        ])
        .unwrap();
        assert_eq!(
            node,
            Node {
                id: Id(7),
                kind: Kind::Folder,
                note: None,
                shared: true,
                key: vec![1, 2],
                share: 0.5,
            }
        );
    }

    #[test]
    fn a_tuple_is_read_by_order_and_a_single_value_from_the_first_column() {
        let cells = [("a", Value::Integer(1)), ("b", Value::Text("x".into()))];
        assert_eq!(row::<(i64, String)>(&cells).unwrap(), (1, "x".to_owned()));
        assert_eq!(row::<u8>(&cells).unwrap(), 1);
        assert_eq!(row::<Option<String>>(&[("a", Value::Null)]).unwrap(), None);
        assert_eq!(row::<Kind>(&cells[1..]).ok(), None, "no such variant");
    }

    #[test]
    fn what_does_not_fit_says_why() {
        let refused = |error: Result<i64, Error>| error.unwrap_err().to_string();
        assert!(refused(row(&[("a", Value::Text("x".into()))])).contains("expected i64"));
        assert!(refused(row(&[])).contains("no column"));
        let cells = [("a", Value::Integer(300))];
        assert!(row::<u8>(&cells).is_err(), "out of range");
        assert!(row::<bool>(&[("a", Value::Integer(2))]).is_err());
        assert!(row::<(i64, i64)>(&cells).is_err(), "too few columns");
        let missing = row::<Node>(&cells).unwrap_err().to_string();
        assert!(missing.contains("missing field `id`"), "{missing}");
    }
}
