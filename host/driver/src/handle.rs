//! The handle of a driver instance, what is sent through it, and handles of single resources.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use canopy_backend::{Held, KeptFull};
use canopy_ids::DriverInstanceId;
use tokio::runtime::Handle as Runtime;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{Sleep, sleep_until};
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, ComponentExportIndex, Val};

use crate::actor;
use crate::board::Board;
use crate::canonical::flat_count;
use crate::context::CallContext;
use crate::error::{DriverFailed, FailureCause};
use crate::exports::Exports;
use crate::host::{DriverHost, DriverProgram};
use crate::links::Links;
use crate::rest::{Rest, Resting};
use crate::settings::DriverSettings;
use crate::shape::Handles;
use crate::supervise::{DriverHealth, Supervision};
use crate::values::{Handle, Parcel, Values};

/// A running driver instance. Clones share it; it ends when the last of them is dropped together
/// with everything that holds one: linkers, and resources that were given out.
pub struct DriverHandle<C> {
    shared: Arc<Shared<C>>,
}

impl<C> Clone for DriverHandle<C> {
    fn clone(&self) -> Self {
        Self {
            shared: self.shared.clone(),
        }
    }
}

struct Shared<C> {
    info: Arc<Info>,
    board: Arc<Board<C>>,
    /// Starts the actor of one more store.
    begin: Box<dyn Fn(usize) + Send + Sync>,
    /// One permit per call that waits or runs; bounds the board. What else is on it, drops of
    /// resources, is bounded by the resources that exist.
    queue: Arc<Semaphore>,
    resting: Arc<dyn Rest>,
    links: Arc<Links<C>>,
}

impl<C> Drop for Shared<C> {
    fn drop(&mut self) {
        self.board.close();
    }
}

/// What is known of a driver instance without its stores.
pub(crate) struct Info {
    pub(crate) id: DriverInstanceId,
    pub(crate) name: Arc<str>,
    pub(crate) settings: DriverSettings,
    pub(crate) exports: Arc<Exports>,
    pub(crate) supervision: Supervision,
    incarnations: AtomicU64,
}

impl Info {
    /// A number that no other store of the instance has had.
    pub(crate) fn incarnation(&self) -> u64 {
        self.incarnations.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn failure(
        &self,
        interface: Arc<str>,
        function: Arc<str>,
        cause: FailureCause,
    ) -> DriverFailed {
        DriverFailed {
            driver: self.name.clone(),
            instance: self.id,
            interface,
            function,
            cause,
        }
    }
}

/// Wakes a call at its deadline.
pub(crate) type Timer = Pin<Box<Sleep>>;

/// An exported function of a driver.
pub(crate) struct Target {
    pub(crate) interface: Arc<str>,
    pub(crate) function: Arc<str>,
    pub(crate) index: ComponentExportIndex,
    pub(crate) results: usize,
    /// In how many core values they are returned; 1 where they are too many and so in memory.
    pub(crate) flat_results: usize,
    /// Whether it gives out resources of the driver's own.
    pub(crate) gives: bool,
    /// What the results can hold. Where nothing, they need no walk.
    pub(crate) carried: Handles,
    /// Whether it has streams or futures at all.
    pub(crate) has_streams: bool,
}

pub(crate) enum Message<C> {
    Call(Call<C>),
    Drop(Place<C>),
}

impl<C> Message<C> {
    pub(crate) fn caller(&self) -> &C {
        match self {
            Self::Call(call) => &call.context.caller,
            Self::Drop(place) => &place.context.caller,
        }
    }
}

pub(crate) struct Call<C> {
    pub(crate) target: Arc<Target>,
    pub(crate) arguments: Parcel<C>,
    pub(crate) context: CallContext<C>,
    /// What its values take of the caller's account. Nothing counts where the platform calls.
    pub(crate) held: Option<Held>,
    pub(crate) reply: oneshot::Sender<Result<Answer<C>, FailureCause>>,
    /// For the resources that the reply gives out.
    pub(crate) driver: DriverHandle<C>,
    /// Held until the call is over, with all its streams.
    pub(crate) permit: OwnedSemaphorePermit,
    /// Where the caller's other calls go.
    pub(crate) home: Option<Arc<Home>>,
}

/// Results, and what they take of the caller's account.
pub(crate) type Answer<C> = (Parcel<C>, Option<Held>);

/// The store of a driver that answers a component, as long as any of its calls is under way or it
/// holds any of the driver's resources: these can meet in a call only where they are in one store.
#[derive(Debug)]
pub(crate) struct Home(usize);

/// From where and on whose behalf a call gives out resources.
pub(crate) struct Giving<'a, C> {
    pub(crate) driver: &'a DriverHandle<C>,
    pub(crate) context: &'a CallContext<C>,
    pub(crate) store: usize,
    pub(crate) home: Option<Arc<Home>>,
}

