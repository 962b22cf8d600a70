//! Permits and limits: who may run now.
//!
//! In order: (1) the rate of the tenant and (2) that of the installation, since a request over them
//! is refused whatever is free; then a slot (3) of the installation, (4) of the tenant and (5) of
//! the node. From the narrowest to the widest: a request that waits for the tenant already holds a
//! slot of its installation, and one that waits for the node a slot of its tenant, so nobody can fill
//! a queue that others share beyond its own limit. The node's slots are shared by weight (`fair.rs`).
//!
//! A slot that is not free is waited for, in a queue of bounded length and for a bounded time, which
//! is one for all three. All queues follow the same rules (`queue.rs`), and whoever would wait in vain
//! is refused at once: under a load of many times what is served, a refusal that takes a second
//! costs its client that second, and the node a connection and a request kept in memory for as long,
//! for nothing.
//!
//! The slots make one [`Permit`], which belongs to the request until its response body has ended.

mod bucket;
mod fair;
mod gate;
mod queue;
mod settings;

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use canopy_ids::{InstallationId, TenantId};
use parking_lot::Mutex;
use tokio::time::Instant;

use bucket::Bucket;
pub use bucket::Rate;
use fair::{FairGate, FairSlot};
use gate::{Gate, Slot};
use queue::Full;
pub use settings::AdmissionSettings;

/// Whose limit was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The limit of the installation, from its package and plan.
    Installation,
    /// The limit of the tenant, from its plan.
    Tenant,
    /// The limit of the node, which is no tenant's fault.
    Node,
}

impl Scope {
    /// Its name in messages and header fields.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Installation => "installation",
            Self::Tenant => "tenant",
            Self::Node => "node",
        }
    }
}

/// The request may not run now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// As many requests are under way as may be, and waiting did not help.
    #[error("{limit} requests of this {} are under way, which is its limit", scope.as_str())]
    Busy {
        /// Whose limit was reached.
        scope: Scope,
        /// The limit.
        limit: usize,
        /// After what time it is worth trying again.
        retry_after: Duration,
    },
    /// More requests came than the rate allows.
    #[error("this {} may have {} requests a second", scope.as_str(), rate.per_second)]
    TooFast {
        /// Whose limit was reached.
        scope: Scope,
        /// The limit.
        rate: Rate,
        /// After what time the next request is within it.
        retry_after: Duration,
    },
}

/// What an installation or a tenant may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// Requests under way at once.
    pub concurrency: usize,
    /// Requests in the course of time.
    pub rate: Rate,
}

/// A request that wants to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ask {
    /// Whose it is.
    pub tenant: TenantId,
    /// What it is for.
    pub installation: InstallationId,
    /// What the tenant may have.
    pub of_tenant: Allowance,
    /// What the installation may have.
    pub of_installation: Allowance,
    /// The tenant's weight on a full node.
    pub weight: u32,
}

/// Leave to run. Dropping it makes room for the next request.
#[derive(Debug)]
pub struct Permit {
    _installation: Slot,
    _tenant: Slot,
    _node: FairSlot,
}

/// Gives out permits.
#[derive(Debug)]
pub struct Admission {
    settings: AdmissionSettings,
    node: Arc<FairGate>,
    tenants: Table<TenantId>,
    installations: Table<InstallationId>,
}

impl Admission {
    /// With nobody admitted yet.
    pub fn new(settings: AdmissionSettings) -> Self {
        Self {
            node: FairGate::new(
                settings.node_concurrency,
                settings.node_reserve,
                settings.shed_after,
            ),
            tenants: Table::new(settings.shed_after),
            installations: Table::new(settings.shed_after),
            settings,
        }
    }

    /// Waits until the request may run; refuses when it comes too fast, when a queue is full or the
    /// wait too long, and at once when waiting would be in vain.
    pub async fn admit(&self, ask: &Ask) -> Result<Permit, Refused> {
        let tenant = self.tenants.get(ask.tenant);
        let installation = self.installations.get(ask.installation);
        let too_fast = |scope, rate: Rate| {
            move |retry_after| Refused::TooFast {
                scope,
                rate,
                retry_after,
            }
        };
        let rate = ask.of_tenant.rate;
        let taken = tenant.bucket.take(rate);
        taken.map_err(too_fast(Scope::Tenant, rate))?;
        let of_installation = ask.of_installation.rate;
        if let Err(retry_after) = installation.bucket.take(of_installation) {
            tenant.bucket.give_back(rate);
            return Err(too_fast(Scope::Installation, of_installation)(retry_after));
        }

        let until = Instant::now() + self.settings.max_wait;
        let max_waiting = self.settings.max_waiting;
        let busy = |scope, limit| {
            move |Full| Refused::Busy {
                scope,
                limit,
                retry_after: self.settings.retry_after,
            }
        };
        let limit = ask.of_installation.concurrency;
        let slot = installation.gate.enter(limit, max_waiting, until).await;
        let slot = slot.map_err(busy(Scope::Installation, limit))?;
        let limit = ask.of_tenant.concurrency;
        let of_tenant = tenant.gate.enter(limit, max_waiting, until).await;
        let of_tenant = of_tenant.map_err(busy(Scope::Tenant, limit))?;
        let node = self.node.enter(ask.tenant, ask.weight, until).await;
        Ok(Permit {
            _installation: slot,
            _tenant: of_tenant,
            _node: node.map_err(busy(Scope::Node, self.node.limit()))?,
        })
    }

    /// How many requests are under way on this node.
    pub fn in_flight(&self) -> usize {
        self.node.running()
    }

    /// Tells the same to whoever has no part in admitting requests.
    pub fn gauge(&self) -> Arc<dyn Fn() -> usize + Send + Sync> {
        let node = Arc::clone(&self.node);
        Arc::new(move || node.running())
    }
}

/// What is kept for a tenant or an installation.
#[derive(Debug)]
struct Account {
    gate: Arc<Gate>,
    bucket: Bucket,
}

/// One account for each key in use.
#[derive(Debug)]
struct Table<K> {
    shed_after: Duration,
    accounts: Mutex<Accounts<K>>,
}

#[derive(Debug)]
struct Accounts<K> {
    accounts: HashMap<K, Arc<Account>>,
    sweep_at: usize,
}

impl<K: Eq + Hash> Table<K> {
    fn new(shed_after: Duration) -> Self {
        Self {
            shed_after,
            accounts: Mutex::new(Accounts {
                accounts: HashMap::new(),
                sweep_at: 1024,
            }),
        }
    }

    fn get(&self, key: K) -> Arc<Account> {
        let mut table = self.accounts.lock();
        if let Some(account) = table.accounts.get(&key) {
            return Arc::clone(account);
        }
        // Accounts that nobody needs go when the table has doubled, so that sweeping costs little
        // per account and the table does not grow with installations that no longer exist.
        if table.accounts.len() >= table.sweep_at {
            table.accounts.retain(|_, account| is_needed(account));
            table.sweep_at = (2 * table.accounts.len()).max(1024);
        }
        let account = Arc::new(Account {
            gate: Gate::new(self.shed_after),
            bucket: Bucket::new(),
        });
        table.accounts.insert(key, Arc::clone(&account));
        account
    }
}

/// Whether a request is under way, or the bucket knows something that a new one would not.
fn is_needed(account: &Arc<Account>) -> bool {
    let in_use = Arc::strong_count(account) > 1 || Arc::strong_count(&account.gate) > 1;
    in_use || !account.bucket.is_full()
}

#[cfg(test)]
mod tests;
