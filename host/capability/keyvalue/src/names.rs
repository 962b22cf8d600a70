//! Which stores a package may open.

use std::collections::BTreeSet;

/// The names of the stores that a component may open.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoreNames {
    named: BTreeSet<String>,
    any: bool,
}

impl StoreNames {
    /// The store that is always there.
    pub const DEFAULT: &'static str = "default";

    /// [`Self::DEFAULT`] and these; `*` stands for every name.
    pub fn of(names: impl IntoIterator<Item = String>) -> Self {
        let named: BTreeSet<String> = names.into_iter().collect();
        Self {
            any: named.contains("*"),
            named,
        }
    }

    /// Whether the component may open the store `name`.
    pub fn contain(&self, name: &str) -> bool {
        self.any || name == Self::DEFAULT || self.named.contains(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_store_is_always_there_and_others_where_they_are_named() {
        let names = StoreNames::of(["sessions".to_owned()]);
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
        assert!(StoreNames::of(["*".to_owned()]).contain("whatever"));
    }
}
