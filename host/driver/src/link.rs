//! Defining imports whose calls go to drivers.

use std::sync::Arc;

use wasmtime::component::{Component, Linker, LinkerInstance, ResourceDynamic, ResourceType, Val};
use wasmtime::{AsContextMut, StoreContextMut};

use crate::error::{DriverFailed, LinkError};
use crate::failure::FailureShape;
use crate::handle::{DriverHandle, Target};
use crate::host::DriverHost;
use crate::pipe::Pipe;
use crate::plan::{self, PlannedFunction, PlannedInterface, Source};
use crate::shape::Handles;
use crate::values::{Handle, Parcel, each_handle};

/// An import and the driver instance that serves it.
pub struct Binding<'a, C> {
    /// The name of the import, as the component has it.
    pub import: &'a str,
    /// The driver instance.
    pub driver: &'a DriverHandle<C>,
}

/// Defines imports of `component` in `linker`, each served by its driver instance. Give all
/// bindings of a component at once, as its interfaces may share resource types. An interface that
/// has types alone needs no driver and is passed over.
pub fn link_interfaces<T: DriverHost>(
    linker: &mut Linker<T>,
    component: &Component,
    bindings: &[Binding<'_, T::Caller>],
) -> Result<(), LinkError> {
    let mut drivers: Vec<&DriverHandle<T::Caller>> = Vec::new();
    let mut imports = Vec::new();
    for Binding { import, driver } in bindings {
        let known = drivers.iter().position(|known| known.is(driver));
        let source = known.unwrap_or_else(|| {
            drivers.push(driver);
            drivers.len() - 1
        });
        imports.push((*import, source));
    }
    let source = |driver: &&DriverHandle<T::Caller>| Source {
        name: driver.name().clone(),
        exports: driver.exports().clone(),
    };
    let sources: Vec<_> = drivers.iter().map(source).collect();
    let plan = plan::plan(component, &sources, &imports)?;
    let numbers: Vec<Arc<[Option<u32>]>> = sources
        .iter()
        .enumerate()
        .map(|(index, source)| {
            plan.resources
                .numbers(index, source.exports.kinds().len())
                .into()
        })
        .collect();
    for interface in plan.interfaces {
        let PlannedInterface {
            import,
            source,
            resources,
            functions,
        } = interface;
        let driver = drivers[source];
        let define = || -> wasmtime::Result<()> {
            let mut instance = linker.instance(&import)?;
            for (name, number) in &resources {
                define_resource(&mut instance, name, *number)?;
            }
            for function in functions {
                let numbers = numbers[source].clone();
                define_function(&mut instance, function, driver.clone(), numbers)?;
            }
            Ok(())
        };
        define().map_err(|error| LinkError::Define {
            interface: import.clone(),
            error,
        })?;
    }
    Ok(())
}

fn define_resource<T: DriverHost>(
    instance: &mut LinkerInstance<'_, T>,
    name: &str,
    number: u32,
) -> wasmtime::Result<()> {
    // Dropping the proxy sends word to the driver, ahead of any later call of this component.
    instance.resource(
        name,
        ResourceType::host_dynamic(number),
        |mut store, rep| {
            store.data_mut().proxies().remove(rep);
            Ok(())
        },
    )
}

fn define_function<T: DriverHost>(
    instance: &mut LinkerInstance<'_, T>,
    function: PlannedFunction,
    driver: DriverHandle<T::Caller>,
    numbers: Arc<[Option<u32>]>,
) -> wasmtime::Result<()> {
    let PlannedFunction {
        name,
        is_async,
        parameters,
        failure,
        target,
    } = function;
    let linked = Arc::new(Linked {
        driver,
        target,
        parameters,
        failure,
        numbers,
    });
    if is_async {
        return instance.func_new_concurrent(&name, move |accessor, _, parameters, results| {
            let linked = linked.clone();
            Box::pin(async move {
                let (parcel, context) = accessor.with(|mut access| {
                    let mut store = access.as_context_mut();
                    let parcel = linked.take(store.as_context_mut(), parameters)?;
                    Ok::<_, wasmtime::Error>((parcel, T::outgoing_call(store)))
                })?;
                let outcome = linked
                    .driver
                    .call(linked.target.clone(), parcel, context)
                    .await;
                accessor.with(|mut access| linked.give(access.as_context_mut(), outcome, results))
            })
        });
    }
    instance.func_new_async(&name, move |mut store, _, parameters, results| {
        let linked = linked.clone();
        Box::new(async move {
            let parcel = linked.take(store.as_context_mut(), parameters)?;
            let context = T::outgoing_call(store.as_context_mut());
            let outcome = linked
                .driver
                .call(linked.target.clone(), parcel, context)
                .await;
            linked.give(store, outcome, results)
        })
    })
}

/// A function of an import and where its calls go.
struct Linked<C> {
    driver: DriverHandle<C>,
    target: Arc<Target>,
    parameters: Handles,
    failure: FailureShape,
    /// The numbers of the driver's resource types in the importing store.
    numbers: Arc<[Option<u32>]>,
}

impl<C: Clone + Send + Sync + 'static> Linked<C> {
    /// Takes parameters out of the component's store: resources given away leave its table, those
    /// lent stay in it, and streams are read from now on.
    fn take<T: DriverHost<Caller = C>>(
        &self,
        mut store: StoreContextMut<'_, T>,
        parameters: &[Val],
    ) -> wasmtime::Result<Parcel<C>> {
        let mut parcel = Parcel::of(parameters.to_vec());
        if !self.parameters.any {
            return Ok(parcel);
        }
        let life = store.data_mut().proxies().life();
        each_handle(&mut parcel.values, &mut |value| {
            let Val::Resource(resource) = value else {
                let payloads = &self.parameters.payloads;
                let pipe = Pipe::take(store.as_context_mut(), value, payloads, life.clone(), true)?;
                parcel.handles.push(Handle::Pipe(pipe));
                return Ok(());
            };
            let owned = resource.owned();
            let rep = ResourceDynamic::try_from_resource_any(*resource, &mut store)?.rep();
            let proxies = store.data_mut().proxies();
            let remote = match owned {
                true => proxies.remove(rep),
                false => proxies.get(rep).cloned(),
            };
            let remote = remote.filter(|remote| remote.is_of(&self.driver));
            let remote = remote.ok_or_else(|| {
                wasmtime::Error::msg("a parameter holds a resource that is not of this driver")
            })?;
            parcel.handles.push(Handle::Resource { remote, owned });
            Ok(())
        })?;
        Ok(parcel)
    }

    /// Puts the outcome of a call into the component's store.
    fn give<T: DriverHost<Caller = C>>(
        &self,
        mut store: StoreContextMut<'_, T>,
        outcome: Result<Parcel<C>, DriverFailed>,
        results: &mut [Val],
    ) -> wasmtime::Result<()> {
        let Parcel {
            mut values,
            handles,
        } = match outcome {
            Ok(parcel) => parcel,
            Err(failure) => {
                let value = self.failure.value(failure).map_err(wasmtime::Error::new)?;
                Parcel::of(vec![value])
            }
        };
        if !handles.is_empty() {
            let mut handles = handles.into_iter();
            each_handle(&mut values, &mut |value| {
                let unknown = || wasmtime::Error::msg("a result holds an unknown resource");
                let remote = match handles.next().ok_or_else(unknown)? {
                    Handle::Resource { remote, .. } => remote,
                    Handle::Pipe(pipe) => {
                        *value = pipe.give(store.as_context_mut())?;
                        return Ok(());
                    }
                };
                let number = self.numbers.get(remote.kind()).copied().flatten();
                let number = number.ok_or_else(unknown)?;
                let rep = store
                    .data_mut()
                    .proxies()
                    .insert(remote)
                    .map_err(wasmtime::Error::new)?;
                let proxy = ResourceDynamic::new_own(rep, number);
                *value = Val::Resource(proxy.try_into_resource_any(&mut store)?);
                Ok(())
            })?;
        }
        for (result, value) in results.iter_mut().zip(values) {
            *result = value;
        }
        Ok(())
    }
}
