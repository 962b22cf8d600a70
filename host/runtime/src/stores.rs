//! Stores for instances of one component, with everything that the component may use.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use canopy_backend::CpuPayer;
use canopy_backend::Kept;
use canopy_backend_logs::{Log, LogContext, LogOwner, LogStore};
use canopy_capability_blobs::BlobsCtx;
use canopy_capability_config::ConfigCtx;
use canopy_capability_identity::{IdentityCtx, Tenant};
use canopy_capability_keyvalue::KeyValueCtx;
use canopy_capability_log::LogCtx;
use canopy_capability_messages::MessagesCtx;
use canopy_capability_network::{Gateway, Network, NetworkCtx};
use canopy_capability_sql::SqlCtx;
use canopy_driver::Proxies;
use canopy_engine::{
    CallLengths, CpuAccount, CpuBudget, CpuRate, Engine, LimitExceeded, MemoryAccount, PoolSlots,
    SlotAccount, Slots, StoreLimits,
};
use canopy_ids::{Label, TenantId};
use parking_lot::Mutex;
use wasmtime::Store;
use wasmtime::component::{Component, ResourceTable};
use wasmtime_wasi::WasiCtx;
use wasmtime_wasi_http::WasiHttpCtx;

use crate::clocks::{Grain, MonotonicClock, WallClock};
use crate::guest::GuestState;
use crate::settings::RuntimeSettings;
use crate::spec::{ComponentSpec, TenantSpec};

/// What all stores of a node have in common.
#[derive(Clone)]
pub(crate) struct StoreParts {
    pub(crate) engine: Engine,
    pub(crate) network: Network,
    pub(crate) logs: LogStore,
    pub(crate) settings: Arc<RuntimeSettings>,
    pub(crate) holdings: TenantHoldings,
    /// What all instances of the node have.
    pub(crate) memory: Arc<MemoryAccount>,
    pub(crate) pool: Arc<PoolSlots>,
    pub(crate) cpu: TenantCpu,
}

/// What the instances of each tenant have, in accounts that all its stores share.
#[derive(Clone, Default)]
pub(crate) struct TenantHoldings(Arc<Mutex<HashMap<TenantId, Weak<Holdings>>>>);

/// What the instances of one tenant have.
pub(crate) struct Holdings {
    memory: Arc<MemoryAccount>,
    slots: Arc<SlotAccount>,
}

impl TenantHoldings {
    /// Those of a tenant, with the limits that it has now. They are there as long as somebody holds them.
    fn of(tenant: &TenantSpec, parts: &StoreParts) -> Arc<Holdings> {
        let node = &parts.memory;
        let bytes = tenant.limits.memory_bytes.min(node.limit() / 2);
        let mut tenants = parts.holdings.0.lock();
        if let Some(holdings) = tenants.get(&tenant.id).and_then(Weak::upgrade) {
            holdings.memory.set(bytes);
            return holdings;
        }
        tenants.retain(|_, holdings| holdings.strong_count() > 0);
        let holdings = Arc::new(Holdings {
            memory: MemoryAccount::part_of(node.clone(), bytes),
            slots: SlotAccount::new(parts.settings.tenant_slots, parts.pool.clone()),
        });
        tenants.insert(tenant.id, Arc::downgrade(&holdings));
        holdings
    }

    /// Bytes of all memories and tables of the instances of a tenant.
    pub(crate) fn memory(&self, tenant: TenantId) -> usize {
        let holdings = self.0.lock().get(&tenant).and_then(Weak::upgrade);
        holdings.map_or(0, |holdings| holdings.memory.used())
    }
}

/// What the instances of each tenant use of the CPU, in an account that all its stores share.
#[derive(Clone, Default)]
pub(crate) struct TenantCpu(Arc<Mutex<HashMap<TenantId, Arc<CpuAccount>>>>);

/// With more accounts than this, those that nobody needs are looked for.
const ACCOUNTS: usize = 4_096;

