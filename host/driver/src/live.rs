//! The store of a driver instance while it lives: calling its exports, and keeping the resources
//! that it gave out.

use std::collections::HashMap;
use std::sync::Arc;

use wasmtime::component::{ComponentExportIndex, Func, Instance, ResourceAny, ResourceType, Val};
use wasmtime::{AsContextMut, Store};

use crate::context::CallContext;
use crate::error::{Cause, FailureCause};
use crate::exports::Exports;
use crate::handle::{DriverHandle, Place, Remote, Target};
use crate::host::{DriverHost, metered};
use crate::pipe::Pipe;
use crate::session::Session;
use crate::values::{Handle, Parcel, each_handle};

pub(crate) struct Live<D: DriverHost> {
    store: Store<D>,
    instance: Instance,
    /// The exports that have been called.
    functions: HashMap<ComponentExportIndex, Func>,
    incarnation: u64,
    /// The resource types of this instance, in the order of [`Exports::kinds`].
    kinds: Vec<ResourceType>,
    /// The resources that somebody outside owns.
    given: HashMap<u64, ResourceAny>,
    next_id: u64,
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
            given: HashMap::new(),
            next_id: 0,
        })
    }

    /// How many resources somebody outside owns.
    pub(crate) fn given(&self) -> usize {
        self.given.len()
    }

    /// Puts the store's own resources into the values, and the ends of streams. Nothing changes
    /// where a resource is gone.
    pub(crate) fn unpack(
        &mut self,
        parcel: Parcel<D::Caller>,
        session: Option<&Arc<Session>>,
    ) -> Result<Vec<Val>, FailureCause> {
        let Parcel {
            mut values,
            handles,
        } = parcel;
        if handles.is_empty() {
            return Ok(values);
        }
        let mut resources = Vec::with_capacity(handles.len());
        for handle in &handles {
            let Handle::Resource { remote, .. } = handle else {
                continue;
            };
            let id = remote.id_in(self.incarnation);
            let found = id.and_then(|id| Some((id, *self.given.get(&id)?)));
            resources.push(found.ok_or(FailureCause::ResourceLost)?);
        }
        let mut resources = resources.into_iter();
        let mut handles = handles.into_iter();
        let placed = each_handle(&mut values, &mut |slot| {
            *slot = match handles.next().ok_or_else(missing_handle)? {
                Handle::Resource { remote, owned } => {
                    let (id, resource) = resources.next().ok_or_else(missing_handle)?;
                    if owned {
                        self.given.remove(&id);
                        remote.set_returned();
                    }
                    Val::Resource(resource)
                }
                Handle::Pipe(pipe) => {
                    pipe.attach(session.ok_or_else(missing_handle)?);
                    pipe.give(self.store.as_context_mut())?
                }
            };
            Ok(())
        });
        placed.map_err(|error| FailureCause::Trap(Cause::new(error)))?;
        Ok(values)
    }

    /// Calls an export. After an error the store must not be used any more.
    pub(crate) async fn call(
        &mut self,
        target: &Target,
        arguments: &[Val],
        context: CallContext<D::Caller>,
    ) -> wasmtime::Result<Vec<Val>> {
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
        let mut results = vec![Val::Bool(false); target.results];
        D::begin_call(self.store.as_context_mut(), context);
        let cpu = self.store.data().cpu().cloned();
        let call = function.call_async(&mut self.store, arguments, &mut results);
        metered(cpu, call).await?;
        Ok(results)
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
        mut values: Vec<Val>,
        target: &Target,
        driver: &DriverHandle<D::Caller>,
        context: &CallContext<D::Caller>,
        session: Option<&Arc<Session>>,
    ) -> wasmtime::Result<Parcel<D::Caller>> {
        if !target.carried.any {
            return Ok(Parcel::of(values));
        }
        let life = self.store.data_mut().proxies().life();
        let mut handles = Vec::new();
        each_handle(&mut values, &mut |value| {
            let Val::Resource(resource) = value else {
                let store = self.store.as_context_mut();
                let payloads = &target.carried.payloads;
                let pipe = Pipe::take(store, value, payloads, life.clone(), false)?;
                pipe.attach(session.ok_or_else(missing_handle)?);
                handles.push(Handle::Pipe(pipe));
                return Ok(());
            };
            let kind = self.kinds.iter().position(|kind| *kind == resource.ty());
            let kind = kind.ok_or_else(|| {
                wasmtime::Error::msg("a result holds a resource that is not the driver's own")
            })?;
            let id = self.next_id;
            self.next_id += 1;
            self.given.insert(id, *resource);
            let place = Place {
                incarnation: self.incarnation,
                id,
                context: context.clone(),
            };
            let remote = Arc::new(Remote::new(driver.clone(), kind, place));
            handles.push(Handle::Resource {
                remote,
                owned: true,
            });
            Ok(())
        })?;
        Ok(Parcel { values, handles })
    }

    /// Runs the destructor of a resource that somebody outside has dropped. After an error the
    /// store must not be used any more.
    pub(crate) async fn drop_resource(&mut self, place: Place<D::Caller>) -> wasmtime::Result<()> {
        if place.incarnation != self.incarnation {
            return Ok(());
        }
        let Some(resource) = self.given.remove(&place.id) else {
            return Ok(());
        };
        D::begin_call(self.store.as_context_mut(), place.context);
        let cpu = self.store.data().cpu().cloned();
        metered(cpu, resource.resource_drop_async(&mut self.store)).await
    }
}

fn missing_handle() -> wasmtime::Error {
    wasmtime::Error::msg("a value holds more resources than travelled with it")
}
