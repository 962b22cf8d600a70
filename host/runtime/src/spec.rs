//! What is to be run: immutable descriptions that the control plane publishes and the request path
//! only reads.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use canopy_capability_keyvalue::StoreNames;
use canopy_capability_network::{EgressPolicy, TenantEgress};
use canopy_ids::{
    BindingKey, Digest, DriverInstanceId, InstallationId, Label, PackageName, TenantId,
};
use semver::Version;

/// A tenant, as its applications see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantSpec {
    /// Its identifier, never used again for another tenant.
    pub id: TenantId,
    /// Its name, unique among the tenants that exist.
    pub name: Label,
    /// What people call it.
    pub display_name: String,
    /// The plan that it is on.
    pub plan: String,
    /// Where its data is kept.
    pub region: String,
    /// What the operator noted about it for applications to read.
    pub attributes: BTreeMap<String, String>,
    /// What all its installations may use together.
    pub limits: TenantLimits,
}

/// A component to run: which one, with what configuration, what it may reach, and its limits.
/// Applications and drivers have this in common.
#[derive(Debug, Clone)]
pub struct ComponentSpec {
    /// The package's name.
    pub package: PackageName,
    /// The package's version.
    pub version: Version,
    /// The digest of the component's bytes.
    pub digest: Digest,
    /// Whether an instance serves one request after the other though it is of WASI 0.2. One of WASI
    /// 0.3 always does.
    pub reuse: bool,
    /// Configuration and granted secrets, by key.
    pub config: Arc<BTreeMap<String, String>>,
    /// Which addresses it may reach.
    pub egress: Arc<EgressPolicy>,
    /// What it may use.
    pub limits: Limits,
}

/// One application version installed for one tenant.
#[derive(Debug, Clone)]
pub struct InstallationSpec {
    /// Its identifier.
    pub id: InstallationId,
    /// Its name within the tenant; the first label of its host name.
    pub name: Label,
    /// Changes whenever anything in this description changes; never repeats for one `id`.
    pub generation: u64,
    /// Whose it is.
    pub tenant: Arc<TenantSpec>,
    /// What runs.
    pub component: ComponentSpec,
    /// The stores of keys and values that it may open.
    pub stores: Arc<StoreNames>,
    /// The SQL databases that it may open beside the default one.
    pub databases: Arc<[String]>,
    /// Who serves what it imports.
    pub bindings: Bindings,
}

/// Who serves what a component imports. Of several bindings that cover an import the narrowest
/// decides ([`BindingKey::choose`]). What none covers and is known to the platform, the platform
/// serves itself.
pub type Bindings = BTreeMap<BindingKey, Provider>;

/// Who serves what is bound.
#[derive(Debug, Clone)]
pub enum Provider {
    /// The platform itself. A driver has the storage of the installation that calls it then.
    Platform,
    /// A driver instance.
    Driver(Arc<DriverSpec>),
}

impl Provider {
    /// The driver instance, where it is one.
    pub fn driver(&self) -> Option<&Arc<DriverSpec>> {
        match self {
            Self::Platform => None,
            Self::Driver(driver) => Some(driver),
        }
    }

    /// Whether both are the same, down to what the driver instance runs.
    pub(crate) fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Platform, Self::Platform) => true,
            (Self::Driver(one), Self::Driver(other)) => {
                one.id == other.id && one.generation == other.generation
            }
            _ => false,
        }
    }
}

/// One driver version configured for one tenant.
#[derive(Debug, Clone)]
pub struct DriverSpec {
    /// Its identifier.
    pub id: DriverInstanceId,
    /// Its name within the tenant.
    pub name: Label,
    /// Changes whenever anything in this description changes, the drivers that it is bound to
    /// included; never repeats for one `id`.
    pub generation: u64,
    /// Whose it is.
    pub tenant: Arc<TenantSpec>,
    /// What runs.
    pub component: ComponentSpec,
    /// Who serves what it imports. Storage of the platform it has only where this says so.
    pub bindings: Bindings,
}

impl DriverSpec {
    /// Adds the identifiers and generations of this driver instance and of all that it builds on.
    pub fn chain(&self, generations: &mut HashMap<DriverInstanceId, u64>) {
        if generations.insert(self.id, self.generation).is_none() {
            for driver in self.bindings.values().filter_map(Provider::driver) {
                driver.chain(generations);
            }
        }
    }
}

/// What one component may use. Every limit has an error of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of all linear memories and tables of one instance together.
    pub memory_bytes: usize,
    /// Time that the guest's own code may run for one call; what it waits in the host, and what the
    /// host does for it, is not counted.
    pub cpu: Duration,
    /// Time from a request's arrival to the end of its response.
    pub wall: Duration,
    /// Time from a request's arrival to the end of a response that streams; none where it is not
    /// longer than `wall`.
    pub stream: Duration,
    /// Time between two pieces of such a response.
    pub stream_idle: Duration,
    /// Requests of one installation under way at once.
    pub concurrency: usize,
    /// Stores of a driver at once.
    pub instances: usize,
    /// Bytes of one request body.
    pub request_body_bytes: u64,
    /// Requests a second in the long run, of one installation.
    pub requests_per_second: u32,
    /// Requests of one installation that are let in at once after a quiet time.
    pub burst: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes: 128 << 20,
            cpu: Duration::from_secs(2),
            wall: Duration::from_secs(30),
            stream: Duration::ZERO,
            stream_idle: Duration::from_secs(60),
            concurrency: 64,
            instances: 1,
            request_body_bytes: 64 << 20,
            requests_per_second: 2_000,
            burst: 4_000,
        }
    }
}

/// What all installations of one tenant may use together. Every limit has an error of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantLimits {
    /// Requests under way at once.
    pub concurrency: usize,
    /// Requests a second in the long run.
    pub requests_per_second: u32,
    /// Requests that are let in at once after a quiet time.
    pub burst: u32,
    /// Connections from clients that carry its requests, open at once.
    pub connections: usize,
    /// Its share of a busy node, compared with the other tenants' weights.
    pub weight: u32,
    /// What they may use of the network outward.
    pub egress: TenantEgress,
    /// Bytes of all memories and tables of all its instances, drivers included; never more than half of
    /// what the node's may have.
    pub memory_bytes: usize,
    /// CPU time that its guests, and the host for them, may use each second, in the long run; more
    /// than a second is more than a core.
    pub cpu_per_second: Duration,
    /// CPU time that they may use at once, after a quiet time.
    pub cpu_burst: Duration,
}

impl Default for TenantLimits {
    fn default() -> Self {
        Self {
            concurrency: 128,
            requests_per_second: 5_000,
            burst: 10_000,
            connections: 2_048,
            weight: 100,
            egress: TenantEgress::default(),
            memory_bytes: 4 << 30,
            cpu_per_second: Duration::from_secs(2),
            cpu_burst: Duration::from_secs(60),
        }
    }
}