/// Where a resource is, and on whose behalf it was given out.
pub(crate) struct Place<C> {
    /// Which of the instance's stores, one after another and beside each other, owns it.
    pub(crate) incarnation: u64,
    /// Unique within the incarnation, never used again.
    pub(crate) id: u64,
    pub(crate) context: CallContext<C>,
}

/// A resource in a driver's store that somebody outside owns. Dropping it drops the resource.
pub(crate) struct Remote<C> {
    driver: DriverHandle<C>,
    /// To which of the driver's actors its store belongs.
    store: usize,
    _home: Option<Arc<Home>>,
    kind: usize,
    incarnation: u64,
    id: u64,
    /// Taken by `drop` only.
    context: Option<CallContext<C>>,
    /// The driver has it back.
    returned: AtomicBool,
}

impl<C> Remote<C> {
    pub(crate) fn new(giving: &Giving<'_, C>, kind: usize, place: Place<C>) -> Self {
        let Place {
            incarnation,
            id,
            context,
        } = place;
        let returned = AtomicBool::new(false);
        Self {
            driver: giving.driver.clone(),
            store: giving.store,
            _home: giving.home.clone(),
            kind,
            incarnation,
            id,
            context: Some(context),
            returned,
        }
    }

    /// In which of the driver's stores it is.
    pub(crate) fn store(&self) -> usize {
        self.store
    }

    /// Which of the driver's resource types it is.
    pub(crate) fn kind(&self) -> usize {
        self.kind
    }

    pub(crate) fn id_in(&self, incarnation: u64) -> Option<u64> {
        (self.incarnation == incarnation).then_some(self.id)
    }

    pub(crate) fn is_of(&self, driver: &DriverHandle<C>) -> bool {
        self.driver.is(driver)
    }

    /// The driver owns the resource again, so that nothing is to be done when this is dropped.
    pub(crate) fn set_returned(&self) {
        self.returned.store(true, Ordering::Relaxed);
    }
}

impl<C> Drop for Remote<C> {
    fn drop(&mut self) {
        if self.returned.load(Ordering::Relaxed) {
            return;
        }
        if let Some(context) = self.context.take() {
            let place = Place {
                incarnation: self.incarnation,
                id: self.id,
                context,
            };
            self.driver.shared.board.drop_resource(self.store, place);
        }
    }
}

