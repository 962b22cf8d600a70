//! Names that people choose. A name is also a part of host names and of addresses of the API, so
//! it is a DNS label (RFC 1123): nothing that needs escaping, folding or normalising can be one.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a valid {what}: {rule}")]
pub struct InvalidName {
    text: String,
    what: &'static str,
    rule: &'static str,
}

impl InvalidName {
    fn new(text: &str, what: &'static str, rule: &'static str) -> Self {
        Self {
            text: text.chars().take(80).collect(),
            what,
            rule,
        }
    }
}

/// One name: 1 to 63 of `a-z`, `0-9` and `-`, beginning with a letter and not ending in `-`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label(Box<str>);

impl Label {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Label {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let bytes = text.as_bytes();
        let allowed = |c: &u8| c.is_ascii_lowercase() || c.is_ascii_digit() || *c == b'-';
        let valid = (1..=63).contains(&bytes.len())
            && bytes.iter().all(allowed)
            && bytes[0].is_ascii_lowercase()
            && bytes[bytes.len() - 1] != b'-';
        if valid {
            Ok(Self(text.into()))
        } else {
            Err(InvalidName::new(
                text,
                "name",
                "use 1 to 63 of a-z, 0-9 and `-`, beginning with a letter and not ending in `-`",
            ))
        }
    }
}

/// A package's name: its publisher's name and its own, written `publisher/name`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PackageName {
    /// Who owns the package.
    pub publisher: Label,
    /// The package among those of its publisher.
    pub name: Label,
}

impl FromStr for PackageName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let (publisher, name) = text.split_once('/').ok_or_else(|| {
            InvalidName::new(text, "package name", "write it as `publisher/name`")
        })?;
        Ok(Self {
            publisher: publisher.parse()?,
            name: name.parse()?,
        })
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Display for PackageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.publisher, self.name)
    }
}

macro_rules! text_form {
    ($name:ty) => {
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?
                    .parse()
                    .map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(crate) use text_form;

text_form!(Label);
text_form!(PackageName);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dns_labels() {
        for text in ["a", "invoices", "a-1", &"a".repeat(63)] {
            assert!(text.parse::<Label>().is_ok(), "{text}");
        }
    }

    #[test]
    fn whatever_could_mislead_is_refused() {
        let long = "a".repeat(64);
        for text in [
            "",
            "-a",
            "a-",
            "A",
            "1a",
            "a_b",
            "a.b",
            "../x",
            "a\0",
            "аcme",
            "\u{202e}a",
            &long,
        ] {
            assert!(text.parse::<Label>().is_err(), "{text:?}");
        }
        for text in ["a", "a/", "/a", "a/b/c", "../x"] {
            assert!(text.parse::<PackageName>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn an_overlong_name_is_quoted_short() {
        let error = "x".repeat(10_000).parse::<Label>().expect_err("too long");
        assert!(error.to_string().len() < 300);
    }
}
