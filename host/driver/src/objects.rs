//! Resources of the host itself that cross, as the streams of `wasi:io` do.
//!
//! Behind such a resource is an object in the table of its store. An object that is given away moves
//! to the table of the other store. One that is lent goes there for the length of the call, with a
//! stand-in in its place, and comes back whatever becomes of the call.

use std::any::Any;
use std::sync::{Arc, Mutex, PoisonError};

use canopy_ids::InterfaceName;
use wasmtime::component::{
    LinkerInstance, Resource, ResourceAny, ResourceTableError, ResourceType,
};
use wasmtime::{AsContextMut, StoreContextMut};

use crate::error::HostResourceHeld;
use crate::host::DriverHost;

/// An object on its way.
type Object = Box<dyn Any + Send>;

/// A resource type of the host whose objects know nothing of the store that they are in.
pub trait HostObject: 'static {
    /// What the table of a store has of it.
    type Object: Send + 'static;
    /// The interface that defines it, as the host serves it.
    const INTERFACE: &'static str;
    /// Its name there.
    const RESOURCE: &'static str;

    /// What is in the place of an object that is lent.
    fn stand_in() -> Self::Object;

    /// The guest has dropped the resource.
    fn end(object: Self::Object) -> impl Future<Output = ()> + Send;
}

