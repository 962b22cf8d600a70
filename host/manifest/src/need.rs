//! What a package asks for.

use std::fmt;
use std::str::FromStr;

use canopy_ids::{Import, InterfaceName, Label, WitPackage};

/// What a need names: a whole WIT package or one interface of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Needed {
    /// Every interface of a package in whatever version, as in `wasi:keyvalue`.
    Package(WitPackage),
    /// One interface, as in `acme:payments/charge@1.2.0`. Without a version: in whatever version.
    Interface(InterfaceName),
}

/// A text that names neither an interface nor a WIT package.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is neither an interface (`namespace:package/interface@version`) nor a WIT package \
     (`namespace:package`)"
)]
pub struct InvalidNeeded {
    text: String,
}

impl Needed {
    /// Whether a component that imports `import` needs what is named here.
    pub fn covers(&self, import: &InterfaceName) -> bool {
        match self {
            Self::Package(package) => *package == import.package,
            Self::Interface(name) => {
                name.package == import.package
                    && name.interface == import.interface
                    && (name.version.is_none() || name.accepts(import))
            }
        }
    }

    /// The WIT package.
    pub fn package(&self) -> &WitPackage {
        match self {
            Self::Package(package) => package,
            Self::Interface(name) => &name.package,
        }
    }
}

impl FromStr for Needed {
    type Err = InvalidNeeded;

    fn from_str(text: &str) -> Result<Self, InvalidNeeded> {
        let interface = || text.parse().map(Self::Interface);
        let package = || text.parse().map(Self::Package);
        interface()
            .or_else(|_| package())
            .map_err(|_| InvalidNeeded {
                text: text.chars().take(200).collect(),
            })
    }
}

impl fmt::Display for Needed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Package(package) => package.fmt(f),
            Self::Interface(name) => name.fmt(f),
        }
    }
}

/// An interface that a package asks for, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// What is needed.
    pub interface: Needed,
    /// The label under which the component imports it, where it imports one interface several
    /// times.
    pub label: Option<Label>,
    /// What it is needed for, for whoever installs the package to read.
    pub reason: String,
    /// The hosts and ports asked for, each as `host:port`, perhaps for some schemes and methods
    /// alone; `*` stands for what the configuration decides. What is not asked for, here or by
    /// another need, cannot be reached, whatever is granted.
    pub hosts: Vec<String>,
}

impl Need {
    /// Whether a component that imports `import` needs what this declares. What is imported under a
    /// label is declared under that label.
    pub fn covers(&self, import: &Import) -> bool {
        self.label == import.label && self.interface.covers(&import.interface)
    }
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.interface.fmt(f)?;
        match &self.label {
            Some(label) => write!(f, "={label}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covers(need: &str, import: &str) -> bool {
        need.parse::<Needed>()
            .expect(need)
            .covers(&import.parse().expect(import))
    }

    #[test]
    fn a_need_covers_what_it_names_and_nothing_else() {
        for (need, import, expected) in [
            ("wasi:keyvalue", "wasi:keyvalue/store@0.2.0-draft2", true),
            (
                "wasi:keyvalue/store",
                "wasi:keyvalue/store@0.2.0-draft",
                true,
            ),
            (
                "wasi:keyvalue/store@0.2.0-draft",
                "wasi:keyvalue/store@0.2.0-draft",
                true,
            ),
            (
                "wasi:http/outgoing-handler@0.2.0",
                "wasi:http/outgoing-handler@0.2.6",
                true,
            ),
            (
                "wasi:keyvalue/store@0.2.0-draft",
                "wasi:keyvalue/store@0.2.0-draft2",
                false,
            ),
            (
                "wasi:keyvalue/store",
                "wasi:keyvalue/atomics@0.2.0-draft",
                false,
            ),
            (
                "acme:payments/charge@1.2.0",
                "acme:payments/charge@2.0.0",
                false,
            ),
            ("acme:payments", "acme:payment/charge@1.2.0", false),
        ] {
            assert_eq!(covers(need, import), expected, "{need} {import}");
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "payments",
            "acme:",
            "acme:payments/",
            "acme:payments@1.0.0",
        ] {
            assert!(text.parse::<Needed>().is_err(), "{text}");
        }
    }
}
