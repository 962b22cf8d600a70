//! Permits and limits: who may run now.
//!
//! A request needs a slot of its installation, of its tenant and of the node, taken in this order.
//! A slot that is not free is waited for in a queue of bounded length, for a bounded time. Since a
//! request that waits for the node already holds a slot of its tenant, no tenant can fill the
//! node's queue beyond its own limit, and the others pass. The three slots make one [`Permit`],
//! which belongs to the request until its response body has ended.

mod gate;
mod settings;

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use canopy_ids::{InstallationId, TenantId};
use parking_lot::Mutex;
use tokio::time::Instant;

use gate::{Full, Gate, Slot};
pub use settings::AdmissionSettings;

/// Whose limit was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The limit of the installation, from its package and plan.
    Installation,
    /// The limit of the tenant.
    Tenant,
    /// The limit of the node, which is no tenant's fault.
    Node,
}

/// The request may not run now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "{limit} requests of this {} are under way, which is its limit",
    match scope { Scope::Installation => "installation", Scope::Tenant => "tenant", Scope::Node => "node" }
)]
pub struct Refused {
    /// Whose limit was reached.
    pub scope: Scope,
    /// The limit.
    pub limit: usize,
    /// After what time it is worth trying again.
    pub retry_after: Duration,
}

/// Leave to run. Dropping it makes room for the next request.
#[derive(Debug)]
pub struct Permit {
    _installation: Slot,
    _tenant: Slot,
    _node: Slot,
}

/// Gives out permits.
#[derive(Debug)]
pub struct Admission {
    settings: AdmissionSettings,
    node: Arc<Gate>,
    tenants: Gates<TenantId>,
    installations: Gates<InstallationId>,
}

impl Admission {
    /// With nobody admitted yet.
    pub fn new(settings: AdmissionSettings) -> Self {
        Self {
            node: Gate::new(),
            tenants: Gates::default(),
            installations: Gates::default(),
            settings,
        }
    }

    /// Waits until a request of `installation`, of which `concurrency` may be under way at once,
    /// may run; refuses when the queue is full or the wait too long.
    pub async fn admit(
        &self,
        tenant: TenantId,
        installation: InstallationId,
        concurrency: usize,
    ) -> Result<Permit, Refused> {
        let until = Instant::now() + self.settings.max_wait;
        let gate = self.installations.get(installation);
        let slot = self
            .enter(&gate, concurrency, until, Scope::Installation)
            .await?;
        let gate = self.tenants.get(tenant);
        let limit = self.settings.tenant_concurrency;
        let tenant = self.enter(&gate, limit, until, Scope::Tenant).await?;
        let limit = self.settings.node_concurrency;
        let node = self.enter(&self.node, limit, until, Scope::Node).await?;
        Ok(Permit {
            _installation: slot,
            _tenant: tenant,
            _node: node,
        })
    }

    /// How many requests are under way on this node.
    pub fn in_flight(&self) -> usize {
        self.node.running()
    }

    async fn enter(
        &self,
        gate: &Arc<Gate>,
        limit: usize,
        until: Instant,
        scope: Scope,
    ) -> Result<Slot, Refused> {
        let max_waiting = match scope {
            Scope::Node => usize::MAX,
            Scope::Tenant | Scope::Installation => self.settings.max_waiting,
        };
        gate.enter(limit, max_waiting, until)
            .await
            .map_err(|Full| Refused {
                scope,
                limit,
                retry_after: self.settings.retry_after,
            })
    }
}

/// One gate for each key in use.
#[derive(Debug)]
struct Gates<K>(Mutex<Table<K>>);

#[derive(Debug)]
struct Table<K> {
    gates: HashMap<K, Arc<Gate>>,
    sweep_at: usize,
}

impl<K> Default for Gates<K> {
    fn default() -> Self {
        Self(Mutex::new(Table {
            gates: HashMap::new(),
            sweep_at: 1024,
        }))
    }
}

impl<K: Eq + Hash> Gates<K> {
    fn get(&self, key: K) -> Arc<Gate> {
        let mut table = self.0.lock();
        if let Some(gate) = table.gates.get(&key) {
            return Arc::clone(gate);
        }
        // Gates that nobody holds go when the table has doubled, so that sweeping costs little per
        // gate and the table does not grow with installations that no longer exist.
        if table.gates.len() >= table.sweep_at {
            table.gates.retain(|_, gate| Arc::strong_count(gate) > 1);
            table.sweep_at = (2 * table.gates.len()).max(1024);
        }
        let gate = Gate::new();
        table.gates.insert(key, Arc::clone(&gate));
        gate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(settings: AdmissionSettings) -> Admission {
        Admission::new(settings)
    }

    fn impatient() -> AdmissionSettings {
        AdmissionSettings {
            max_wait: Duration::ZERO,
            ..AdmissionSettings::default()
        }
    }

    #[tokio::test]
    async fn an_installation_has_its_own_limit() {
        let admission = admission(impatient());
        let (tenant, first, second) = (
            TenantId::new(),
            InstallationId::new(),
            InstallationId::new(),
        );
        let held = admission
            .admit(tenant, first, 1)
            .await
            .expect("the first is free");
        let refused = admission
            .admit(tenant, first, 1)
            .await
            .expect_err("the first is taken");
        assert_eq!((refused.scope, refused.limit), (Scope::Installation, 1));
        admission
            .admit(tenant, second, 1)
            .await
            .expect("another installation is free");
        drop(held);
        admission.admit(tenant, first, 1).await.expect("free again");
        assert_eq!(admission.in_flight(), 0);
    }

    #[tokio::test]
    async fn a_tenant_at_its_limit_leaves_others_alone() {
        let admission = admission(AdmissionSettings {
            tenant_concurrency: 2,
            ..impatient()
        });
        let (greedy, victim) = (TenantId::new(), TenantId::new());
        let mut held = Vec::new();
        for _ in 0..2 {
            held.push(
                admission
                    .admit(greedy, InstallationId::new(), 10)
                    .await
                    .expect("in limit"),
            );
        }
        let refused = admission.admit(greedy, InstallationId::new(), 10).await;
        assert_eq!(refused.expect_err("over its limit").scope, Scope::Tenant);
        admission
            .admit(victim, InstallationId::new(), 10)
            .await
            .expect("not affected");
    }

    #[tokio::test]
    async fn a_full_node_refuses_and_recovers() {
        let admission = admission(AdmissionSettings {
            node_concurrency: 1,
            ..impatient()
        });
        let held = admission
            .admit(TenantId::new(), InstallationId::new(), 10)
            .await
            .expect("free");
        let refused = admission
            .admit(TenantId::new(), InstallationId::new(), 10)
            .await;
        assert_eq!(refused.expect_err("full").scope, Scope::Node);
        drop(held);
        admission
            .admit(TenantId::new(), InstallationId::new(), 10)
            .await
            .expect("free again");
    }

    #[tokio::test]
    async fn gates_that_nobody_holds_are_forgotten() {
        let admission = admission(impatient());
        let tenant = TenantId::new();
        for _ in 0..5000 {
            admission
                .admit(tenant, InstallationId::new(), 1)
                .await
                .expect("free");
        }
        assert!(admission.installations.0.lock().gates.len() <= 1024);
    }
}
