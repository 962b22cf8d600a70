//! The store of a driver instance while it lives: calling its exports, and keeping the resources
//! that it gave out.

use std::collections::HashMap;
use std::sync::Arc;

use wasmtime::component::{Instance, ResourceAny, ResourceType, Val};
use wasmtime::{AsContextMut, Store};

use crate::context::CallContext;
use crate::error::{Cause, FailureCause};
use crate::exports::Exports;
use crate::handle::{DriverHandle, Place, Remote, Target};
use crate::host::{DriverHost, metered};
use crate::values::{Handle, Parcel, each_resource};

pub(crate) struct Live<D: DriverHost> {
    store: Store<D>,
    instance: Instance,
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

    /// Puts the store's own resources into the values. Nothing changes where one is gone.
    pub(crate) fn unpack(&mut self, parcel: Parcel<D::Caller>) -> Result<Vec<Val>, FailureCause> {
        let Parcel {
            mut values,
            handles,
        } = parcel;
        if handles.is_empty() {
            return Ok(values);
        }
        let mut resources = Vec::with_capacity(handles.len());
        for handle in &handles {
            let id = handle.remote.id_in(self.incarnation);
            let found = id.and_then(|id| Some((id, *self.given.get(&id)?)));
            resources.push(found.ok_or(FailureCause::ResourceLost)?);
        }
        for (handle, (id, _)) in handles.iter().zip(&resources) {
            if handle.owned {
                self.given.remove(id);
                handle.remote.set_returned();
            }
        }
        let mut resources = resources.into_iter();
        let placed = each_resource(&mut values, &mut |slot| {
            *slot = resources.next().ok_or_else(missing_handle)?.1;
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
        let function = self.instance.get_func(&mut self.store, target.index);
        let function = function.ok_or_else(|| wasmtime::Error::msg("an export is missing"))?;
        let mut results = vec![Val::Bool(false); target.results];
        D::begin_call(self.store.as_context_mut(), context);
        let cpu = self.store.data().cpu().cloned();
        let call = function.call_async(&mut self.store, arguments, &mut results);
        metered(cpu, call).await?;
        D::end_call(self.store.as_context_mut());
        Ok(results)
    }

    /// Takes the resources out of results and keeps them for whom they are given to.
    pub(crate) fn pack(
        &mut self,
        mut values: Vec<Val>,
        carry: bool,
        driver: &DriverHandle<D::Caller>,
        context: &CallContext<D::Caller>,
    ) -> wasmtime::Result<Parcel<D::Caller>> {
        if !carry {
            return Ok(Parcel::of(values));
        }
        let mut handles = Vec::new();
        each_resource(&mut values, &mut |resource| {
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
            handles.push(Handle {
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
        metered(cpu, resource.resource_drop_async(&mut self.store)).await?;
        D::end_call(self.store.as_context_mut());
        Ok(())
    }
}

fn missing_handle() -> wasmtime::Error {
    wasmtime::Error::msg("a value holds more resources than travelled with it")
}
