//! The state of one guest's store: every capability that a component has, in order.

use std::sync::Arc;

use canopy_backend::Kept;
use canopy_capability_blobs::{BlobsCtx, BlobsView};
use canopy_capability_config::{ConfigCtx, ConfigView};
use canopy_capability_identity::{CallFacts, IdentityCtx, IdentityView};
use canopy_capability_keyvalue::{KeyValueCtx, KeyValueView};
use canopy_capability_log::{LogCtx, LogView};
use canopy_capability_messages::{MessagesCtx, MessagesView};
use canopy_capability_network::{Ending, NetworkCtx, NetworkView};
use canopy_capability_sql::{SqlCtx, SqlView};
use canopy_driver::{CallContext, DriverHost, HostResource, Proxies};
use canopy_engine::{CpuBudget, StoreLimits};
use canopy_ids::{InstallationId, RequestId};
use wasmtime::StoreContextMut;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};
use wasmtime_wasi_tls::{WasiTlsCtxView, WasiTlsView};

use crate::crossing;
use crate::stores::{Borrows, StorageCtx};

/// Who calls, and for which request; what one guest tells the next.
#[derive(Debug, Clone)]
pub struct CallerFacts {
    /// The request that everything began with.
    pub request_id: RequestId,
    /// Through how many applications of this platform the request has come.
    pub depth: u32,
    /// What `canopy:tenant/identity` answers; `None`: the platform itself calls, for nobody.
    pub facts: Option<CallFacts>,
    /// The storage of the installation that everything began with, for drivers that are bound to
    /// the platform's own.
    pub(crate) storage: StorageCtx,
}

/// What a call carries from guest to guest.
pub type GuestCall = CallContext<Arc<CallerFacts>>;

/// Everything that belongs to one store.
pub struct GuestState {
    /// Before the table, in which streams to the network end.
    pub(crate) _ending: Ending,
    pub(crate) table: ResourceTable,
    pub(crate) limits: StoreLimits,
    pub(crate) cpu: CpuBudget,
    pub(crate) call: Option<GuestCall>,
    // The WASI that every toolchain's components import: clocks, random, standard streams, an
    // empty environment, no files.
    pub(crate) wasi: WasiCtx,
    pub(crate) http: WasiHttpCtx,
    // Capabilities.
    pub(crate) identity: IdentityCtx,
    pub(crate) config: ConfigCtx,
    pub(crate) log: LogCtx,
    pub(crate) keyvalue: KeyValueCtx,
    pub(crate) blobs: BlobsCtx,
    pub(crate) sql: SqlCtx,
    pub(crate) messages: MessagesCtx,
    // What the host keeps for the store.
    pub(crate) kept: Kept,
    // Which of the storage is the caller's, and comes and goes with each call.
    pub(crate) borrows: Borrows,
    pub(crate) network: NetworkCtx,
    // What drivers gave to this component.
    pub(crate) proxies: Proxies<Arc<CallerFacts>>,
}

impl GuestState {
    /// A call begins: budgets start anew, and identity and log know whose call it is.
    pub(crate) fn begin(&mut self, call: GuestCall) {
        self.cpu.renew();
        if let Some(facts) = &call.caller.facts {
            self.identity.begin(facts.clone());
        }
        self.log.begin(call.caller.request_id);
        let caller = &call.caller;
        self.network
            .begin(caller.request_id, call.deadline, caller.depth);
        self.messages.begin(caller.request_id);
        self.borrow(&call.caller.storage);
        self.call = Some(call);
    }

    /// The call is over.
    pub(crate) fn end(&mut self) {
        self.identity.end();
        self.log.end();
        self.borrow(&StorageCtx::none());
        self.call = None;
    }

    /// Takes of `storage` what this component has of its callers.
    fn borrow(&mut self, storage: &StorageCtx) {
        let Borrows {
            keyvalue,
            blobs,
            sql,
        } = self.borrows;
        if keyvalue {
            self.keyvalue = storage.keyvalue.clone();
        }
        if blobs {
            self.blobs = storage.blobs.clone();
        }
        if sql {
            self.sql = storage.sql.clone();
        }
    }

    pub(crate) fn identity(&mut self) -> IdentityView<'_> {
        IdentityView {
            ctx: &mut self.identity,
        }
    }

    pub(crate) fn config(&mut self) -> ConfigView<'_> {
        ConfigView {
            ctx: &mut self.config,
        }
    }

    pub(crate) fn log(&mut self) -> LogView<'_> {
        LogView { ctx: &mut self.log }
    }

    pub(crate) fn keyvalue(&mut self) -> KeyValueView<'_> {
        KeyValueView {
            ctx: &mut self.keyvalue,
            table: &mut self.table,
            kept: &self.kept,
        }
    }

    pub(crate) fn blobs(&mut self) -> BlobsView<'_> {
        BlobsView {
            ctx: &mut self.blobs,
            table: &mut self.table,
            kept: &self.kept,
        }
    }

    pub(crate) fn sql(&mut self) -> SqlView<'_> {
        SqlView {
            ctx: &mut self.sql,
            table: &mut self.table,
            kept: &self.kept,
        }
    }

    pub(crate) fn messages(&mut self) -> MessagesView<'_> {
        MessagesView {
            ctx: &mut self.messages,
        }
    }

    pub(crate) fn network(&mut self) -> NetworkView<'_> {
        NetworkView {
            ctx: &mut self.network,
            table: &mut self.table,
        }
    }
}

impl WasiView for GuestState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

impl WasiHttpView for GuestState {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView {
            ctx: &mut self.http,
            table: &mut self.table,
            hooks: &mut self.network,
        }
    }
}

impl WasiTlsView for GuestState {
    fn tls(&mut self) -> WasiTlsCtxView<'_> {
        WasiTlsCtxView {
            ctx: self.network.tls(),
            table: &mut self.table,
        }
    }
}

impl DriverHost for GuestState {
    type Caller = Arc<CallerFacts>;
    type Holder = InstallationId;

    fn proxies(&mut self) -> &mut Proxies<Arc<CallerFacts>> {
        &mut self.proxies
    }

    fn table(&mut self) -> &mut ResourceTable {
        &mut self.table
    }

    fn kept(&self) -> &Kept {
        &self.kept
    }

    fn host_resources() -> &'static [HostResource<Self>] {
        &crossing::RESOURCES
    }

    fn outgoing_call(store: StoreContextMut<'_, Self>) -> Option<GuestCall> {
        store.data().call.clone()
    }

    fn is_same_caller(one: &Arc<CallerFacts>, other: &Arc<CallerFacts>) -> bool {
        Arc::ptr_eq(one, other)
    }

    fn holder(caller: &Arc<CallerFacts>) -> Option<InstallationId> {
        caller.facts.as_ref().map(|facts| facts.installation.id)
    }

    fn cpu(&self) -> Option<&CpuBudget> {
        Some(&self.cpu)
    }

    fn begin_call(mut store: StoreContextMut<'_, Self>, call: GuestCall) {
        store.data_mut().begin(call);
    }

    fn end_call(mut store: StoreContextMut<'_, Self>) {
        store.data_mut().end();
    }
}
