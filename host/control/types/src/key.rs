//! Keys, as an operator sees them: which there are, never what they are.

use canopy_ids::Label;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A tenant's data key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TenantKey {
    /// The tenant.
    #[schema(value_type = String)]
    pub tenant: Label,
    /// The newest version; each rotation makes one. `None`: it has stored nothing yet.
    pub version: Option<u32>,
}

/// The keys of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeyStatus {
    /// A public fingerprint of the operator's key, which wraps all others.
    pub operator_key: String,
    /// Those of tenants, by name.
    pub tenants: Vec<TenantKey>,
}