impl<C: Clone + Send + Sync + 'static> DriverHandle<C> {
    /// Makes a driver instance, whose actors run on the current tokio runtime. Its stores are made
    /// with the calls that need them, at most [`DriverProgram::max_stores`] of them. `links` are
    /// those of the driver's own imports.
    pub fn spawn<P>(
        id: DriverInstanceId,
        name: impl Into<Arc<str>>,
        program: P,
        links: Arc<Links<C>>,
        settings: DriverSettings,
    ) -> Self
    where
        P: DriverProgram,
        P::Data: DriverHost<Caller = C>,
    {
        let exports = Arc::new(Exports::of(program.instance_pre().component()));
        let queue = Arc::new(Semaphore::new(settings.queue.min(Semaphore::MAX_PERMITS)));
        let info = Arc::new(Info {
            id,
            name: name.into(),
            supervision: Supervision::new(&settings),
            settings,
            exports,
            incarnations: AtomicU64::new(0),
        });
        let board = Arc::new(Board::new(program.max_stores()));
        let resting = Arc::new(Resting::<P::Data>::new(info.clone()));
        let begin = {
            let (info, board, resting) = (info.clone(), board.clone(), resting.clone());
            let (program, runtime) = (Arc::new(program), Runtime::current());
            move |store| {
                let (program, info) = (program.clone(), info.clone());
                let (board, resting) = (board.clone(), resting.clone());
                runtime.spawn(actor::run(program, info, board, resting, store));
            }
        };
        Self {
            shared: Arc::new(Shared {
                info,
                board,
                begin: Box::new(begin),
                queue,
                resting,
                links,
            }),
        }
    }

    /// Another instance has taken this one's place. Calls are answered as before, and a store that has
    /// none, and owns nothing, is dropped.
    pub fn set_replaced(&self) {
        self.shared.board.replace();
    }

    /// Calls an exported function and waits for the answer, at most until the context's deadline, by
    /// this timer, which may have been set before.
    pub(crate) async fn call(
        &self,
        target: Arc<Target>,
        arguments: (Parcel<C>, Option<Result<Held, KeptFull>>),
        context: Option<CallContext<C>>,
        home: Option<Arc<Home>>,
        timer: &mut Option<Timer>,
    ) -> Result<Answer<C>, DriverFailed> {
        let sent = self.send_and_wait(&target, arguments, context, home, timer);
        let outcome = sent.await;
        outcome.map_err(|cause| {
            let (interface, function) = (target.interface.clone(), target.function.clone());
            self.shared.info.failure(interface, function, cause)
        })
    }

    async fn send_and_wait(
        &self,
        target: &Arc<Target>,
        (arguments, held): (Parcel<C>, Option<Result<Held, KeptFull>>),
        context: Option<CallContext<C>>,
        home: Option<Arc<Home>>,
        timer: &mut Option<Timer>,
    ) -> Result<Answer<C>, FailureCause> {
        let held = held.transpose()?;
        let settings = &self.shared.info.settings;
        let context = context
            .ok_or(FailureCause::NoCall)?
            .enter(self.id(), settings.depth)?;
        self.shared.info.supervision.check()?;
        let store = self.store_of(&arguments)?;
        let store = store.or(home.as_ref().map(|home| home.0));
        let permit = self.shared.queue.clone().try_acquire_owned();
        let permit = permit.map_err(|_| FailureCause::QueueFull {
            limit: settings.queue,
        })?;
        let deadline: tokio::time::Instant = context.deadline.into();
        let (reply, answer) = oneshot::channel();
        let (target, driver) = (target.clone(), self.clone());
        let call = Call {
            target,
            arguments,
            context,
            held,
            reply,
            driver,
            permit,
            home,
        };
        match store {
            Some(store) => self.shared.board.post_to(store, call),
            None => {
                if let Some(begun) = self.shared.board.post(call) {
                    (self.shared.begin)(begun);
                }
            }
        }
        let timer = timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if timer.deadline() != deadline {
            timer.as_mut().reset(deadline);
        }
        tokio::select! {
            biased;
            answer = answer => answer.unwrap_or(Err(FailureCause::Stopped)),
            () = timer => Err(FailureCause::Deadline),
        }
    }

    /// In which store the driver's own resources among the arguments are.
    fn store_of(&self, arguments: &Parcel<C>) -> Result<Option<usize>, FailureCause> {
        let mut store = None;
        for handle in &arguments.handles {
            if let Handle::Resource { remote, .. } = handle
                && remote.is_of(self)
                && *store.get_or_insert(remote.store) != remote.store
            {
                return Err(FailureCause::Apart);
            }
        }
        Ok(store)
    }

    /// A store for the calls of one component, where it matters that they go to the same one: the one
    /// given, or one that is chosen.
    pub(crate) fn home(&self, store: Option<usize>) -> Option<Arc<Home>> {
        let Shared {
            info, board, begin, ..
        } = &*self.shared;
        if board.limit() == 1 || info.exports.kinds().is_empty() {
            return None;
        }
        if let Some(store) = store {
            return Some(Arc::new(Home(store)));
        }
        let (store, begun) = board.choose();
        if begun {
            begin(store);
        }
        Some(Arc::new(Home(store)))
    }

    /// How the driver instance is.
    pub fn health(&self) -> DriverHealth {
        let Shared {
            info, board, queue, ..
        } = &*self.shared;
        let calls = info
            .settings
            .queue
            .saturating_sub(queue.available_permits());
        info.supervision.health(calls, board.limit())
    }
}

