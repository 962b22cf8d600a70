//! What a component imports, and what a binding names: a WIT package, one interface of it, or
//! either of them under a label.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::interface::{InterfaceName, InvalidInterface, WitPackage, is_kebab};
use crate::name::{Label, text_form};

/// An interface that a component imports. A component that imports one interface several times tells
/// the imports apart by labels: they are the names of the imports, and `(implements …)` says which
/// interface each is. As text the label stands behind the interface: `wasi:keyvalue/store@0.2.0=cache`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Import {
    /// The interface.
    pub interface: InterfaceName,
    /// The label that it is imported under.
    pub label: Option<Label>,
}

/// What a binding is for: all interfaces of a WIT package (`wasi:keyvalue`), or one of them
/// (`canopy:storage/sql`), in whatever version; under every label, or under one only
/// (`wasi:keyvalue=cache`).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BindingKey {
    /// The package.
    pub package: WitPackage,
    /// The one interface that is bound; `None`: all of the package.
    pub interface: Option<Box<str>>,
    /// The label that the import must have; `None`: any or none.
    pub label: Option<Label>,
}

impl BindingKey {
    /// Whether `import` is bound by this.
    pub fn covers(&self, import: &Import) -> bool {
        self.package == import.interface.package
            && self
                .interface
                .as_ref()
                .is_none_or(|interface| *interface == import.interface.interface)
            && (self.label.is_none() || self.label == import.label)
    }

    /// How narrow it is. A label says more than an interface: it names one import.
    fn precision(&self) -> (bool, bool) {
        (self.label.is_some(), self.interface.is_some())
    }

    /// The binding that decides about `import`: the narrowest of those that cover it.
    pub fn choose<'a, V>(
        bindings: &'a BTreeMap<Self, V>,
        import: &Import,
    ) -> Option<(&'a Self, &'a V)> {
        let covering = bindings.iter().filter(|(key, _)| key.covers(import));
        covering.max_by_key(|(key, _)| key.precision())
    }
}

impl From<WitPackage> for BindingKey {
    fn from(package: WitPackage) -> Self {
        Self {
            package,
            interface: None,
            label: None,
        }
    }
}

impl Import {
    /// What to bind for it, as widely as it may be.
    pub fn key(&self) -> BindingKey {
        BindingKey {
            package: self.interface.package.clone(),
            interface: None,
            label: self.label.clone(),
        }
    }
}

impl From<InterfaceName> for Import {
    fn from(interface: InterfaceName) -> Self {
        Self {
            interface,
            label: None,
        }
    }
}

/// A text, and the label behind it.
fn labelled(text: &str) -> Option<(&str, Option<Label>)> {
    match text.rsplit_once('=') {
        Some((before, label)) => Some((before, Some(label.parse().ok()?))),
        None => Some((text, None)),
    }
}

impl FromStr for Import {
    type Err = InvalidInterface;

    fn from_str(text: &str) -> Result<Self, InvalidInterface> {
        let (interface, label) = labelled(text).ok_or_else(|| {
            InvalidInterface::new(
                text,
                "an import, written `namespace:package/interface@version` or the same with `=label`",
            )
        })?;
        Ok(Self {
            interface: interface.parse()?,
            label,
        })
    }
}

impl FromStr for BindingKey {
    type Err = InvalidInterface;

    fn from_str(text: &str) -> Result<Self, InvalidInterface> {
        let error = || {
            InvalidInterface::new(
                text,
                "what can be bound: a WIT package (`namespace:package`) or an interface without \
                 its version (`namespace:package/interface`), and `=label` behind it for an import \
                 under that label",
            )
        };
        let (target, label) = labelled(text).ok_or_else(error)?;
        let (package, interface) = match target.split_once('/') {
            Some((package, interface)) if is_kebab(interface) => (package, Some(interface.into())),
            Some(_) => return Err(error()),
            None => (target, None),
        };
        Ok(Self {
            package: package.parse().map_err(|_| error())?,
            interface,
            label,
        })
    }
}

impl fmt::Display for Import {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.interface.fmt(f)?;
        match &self.label {
            Some(label) => write!(f, "={label}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for BindingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.package.fmt(f)?;
        if let Some(interface) = &self.interface {
            write!(f, "/{interface}")?;
        }
        match &self.label {
            Some(label) => write!(f, "={label}"),
            None => Ok(()),
        }
    }
}

text_form!(Import);
text_form!(BindingKey);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        for text in [
            "wasi:keyvalue",
            "canopy:storage/sql",
            "wasi:keyvalue=cache",
            "wasi:keyvalue/store=cache",
        ] {
            let key: BindingKey = text.parse().expect(text);
            assert_eq!(key.to_string(), text);
        }
        for text in ["wasi:keyvalue/store@0.2.0-draft", "a:b/c@1.0.0=x", "a:b/c"] {
            let import: Import = text.parse().expect(text);
            assert_eq!(import.to_string(), text);
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "keyvalue",
            "a:b@1.0.0",
            "a:b/c@1.0.0",
            "a:b=",
            "a:b=X",
            "a:b/c/d",
            "a:b=x=y",
        ] {
            assert!(text.parse::<BindingKey>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_narrowest_binding_decides() {
        let bindings: BTreeMap<BindingKey, u32> = [
            ("wasi:keyvalue", 1),
            ("wasi:keyvalue/store", 2),
            ("wasi:keyvalue=cache", 3),
            ("wasi:keyvalue/store=cache", 4),
            ("wasi:keyvalue=main", 5),
        ]
        .map(|(key, value)| (key.parse().expect(key), value))
        .into();
        for (import, expected) in [
            ("wasi:keyvalue/atomics@0.2.0-draft", Some(1)),
            ("wasi:keyvalue/store@0.2.0-draft", Some(2)),
            ("wasi:keyvalue/atomics@0.2.0-draft=cache", Some(3)),
            ("wasi:keyvalue/store@0.2.0-draft=cache", Some(4)),
            ("wasi:keyvalue/store@0.2.0-draft=main", Some(5)),
            ("wasi:keyvalue/store@0.2.0-draft=other", Some(2)),
            ("wasi:config/store@0.2.0-rc.1", None),
        ] {
            let import = import.parse().expect(import);
            let chosen = BindingKey::choose(&bindings, &import);
            assert_eq!(chosen.map(|(_, value)| *value), expected, "{import}");
        }
    }
}
