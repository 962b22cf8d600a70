//! Who invokes, as the platform has verified it.

use serde::{Deserialize, Serialize};

/// What kind of caller has been verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CallerKind {
    /// Nobody showed a credential.
    #[default]
    Anonymous,
    /// A person who is a member of the tenant.
    Member,
    /// A program with a service token of the tenant.
    Service,
    /// Another application of the tenant.
    App,
}

/// Who invokes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Caller {
    /// What kind of caller it is.
    pub kind: CallerKind,
    /// Unique within the tenant and stable; empty for an anonymous caller.
    pub subject: String,
    /// What to show to people; empty for an anonymous caller.
    pub display_name: String,
    /// The roles that the tenant gave to this caller.
    pub roles: Vec<String>,
    /// Further verified facts.
    pub claims: Vec<(String, String)>,
}

impl Caller {
    /// A caller of whom nothing is known.
    pub fn anonymous() -> Self {
        Self::default()
    }
}
