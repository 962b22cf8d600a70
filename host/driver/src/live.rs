//! The store of a driver instance while it lives: calling its exports, and keeping the resources
//! that it gave out.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;

use wasmtime::component::{
    ComponentExportIndex, Func, Instance, ResourceAny, ResourceDynamic, ResourceType, Val,
};
use wasmtime::{AsContextMut, Store, StoreContextMut};

use crate::canonical::{Flat, MAX_FLAT, with_count};
use crate::context::CallContext;
use crate::error::{Cause, FailureCause};
use crate::exports::Exports;
use crate::handle::{DriverHandle, Giving, Place, Remote, Target};
use crate::held::{Before, Held};
use crate::host::{DriverHost, metered};
use crate::objects::Parked;
use crate::pipe::{Pipe, Writer};
use crate::session::Session;
use crate::values::{Handle, Parcel, Value, Values, each_handle};

pub(crate) struct Live<D: DriverHost> {
    store: Store<D>,
    instance: Instance,
    /// The exports that have been called.
    functions: HashMap<ComponentExportIndex, Func>,
    incarnation: u64,
    /// The resource types of this instance, in the order of [`Exports::kinds`].
    kinds: Vec<ResourceType>,
    /// The resources that somebody outside owns.
    given: Held<D::Holder, ResourceAny>,
}

/// What a call begins with.
pub(crate) struct Unpacked {
    pub(crate) values: Values,
    /// What the store has only until the call is over.
    pub(crate) loans: Vec<Guest>,
}

/// A resource in the store that is not its own.
pub(crate) struct Guest {
    rep: u32,
    resource: ResourceAny,
    whose: Whose,
}

enum Whose {
    /// Another driver's, known to the store's proxies.
    Driver,
    /// The host's.
    Host { place: usize, parked: Parked },
}

impl<D: DriverHost> Live<D> {
    pub(crate) fn new(
        mut store: Store<D>,
        instance: Instance,
        exports: &Exports,
        incarnation: u64,
    ) -> wasmtime::Result<Self> {
        let kinds = exports.kinds().iter().map(|kind| {
            instance
                .get_resource(&mut store, kind.index)
                .ok_or_else(|| wasmtime::Error::msg("an exported resource type is missing"))
        });
        let kinds = kinds.collect::<Result<_, _>>()?;
        Ok(Self {
            store,
            instance,
            functions: HashMap::new(),
            incarnation,
            kinds,
            given: Held::new(),
        })
    }

    /// How many resources somebody outside owns.
    pub(crate) fn given(&self) -> usize {
        self.given.len()
    }

    /// Refuses a call of a caller that holds as much as it may, unless it gives something back.
    pub(crate) fn admit(
        &self,
        target: &Target,
        parcel: &Parcel<D::Caller>,
        giving: &Giving<'_, D::Caller>,
        limit: usize,
    ) -> Result<(), FailureCause> {
        let Some(holder) = D::holder(&giving.context.caller) else {
            return Ok(());
        };
        let share = self.given.share(&holder);
        let is_full = match target.gives {
            true => share >= limit,
            false => share > limit,
        };
        let gives_back = |handle: &Handle<_>| match handle {
            Handle::Resource { remote, owned } => *owned && remote.is_of(giving.driver),
            _ => false,
        };
        match is_full && !parcel.handles.iter().any(gives_back) {
            true => Err(FailureCause::HeldFull { limit }),
            false => Ok(()),
        }
    }

    /// How things are before a call after which its caller may hold more or less.
    pub(crate) fn before(
        &mut self,
        target: &Target,
        parcel: &Parcel<D::Caller>,
        giving: &Giving<'_, D::Caller>,
    ) -> Option<Before<D::Holder>> {
        let lent = parcel.handles.iter().find_map(|handle| match handle {
            Handle::Resource { remote, owned } if !owned && remote.is_of(giving.driver) => {
                remote.id_in(self.incarnation)
            }
            _ => None,
        });
        if !target.gives && lent.is_none() {
            return None;
        }
        let holder = D::holder(&giving.context.caller)?;
        let taken = self.taken();
        Some(self.given.before(holder, taken, lent))
    }

    /// The call is over, and its results are packed. Whether they are more than its caller may have.
    pub(crate) fn after(&mut self, before: &Before<D::Holder>, limit: usize) -> bool {
        let taken = self.taken();
        self.given.after(before, taken, limit)
    }

    /// How much the store has of what it has not without end.
    fn taken(&mut self) -> usize {
        let data = self.store.data_mut();
        data.table().iter_mut().count() + data.proxies().len()
    }

