//! The named stores that a package keeps keys and values in.

use toml::Table;

use crate::error::Fault;
use crate::reader::Reader;

/// Bytes of the longest name of a store.
const MAX_NAME: usize = 128;
const MAX_REASON: usize = 400;
/// Stands for every name.
const ANY: &str = "*";
/// The store that is there without a word.
const DEFAULT: &str = "default";

/// A store of keys and values that a package asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreAsked {
    /// What the component opens it by; `*` stands for names that only the component knows.
    pub name: String,
    /// What it is for, for whoever installs the package to read.
    pub reason: String,
}

/// The stores that a component may open.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoreNames {
    named: Vec<String>,
    any: bool,
}

impl StoreNames {
    /// Those of `stores`, and `default`.
    pub fn of(stores: &[StoreAsked]) -> Self {
        Self {
            named: stores.iter().map(|store| store.name.clone()).collect(),
            any: stores.iter().any(|store| store.name == ANY),
        }
    }

    /// Every name.
    pub fn any() -> Self {
        Self {
            named: Vec::new(),
            any: true,
        }
    }

    /// Whether the component may open the store `name`.
    pub fn contain(&self, name: &str) -> bool {
        self.any || name == DEFAULT || self.named.iter().any(|named| named == name)
    }
}

pub(crate) fn read(tables: Vec<(String, Table)>, faults: &mut Vec<Fault>) -> Vec<StoreAsked> {
    let mut stores: Vec<StoreAsked> = Vec::with_capacity(tables.len());
    for (path, table) in tables {
        let mut reader = Reader::new(path, table, faults);
        let name = reader.required_text("name", MAX_NAME);
        let reason = reader.required_text("reason", MAX_REASON);
        if name.len() > MAX_NAME {
            let message = format!(
                "has {} bytes; a store's name has at most {MAX_NAME}",
                name.len()
            );
            reader.fault("name", message);
        } else if name.chars().any(char::is_control) {
            reader.fault("name", "must not contain control characters");
        } else if name == DEFAULT {
            reader.fault("name", "`default` is always there; remove this table");
        } else if stores.iter().any(|store| store.name == name) {
            reader.fault("name", format!("`{name}` is named twice"));
        }
        reader.finish();
        stores.push(StoreAsked { name, reason });
    }
    stores
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(name: &str) -> StoreAsked {
        StoreAsked {
            name: name.to_owned(),
            reason: "r".to_owned(),
        }
    }

    #[test]
    fn the_default_store_is_always_there_and_others_where_they_are_named() {
        let names = StoreNames::of(&[asked("sessions")]);
        for (name, expected) in [
            ("default", true),
            ("sessions", true),
            ("session", false),
            ("", false),
            ("*", false),
        ] {
            assert_eq!(names.contain(name), expected, "{name:?}");
        }
        assert!(StoreNames::default().contain("default"));
        assert!(!StoreNames::default().contain("sessions"));
    }

    #[test]
    fn a_star_stands_for_every_name() {
        assert!(StoreNames::of(&[asked("*")]).contain("whatever"));
        assert!(StoreNames::any().contain("whatever"));
    }
}
