//! What this capability knows, and the part of a store that it works on.

use std::collections::BTreeMap;
use std::sync::Arc;

use canopy_ids::{InstallationId, TenantId};
use serde::{Deserialize, Serialize};

/// A tenant, as components see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenant {
    /// Its identifier, never used again for another tenant.
    pub id: TenantId,
    /// Its name, unique among the tenants that exist.
    pub name: String,
    /// What people call it.
    pub display_name: String,
    /// The plan that it is on.
    pub plan: String,
    /// Where its data is kept.
    pub region: String,
    /// What the operator noted about it.
    pub attributes: BTreeMap<String, String>,
}

/// An installed application version, as components see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installation {
    /// Its identifier, never used again for another installation.
    pub id: InstallationId,
    /// Its name within the tenant.
    pub name: String,
    /// The package, as `publisher/name`.
    pub app: String,
    /// The package's version.
    pub version: String,
}

/// What kind of caller has been verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CallerKind {
    /// Nobody showed a credential.
    Anonymous,
    /// A person who is a member of the tenant.
    Member,
    /// A program with a service token of the tenant.
    Service,
    /// Another application of the tenant.
    App,
    /// The platform, because the time of a schedule of the installation has come.
    Schedule,
}

/// Who invokes.
#[derive(Debug, Clone, PartialEq, Eq)]
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
        Self {
            kind: CallerKind::Anonymous,
            subject: String::new(),
            display_name: String::new(),
            roles: Vec::new(),
            claims: Vec::new(),
        }
    }

    /// A program that showed a service token.
    pub fn service(
        subject: impl Into<String>,
        display_name: impl Into<String>,
        roles: Vec<String>,
    ) -> Self {
        Self {
            kind: CallerKind::Service,
            subject: subject.into(),
            display_name: display_name.into(),
            roles,
            claims: Vec::new(),
        }
    }
}

impl Default for Caller {
    fn default() -> Self {
        Self::anonymous()
    }
}

/// The facts of one call.
#[derive(Debug, Clone)]
pub struct CallFacts {
    /// Who invokes.
    pub caller: Arc<Caller>,
    /// The installation that was invoked. It stays the same when it calls a driver.
    pub installation: Arc<Installation>,
}

/// What a store knows of whom it serves.
#[derive(Debug, Clone)]
pub struct IdentityCtx {
    tenant: Arc<Tenant>,
    call: Option<CallFacts>,
}

impl IdentityCtx {
    /// A store that serves `tenant`, and no call yet.
    pub fn new(tenant: Arc<Tenant>) -> Self {
        Self { tenant, call: None }
    }

    /// The tenant that is served.
    pub fn tenant(&self) -> &Tenant {
        &self.tenant
    }

    /// The call under way.
    pub fn call(&self) -> Option<&CallFacts> {
        self.call.as_ref()
    }

    /// A call begins.
    pub fn begin(&mut self, call: CallFacts) {
        self.call = Some(call);
    }

    /// The call is over.
    pub fn end(&mut self) {
        self.call = None;
    }
}

/// The part of a store that this capability works on.
pub struct IdentityView<'a> {
    /// What the store knows.
    pub ctx: &'a mut IdentityCtx,
}
