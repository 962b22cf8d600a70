//! The parameters of a route's path.

use serde::de::value::{Error, MapDeserializer, SeqDeserializer};
use serde::de::{
    self, DeserializeOwned, Deserializer, EnumAccess, IntoDeserializer, VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use crate::{FromRequest, Problem, Request};

macro_rules! single_value {
    ($($method:ident)*) => {
        $(
            fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
                single(self)?.$method(visitor)
            }
        )*
    };
}

macro_rules! parsed {
    ($($method:ident $visit:ident),*) => {
        $(
            fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
                match self.0.parse() {
                    Ok(value) => visitor.$visit(value),
                    Err(_) => Err(de::Error::invalid_value(
                        de::Unexpected::Str(self.0),
                        &visitor,
                    )),
                }
            }
        )*
    };
}

/// The parameters of the matched path: one value of any type that parses, a tuple in the order of
/// the path, or a struct by the parameters' names.
///
/// ```
/// use canopy_sdk::{Path, Router, get};
///
/// let app = Router::new().route(
///     "/orders/{order}/lines/{line}",
///     get(|Path((order, line)): Path<(String, u32)>| format!("line {line} of {order}")),
/// );
/// # let request = canopy_sdk::http::Request::get("/orders/a/lines/7")
/// #     .body(canopy_sdk::Body::empty()).unwrap();
/// # let body = app.call(request).into_body().read_to_string(99).unwrap();
/// # assert_eq!(body, "line 7 of a");
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Path<T>(pub T);

impl<T: DeserializeOwned> FromRequest for Path<T> {
    type Rejection = Problem;

    fn from_request(request: &mut Request) -> Result<Self, Problem> {
        let empty = Parameters::default();
        let parameters = request.extensions().get().unwrap_or(&empty);
        T::deserialize(parameters)
            .map(Self)
            .map_err(|error| Problem::bad_request(format!("The path: {error}.")))
    }
}

/// Names and decoded values, in the order of the path.
#[derive(Debug, Clone, Default)]
pub(crate) struct Parameters(Vec<(String, String)>);

impl Parameters {
    pub(crate) fn new(matched: &matchit::Params<'_, '_>) -> Result<Self, Problem> {
        matched
            .iter()
            .map(|(name, value)| Ok((name.to_owned(), decode(value)?)))
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

/// Percent-decodes `text`; what is not UTF-8 then is refused.
fn decode(text: &str) -> Result<String, Problem> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes().iter();
    while let Some(&byte) = rest.next() {
        match (byte, rest.as_slice()) {
            (b'%', [high, low, ..]) => match (nibble(*high), nibble(*low)) {
                (Some(high), Some(low)) => {
                    bytes.push(high << 4 | low);
                    rest.nth(1);
                }
                _ => bytes.push(b'%'),
            },
            _ => bytes.push(byte),
        }
    }
    String::from_utf8(bytes)
        .map_err(|_| Problem::bad_request("A segment of the path is not UTF-8 text."))
}

fn nibble(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}

impl<'de> Deserializer<'de> for &'de Parameters {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0.as_slice() {
            [(_, value)] => Value(value).deserialize_any(visitor),
            _ => self.deserialize_map(visitor),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let pairs = self
            .0
            .iter()
            .map(|(name, value)| (name.as_str(), Value(value)));
        visitor.visit_map(MapDeserializer::new(pairs))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_map(visitor)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_seq(SeqDeserializer::new(
            self.0.iter().map(|(_, value)| Value(value)),
        ))
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        if length != self.0.len() {
            return Err(de::Error::invalid_length(
                self.0.len(),
                &"as many parameters as the handler takes",
            ));
        }
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_tuple(length, visitor)
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    single_value! {
        deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_i128 deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64
        deserialize_u128 deserialize_f32 deserialize_f64 deserialize_char deserialize_str
        deserialize_string deserialize_option
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        single(self)?.deserialize_enum(name, variants, visitor)
    }

    forward_to_deserialize_any! { bytes byte_buf unit_struct identifier ignored_any }
}

fn single(parameters: &Parameters) -> Result<Value<'_>, Error> {
    match parameters.0.as_slice() {
        [(_, value)] => Ok(Value(value)),
        others => Err(de::Error::custom(format!(
            "the route has {} parameters and the handler takes one",
            others.len()
        ))),
    }
}