    /// Puts what the parcel holds into the store: its own resources, those of others, and the ends
    /// of streams. Nothing changes where that cannot be: a resource of its own is gone, or there is
    /// no room for one of others.
    pub(crate) fn unpack(
        &mut self,
        parcel: Parcel<D::Caller>,
        driver: &DriverHandle<D::Caller>,
        session: Option<&Arc<Session>>,
    ) -> Result<Unpacked, FailureCause> {
        let Parcel { values, handles } = parcel;
        let mut loans = Vec::new();
        let mut values = match values {
            Values::Compared(values) if !handles.is_empty() => values,
            values => return Ok(Unpacked { values, loans }),
        };
        let mut own = Vec::new();
        for handle in &handles {
            if let Handle::Resource { remote, .. } = handle
                && remote.is_of(driver)
            {
                let id = remote.id_in(self.incarnation);
                let found = id.and_then(|id| Some((id, self.given.get(id)?)));
                own.push(found.ok_or(FailureCause::ResourceLost)?);
            }
        }
        let mut guests = Vec::new();
        for handle in &handles {
            match self.receive(handle, driver) {
                Ok(Some(guest)) => guests.push(guest),
                Ok(None) => {}
                Err(error) => {
                    for guest in &guests {
                        // The store had no time to do anything with it.
                        let _ = self.send_off(guest);
                    }
                    return Err(FailureCause::NotTaken(Cause::new(error)));
                }
            }
        }
        let mut own = own.into_iter();
        let mut guests = guests.into_iter();
        let mut handles = handles.into_iter();
        let placed = each_handle(&mut values, &mut |slot| {
            *slot = match handles.next().ok_or_else(missing_handle)? {
                Handle::Resource { remote, owned } if remote.is_of(driver) => {
                    let (id, resource) = own.next().ok_or_else(missing_handle)?;
                    if owned {
                        self.given.remove(id);
                        remote.set_returned();
                    }
                    Value::Resource(Box::new(resource))
                }
                Handle::Resource { owned, .. } | Handle::Host { owned, .. } => {
                    let guest = guests.next().ok_or_else(missing_handle)?;
                    let resource = guest.resource;
                    if !owned {
                        loans.push(guest);
                    }
                    Value::Resource(Box::new(resource))
                }
                Handle::Pipe(pipe) => {
                    pipe.attach(session.ok_or_else(missing_handle)?);
                    pipe.give(self.store.as_context_mut())?
                }
            };
            Ok(())
        });
        placed.map_err(|error| FailureCause::Trap(Cause::new(error)))?;
        let values = Values::Compared(values);
        Ok(Unpacked { values, loans })
    }

    /// Puts a resource that is not the store's own into it.
    fn receive(
        &mut self,
        handle: &Handle<D::Caller>,
        driver: &DriverHandle<D::Caller>,
    ) -> wasmtime::Result<Option<Guest>> {
        let store = self.store.as_context_mut();
        Ok(match handle {
            Handle::Resource { remote, .. } if !remote.is_of(driver) => {
                let (rep, resource) = driver.links().proxy(store, remote.clone())?;
                let whose = Whose::Driver;
                Some(Guest {
                    rep,
                    resource,
                    whose,
                })
            }
            Handle::Host { place, parked, .. } => {
                let (rep, resource) = D::host_resources()[*place].put(store, parked)?;
                let whose = Whose::Host {
                    place: *place,
                    parked: parked.clone(),
                };
                Some(Guest {
                    rep,
                    resource,
                    whose,
                })
            }
            Handle::Resource { .. } | Handle::Pipe(_) => None,
        })
    }

    /// Takes a resource that was lent to the store out of it. An error says that the store still
    /// holds on to it.
    fn send_off(&mut self, guest: &Guest) -> wasmtime::Result<()> {
        let mut store = self.store.as_context_mut();
        match &guest.whose {
            Whose::Driver => {
                store.data_mut().proxies().remove(guest.rep);
                ResourceDynamic::try_from_resource_any(guest.resource, store).map(drop)
            }
            Whose::Host { place, parked } => {
                D::host_resources()[*place].reclaim(store, (guest.rep, guest.resource), parked)
            }
        }
    }

    /// Gives back what was lent to the store for a call, as far as that can be, whatever became of
    /// the call. An error says that the store still holds on to some of it.
    pub(crate) fn give_back(&mut self, loans: &[Guest]) -> wasmtime::Result<()> {
        let mut outcome = Ok(());
        for guest in loans {
            outcome = outcome.and(self.send_off(guest));
        }
        outcome
    }

    /// Calls an export. After an error the store must not be used any more.
    pub(crate) async fn call(
        &mut self,
        target: &Target,
        arguments: Values,
        context: CallContext<D::Caller>,
    ) -> wasmtime::Result<Values> {
        let function = match self.functions.get(&target.index) {
            Some(function) => *function,
            None => {
                let function = self.instance.get_func(&mut self.store, target.index);
                let function =
                    function.ok_or_else(|| wasmtime::Error::msg("an export is missing"))?;
                self.functions.insert(target.index, function);
                function
            }
        };
        D::begin_call(self.store.as_context_mut(), context);
        let cpu = self.store.data().cpu().cloned();
        metered(cpu, calling(target, function, &mut self.store, arguments)).await
    }

