//! Who is served and by whom: facts that the platform vouches for and that nothing in a request
//! can change.
//!
//! ```no_run
//! use canopy_sdk::{Problem, StatusCode, identity};
//!
//! fn clerks_only() -> Result<(), Problem> {
//!     if identity::caller().has_role("clerk") {
//!         return Ok(());
//!     }
//!     Err(Problem::new(StatusCode::FORBIDDEN, "Only clerks may do this."))
//! }
//! ```

use crate::bindings::canopy::tenant::identity as wit;

pub use wit::{Caller, CallerKind, Installation, Tenant};

/// The tenant that is served.
#[must_use]
pub fn tenant() -> Tenant {
    wit::current_tenant()
}

/// Who invokes. In a driver: who invoked the application that calls the driver.
#[must_use]
pub fn caller() -> Caller {
    wit::current_caller()
}

/// The installation that runs. In a driver: the installation that calls the driver, or `None`
/// where no call is under way.
#[must_use]
pub fn installation() -> Option<Installation> {
    wit::current_installation()
}

impl Tenant {
    /// What the operator noted about the tenant under `name`.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&str> {
        lookup(&self.attributes, name)
    }
}

impl Caller {
    /// Whether nobody showed a credential.
    #[must_use]
    pub fn is_anonymous(&self) -> bool {
        self.kind == CallerKind::Anonymous
    }

    /// Whether the tenant gave `role` to this caller.
    #[must_use]
    pub fn has_role(&self, role: &str) -> bool {
        self.roles.iter().any(|given| given == role)
    }

    /// The verified fact `name` about this caller.
    #[must_use]
    pub fn claim(&self, name: &str) -> Option<&str> {
        lookup(&self.claims, name)
    }
}

fn lookup<'a>(pairs: &'a [(String, String)], name: &str) -> Option<&'a str> {
    pairs
        .iter()
        .find(|(candidate, _)| candidate == name)
        .map(|(_, value)| value.as_str())
}
