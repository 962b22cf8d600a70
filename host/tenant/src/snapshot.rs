//! The immutable picture of what exists, by which requests are routed and callers verified.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use canopy_ids::{DriverInstanceId, InstallationId, TenantId, TokenId};
use canopy_runtime::{Caller, InstallationSpec, Provider};

use crate::{AnonymousPaths, HostName, TokenHash};

/// Where a request goes.
#[derive(Debug)]
pub struct Route {
    /// What answers.
    pub spec: Arc<InstallationSpec>,
    /// Which paths need no credential.
    pub anonymous: AnonymousPaths,
}

#[derive(Debug)]
pub(crate) struct TokenEntry {
    pub(crate) tenant: TenantId,
    pub(crate) hash: TokenHash,
    pub(crate) caller: Arc<Caller>,
}

/// Everything that the request path knows.
#[derive(Debug, Default)]
pub struct Snapshot {
    hosts: HashMap<HostName, Arc<Route>>,
    tokens: HashMap<TokenId, TokenEntry>,
    installations: HashMap<InstallationId, Arc<Route>>,
    /// The generations of the driver instances that installations are bound to.
    drivers: HashMap<DriverInstanceId, u64>,
}

impl Snapshot {
    /// Begins a snapshot of a platform whose applications are at `APP.TENANT.BASE`.
    pub fn builder(base: HostName) -> SnapshotBuilder {
        SnapshotBuilder {
            base,
            snapshot: Snapshot::default(),
        }
    }

    /// The installation that answers for `host`.
    pub fn route(&self, host: &HostName) -> Option<&Arc<Route>> {
        self.hosts.get(host)
    }

    /// The installation `id`, by whatever host name it answers.
    pub fn installation(&self, id: InstallationId) -> Option<&Arc<Route>> {
        self.installations.get(&id)
    }

    /// How many installations there are.
    pub fn installations(&self) -> usize {
        self.installations.len()
    }

    /// Whether this installation exists.
    pub fn has_installation(&self, id: InstallationId) -> bool {
        self.installations.contains_key(&id)
    }

    /// The generation of this driver instance, where an installation is bound to it.
    pub fn driver(&self, id: DriverInstanceId) -> Option<u64> {
        self.drivers.get(&id).copied()
    }

    pub(crate) fn token(&self, id: &TokenId) -> Option<&TokenEntry> {
        self.tokens.get(id)
    }
}

/// Two installations claim the same host name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the host name `{host}` already belongs to installation {owner}")]
pub struct DuplicateHost {
    /// The name.
    pub host: HostName,
    /// The installation that had it first.
    pub owner: InstallationId,
}

/// Collects a [`Snapshot`].
#[derive(Debug)]
pub struct SnapshotBuilder {
    base: HostName,
    snapshot: Snapshot,
}

impl SnapshotBuilder {
    /// Adds an installation, at `APP.TENANT.BASE` and at its custom domains. A domain that is
    /// already another installation's stays that one's and is returned as an error; the other names
    /// are added all the same.
    pub fn installation(
        &mut self,
        spec: Arc<InstallationSpec>,
        anonymous: AnonymousPaths,
        domains: impl IntoIterator<Item = HostName>,
    ) -> Result<(), DuplicateHost> {
        let own = format!("{}.{}.{}", spec.name, spec.tenant.name, self.base);
        let id = spec.id;
        let route = Arc::new(Route { spec, anonymous });
        self.snapshot.installations.insert(id, Arc::clone(&route));
        for driver in route.spec.bindings.values().filter_map(Provider::driver) {
            driver.chain(&mut self.snapshot.drivers);
        }
        let mut result = Ok(());
        let own = HostName::from_name(&own).ok();
        for host in own.into_iter().chain(domains) {
            match self.snapshot.hosts.entry(host) {
                Entry::Vacant(entry) => {
                    entry.insert(Arc::clone(&route));
                }
                Entry::Occupied(entry) if entry.get().spec.id == id => {}
                Entry::Occupied(entry) => {
                    let owner = entry.get().spec.id;
                    result = Err(DuplicateHost {
                        host: entry.key().clone(),
                        owner,
                    });
                }
            }
        }
        result
    }

    /// Adds a service token of `tenant`.
    pub fn token(&mut self, id: TokenId, tenant: TenantId, hash: TokenHash, caller: Arc<Caller>) {
        self.snapshot.tokens.insert(
            id,
            TokenEntry {
                tenant,
                hash,
                caller,
            },
        );
    }

    /// The finished snapshot.
    pub fn build(self) -> Snapshot {
        self.snapshot
    }
}

/// Holds the current [`Snapshot`]; cheap to clone, read without a lock.
#[derive(Debug, Clone, Default)]
pub struct Routes(Arc<ArcSwap<Snapshot>>);

impl Routes {
    /// A holder whose first snapshot is `snapshot`.
    pub fn new(snapshot: Snapshot) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(snapshot)))
    }

    /// The current snapshot. It stays as it is while the guard is held.
    pub fn current(&self) -> Guard<Arc<Snapshot>> {
        self.0.load()
    }

    /// Replaces the snapshot whole. Requests that began before keep the old one.
    pub fn publish(&self, snapshot: Snapshot) {
        self.0.store(Arc::new(snapshot));
    }
}