    /// The call is over, and so are the streams of all calls before it.
    pub(crate) fn end(&mut self) {
        D::end_call(self.store.as_context_mut());
    }

    /// Lets the guest go on with its streams until `event` is there. After an error the store must
    /// not be used any more.
    pub(crate) async fn run<R: Send>(
        &mut self,
        event: impl Future<Output = R> + Send,
    ) -> wasmtime::Result<R> {
        let cpu = self.store.data().cpu().cloned();
        metered(cpu, self.store.run_concurrent(async |_| event.await)).await
    }

    /// Takes the resources and streams out of results and keeps them for whom they are given to.
    pub(crate) fn pack(
        &mut self,
        values: Values,
        target: &Target,
        giving: &Giving<'_, D::Caller>,
        session: Option<&Arc<Session>>,
    ) -> wasmtime::Result<Parcel<D::Caller>> {
        let mut values = match values {
            Values::Compared(values) if target.carried.any => values,
            values => return Ok(Parcel::of(values)),
        };
        let from = Writer {
            life: self.store.data_mut().proxies().life(),
            kept: self.store.data().kept().clone(),
        };
        let mut handles = Vec::new();
        each_handle(&mut values, &mut |value| {
            let Value::Resource(resource) = value else {
                let store = self.store.as_context_mut();
                let payloads = &target.carried.payloads;
                let pipe = Pipe::take(store, value, payloads, &from, false)?;
                pipe.attach(session.ok_or_else(missing_handle)?);
                handles.push(Handle::Pipe(pipe));
                return Ok(());
            };
            let resource = **resource;
            let Some(kind) = self.kinds.iter().position(|kind| *kind == resource.ty()) else {
                handles.push(passed_on(self.store.as_context_mut(), resource)?);
                return Ok(());
            };
            let holder = D::holder(&giving.context.caller);
            let id = self.given.insert(resource, holder);
            let place = Place {
                incarnation: self.incarnation,
                id,
                context: giving.context.clone(),
            };
            let remote = Arc::new(Remote::new(giving, kind, place));
            handles.push(Handle::Resource {
                remote,
                owned: true,
            });
            Ok(())
        })?;
        let values = Values::Compared(values);
        Ok(Parcel { values, handles })
    }

    /// Runs the destructor of a resource that somebody outside has dropped. After an error the
    /// store must not be used any more.
    pub(crate) async fn drop_resource(&mut self, place: Place<D::Caller>) -> wasmtime::Result<()> {
        if place.incarnation != self.incarnation {
            return Ok(());
        }
        let Some(resource) = self.given.remove(place.id) else {
            return Ok(());
        };
        D::begin_call(self.store.as_context_mut(), place.context);
        let cpu = self.store.data().cpu().cloned();
        metered(cpu, resource.resource_drop_async(&mut self.store)).await
    }
}

/// A call of a function, in a box: it is large, and who makes it moves it several times.
fn calling<'a, D: DriverHost>(
    target: &Target,
    function: Func,
    store: &'a mut Store<D>,
    arguments: Values,
) -> Pin<Box<dyn Future<Output = wasmtime::Result<Values>> + Send + 'a>> {
    match arguments {
        Values::Compared(arguments) => with_count!(target.flat_results, N => Box::pin(async move {
            let function = function.typed::<_, Flat<N>>(&store)?;
            let arguments = Flat::<MAX_FLAT>(arguments);
            let Flat(results) = function.call_async(store, arguments).await?;
            Ok(Values::Compared(results))
        })),
        Values::Named(arguments) => {
            let mut results = vec![Val::Bool(false); target.results];
            Box::pin(async move {
                let called = function.call_async(store, &arguments, &mut results);
                called.await.map(|()| Values::Named(results))
            })
        }
    }
}

/// Takes a resource that the driver has from somebody else out of its store for good.
fn passed_on<D: DriverHost>(
    mut store: StoreContextMut<'_, D>,
    resource: ResourceAny,
) -> wasmtime::Result<Handle<D::Caller>> {
    let hosts = D::host_resources();
    if let Some(place) = hosts.iter().position(|host| host.is(resource.ty())) {
        return Ok(Handle::Host {
            place,
            parked: hosts[place].take(store, resource)?,
            owned: true,
        });
    }
    let rep = ResourceDynamic::try_from_resource_any(resource, &mut store)?.rep();
    let remote = store.data_mut().proxies().remove(rep);
    let remote =
        remote.ok_or_else(|| wasmtime::Error::msg("a result holds an unknown resource"))?;
    Ok(Handle::Resource {
        remote,
        owned: true,
    })
}

fn missing_handle() -> wasmtime::Error {
    wasmtime::Error::msg("a value holds more resources than travelled with it")
}
