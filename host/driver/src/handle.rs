//! The handle of a driver instance, what is sent through it, and handles of single resources.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use canopy_ids::DriverInstanceId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::timeout_at;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, ComponentExportIndex, Val};

use crate::actor;
use crate::context::CallContext;
use crate::error::{DriverFailed, FailureCause};
use crate::exports::Exports;
use crate::host::{DriverHost, DriverProgram};
use crate::links::Links;
use crate::settings::DriverSettings;
use crate::shape::Handles;
use crate::values::Parcel;

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
    mailbox: mpsc::UnboundedSender<Message<C>>,
    /// One permit per call that waits or runs; bounds the mailbox. What else is sent, drops of
    /// resources, is bounded by the resources that exist.
    queue: Arc<Semaphore>,
    links: Arc<Links<C>>,
}

/// What is known of a driver instance without its store.
pub(crate) struct Info {
    pub(crate) id: DriverInstanceId,
    pub(crate) name: Arc<str>,
    pub(crate) settings: DriverSettings,
    pub(crate) exports: Arc<Exports>,
}

impl Info {
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

/// An exported function of a driver.
pub(crate) struct Target {
    pub(crate) interface: Arc<str>,
    pub(crate) function: Arc<str>,
    pub(crate) index: ComponentExportIndex,
    pub(crate) results: usize,
    /// What the results can hold. Where nothing, they need no walk.
    pub(crate) carried: Handles,
    /// Whether it has streams or futures at all.
    pub(crate) has_streams: bool,
}

pub(crate) enum Message<C> {
    Call(Call<C>),
    Drop(Place<C>),
}

pub(crate) struct Call<C> {
    pub(crate) target: Arc<Target>,
    pub(crate) arguments: Parcel<C>,
    pub(crate) context: CallContext<C>,
    pub(crate) reply: oneshot::Sender<Result<Parcel<C>, FailureCause>>,
    /// For the resources that the reply gives out.
    pub(crate) driver: DriverHandle<C>,
    /// Held until the call is over, with all its streams.
    pub(crate) permit: OwnedSemaphorePermit,
}

/// Where a resource is, and on whose behalf it was given out.
pub(crate) struct Place<C> {
    /// Which of the instance's stores, one after another, owns it.
    pub(crate) incarnation: u64,
    /// Unique within the incarnation, never used again.
    pub(crate) id: u64,
    pub(crate) context: CallContext<C>,
}

/// A resource in a driver's store that somebody outside owns. Dropping it drops the resource.
pub(crate) struct Remote<C> {
    driver: DriverHandle<C>,
    kind: usize,
    incarnation: u64,
    id: u64,
    /// Taken by `drop` only.
    context: Option<CallContext<C>>,
    /// The driver has it back.
    returned: AtomicBool,
}

impl<C> Remote<C> {
    pub(crate) fn new(driver: DriverHandle<C>, kind: usize, place: Place<C>) -> Self {
        let Place {
            incarnation,
            id,
            context,
        } = place;
        let returned = AtomicBool::new(false);
        Self {
            driver,
            kind,
            incarnation,
            id,
            context: Some(context),
            returned,
        }
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
            // An actor that is gone has dropped its store and all that was in it.
            let _ = self.driver.shared.mailbox.send(Message::Drop(place));
        }
    }
}

impl<C: Clone + Send + Sync + 'static> DriverHandle<C> {
    /// Starts the actor of a driver instance on the current tokio runtime. The store is made at
    /// the first call. `links` are those of the driver's own imports.
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
            settings,
            exports,
        });
        let (mailbox, messages) = mpsc::unbounded_channel();
        tokio::spawn(actor::run(program, info.clone(), messages));
        Self {
            shared: Arc::new(Shared {
                info,
                mailbox,
                queue,
                links,
            }),
        }
    }

    /// Calls an exported function and waits for the answer, at most until the context's deadline.
    pub(crate) async fn call(
        &self,
        target: Arc<Target>,
        arguments: Parcel<C>,
        context: Option<CallContext<C>>,
    ) -> Result<Parcel<C>, DriverFailed> {
        let outcome = self.send_and_wait(&target, arguments, context).await;
        outcome.map_err(|cause| {
            let (interface, function) = (target.interface.clone(), target.function.clone());
            self.shared.info.failure(interface, function, cause)
        })
    }

    async fn send_and_wait(
        &self,
        target: &Arc<Target>,
        arguments: Parcel<C>,
        context: Option<CallContext<C>>,
    ) -> Result<Parcel<C>, FailureCause> {
        let settings = &self.shared.info.settings;
        let context = context
            .ok_or(FailureCause::NoCall)?
            .enter(self.id(), settings.depth)?;
        let permit = self.shared.queue.clone().try_acquire_owned();
        let permit = permit.map_err(|_| FailureCause::QueueFull {
            limit: settings.queue,
        })?;
        let deadline = context.deadline.into();
        let (reply, answer) = oneshot::channel();
        let (target, driver) = (target.clone(), self.clone());
        let call = Call {
            target,
            arguments,
            context,
            reply,
            driver,
            permit,
        };
        let sent = self.shared.mailbox.send(Message::Call(call));
        sent.map_err(|_| FailureCause::Stopped)?;
        match timeout_at(deadline, answer).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(FailureCause::Stopped),
            Err(_) => Err(FailureCause::Deadline),
        }
    }
}

impl<C: Clone + Send + Sync + 'static> DriverHandle<C> {
    /// Calls an exported function that takes nothing, for the platform itself; its results may hold
    /// no resources. `None`: the driver exports no such function.
    pub async fn call_export(
        &self,
        interface: &str,
        function: &str,
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
            carried: Handles::default(),
            has_streams: false,
        });
        let called = self.call(target, Parcel::of(Vec::new()), Some(context));
        Some(called.await.map(|parcel| parcel.values))
    }
}

impl<C> DriverHandle<C> {
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