/// One parameter's text, parsed into what is asked for.
#[derive(Clone, Copy)]
struct Value<'de>(&'de str);

impl<'de> IntoDeserializer<'de, Error> for Value<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for Value<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_borrowed_str(self.0)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_enum(self)
    }

    parsed! {
        deserialize_bool visit_bool, deserialize_i8 visit_i8, deserialize_i16 visit_i16,
        deserialize_i32 visit_i32, deserialize_i64 visit_i64, deserialize_i128 visit_i128,
        deserialize_u8 visit_u8, deserialize_u16 visit_u16, deserialize_u32 visit_u32,
        deserialize_u64 visit_u64, deserialize_u128 visit_u128, deserialize_f32 visit_f32,
        deserialize_f64 visit_f64
    }

    forward_to_deserialize_any! {
        char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map struct
        identifier ignored_any
    }
}

impl<'de> EnumAccess<'de> for Value<'de> {
    type Error = Error;
    type Variant = UnitOnly;

    fn variant_seed<T: de::DeserializeSeed<'de>>(
        self,
        seed: T,
    ) -> Result<(T::Value, UnitOnly), Error> {
        Ok((seed.deserialize(self)?, UnitOnly))
    }
}

/// A path's segment can name a variant without fields, and no other.
struct UnitOnly;

impl<'de> VariantAccess<'de> for UnitOnly {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        Ok(())
    }

    fn newtype_variant_seed<T: de::DeserializeSeed<'de>>(self, _: T) -> Result<T::Value, Error> {
        Err(de::Error::custom(
            "a segment cannot hold a variant with fields",
        ))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, Error> {
        Err(de::Error::custom(
            "a segment cannot hold a variant with fields",
        ))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Error> {
        Err(de::Error::custom(
            "a segment cannot hold a variant with fields",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    fn read<T: DeserializeOwned>(pairs: &[(&str, &str)]) -> Result<T, String> {
        let parameters = Parameters(
            pairs
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        );
        T::deserialize(&parameters).map_err(|error| error.to_string())
    }

    #[derive(Deserialize, Debug, PartialEq)]
    #[serde(rename_all = "kebab-case")]
    enum Kind {
        Draft,
        Paid,
    }

    #[derive(Deserialize, Debug, PartialEq)]
    struct Line {
        order: String,
        line: u16,
        kind: Option<Kind>,
    }

    #[test]
    fn one_parameter_is_a_value_of_any_type() {
        assert_eq!(read::<u64>(&[("a", "18446744073709551615")]), Ok(u64::MAX));
        assert_eq!(read::<String>(&[("a", "7")]), Ok("7".to_owned()));
        assert_eq!(read::<bool>(&[("a", "true")]), Ok(true));
        assert_eq!(read::<Kind>(&[("a", "paid")]), Ok(Kind::Paid));
        assert_eq!(read::<(i8,)>(&[("a", "-3")]), Ok((-3,)));
        assert!(read::<u8>(&[("a", "256")]).unwrap_err().contains("256"));
        assert!(read::<Kind>(&[("a", "lost")]).unwrap_err().contains("lost"));
    }

    #[test]
    fn several_parameters_are_a_tuple_or_a_struct_and_never_a_single_value() {
        let pairs = [("order", "a"), ("line", "7")];
        assert_eq!(read(&pairs), Ok(("a".to_owned(), 7_u16)));
        let line = Line {
            order: "a".to_owned(),
            line: 7,
            kind: None,
        };
        assert_eq!(read(&pairs), Ok(line));
        assert!(read::<(String, u8, u8)>(&pairs).is_err());
        assert!(read::<String>(&pairs).unwrap_err().contains("2 parameters"));
    }

    #[test]
    fn decoding_takes_hexadecimal_pairs_alone() {
        assert_eq!(decode("a%20b%C3%BC").unwrap(), "a bü");
        assert_eq!(decode("100%").unwrap(), "100%");
        assert_eq!(decode("%zz%2").unwrap(), "%zz%2");
        assert!(decode("%ff").is_err());
    }
}
