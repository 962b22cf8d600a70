//! Which resources of a component live in the stores of drivers.

use std::sync::Arc;

use wasmtime::StoreContextMut;
use wasmtime::component::{ResourceAny, ResourceDynamic, ResourceType};

use crate::handle::{DriverHandle, Remote};
use crate::host::DriverHost;
use crate::plan::{Origin, Resources};

/// What [`link_interfaces`](crate::link_interfaces) has joined: needed by a component that is a
/// driver itself, to pass on what it has from other drivers.
pub struct Links<C> {
    drivers: Vec<DriverHandle<C>>,
    resources: Resources,
}

impl<C> Default for Links<C> {
    /// Those of a component that calls no drivers.
    fn default() -> Self {
        Self {
            drivers: Vec::new(),
            resources: Resources::default(),
        }
    }
}

impl<C> Links<C> {
    pub(crate) fn new(drivers: Vec<DriverHandle<C>>, resources: Resources) -> Arc<Self> {
        Arc::new(Self { drivers, resources })
    }

    /// One of the drivers, by its place in the plan.
    pub(crate) fn driver(&self, source: usize) -> &DriverHandle<C> {
        &self.drivers[source]
    }

    /// From which drivers the component has the resources that it imports, as far as `sources`
    /// need to know it.
    pub(crate) fn origins(&self, sources: &[DriverHandle<C>]) -> Vec<Origin> {
        let origin = |(ty, source, kind): (ResourceType, usize, usize)| {
            let driver = &self.drivers[source];
            Origin {
                ty,
                driver: driver.name().clone(),
                source: sources.iter().position(|known| known.is(driver)),
                kind,
            }
        };
        self.resources.all().map(origin).collect()
    }
}

impl<C: Clone + Send + Sync + 'static> Links<C> {
    /// Puts a resource of a driver into the component's store. The number is by which the store's
    /// [`Proxies`](crate::Proxies) know it.
    pub(crate) fn proxy<D: DriverHost<Caller = C>>(
        &self,
        mut store: StoreContextMut<'_, D>,
        remote: Arc<Remote<C>>,
    ) -> wasmtime::Result<(u32, ResourceAny)> {
        let source = self.drivers.iter().position(|known| remote.is_of(known));
        let number = source.and_then(|source| self.resources.number(source, remote.kind()));
        let number = number.ok_or_else(|| {
            wasmtime::Error::msg("a value holds a resource of a driver that is not bound")
        })?;
        let rep = store.data_mut().proxies().insert(remote);
        let rep = rep.map_err(wasmtime::Error::new)?;
        let proxy = ResourceDynamic::new_own(rep, number);
        Ok((rep, proxy.try_into_resource_any(store)?))
    }
}
