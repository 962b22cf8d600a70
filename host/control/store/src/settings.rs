//! What the operations of all nouns have in common: pages, conditions, outcomes.

use std::collections::BTreeMap;

/// Which page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageRequest {
    /// Rows at most.
    pub limit: usize,
    /// What the page before gave out; `None` for the first.
    pub cursor: Option<String>,
}

/// One page of a list.
#[derive(Debug, Clone, PartialEq)]
pub struct Rows<T> {
    /// The rows.
    pub rows: Vec<T>,
    /// Where the next page begins; `None` on the last.
    pub next: Option<String>,
}

/// In which state a row must be for a write to take place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precondition {
    /// In whichever.
    #[default]
    Any,
    /// It must not exist.
    Absent,
    /// It must exist.
    Present,
    /// It must exist with this revision.
    Revision(u64),
}

impl Precondition {
    /// Checks the condition against the revision of a row, `None` for one that does not exist.
    pub fn check(self, current: Option<u64>) -> Result<(), crate::StoreError> {
        let met = match self {
            Self::Any => true,
            Self::Absent => current.is_none(),
            Self::Present => current.is_some(),
            Self::Revision(revision) => current == Some(revision),
        };
        if met {
            Ok(())
        } else {
            Err(crate::StoreError::PreconditionFailed { current })
        }
    }
}

/// What a write made of a row.
#[derive(Debug, Clone, PartialEq)]
pub struct Written<T> {
    /// The row as it is now.
    pub row: T,
    /// Whether it did not exist before.
    pub created: bool,
}

/// Changes of secrets by key: `Some` sets one, `None` removes it.
pub type SecretChanges = BTreeMap<String, Option<String>>;

/// How many rows of each noun there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Publishers.
    pub publishers: u64,
    /// Packages.
    pub packages: u64,
    /// Versions of packages.
    pub versions: u64,
    /// Tenants.
    pub tenants: u64,
    /// Installations.
    pub installations: u64,
    /// Driver instances.
    pub drivers: u64,
}
