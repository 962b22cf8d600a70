//! On whose behalf an operation runs, and the one place that decides whether it may.
//!
//! In order: (1) the operator may do everything; (2) whoever is a tenant's learns of nothing that
//! is another's, not even that it exists; (3) within his own tenant he may do what his access
//! includes, and is told which access he would need; (4) the catalogue is open to all of them to
//! read, since they install from it; (5) the rest is the operator's.

use canopy_ids::{Label, RequestId, TokenId};
use canopy_store::Access;

use crate::AppError;

/// On whose behalf an operation runs, and for which request.
#[derive(Debug, Clone)]
pub struct Context {
    /// Who asks.
    pub principal: Principal,
    /// Names the request in the log.
    pub request_id: RequestId,
    /// Whether drivers are asked if what is changed works. Whoever asks may do without.
    pub check: bool,
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Principal {
    /// Whoever runs the platform, known by a token.
    Operator {
        /// The token.
        token: TokenId,
    },
    /// Somebody or something of a tenant, known by a service token.
    Member {
        /// The token.
        token: TokenId,
        /// Who it is, as the token says.
        subject: String,
        /// The tenant.
        tenant: Label,
        /// What the token lets its holder do.
        access: Access,
    },
}

impl std::fmt::Display for Principal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Operator { token } => write!(f, "the operator (token {token})"),
            Self::Member { token, subject, .. } => write!(f, "{subject} (token {token})"),
        }
    }
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// To look at it.
    Read,
    /// To create or change it.
    Write,
    /// To delete it.
    Delete,
}

/// To what it is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Resource<'a> {
    /// The list of all publishers or all tenants, the plans, or the node itself.
    Platform,
    /// The catalogue of packages.
    Catalogue,
    /// A publisher and its packages.
    Publisher(&'a Label),
    /// A tenant itself: that it exists, its plan, its limits, what it stores.
    Tenant(&'a Label),
    /// A tenant's installations and drivers, what is set about them, and their logs.
    Installations(&'a Label),
    /// What a tenant's installations store.
    Data(&'a Label),
    /// A tenant's tokens.
    Tokens(&'a Label),
}

/// Who may do something.
enum Needed<'a> {
    /// A tenant's member with this access, or more.
    Access(&'a Label, Access),
    /// Whoever has a token.
    Anyone,
    /// The operator alone; a tenant that it is about is named to its members.
    Operator(Option<&'a Label>),
}

fn needed(action: Action, resource: Resource<'_>) -> Needed<'_> {
    match (resource, action) {
        (Resource::Tenant(tenant) | Resource::Installations(tenant), Action::Read) => {
            Needed::Access(tenant, Access::Viewer)
        }
        (Resource::Data(tenant), _) => Needed::Access(tenant, Access::Data),
        (Resource::Installations(tenant) | Resource::Tokens(tenant), _) => {
            Needed::Access(tenant, Access::Admin)
        }
        (Resource::Tenant(tenant), _) => Needed::Operator(Some(tenant)),
        (Resource::Catalogue, Action::Read) => Needed::Anyone,
        (Resource::Catalogue | Resource::Publisher(_) | Resource::Platform, _) => {
            Needed::Operator(None)
        }
    }
}

impl Context {
    /// Whether the principal may do `action` to `resource`. To whom it may not even be known that
    /// the resource exists, the refusal says that it does not.
    pub fn authorize(&self, action: Action, resource: Resource<'_>) -> Result<(), AppError> {
        let outcome = self.decide(action, resource);
        let (principal, allowed) = (&self.principal, outcome.is_ok());
        tracing::debug!(request_id = %self.request_id, %principal, ?action, ?resource, allowed, "authorized");
        outcome
    }

    fn decide(&self, action: Action, resource: Resource<'_>) -> Result<(), AppError> {
        let Principal::Member { tenant, access, .. } = &self.principal else {
            return Ok(());
        };
        let own = |of: &Label| {
            if of == tenant {
                Ok(())
            } else {
                Err(AppError::not_found("tenant", of))
            }
        };
        match needed(action, resource) {
            Needed::Anyone => Ok(()),
            Needed::Access(of, needed) => {
                own(of)?;
                if *access >= needed {
                    Ok(())
                } else {
                    Err(AppError::Forbidden {
                        access: *access,
                        needed: Some(needed),
                    })
                }
            }
            Needed::Operator(of) => {
                of.map_or(Ok(()), own)?;
                Err(AppError::Forbidden {
                    access: *access,
                    needed: None,
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(access: Access) -> Context {
        Context {
            principal: Principal::Member {
                token: TokenId::new(),
                subject: "ada".into(),
                tenant: "acme".parse().expect("a name"),
                access,
            },
            request_id: RequestId::new(),
            check: true,
        }
    }

    /// The whole of the rules for members: what each access may do to its own tenant.
    #[test]
    fn each_access_includes_those_before_it() {
        use Action::{Delete, Read, Write};
        let own = "acme".parse().expect("a name");
        let publisher = "acme".parse().expect("a name");
        for (resource, action, least) in [
            (Resource::Tenant(&own), Read, Some(Access::Viewer)),
            (Resource::Tenant(&own), Write, None),
            (Resource::Tenant(&own), Delete, None),
            (Resource::Installations(&own), Read, Some(Access::Viewer)),
            (Resource::Installations(&own), Write, Some(Access::Admin)),
            (Resource::Installations(&own), Delete, Some(Access::Admin)),
            (Resource::Data(&own), Read, Some(Access::Data)),
            (Resource::Data(&own), Write, Some(Access::Data)),
            (Resource::Data(&own), Delete, Some(Access::Data)),
            (Resource::Tokens(&own), Read, Some(Access::Admin)),
            (Resource::Tokens(&own), Write, Some(Access::Admin)),
            (Resource::Catalogue, Read, Some(Access::Viewer)),
            (Resource::Catalogue, Write, None),
            (Resource::Publisher(&publisher), Read, None),
            (Resource::Publisher(&publisher), Write, None),
            (Resource::Platform, Read, None),
        ] {
            for access in [Access::Viewer, Access::Data, Access::Admin] {
                let outcome = member(access).authorize(action, resource);
                if least.is_some_and(|least| access >= least) {
                    outcome.expect("allowed");
                } else {
                    let error = outcome.expect_err("refused");
                    assert!(
                        matches!(error, AppError::Forbidden { needed, .. } if needed == least),
                        "{access} {action:?} {resource:?}: {error}"
                    );
                }
            }
        }
    }

    #[test]
    fn what_is_another_tenants_does_not_exist() {
        let other = "globex".parse().expect("a name");
        for resource in [
            Resource::Tenant(&other),
            Resource::Installations(&other),
            Resource::Data(&other),
            Resource::Tokens(&other),
        ] {
            for action in [Action::Read, Action::Write, Action::Delete] {
                let error = member(Access::Admin)
                    .authorize(action, resource)
                    .expect_err("refused");
                assert_eq!(error.to_string(), "there is no tenant `globex`");
            }
        }
    }
}