impl TenantCpu {
    /// The account of a tenant, with the limits that it has now. An account outlives the stores, or
    /// a tenant would be rid of what it owes when its last instance goes.
    pub(crate) fn of(&self, engine: &Engine, tenant: &TenantSpec) -> Arc<CpuAccount> {
        let limits = &tenant.limits;
        let rate = CpuRate {
            per_second: limits.cpu_per_second,
            burst: limits.cpu_burst,
        };
        let mut accounts = self.0.lock();
        if let Some(account) = accounts.get(&tenant.id) {
            account.set(limits.weight, rate);
            return account.clone();
        }
        if accounts.len() >= ACCOUNTS && accounts.len().is_power_of_two() {
            accounts
                .retain(|_, account| Arc::strong_count(account) > 1 || !account.drawn().is_zero());
        }
        let account = engine.cpu_account(limits.weight, rate);
        accounts.insert(tenant.id, account.clone());
        account
    }

    /// Charges tenants with what is done for them beside their calls. That of a tenant none of whose
    /// components has been loaded is its members' doing, by the API, and nobody's.
    pub(crate) fn payer(&self) -> CpuPayer {
        let accounts = self.clone();
        Arc::new(move |tenant, time| {
            if let Some(account) = accounts.get(tenant) {
                account.charge_host(time);
            }
        })
    }

    /// The account of a tenant, if any of its components has been loaded.
    pub(crate) fn get(&self, tenant: TenantId) -> Option<Arc<CpuAccount>> {
        self.0.lock().get(&tenant).cloned()
    }
}

/// Makes stores for one component of one tenant.
pub(crate) struct Stores {
    parts: StoreParts,
    tenant: Arc<Tenant>,
    component: ComponentSpec,
    config: ConfigCtx,
    storage: StorageCtx,
    borrows: Borrows,
    log: Log,
    gateway: Gateway,
    holdings: Arc<Holdings>,
    /// What each store takes of the pool.
    takes: Slots,
    cpu: Arc<CpuAccount>,
    lengths: Arc<CallLengths>,
    is_driver: bool,
    meets_drivers: bool,
}

/// Which kinds of storage a driver has of the installation that calls it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Borrows {
    pub(crate) keyvalue: bool,
    pub(crate) blobs: bool,
    pub(crate) sql: bool,
}

/// What one component stores, of each kind.
#[derive(Clone)]
pub(crate) struct StorageCtx {
    pub(crate) keyvalue: KeyValueCtx,
    pub(crate) blobs: BlobsCtx,
    pub(crate) sql: SqlCtx,
    pub(crate) messages: MessagesCtx,
}

impl StorageCtx {
    /// A component without storage of its own.
    pub(crate) fn none() -> Self {
        Self {
            keyvalue: KeyValueCtx::none(),
            blobs: BlobsCtx::none(),
            sql: SqlCtx::none(),
            messages: MessagesCtx::none(),
        }
    }
}

impl std::fmt::Debug for StorageCtx {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StorageCtx").finish_non_exhaustive()
    }
}

/// Whose component it is, for its log.
pub(crate) struct Owner {
    pub(crate) log: LogOwner,
    pub(crate) app: Option<Label>,
    pub(crate) driver: Option<Label>,
}

impl Stores {
    /// `meets_drivers`: whether the component calls drivers or is one, so that values of unknown
    /// types cross.
    pub(crate) fn new(
        parts: StoreParts,
        tenant: &TenantSpec,
        (component, compiled): (ComponentSpec, &Component),
        storage: StorageCtx,
        owner: Owner,
        meets_drivers: bool,
    ) -> Self {
        let is_driver = owner.driver.is_some();
        let context = LogContext {
            tenant: tenant.name.clone(),
            app: owner.app,
            driver: owner.driver,
            package: component.package.clone(),
            version: component.version.clone(),
        };
        let holdings = TenantHoldings::of(tenant, &parts);
        let takes = Slots::of(compiled, parts.engine.settings());
        let cpu = parts.cpu.of(&parts.engine, tenant);
        let (tenant_id, egress) = (tenant.id, tenant.limits.egress);
        let tenant = Tenant {
            id: tenant.id,
            name: tenant.name.to_string(),
            display_name: tenant.display_name.clone(),
            plan: tenant.plan.clone(),
            region: tenant.region.clone(),
            attributes: tenant.attributes.clone(),
        };
        let log = parts.logs.log(owner.log, context);
        let policy = component.egress.clone();
        let account = (tenant_id, egress);
        Self {
            gateway: Gateway::of(parts.network.clone(), account, policy, Some(log.clone())),
            log,
            parts,
            tenant: Arc::new(tenant),
            config: ConfigCtx::new(component.config.clone()),
            component,
            storage,
            borrows: Borrows::default(),
            holdings,
            takes,
            cpu,
            lengths: Arc::default(),
            is_driver,
            meets_drivers,
        }
    }

