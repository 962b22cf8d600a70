//! The runtime of a node: from a request to the response of the application that it is for.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use canopy_backend::KeyValueProvider;
use canopy_backend::blob::BlobProvider;
use canopy_backend::sql::SqlProvider;
use canopy_backend_logs::LogStore;
use canopy_capability_blobs::Addresses;
use canopy_capability_network::{EgressUsage, Network, NetworkError};
use canopy_driver::DriverHealth;
use canopy_engine::{Artifacts, Engine, MemoryAccount, PoolSlots};
use canopy_ids::{Digest, DriverInstanceId, InstallationId, TenantId};
use http::{Request, Response};

use crate::body::{RequestBody, ResponseBody};
use crate::call::Call;
use crate::driver::Drivers;
use crate::error::{PrepareError, ServeError};
use crate::handler::{self, MessageDelivery};
use crate::installed::{Cache, Installed};
use crate::linker::Platform;
use crate::messages::Messages;
use crate::serve;
use crate::settings::RuntimeSettings;
use crate::socket::{self, Socket, SocketIncoming, SocketOpening, SocketRefusal};
use crate::spec::{DriverSpec, InstallationSpec};
use crate::stores::{StoreParts, TenantCpu, TenantHoldings};

/// Where the bytes of a component are.
pub type ComponentPath = Arc<dyn Fn(&Digest) -> PathBuf + Send + Sync>;

/// How often instances that nobody needs any more are looked for.
const SWEEP: Duration = Duration::from_secs(1);

/// What a runtime is made of.
pub struct RuntimeParts {
    /// The engine.
    pub engine: Engine,
    /// Its native artifacts.
    pub artifacts: Artifacts,
    /// Where components are that have no native artifact yet.
    pub component_path: ComponentPath,
    /// The storage of installations.
    pub storage: Arc<dyn KeyValueProvider>,
    /// Their objects.
    pub blobs: Arc<dyn BlobProvider>,
    /// Their SQL databases.
    pub sql: Arc<dyn SqlProvider>,
    /// The logs of installations and driver instances.
    pub logs: LogStore,
    /// Limits.
    pub settings: RuntimeSettings,
}

/// Why there is no runtime.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The network cannot be set up.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// The platform's interfaces could not be defined.
    #[error("the platform's interfaces cannot be defined: {0}")]
    Linker(String),
}

/// What the guests of one tenant have used of the CPU on this node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CpuUsage {
    /// Time of their own code since the node was started, or since the first of the tenant's components was loaded.
    pub used: Duration,
    /// Time that the host has used since then in their calls, and for statements of SQL.
    pub host: Duration,
    /// How much of [`TenantLimits::cpu_burst`](crate::TenantLimits::cpu_burst) is used now.
    pub drawn: Duration,
}

/// Runs installations. Clones are the same runtime.
#[derive(Clone)]
pub struct Runtime(Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) parts: StoreParts,
    pub(crate) artifacts: Artifacts,
    pub(crate) component_path: ComponentPath,
    pub(crate) storage: Arc<dyn KeyValueProvider>,
    pub(crate) blobs: Arc<dyn BlobProvider>,
    pub(crate) sql: Arc<dyn SqlProvider>,
    pub(crate) addresses: Addresses,
    pub(crate) messages: Messages,
    pub(crate) platform: Platform,
    pub(crate) drivers: Drivers,
    pub(crate) installed: Cache,
}

impl Runtime {
    /// A runtime. To be made within a tokio runtime, where its tasks will run.
    pub fn new(parts: RuntimeParts) -> Result<Self, RuntimeError> {
        let network = Network::new(parts.settings.network.clone())?;
        Self::with_network(parts, network)
    }

