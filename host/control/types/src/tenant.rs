//! Tenants, the customer organisations.

use std::collections::BTreeMap;

use canopy_ids::{Label, TenantId};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;

/// Creates or replaces a tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TenantPut {
    /// What people call it.
    pub display_name: String,
    /// The plan that it is on; `standard` where none is given.
    #[serde(default = "default_plan")]
    pub plan: String,
    /// Where its data is kept; `local` where none is given.
    #[serde(default = "default_region")]
    pub region: String,
    /// Facts for its applications to read.
    #[serde(default)]
    pub attributes: BTreeMap<String, String>,
}

fn default_plan() -> String {
    crate::STANDARD_PLAN.into()
}

fn default_region() -> String {
    "local".into()
}

impl TenantPut {
    /// A tenant called `display_name`, everything else by default.
    pub fn new(display_name: impl Into<String>) -> Self {
        Self {
            display_name: display_name.into(),
            plan: default_plan(),
            region: default_region(),
            attributes: BTreeMap::new(),
        }
    }
}

/// A tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Tenant {
    /// Never used again for another tenant.
    #[schema(value_type = String)]
    pub id: TenantId,
    /// Unique among the tenants that exist; the second label of its applications' host names.
    #[schema(value_type = String)]
    pub name: Label,
    /// What people call it.
    pub display_name: String,
    /// The plan that it is on.
    pub plan: String,
    /// Where its data is kept.
    pub region: String,
    /// Facts for its applications to read.
    pub attributes: BTreeMap<String, String>,
    /// When it was created.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub created_at: OffsetDateTime,
    /// When it was changed last.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: OffsetDateTime,
    /// Grows with every change; the ETag.
    pub revision: u64,
}
