//! How much everybody may store, as backends ask it: from memory, as the last snapshot says.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use canopy_backend::{Quota, Quotas, Scope, StorageKind, StorageQuota};
use canopy_ids::TenantId;

/// The quotas of tenants' plans. Clones are the same.
#[derive(Debug, Clone)]
pub struct PlanQuotas(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// For a tenant that no snapshot has named yet.
    default: StorageQuota,
    tenants: ArcSwap<HashMap<TenantId, StorageQuota>>,
}

impl PlanQuotas {
    /// Quotas that are `default` for everybody until the first snapshot.
    pub fn new(default: StorageQuota) -> Self {
        Self(Arc::new(Inner {
            default,
            tenants: ArcSwap::default(),
        }))
    }

    /// Replaces the quotas whole. They apply from the next write on.
    pub(crate) fn publish(&self, tenants: HashMap<TenantId, StorageQuota>) {
        self.0.tenants.store(Arc::new(tenants));
    }

    fn of(&self, tenant: TenantId) -> StorageQuota {
        let tenants = self.0.tenants.load();
        tenants.get(&tenant).copied().unwrap_or(self.0.default)
    }
}

impl Quotas for PlanQuotas {
    fn installation(&self, scope: Scope, kind: StorageKind) -> Quota {
        self.of(scope.tenant).of(kind)
    }

    fn tenant(&self, tenant: TenantId) -> u64 {
        self.of(tenant).tenant_bytes
    }
}