    /// A runtime whose guests use `network` in place of one made from the settings.
    pub fn with_network(parts: RuntimeParts, network: Network) -> Result<Self, RuntimeError> {
        let RuntimeParts {
            engine,
            artifacts,
            component_path,
            storage,
            blobs,
            sql,
            logs,
            settings,
        } = parts;
        let platform =
            Platform::new(&engine).map_err(|error| RuntimeError::Linker(format!("{error:#}")))?;
        let cpu = TenantCpu::default();
        storage.paid_by(cpu.payer());
        blobs.paid_by(cpu.payer());
        sql.paid_by(cpu.payer());
        let prepared = settings.prepared_installations;
        let node_memory = settings.node_memory_bytes;
        let pool = PoolSlots::new(&engine.settings().pool, settings.pool_reserve_percent);
        let settings = Arc::new(settings);
        let messages = Messages::new(storage.clone(), settings.messages.clone(), logs.clone());
        let inner = Arc::new(Inner {
            parts: StoreParts {
                engine,
                network,
                logs,
                settings,
                holdings: TenantHoldings::default(),
                memory: MemoryAccount::new(node_memory),
                pool,
                cpu,
            },
            artifacts,
            component_path,
            storage,
            addresses: Addresses::new(blobs.clone()),
            blobs,
            sql,
            messages,
            platform,
            drivers: Drivers::default(),
            installed: Cache::new(prepared),
        });
        sweep(&inner);
        Ok(Self(inner))
    }

    /// Has the application answer `request`.
    ///
    /// Dropping the future, or the response's body before its end, cancels the application. What
    /// the application fails by is also written to the installation's log.
    pub async fn serve(
        &self,
        spec: &Arc<InstallationSpec>,
        call: Call,
        request: Request<RequestBody>,
    ) -> Result<Response<ResponseBody>, ServeError> {
        let installed = self.0.installed_by(call.deadline, spec).await?;
        serve::serve(&self.0, installed, call, request).await
    }

    /// Has the application take a connection of the WebSocket protocol, or say why it does not.
    ///
    /// Dropping the future or the socket ends the guest.
    pub async fn open_socket(
        &self,
        spec: &Arc<InstallationSpec>,
        call: Call,
        opening: SocketOpening,
        incoming: SocketIncoming,
    ) -> Result<Result<Socket, SocketRefusal>, ServeError> {
        let installed = self.0.installed_by(call.deadline, spec).await?;
        socket::open(&self.0, installed, call, opening, incoming).await
    }

    /// Has the application take a message by its `wasmcloud:messaging/handler`. The inner error is
    /// why it did not, in its own words.
    ///
    /// Dropping the future ends the guest.
    pub async fn deliver(
        &self,
        spec: &Arc<InstallationSpec>,
        call: Call,
        message: MessageDelivery,
    ) -> Result<Result<(), String>, ServeError> {
        let installed = self.0.installed_by(call.deadline, spec).await?;
        handler::deliver(&self.0, installed, call, message).await
    }

    /// Pre-signed addresses of installations' objects.
    pub fn addresses(&self) -> &Addresses {
        &self.0.addresses
    }

    /// Messages between applications.
    pub fn messages(&self) -> &Messages {
        &self.0.messages
    }

    /// What `tenant` uses of the network outward.
    pub fn egress_usage(&self, tenant: TenantId) -> EgressUsage {
        self.0.parts.network.usage(tenant)
    }

    /// Makes an installation ready, so that its first request need not wait for it.
    pub async fn prepare(&self, spec: &Arc<InstallationSpec>) -> Result<(), ServeError> {
        self.0.installed(spec).await.map(drop)
    }

    /// Ends some of the instances and stores of drivers that wait, whoever's, for somebody who needs room
    /// in the pool. Whether there were any.
    pub fn make_room(&self) -> bool {
        self.0.make_any_room()
    }

    /// Installations that are ready, or being made so.
    pub fn prepared(&self) -> usize {
        self.0.installed.len()
    }

    /// Instances of applications that wait for their next request.
    pub fn waiting_instances(&self) -> usize {
        self.0.installed.waiting()
    }

    /// Whether an installation could be made ready, without touching the one that runs under the
    /// same identifier, nor its driver instances: every function of a driver must have the shape
    /// that the application expects.
    pub async fn check(&self, spec: &InstallationSpec) -> Result<(), PrepareError> {
        self.0.check(spec).await
    }

    pub(crate) fn inner(&self) -> &Arc<Inner> {
        &self.0
    }