/// A [`HostObject`], for a list of those that may cross.
pub struct HostResource<D: 'static> {
    interface: &'static str,
    name: &'static str,
    ty: fn() -> ResourceType,
    define: fn(&mut LinkerInstance<'_, D>, &str) -> wasmtime::Result<()>,
    remove: fn(StoreContextMut<'_, D>, ResourceAny) -> wasmtime::Result<Object>,
    insert: fn(StoreContextMut<'_, D>, Object) -> wasmtime::Result<(u32, ResourceAny)>,
    borrowed: fn(StoreContextMut<'_, D>, ResourceAny) -> wasmtime::Result<u32>,
    replace: fn(&mut D, u32, Option<Object>) -> wasmtime::Result<Object>,
}

impl<D: DriverHost> HostResource<D> {
    /// The entry for `O`.
    pub const fn of<O: HostObject>() -> Self {
        Self {
            interface: O::INTERFACE,
            name: O::RESOURCE,
            ty: ResourceType::host::<O::Object>,
            define: define::<D, O>,
            remove: remove::<D, O>,
            insert: insert::<D, O>,
            borrowed: borrowed::<D, O>,
            replace: replace::<D, O>,
        }
    }

    pub(crate) fn is(&self, ty: ResourceType) -> bool {
        (self.ty)() == ty
    }

    /// Its name, by which a component's import is known.
    pub(crate) fn name(&self) -> HostName {
        HostName {
            interface: self.interface,
            resource: self.name,
        }
    }

    /// Defines the resource in an interface that uses it.
    pub(crate) fn define(
        &self,
        instance: &mut LinkerInstance<'_, D>,
        name: &str,
    ) -> wasmtime::Result<()> {
        (self.define)(instance, name)
    }

    /// Takes an object out of a store for good.
    pub(crate) fn take(
        &self,
        store: StoreContextMut<'_, D>,
        resource: ResourceAny,
    ) -> wasmtime::Result<Parked> {
        (self.remove)(store, resource).map(Parked::new)
    }

    /// Takes an object out of a store for the length of a call. The number is by which it is given
    /// back.
    pub(crate) fn lend(
        &self,
        mut store: StoreContextMut<'_, D>,
        resource: ResourceAny,
    ) -> wasmtime::Result<(u32, Parked)> {
        let rep = (self.borrowed)(store.as_context_mut(), resource)?;
        let object = (self.replace)(store.data_mut(), rep, None)?;
        Ok((rep, Parked::new(object)))
    }

    /// Gives an object back to who lent it.
    pub(crate) fn restore(
        &self,
        mut store: StoreContextMut<'_, D>,
        rep: u32,
        parked: &Parked,
    ) -> wasmtime::Result<()> {
        if let Some(object) = parked.take() {
            (self.replace)(store.data_mut(), rep, Some(object))?;
        }
        Ok(())
    }

    /// Puts an object into a store.
    pub(crate) fn put(
        &self,
        store: StoreContextMut<'_, D>,
        parked: &Parked,
    ) -> wasmtime::Result<(u32, ResourceAny)> {
        let gone = || wasmtime::Error::msg("an object was lost on its way");
        (self.insert)(store, parked.take().ok_or_else(gone)?)
    }

    /// Takes an object that was lent to a store out of it again, which cannot fail where the store
    /// has left it in its place, and then the place.
    pub(crate) fn reclaim(
        &self,
        mut store: StoreContextMut<'_, D>,
        (rep, resource): (u32, ResourceAny),
        parked: &Parked,
    ) -> wasmtime::Result<()> {
        parked.set((self.replace)(store.data_mut(), rep, None)?);
        (self.remove)(store, resource).map(drop)
    }
}

fn define<D: DriverHost, O: HostObject>(
    instance: &mut LinkerInstance<'_, D>,
    name: &str,
) -> wasmtime::Result<()> {
    instance.resource_async(name, ResourceType::host::<O::Object>(), |mut store, rep| {
        Box::new(async move {
            let object = Resource::<O::Object>::new_own(rep);
            let object = store.data_mut().table().delete(object)?;
            O::end(object).await;
            Ok(())
        })
    })
}

fn remove<D: DriverHost, O: HostObject>(
    mut store: StoreContextMut<'_, D>,
    resource: ResourceAny,
) -> wasmtime::Result<Object> {
    let resource = resource.try_into_resource::<O::Object>(store.as_context_mut())?;
    match store.data_mut().table().delete(resource) {
        Ok(object) => Ok(Box::new(object)),
        Err(ResourceTableError::HasChildren) => Err(wasmtime::Error::new(HostResourceHeld {
            interface: O::INTERFACE,
            resource: O::RESOURCE,
        })),
        Err(error) => Err(error.into()),
    }
}

fn insert<D: DriverHost, O: HostObject>(
    mut store: StoreContextMut<'_, D>,
    object: Object,
) -> wasmtime::Result<(u32, ResourceAny)> {
    let object = *object.downcast::<O::Object>().map_err(|_| mistaken())?;
    let resource = store.data_mut().table().push(object)?;
    let rep = resource.rep();
    Ok((rep, resource.try_into_resource_any(store)?))
}

fn borrowed<D: DriverHost, O: HostObject>(
    store: StoreContextMut<'_, D>,
    resource: ResourceAny,
) -> wasmtime::Result<u32> {
    Ok(resource.try_into_resource::<O::Object>(store)?.rep())
}

fn replace<D: DriverHost, O: HostObject>(
    data: &mut D,
    rep: u32,
    object: Option<Object>,
) -> wasmtime::Result<Object> {
    let object = match object {
        Some(object) => *object.downcast::<O::Object>().map_err(|_| mistaken())?,
        None => O::stand_in(),
    };
    let place = data.table().get_mut(&Resource::new_borrow(rep))?;
    Ok(Box::new(std::mem::replace(place, object)))
}

fn mistaken() -> wasmtime::Error {
    wasmtime::Error::msg("an object changed its type on the way")
}

/// An object between two stores. Who lent it keeps a clone, and finds it there when the call is over.
#[derive(Clone)]
pub(crate) struct Parked(Arc<Mutex<Option<Object>>>);

impl Parked {
    fn new(object: Object) -> Self {
        Self(Arc::new(Mutex::new(Some(object))))
    }

    fn take(&self) -> Option<Object> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn set(&self, object: Object) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(object);
    }
}

/// The interface and name of a resource type of the host.
#[derive(Clone, Copy)]
pub(crate) struct HostName {
    interface: &'static str,
    resource: &'static str,
}

impl HostName {
    /// Whether a component that imports `resource` of `interface` means this one.
    pub(crate) fn serves(&self, interface: &str, resource: &str) -> bool {
        let served = self.interface.parse::<InterfaceName>();
        let imported = interface.parse::<InterfaceName>();
        resource == self.resource
            && matches!((served, imported), (Ok(served), Ok(imported))
                if served.accepts(&imported) || imported.accepts(&served))
    }
}
