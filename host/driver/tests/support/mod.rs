//! What the tests share: an engine whose guests yield, store data, and components as text.

#![allow(dead_code, reason = "each test file uses a part of it")]

pub(crate) mod cells;
pub(crate) mod reading;
pub(crate) mod shelf;
pub(crate) mod text;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use canopy_backend::Kept;
use canopy_driver::{
    Binding, CallContext, DriverFailed, DriverHandle, DriverHost, DriverProgram, DriverSettings,
    HostResource, Links, Proxies, Room, link_interfaces,
};
use canopy_ids::DriverInstanceId;
use wasmtime::component::{Component, Instance, InstancePre, Linker, ResourceTable, Val};
use wasmtime::{Config, Engine, Store, StoreContextMut};

/// One engine for all tests of a file, with epochs ticking so that guests yield.
pub(crate) fn engine() -> &'static Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(|| {
        let mut config = Config::new();
        config.epoch_interruption(true);
        config.wasm_component_model_async(true);
        let engine = Engine::new(&config).expect("engine");
        let weak = engine.weak();
        std::thread::spawn(move || {
            while let Some(engine) = weak.upgrade() {
                engine.increment_epoch();
                drop(engine);
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        engine
    })
}

pub(crate) fn component(text: &str) -> Component {
    let bytes = wat::parse_str(text).expect("component text");
    Component::from_binary(engine(), &bytes).expect("component")
}

pub(crate) const THINGS_DRIVER: &str = include_str!("../components/things-driver.wat");
pub(crate) const THINGS_APP: &str = include_str!("../components/things-app.wat");

/// Who calls is a number here.
pub(crate) type Handle = DriverHandle<u64>;

/// The data of every store.
pub(crate) struct Host {
    proxies: Proxies<u64>,
    table: ResourceTable,
    context: Option<CallContext<u64>>,
    kept: Kept,
    pub(crate) seen: Seen,
}

/// What the host keeps for a store.
pub(crate) const KEPT: usize = 1 << 20;

/// What drivers told the host.
#[derive(Clone, Default)]
pub(crate) struct Seen {
    /// Values of dropped things, in order.
    pub(crate) dropped: Arc<Mutex<Vec<u32>>>,
    /// Failures reported to the driver's log.
    pub(crate) failures: Arc<Mutex<Vec<String>>>,
    /// On whose behalf the driver ran when it failed.
    pub(crate) blamed: Arc<Mutex<Vec<u64>>>,
    /// Stores made.
    pub(crate) stores: Arc<AtomicUsize>,
    /// How often making a store is to fail for want of room, and for how many of these there is some to
    /// be made.
    pub(crate) crowded: Arc<AtomicUsize>,
    pub(crate) makes_room: Arc<AtomicUsize>,
    /// Stores of the driver that hold objects of the host when a call in them has ended.
    pub(crate) holding: Arc<AtomicUsize>,
}

impl Seen {
    pub(crate) fn dropped(&self) -> Vec<u32> {
        self.dropped.lock().expect("lock").clone()
    }

    pub(crate) fn failures(&self) -> Vec<String> {
        self.failures.lock().expect("lock").clone()
    }

    pub(crate) fn stores(&self) -> usize {
        self.stores.load(Ordering::SeqCst)
    }

