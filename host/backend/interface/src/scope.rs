//! Whose data it is.

use std::fmt;

use canopy_ids::{InstallationId, TenantId};

/// One installation of one tenant: whose data an operation is about.
///
/// The host makes it from the routing snapshot. No guest names a tenant, and no capability builds
/// a key, a path or a file name from what a guest says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope {
    /// Whose key encrypts it, and with whom it is erased.
    pub tenant: TenantId,
    /// Whose quota it counts against.
    pub installation: InstallationId,
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.tenant, self.installation)
    }
}