impl<C: Clone + Send + Sync + 'static> DriverHandle<C> {
    /// Calls an exported function for the platform itself; neither its parameters nor its results may
    /// hold resources or streams. `None`: the driver exports no such function.
    pub async fn call_export(
        &self,
        interface: &str,
        function: &str,
        arguments: Vec<Val>,
        context: CallContext<C>,
    ) -> Option<Result<Vec<Val>, DriverFailed>> {
        let exports = self.exports();
        let component = exports.component();
        let export = exports.serving(interface)?;
        let item = export.ty.get_export(component.engine(), function)?;
        let ComponentItem::ComponentFunc(ty) = item.ty else {
            return None;
        };
        let target = Arc::new(Target {
            interface: export.name.clone(),
            function: function.into(),
            index: component.get_export_index(Some(&export.index), function)?,
            results: ty.results().len(),
            flat_results: flat_count(ty.results()).unwrap_or(1),
            gives: false,
            carried: Handles::default(),
            has_streams: false,
        });
        let arguments = Parcel::of(Values::Named(arguments));
        let mut timer = None;
        let called = self.call(target, (arguments, None), Some(context), None, &mut timer);
        Some(called.await.map(|(parcel, _)| match parcel.values {
            Values::Named(results) => results,
            Values::Compared(_) => Vec::new(),
        }))
    }
}

impl<C> DriverHandle<C> {
    /// Since when the store waits for a call that does so longest, of those that own nothing of
    /// anybody's.
    pub fn idle_since(&self) -> Option<Instant> {
        self.shared.resting.since()
    }

    /// Ends that store, for somebody who needs what it has; the next call starts a fresh one. Whether
    /// there was one.
    pub fn end_idle(&self) -> bool {
        self.shared.resting.end_one()
    }

    /// The driver instance.
    pub fn id(&self) -> DriverInstanceId {
        self.shared.info.id
    }

    /// Its name within the tenant.
    pub fn name(&self) -> &Arc<str> {
        &self.shared.info.name
    }

    /// The component that runs.
    pub fn component(&self) -> &Component {
        self.shared.info.exports.component()
    }

    /// Whether the driver has a resource of an interface that it serves from somebody else.
    pub fn passes_on(&self, interface: &str, resource: &str) -> bool {
        let exports = self.exports();
        let Some(export) = exports.serving(interface) else {
            return false;
        };
        match export.ty.get_export(self.component().engine(), resource) {
            Some(item) => match item.ty {
                ComponentItem::Resource(ty) => exports.imported(ty).is_some(),
                _ => false,
            },
            None => false,
        }
    }

    pub(crate) fn exports(&self) -> &Arc<Exports> {
        &self.shared.info.exports
    }

    pub(crate) fn links(&self) -> &Links<C> {
        &self.shared.links
    }

    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }
}