    /// Waits until as many things have been dropped, and a little longer for one too many.
    pub(crate) async fn wait_dropped(&self, count: usize) -> Vec<u32> {
        for _ in 0..500 {
            if self.dropped().len() >= count {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        tokio::time::sleep(Duration::from_millis(30)).await;
        self.dropped()
    }
}

impl DriverHost for Host {
    type Caller = u64;
    type Holder = u64;

    fn proxies(&mut self) -> &mut Proxies<u64> {
        &mut self.proxies
    }

    fn table(&mut self) -> &mut ResourceTable {
        &mut self.table
    }

    fn kept(&self) -> &Kept {
        &self.kept
    }

    fn host_resources() -> &'static [HostResource<Self>] {
        &cells::RESOURCES
    }

    fn outgoing_call(store: StoreContextMut<'_, Self>) -> Option<CallContext<u64>> {
        store.data().context.clone()
    }

    fn is_same_caller(one: &u64, other: &u64) -> bool {
        one == other
    }

    fn holder(caller: &u64) -> Option<u64> {
        Some(*caller)
    }

    fn begin_call(mut store: StoreContextMut<'_, Self>, context: CallContext<u64>) {
        store.data_mut().context = Some(context);
    }

    fn end_call(mut store: StoreContextMut<'_, Self>) {
        let data = store.data_mut();
        data.context = None;
        let holds = usize::from(!data.table.is_empty() || !data.proxies.is_empty());
        data.seen.holding.store(holds, Ordering::SeqCst);
    }
}

fn new_store(seen: &Seen, context: Option<CallContext<u64>>, proxies: usize) -> Store<Host> {
    let host = Host {
        proxies: Proxies::new(proxies),
        table: ResourceTable::new(),
        context,
        kept: Kept::new(KEPT),
        seen: seen.clone(),
    };
    let mut store = Store::new(engine(), host);
    store.epoch_deadline_async_yield_and_update(1);
    store.set_epoch_deadline(1);
    store
}

/// A store in which nobody calls.
pub(crate) fn lone_store() -> Store<Host> {
    new_store(&Seen::default(), None, 16)
}

const CROWDED: &str = "there are too many stores";

/// One less, if there is one.
fn take_one(count: &AtomicUsize) -> bool {
    let less = |count: usize| count.checked_sub(1);
    let (relaxed, seen) = (Ordering::Relaxed, Ordering::SeqCst);
    count.fetch_update(seen, relaxed, less).is_ok()
}

/// A driver component in a test.
pub(crate) struct Program {
    pre: InstancePre<Host>,
    max_stores: usize,
    pub(crate) seen: Seen,
}

impl DriverProgram for Program {
    type Data = Host;

    fn instance_pre(&self) -> &InstancePre<Host> {
        &self.pre
    }

    fn new_store(&self) -> wasmtime::Result<Store<Host>> {
        if take_one(&self.seen.crowded) {
            return Err(wasmtime::Error::msg(CROWDED));
        }
        self.seen.stores.fetch_add(1, Ordering::SeqCst);
        Ok(new_store(&self.seen, None, 16))
    }

    fn max_stores(&self) -> usize {
        self.max_stores
    }

    fn make_room(&self, error: &wasmtime::Error) -> Room {
        match error.to_string() == CROWDED {
            true if take_one(&self.seen.makes_room) => Room::Made,
            true => Room::Lacking,
            false => Room::NotAsked,
        }
    }

    fn failed(&self, failure: &DriverFailed, _resources: usize, caller: Option<&u64>) {
        if let Some(caller) = caller {
            self.seen.blamed.lock().expect("lock").push(*caller);
        }
        self.seen
            .failures
            .lock()
            .expect("lock")
            .push(failure.to_string());
    }
}

/// A linker with the functions that the components here import from the host.
pub(crate) fn host_linker() -> Linker<Host> {
    let mut linker = Linker::<Host>::new(engine());
    let mut host = linker.instance("host").expect("instance");
    host.func_wrap(
        "dropped",
        |store: StoreContextMut<'_, Host>, (value,): (u32,)| {
            store.data().seen.dropped.lock().expect("lock").push(value);
            Ok(())
        },
    )
    .expect("dropped");
    host.func_wrap_async("sleep", |_, (ms,): (u32,)| {
        Box::new(async move {
            tokio::time::sleep(Duration::from_millis(ms.into())).await;
            Ok(())
        })
    })
    .expect("sleep");
    host.func_wrap("caller", |store: StoreContextMut<'_, Host>, (): ()| {
        Ok((store
            .data()
            .context
            .as_ref()
            .map_or(0, |context| context.caller),))
    })
    .expect("caller");
    host.func_wrap(
        "fail",
        |_: StoreContextMut<'_, Host>, (): ()| -> wasmtime::Result<()> {
            panic!("a host function panics")
        },
    )
    .expect("fail");
    cells::define(&mut linker).expect("cells");
    linker
}

pub(crate) fn spawn(name: &str, text: &str, settings: DriverSettings) -> (Handle, Seen) {
    spawn_linked(name, &component(text), host_linker(), settings)
}

pub(crate) fn spawn_linked(
    name: &str,
    component: &Component,
    linker: Linker<Host>,
    settings: DriverSettings,
) -> (Handle, Seen) {
    spawn_as(DriverInstanceId::new(), name, component, linker, settings)
}

pub(crate) fn spawn_as(
    id: DriverInstanceId,
    name: &str,
    component: &Component,
    linker: Linker<Host>,
    settings: DriverSettings,
) -> (Handle, Seen) {
    spawn_joined(id, name, component, linker, Arc::default(), settings)
}

