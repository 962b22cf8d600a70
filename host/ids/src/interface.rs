//! Names of WIT interfaces, as components import and export them
//! (component model, `WIT.md`: `namespace:package/interface@version`).

use std::fmt;
use std::str::FromStr;

use semver::Version;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::name::text_form;

/// A text that is not the name of an interface or a WIT package.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {expected}")]
pub struct InvalidInterface {
    text: String,
    expected: &'static str,
}

impl InvalidInterface {
    pub(crate) fn new(text: &str, expected: &'static str) -> Self {
        Self {
            text: text.chars().take(200).collect(),
            expected,
        }
    }
}

/// A WIT package without its version, such as `wasi:keyvalue`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WitPackage {
    /// Before the colon.
    pub namespace: Box<str>,
    /// After the colon.
    pub name: Box<str>,
}

/// An interface, such as `wasi:keyvalue/store@0.2.0-draft`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InterfaceName {
    /// The package it is in.
    pub package: WitPackage,
    /// Its name in the package.
    pub interface: Box<str>,
    /// The package's version; `None` where the package has none.
    pub version: Option<Version>,
}

impl InterfaceName {
    /// Whether a component that imports `self` can be served by one that exports `offered`: the
    /// same interface, and a version that semver calls compatible and that is not older.
    pub fn accepts(&self, offered: &InterfaceName) -> bool {
        if self.package != offered.package || self.interface != offered.interface {
            return false;
        }
        match (&self.version, &offered.version) {
            (None, None) => true,
            (Some(wanted), Some(offered)) => {
                wanted == offered
                    || (wanted.pre.is_empty()
                        && offered.pre.is_empty()
                        && compatibility_track(wanted) == compatibility_track(offered)
                        && offered >= wanted)
            }
            _ => false,
        }
    }
}

/// The leading parts of a version that must be the same for two versions to be compatible.
fn compatibility_track(version: &Version) -> (u64, u64, u64) {
    match (version.major, version.minor) {
        (0, 0) => (0, 0, version.patch),
        (0, minor) => (0, minor, 0),
        (major, _) => (major, 0, 0),
    }
}

/// Whether `text` is a name as WIT has them.
pub(crate) fn is_kebab(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 64
        && text.split('-').all(|word| {
            word.starts_with(|c: char| c.is_ascii_alphabetic())
                && word.chars().all(|c| c.is_ascii_alphanumeric())
        })
}

impl FromStr for WitPackage {
    type Err = InvalidInterface;

    fn from_str(text: &str) -> Result<Self, InvalidInterface> {
        match text.split_once(':') {
            Some((namespace, name)) if is_kebab(namespace) && is_kebab(name) => Ok(Self {
                namespace: namespace.into(),
                name: name.into(),
            }),
            _ => Err(InvalidInterface::new(
                text,
                "a WIT package, written `namespace:package`",
            )),
        }
    }
}

impl FromStr for InterfaceName {
    type Err = InvalidInterface;

    fn from_str(text: &str) -> Result<Self, InvalidInterface> {
        const EXPECTED: &str = "an interface, written `namespace:package/interface@version`";
        let error = || InvalidInterface::new(text, EXPECTED);
        let (path, version) = match text.split_once('@') {
            Some((path, version)) => (path, Some(Version::parse(version).map_err(|_| error())?)),
            None => (text, None),
        };
        let (package, interface) = path.split_once('/').ok_or_else(error)?;
        if !is_kebab(interface) {
            return Err(error());
        }
        let package = package.parse().map_err(|_| error())?;
        Ok(Self {
            package,
            interface: interface.into(),
            version,
        })
    }
}

impl fmt::Display for WitPackage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.namespace, self.name)
    }
}

impl fmt::Display for InterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.package, self.interface)?;
        match &self.version {
            Some(version) => write!(f, "@{version}"),
            None => Ok(()),
        }
    }
}

text_form!(WitPackage);
text_form!(InterfaceName);

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> InterfaceName {
        text.parse().expect(text)
    }

    #[test]
    fn text_and_back() {
        for text in [
            "wasi:keyvalue/store@0.2.0-draft2",
            "acme:payments/charge@1.2.0",
            "a:b/c",
        ] {
            assert_eq!(name(text).to_string(), text);
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "", "a", "a:b", "a/b", "a:b/c@", "a:b/c@1", "a:b/c/d", ":b/c", "a:b/-c",
        ] {
            assert!(text.parse::<InterfaceName>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_newer_compatible_version_serves() {
        assert!(name("a:b/c@1.2.0").accepts(&name("a:b/c@1.2.0")));
        assert!(name("a:b/c@1.2.0").accepts(&name("a:b/c@1.3.1")));
        assert!(name("a:b/c@0.2.1").accepts(&name("a:b/c@0.2.9")));
        assert!(name("a:b/c").accepts(&name("a:b/c")));
    }

    #[test]
    fn an_older_or_incompatible_version_does_not() {
        for (wanted, offered) in [
            ("a:b/c@1.2.0", "a:b/c@1.1.9"),
            ("a:b/c@1.2.0", "a:b/c@2.0.0"),
            ("a:b/c@0.2.0", "a:b/c@0.3.0"),
            ("a:b/c@0.0.1", "a:b/c@0.0.2"),
            ("a:b/c@0.2.0-draft", "a:b/c@0.2.0-draft2"),
            ("a:b/c@0.2.0-draft", "a:b/c@0.2.0"),
            ("a:b/c@1.0.0", "a:b/d@1.0.0"),
            ("a:b/c@1.0.0", "a:b/c"),
        ] {
            assert!(
                !name(wanted).accepts(&name(offered)),
                "{wanted} by {offered}"
            );
        }
    }
}
