//! Driver instances: one per driver and generation, shared by the tenant's applications.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::{Arc, Weak};

use canopy_backend_logs::{Entry, Level, Source};
use canopy_driver::{DriverFailed, DriverHandle, DriverHealth, DriverProgram, FailureCause, Room};
use canopy_engine::LimitExceeded;
use canopy_ids::{DriverInstanceId, TenantId};
use parking_lot::Mutex;
use tokio::sync::OnceCell;
use wasmtime::Store;
use wasmtime::component::InstancePre;

use crate::error::{BACKTRACE_LINES, PrepareError, backtrace};
use crate::guest::{CallerFacts, GuestState};
use crate::runtime::Inner;
use crate::spec::DriverSpec;
use crate::stores::Stores;

/// A handle to a running driver instance.
pub(crate) type Handle = DriverHandle<Arc<CallerFacts>>;

/// A driver's component, ready to be instantiated.
pub(crate) struct Program {
    pub(crate) pre: InstancePre<GuestState>,
    pub(crate) stores: Stores,
    pub(crate) inner: Weak<Inner>,
}

impl DriverProgram for Program {
    type Data = GuestState;

    fn instance_pre(&self) -> &InstancePre<GuestState> {
        &self.pre
    }

    fn new_store(&self) -> wasmtime::Result<Store<GuestState>> {
        Ok(self.stores.store()?)
    }

    fn max_stores(&self) -> usize {
        self.stores.component().limits.instances
    }

    fn make_room(&self, error: &wasmtime::Error) -> Room {
        let Some(inner) = self.inner.upgrade() else {
            return Room::NotAsked;
        };
        let tenant = self.stores.tenant();
        let is_made = match LimitExceeded::of(error) {
            Some(LimitExceeded::SharedSlots { .. }) => inner.make_own_room(tenant),
            Some(LimitExceeded::Pool(_)) => inner.make_room(tenant),
            _ => return Room::NotAsked,
        };
        match is_made {
            true => Room::Made,
            false => Room::Lacking,
        }
    }

    fn failed(&self, failure: &DriverFailed, resources: usize, caller: Option<&Arc<CallerFacts>>) {
        let mut text = failure.to_string();
        if let Some(facts) = caller.and_then(|caller| caller.facts.as_ref()) {
            let app = &facts.installation;
            let _ = write!(
                text,
                "; called by `{}` ({} {})",
                app.name, app.app, app.version
            );
        }
        if resources > 0 {
            let _ = write!(text, "; {resources} resources of callers were lost with it");
        }
        let request = caller.map(|caller| caller.request_id);
        let entry = |text| {
            let entry = Entry::new(Level::Error, Source::Platform, text);
            match request {
                Some(request) => entry.request(request),
                None => entry,
            }
        };
        let log = self.stores.log();
        log.append(entry(&text));
        if let FailureCause::Trap(cause) | FailureCause::Start(cause) = &failure.cause
            && LimitExceeded::of(cause.error()).is_none()
        {
            let frames = backtrace(cause.error());
            log.append_lines(entry(&frames), BACKTRACE_LINES);
        }
        let tenant = &log.context().tenant;
        let request = request.map(tracing::field::display);
        tracing::warn!(%tenant, driver = %failure.driver, request, resources, "{failure}");
    }
}

/// How many generations of one driver are kept: the one that the newest snapshot has, and the one
/// before it, which requests that began earlier still name.
const GENERATIONS: usize = 2;

/// The running driver instances of a node.
#[derive(Default)]
pub(crate) struct Drivers(Mutex<HashMap<DriverInstanceId, Generations>>);

/// Those of one driver, and whose it is.
struct Generations {
    tenant: TenantId,
    slots: Vec<Slot>,
}

type Slot = (u64, Arc<OnceCell<Handle>>);

impl Drivers {
    /// The instance of this description; `start` starts it if it is not there.
    pub(crate) async fn get<F>(
        &self,
        spec: &DriverSpec,
        start: impl FnOnce() -> F,
    ) -> Result<Handle, PrepareError>
    where
        F: Future<Output = Result<Handle, PrepareError>>,
    {
        let cell = self.slot(spec);
        cell.get_or_try_init(start).await.cloned()
    }

    fn slot(&self, spec: &DriverSpec) -> Arc<OnceCell<Handle>> {
        let mut instances = self.0.lock();
        let generations = instances.entry(spec.id).or_insert_with(|| Generations {
            tenant: spec.tenant.id,
            slots: Vec::new(),
        });
        let slots = &mut generations.slots;
        if let Some((_, cell)) = slots.iter().find(|(known, _)| *known == spec.generation) {
            return cell.clone();
        }
        if slots.len() >= GENERATIONS {
            let (_, oldest) = slots.remove(0);
            if let Some(handle) = oldest.get() {
                handle.set_replaced();
            }
        }
        let cell = Arc::new(OnceCell::new());
        slots.push((spec.generation, cell.clone()));
        cell
    }

    /// Those of the tenants that are meant.
    pub(crate) fn running(&self, is_meant: impl Fn(TenantId) -> bool) -> Vec<Handle> {
        let instances = self.0.lock();
        let meant = instances.values().filter(|one| is_meant(one.tenant));
        let slots = meant.flat_map(|one| &one.slots);
        slots.filter_map(|(_, cell)| cell.get()).cloned().collect()
    }

    /// How the newest instance that runs is, if it is of `revision` or newer.
    pub(crate) fn health(&self, id: DriverInstanceId, revision: u64) -> Option<DriverHealth> {
        let instances = self.0.lock();
        let slots = &instances.get(&id)?.slots;
        let running = slots.iter().filter_map(|(generation, cell)| {
            let handle = cell.get().filter(|_| *generation >= revision)?;
            Some((*generation, handle))
        });
        let newest = running.max_by_key(|(generation, _)| *generation);
        newest.map(|(_, handle)| handle.health())
    }

    /// Forgets the instances of which `newest` knows no generation. They end when nothing is linked to
    /// them. Those of an older one than it knows keep no store for calls to come.
    pub(crate) fn retain(&self, newest: impl Fn(DriverInstanceId) -> Option<u64>) {
        self.0.lock().retain(|id, Generations { slots, .. }| {
            let Some(newest) = newest(*id) else {
                return false;
            };
            let older = slots.iter().filter(|(generation, _)| *generation < newest);
            for handle in older.filter_map(|(_, cell)| cell.get()) {
                handle.set_replaced();
            }
            true
        });
    }
}