/// A driver of at most so many stores.
pub(crate) fn spawn_pool(
    max_stores: usize,
    name: &str,
    text: &str,
    settings: DriverSettings,
) -> (Handle, Seen) {
    let pre = host_linker().instantiate_pre(&component(text));
    let seen = Seen::default();
    let program = Program {
        pre: pre.expect("imports of the driver"),
        max_stores,
        seen: seen.clone(),
    };
    let (id, links) = (DriverInstanceId::new(), Arc::default());
    let handle = DriverHandle::spawn(id, name, program, links, settings);
    (handle, seen)
}

/// A driver whose linker has been joined with other drivers.
pub(crate) fn spawn_joined(
    id: DriverInstanceId,
    name: &str,
    component: &Component,
    linker: Linker<Host>,
    links: Arc<Links<u64>>,
    settings: DriverSettings,
) -> (Handle, Seen) {
    let pre = linker
        .instantiate_pre(component)
        .expect("imports of the driver");
    let seen = Seen::default();
    let program = Program {
        pre,
        max_stores: 1,
        seen: seen.clone(),
    };
    (
        DriverHandle::spawn(id, name, program, links, settings),
        seen,
    )
}

/// An application instance in a store of its own.
pub(crate) struct App {
    pub(crate) store: Store<Host>,
    instance: Instance,
}

impl App {
    /// `text` with all of `imports` served by their drivers.
    pub(crate) async fn start(text: &str, imports: &[(&str, &Handle)]) -> Self {
        Self::start_for(1, text, imports, 64).await
    }

    pub(crate) async fn start_for(
        caller: u64,
        text: &str,
        imports: &[(&str, &Handle)],
        proxies: usize,
    ) -> Self {
        let component = component(text);
        let mut linker = host_linker();
        link(&mut linker, &component, imports).expect("linked");
        let deadline = Instant::now() + Duration::from_secs(20);
        let context = CallContext::new(caller, deadline);
        let mut store = new_store(&Seen::default(), Some(context), proxies);
        let instance = linker
            .instantiate_async(&mut store, &component)
            .await
            .expect("app");
        Self { store, instance }
    }

    pub(crate) async fn things(driver: &Handle) -> Self {
        Self::start(THINGS_APP, &things(driver)).await
    }

    /// How many objects of the host and resources of drivers it holds.
    pub(crate) fn holds(&mut self) -> (bool, usize) {
        let data = self.store.data_mut();
        (!data.table.is_empty(), data.proxies.len())
    }

    pub(crate) fn set_deadline(&mut self, within: Duration) {
        let context = CallContext::new(1, Instant::now() + within);
        self.store.data_mut().context = Some(context);
    }

    pub(crate) async fn call(
        &mut self,
        name: &str,
        arguments: &[Val],
    ) -> wasmtime::Result<Option<Val>> {
        let function = self.instance.get_func(&mut self.store, name).expect(name);
        let mut results = vec![Val::Bool(false); function.ty(&self.store).results().len()];
        function
            .call_async(&mut self.store, arguments, &mut results)
            .await?;
        Ok(results.pop())
    }

    /// Calls a function of numbers.
    pub(crate) async fn number(&mut self, name: &str, arguments: &[u32]) -> wasmtime::Result<u32> {
        let arguments: Vec<_> = arguments.iter().copied().map(Val::U32).collect();
        match self.call(name, &arguments).await? {
            None => Ok(0),
            Some(Val::U32(value)) => Ok(value),
            Some(Val::U64(value)) => Ok(u32::try_from(value)?),
            Some(other) => panic!("{name} returned {other:?}"),
        }
    }

    /// Calls a function that must fail because of its driver.
    pub(crate) async fn failure(&mut self, name: &str, arguments: &[u32]) -> DriverFailed {
        let error = self.number(name, arguments).await.expect_err(name);
        error
            .downcast_ref::<DriverFailed>()
            .unwrap_or_else(|| panic!("{error:?}"))
            .clone()
    }
}

/// Both interfaces of things, by one driver.
pub(crate) fn things(driver: &Handle) -> [(&'static str, &Handle); 2] {
    [
        ("acme:things/store@1.0.0", driver),
        ("acme:things/batch@1.0.0", driver),
    ]
}

pub(crate) fn link(
    linker: &mut Linker<Host>,
    component: &Component,
    imports: &[(&str, &Handle)],
) -> Result<Arc<Links<u64>>, canopy_driver::LinkError> {
    let bindings: Vec<_> = imports
        .iter()
        .map(|&(import, driver)| Binding { import, driver })
        .collect();
    link_interfaces(linker, component, &bindings)
}
