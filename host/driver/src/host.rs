//! What the runtime provides: the data of stores, and how a driver's store is made.

use std::hash::Hash;

use canopy_backend::Kept;
use canopy_engine::CpuBudget;
use wasmtime::component::{InstancePre, ResourceTable};
use wasmtime::{Store, StoreContextMut};

use crate::context::CallContext;
use crate::error::DriverFailed;
use crate::objects::HostResource;
use crate::proxies::Proxies;

/// The data of a store whose component calls drivers, is a driver, or both.
pub trait DriverHost: Sized + Send + 'static {
    /// What a call carries about who makes it. Cloned per call.
    type Caller: Clone + Send + Sync + 'static;

    /// For whom the resources of a driver are counted that are given out on a caller's behalf.
    type Holder: Clone + Eq + Hash + Send + 'static;

    /// The resources of drivers that this store's component holds.
    fn proxies(&mut self) -> &mut Proxies<Self::Caller>;

    /// The objects behind the host's own resources that this store's component holds.
    fn table(&mut self) -> &mut ResourceTable;

    /// What the host keeps for this store: values of calls that its component makes count there.
    fn kept(&self) -> &Kept;

    /// Which of the host's own resources may go from one store to another.
    fn host_resources() -> &'static [HostResource<Self>];

    /// On whose behalf the component calls a driver now, and until when. In a driver's store this
    /// is the context given to [`DriverHost::begin_call`]. `None` where no call is under way; the
    /// call is refused then.
    fn outgoing_call(store: StoreContextMut<'_, Self>) -> Option<CallContext<Self::Caller>>;

    /// Whether two calls are on behalf of the same caller, so that one may begin in a driver's store
    /// while streams of the other are open.
    fn is_same_caller(one: &Self::Caller, other: &Self::Caller) -> bool;

    /// Who holds what a driver gives out to a caller: it may hold so much of a store together
    /// ([`DriverSettings::held`](crate::DriverSettings::held)). `None`: nobody counts it.
    fn holder(caller: &Self::Caller) -> Option<Self::Holder>;

    /// A call of this driver, or a destructor of one of its resources, begins: keep the context,
    /// and renew the budgets that count per call.
    fn begin_call(store: StoreContextMut<'_, Self>, context: CallContext<Self::Caller>);

    /// The CPU budget of the store, which measures what is run in it. `None` where nobody counts.
    fn cpu(&self) -> Option<&CpuBudget> {
        None
    }

    /// The call is over, and so are its streams and those of all calls before it. Not called where
    /// it failed, as the store is dropped then.
    fn end_call(store: StoreContextMut<'_, Self>);
}

/// How the store of one driver instance is made.
pub trait DriverProgram: Send + Sync + 'static {
    /// The data of the store.
    type Data: DriverHost;

    /// The driver component with all its imports.
    fn instance_pre(&self) -> &InstancePre<Self::Data>;

    /// A new store with all its limits. The guest must yield to the host regularly (epoch
    /// interruption), or no deadline can end it.
    fn new_store(&self) -> wasmtime::Result<Store<Self::Data>>;

    /// At most how many stores there are at once. Each has a memory of its own, so a driver that
    /// keeps something in it has to say that it can do with several.
    fn max_stores(&self) -> usize {
        1
    }

    /// A store could not be made, or the driver not instantiated in it, by this error: ends something
    /// that waits, where that is what is lacking.
    fn make_room(&self, error: &wasmtime::Error) -> Room {
        let _ = error;
        Room::NotAsked
    }

    /// The instance failed and its store is dropped: write it to the driver's log. `resources` of
    /// callers were lost with it, and `caller` is on whose behalf it ran.
    fn failed(
        &self,
        failure: &DriverFailed,
        resources: usize,
        caller: Option<&<Self::Data as DriverHost>::Caller>,
    );
}

/// What there is for a store that could not be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// More than there was: it is worth trying again.
    Made,
    /// Nothing that could be ended.
    Lacking,
    /// It is not room that is lacking.
    NotAsked,
}

/// Runs `work`, which drives a store with this budget, and has its CPU time measured.
pub(crate) async fn metered<F: Future>(cpu: Option<CpuBudget>, work: F) -> F::Output {
    match cpu {
        Some(cpu) => cpu.meter(work).await,
        None => work.await,
    }
}