    /// A driver that has storage of the installation that calls it, while it does.
    pub(crate) fn borrowing(mut self, borrows: Borrows) -> Self {
        self.borrows = borrows;
        self
    }

    /// What the component stores.
    pub(crate) fn storage(&self) -> &StorageCtx {
        &self.storage
    }

    /// The component's log, for records of the platform.
    pub(crate) fn log(&self) -> &Log {
        &self.log
    }

    pub(crate) fn settings(&self) -> &RuntimeSettings {
        &self.parts.settings
    }

    pub(crate) fn component(&self) -> &ComponentSpec {
        &self.component
    }

    /// Whose component it is.
    pub(crate) fn tenant(&self) -> TenantId {
        self.tenant.id
    }

    /// What the tenant uses of the CPU.
    pub(crate) fn cpu(&self) -> &CpuAccount {
        &self.cpu
    }

    /// A store for one instance, where the tenant may have one more. Nothing in it comes from another.
    pub(crate) fn store(&self) -> Result<Store<GuestState>, LimitExceeded> {
        let slots = self.holdings.slots.take(self.takes)?;
        let StoreParts {
            engine, settings, ..
        } = &self.parts;
        let limits = &self.component.limits;
        let log = LogCtx::new(self.log.clone());
        let (resources, kept_bytes) = if self.is_driver {
            (settings.driver_store_resources, settings.driver_kept_bytes)
        } else {
            (settings.resources, settings.kept_bytes)
        };
        let kept = Kept::new(kept_bytes);
        let network = NetworkCtx::new(&self.gateway, kept.clone(), settings.header_bytes);

        let grain = Grain::new(settings.clock_grain);
        let mut wasi = WasiCtx::builder();
        wasi.stdout(log.stdout())
            .stderr(log.stderr())
            .wall_clock(WallClock(grain))
            .monotonic_clock(MonotonicClock::new(grain))
            .max_random_size(settings.random_bytes);
        network.configure(&mut wasi);

        let mut http = WasiHttpCtx::new();
        http.set_field_size_limit(settings.header_bytes);
        let mut table = ResourceTable::new();
        table.set_max_capacity(resources);

        let cpu = CpuBudget::paid_by_with(self.cpu.clone(), limits.cpu, self.lengths.clone());
        let state = GuestState {
            _ending: network.ending(),
            table,
            limits: StoreLimits::new(limits.memory_bytes, engine.settings())
                .within(self.holdings.memory.clone())
                .holding(slots),
            cpu: cpu.clone(),
            call: None,
            wasi: wasi.build(),
            http,
            identity: IdentityCtx::new(self.tenant.clone()),
            config: self.config.clone(),
            log,
            keyvalue: self.storage.keyvalue.clone(),
            blobs: self.storage.blobs.clone(),
            sql: self.storage.sql.clone(),
            messages: self.storage.messages.clone(),
            kept,
            borrows: self.borrows,
            network,
            proxies: Proxies::new(settings.driver_resources),
        };
        let mut store = engine.new_store(state, |state| &mut state.limits, &cpu);
        if self.meets_drivers {
            store.set_hostcall_fuel(settings.driver_hostcall_bytes);
        }
        Ok(store)
    }
}
