//! On whose behalf an operation runs, and the one place that decides whether it may.

use canopy_ids::{Label, RequestId, TokenId};

use crate::AppError;

/// On whose behalf an operation runs, and for which request.
#[derive(Debug, Clone)]
pub struct Context {
    /// Who asks.
    pub principal: Principal,
    /// Names the request in the log.
    pub request_id: RequestId,
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Principal {
    /// Whoever runs the platform, known by a token.
    Operator {
        /// The token.
        token: TokenId,
    },
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
    /// The list of all publishers or all tenants, or the node itself.
    Platform,
    /// The catalogue of packages.
    Catalogue,
    /// A publisher and its packages.
    Publisher(&'a Label),
    /// A tenant and all that is its.
    Tenant(&'a Label),
}

impl Context {
    /// Whether the principal may do `action` to `resource`. To whom it may not even be known that
    /// the resource exists, the refusal says that it does not.
    pub fn authorize(&self, action: Action, resource: Resource<'_>) -> Result<(), AppError> {
        match &self.principal {
            Principal::Operator { token } => {
                tracing::debug!(request_id = %self.request_id, %token, ?action, ?resource, "allowed");
                Ok(())
            }
        }
    }
}