    /// Whether a driver instance could be started, with all that it builds on; nothing of it runs.
    pub async fn check_driver(&self, spec: &DriverSpec) -> Result<(), PrepareError> {
        self.0.lone_driver(spec).await.map(drop)
    }

    /// How a driver instance is on this node, as it has been since `revision`; `None` where nothing
    /// has been asked of it since then.
    pub fn driver_health(&self, id: DriverInstanceId, revision: u64) -> Option<DriverHealth> {
        self.0.drivers.health(id, revision)
    }

    /// How many drivers deep a call may go.
    pub fn driver_depth(&self) -> usize {
        self.0.parts.settings.drivers.depth
    }

    /// Bytes of all memories and tables that the instances of a tenant have, drivers included.
    pub fn memory_usage(&self, tenant: TenantId) -> usize {
        self.0.parts.holdings.memory(tenant)
    }

    /// What the guests of a tenant have used of the CPU.
    pub fn cpu_usage(&self, tenant: TenantId) -> CpuUsage {
        let account = self.0.parts.cpu.get(tenant);
        account.map_or_else(CpuUsage::default, |account| CpuUsage {
            used: account.used(),
            host: account.host_used(),
            drawn: account.drawn(),
        })
    }

    /// Forgets installations and driver instances that are gone, and lets go of what is idle of driver
    /// instances older than the generation that `drivers` gives. Requests under way go on.
    pub fn retain(
        &self,
        installations: impl Fn(InstallationId) -> bool,
        drivers: impl Fn(DriverInstanceId) -> Option<u64>,
    ) {
        self.0.installed.retain(installations);
        self.0.drivers.retain(drivers);
    }
}

impl Inner {
    /// As [`Self::installed`], for a call that must be over at `deadline`, of a tenant that has CPU time
    /// left.
    async fn installed_by(
        self: &Arc<Self>,
        deadline: Instant,
        spec: &Arc<InstallationSpec>,
    ) -> Result<Arc<Installed>, ServeError> {
        let slot = self.installed.slot(spec);
        if let Some(installed) = slot.get() {
            return match installed.stores.cpu().overdrawn() {
                Some(overdrawn) => Err(overdrawn.into()),
                None => Ok(installed.clone()),
            };
        }
        // Before anything is loaded, or even compiled, for a tenant that could not run it.
        let account = self.parts.cpu.of(&self.parts.engine, &spec.tenant);
        if let Some(overdrawn) = account.overdrawn() {
            return Err(overdrawn.into());
        }
        // In a box: making an installation ready takes a future of some KiB, which the future of
        // every request would have room for, and which is copied with it.
        let installing = Box::pin(self.installed(spec));
        let limit = spec.component.limits.wall;
        tokio::time::timeout_at(deadline.into(), installing)
            .await
            .map_err(|_| ServeError::Wall { limit })?
    }

    async fn installed(
        self: &Arc<Self>,
        spec: &Arc<InstallationSpec>,
    ) -> Result<Arc<Installed>, ServeError> {
        let slot = self.installed.slot(spec);
        // A task of its own: what has been compiled for a client that went away is there for the
        // next one.
        let install = || {
            let (inner, spec) = (self.clone(), spec.clone());
            let task = tokio::spawn(async move { inner.install(&spec).await.map(Arc::new) });
            async move {
                match task.await {
                    Ok(Ok(installed)) => Ok(installed),
                    Ok(Err(error @ PrepareError::P3Disabled { .. })) => {
                        Err(ServeError::Unsupported {
                            reason: error.to_string(),
                        })
                    }
                    Ok(Err(error)) => Err(ServeError::Prepare(Arc::new(error))),
                    Err(_) => Err(ServeError::Internal(
                        "preparing an installation failed".into(),
                    )),
                }
            }
        };
        slot.get_or_try_init(install).await.cloned()
    }
}

fn sweep(inner: &Arc<Inner>) {
    let weak = Arc::downgrade(inner);
    let idle = inner.parts.settings.reuse_idle;
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(SWEEP.min(idle)).await;
            let Some(inner) = weak.upgrade() else { break };
            if let Some(since) = Instant::now().checked_sub(idle) {
                inner.installed.drop_idle(since);
            }
        }
    });
}
