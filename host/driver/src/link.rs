//! Defining imports whose calls go to drivers.

use std::sync::Arc;

use canopy_backend::{Held, KeptFull};
use wasmtime::component::{
    Accessor, Component, Linker, LinkerInstance, ResourceDynamic, ResourceType,
};
use wasmtime::{AsContextMut, StoreContextMut};

use crate::canonical::{Flat, with_count};
use crate::context::CallContext;
use crate::error::{DriverFailed, LinkError};
use crate::failure::FailureShape;
use crate::handle::{Answer, DriverHandle, Home, Target, Timer};
use crate::host::DriverHost;
use crate::links::Links;
use crate::objects::Parked;
use crate::pipe::{Pipe, Writer};
use crate::plan::{self, Definition, PlannedFunction, PlannedInterface, Source};
use crate::shape::Handles;
use crate::values::{Handle, Parcel, Value, Values, each_handle};

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
) -> Result<Arc<Links<T::Caller>>, LinkError> {
    let mut drivers: Vec<DriverHandle<T::Caller>> = Vec::new();
    let mut imports = Vec::new();
    for Binding { import, driver } in bindings {
        let known = drivers.iter().position(|known| known.is(driver));
        let source = known.unwrap_or_else(|| {
            drivers.push((*driver).clone());
            drivers.len() - 1
        });
        imports.push((*import, source));
    }
    let sources: Vec<_> = drivers
        .iter()
        .map(|driver| Source {
            name: driver.name().clone(),
            exports: driver.exports().clone(),
            origins: driver.links().origins(&drivers),
        })
        .collect();
    let plan = plan::plan(component, &sources, &imports, &plan::host_names::<T>())?;
    let links = Links::new(drivers, plan.resources);
    for interface in plan.interfaces {
        let PlannedInterface {
            import,
            source,
            resources,
            functions,
        } = interface;
        let driver = links.driver(source);
        let define = || -> wasmtime::Result<()> {
            let mut instance = linker.instance(&import)?;
            for (name, definition) in &resources {
                match *definition {
                    Definition::Proxy(number) => define_resource(&mut instance, name, number)?,
                    Definition::Host(place) => {
                        T::host_resources()[place].define(&mut instance, name)?;
                    }
                }
            }
            for function in functions {
                define_function(&mut instance, function, driver.clone(), links.clone())?;
            }
            Ok(())
        };
        define().map_err(|error| LinkError::Define {
            interface: import.clone(),
            error,
        })?;
    }
    Ok(links)
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
    links: Arc<Links<T::Caller>>,
) -> wasmtime::Result<()> {
    let PlannedFunction {
        name,
        is_async,
        parameters,
        flat_parameters,
        failure,
        target,
    } = function;
    let has_results = target.results > 0;
    let linked = Arc::new(Linked {
        driver,
        target,
        parameters,
        failure,
        links,
    });
    with_count!(flat_parameters, N => match has_results {
        true => define_flat::<T, N, 1>(instance, &name, is_async, linked),
        false => define_flat::<T, N, 0>(instance, &name, is_async, linked),
    })
}

/// Defines a function with so many core values as its parameters and results.
fn define_flat<T: DriverHost, const PARAMETERS: usize, const RESULTS: usize>(
    instance: &mut LinkerInstance<'_, T>,
    name: &str,
    is_async: bool,
    linked: Arc<Linked<T::Caller>>,
) -> wasmtime::Result<()> {
    if is_async {
        return instance.func_wrap_concurrent(name, move |accessor, parameters| {
            let Flat::<PARAMETERS>(parameters) = parameters;
            let linked = linked.clone();
            Box::pin(async move {
                let results = linked.serve_beside(accessor, parameters).await;
                results.map(Flat::<RESULTS>)
            })
        });
    }
    instance.func_wrap_async(name, move |store, parameters| {
        let Flat::<PARAMETERS>(parameters) = parameters;
        let linked = linked.clone();
        Box::new(async move {
            let results = linked.serve(store, parameters).await;
            results.map(Flat::<RESULTS>)
        })
    })
}

/// A function of an import and where its calls go.
struct Linked<C> {
    driver: DriverHandle<C>,
    target: Arc<Target>,
    parameters: Handles,
    failure: FailureShape,
    /// The resource types of drivers in the importing store.
    links: Arc<Links<C>>,
}

/// What a call takes out of the component's store.
struct Taken<C> {
    parcel: Parcel<C>,
    /// What the values take of the store's account, if there is room.
    held: Result<Held, KeptFull>,
    /// The driver's store for the component's calls, where that matters.
    home: Option<Arc<Home>>,
    kept: Kept,
}

/// What comes back when a call is over.
struct Kept {
    loans: Vec<Loan>,
    timer: Option<Timer>,
}

/// An object of the host that is lent for a call.
struct Loan {
    /// Which of the host's resources it is.
    place: usize,
    rep: u32,
    parked: Parked,
}

impl<C: Clone + Send + Sync + 'static> Linked<C> {
    /// Makes a call for which its component waits.
    async fn serve<T: DriverHost<Caller = C>>(
        &self,
        mut store: StoreContextMut<'_, T>,
        parameters: Vec<Value>,
    ) -> wasmtime::Result<Vec<Value>> {
        let taken = self.take(store.as_context_mut(), parameters)?;
        let context = T::outgoing_call(store.as_context_mut());
        let (outcome, kept) = self.call(taken, context).await;
        self.give(store, kept, outcome)
    }

    /// Makes a call beside others of its component.
    async fn serve_beside<T: DriverHost<Caller = C>>(
        &self,
        accessor: &Accessor<T>,
        parameters: Vec<Value>,
    ) -> wasmtime::Result<Vec<Value>> {
        let (taken, context) = accessor.with(|mut access| {
            let mut store = access.as_context_mut();
            let taken = self.take(store.as_context_mut(), parameters)?;
            Ok::<_, wasmtime::Error>((taken, T::outgoing_call(store)))
        })?;
        let (outcome, kept) = self.call(taken, context).await;
        accessor.with(|mut access| self.give(access.as_context_mut(), kept, outcome))
    }

    async fn call(
        &self,
        taken: Taken<C>,
        context: Option<CallContext<C>>,
    ) -> (Result<Answer<C>, DriverFailed>, Kept) {
        let Taken {
            parcel,
            held,
            home,
            mut kept,
        } = taken;
        let (target, timer) = (self.target.clone(), &mut kept.timer);
        let arguments = (parcel, Some(held));
        let called = self.driver.call(target, arguments, context, home, timer);
        (called.await, kept)
    }

    /// Takes parameters out of the component's store: resources given away leave its table, those
    /// lent stay in it, and streams are read from now on.
    fn take<T: DriverHost<Caller = C>>(
        &self,
        mut store: StoreContextMut<'_, T>,
        mut parameters: Vec<Value>,
    ) -> wasmtime::Result<Taken<C>> {
        let (mut handles, mut loans) = (Vec::new(), Vec::new());
        let bytes = parameters.iter().map(Value::bytes).sum();
        let held = store.data().kept().hold(bytes);
        let proxies = store.data_mut().proxies();
        let home = proxies.home(&self.driver);
        let timer = proxies.timer.take();
        if !self.parameters.any {
            return Ok(Taken {
                parcel: Parcel::of(Values::Compared(parameters)),
                held,
                home,
                kept: Kept { loans, timer },
            });
        }
        let from = Writer {
            life: proxies.life(),
            kept: store.data().kept().clone(),
        };
        each_handle(&mut parameters, &mut |value| {
            let Value::Resource(resource) = value else {
                let payloads = &self.parameters.payloads;
                let pipe = Pipe::take(store.as_context_mut(), value, payloads, &from, true)?;
                handles.push(Handle::Pipe(pipe));
                return Ok(());
            };
            let resource = **resource;
            let owned = resource.owned();
            let hosts = T::host_resources();
            if let Some(place) = hosts.iter().position(|host| host.is(resource.ty())) {
                let (host, store) = (&hosts[place], store.as_context_mut());
                let parked = if owned {
                    host.take(store, resource)?
                } else {
                    let (rep, parked) = host.lend(store, resource)?;
                    loans.push(Loan {
                        place,
                        rep,
                        parked: parked.clone(),
                    });
                    parked
                };
                handles.push(Handle::Host {
                    place,
                    parked,
                    owned,
                });
                return Ok(());
            }
            let rep = ResourceDynamic::try_from_resource_any(resource, &mut store)?.rep();
            let proxies = store.data_mut().proxies();
            let remote = match owned {
                true => proxies.remove(rep),
                false => proxies.get(rep).cloned(),
            };
            let remote = remote
                .ok_or_else(|| wasmtime::Error::msg("a parameter holds an unknown resource"))?;
            handles.push(Handle::Resource { remote, owned });
            Ok(())
        })?;
        let values = Values::Compared(parameters);
        Ok(Taken {
            parcel: Parcel { values, handles },
            held,
            home,
            kept: Kept { loans, timer },
        })
    }

    /// Puts the outcome of a call into the component's store, and back what was lent for it.
    fn give<T: DriverHost<Caller = C>>(
        &self,
        mut store: StoreContextMut<'_, T>,
        kept: Kept,
        outcome: Result<Answer<C>, DriverFailed>,
    ) -> wasmtime::Result<Vec<Value>> {
        store.data_mut().proxies().timer = kept.timer;
        for Loan { place, rep, parked } in kept.loans {
            T::host_resources()[place].restore(store.as_context_mut(), rep, &parked)?;
        }
        let (Parcel { values, handles }, _held) = match outcome {
            Ok(answer) => answer,
            Err(failure) => {
                let value = self.failure.value(failure).map_err(wasmtime::Error::new)?;
                return Ok(vec![value]);
            }
        };
        let Values::Compared(mut values) = values else {
            return Err(wasmtime::Error::msg("a call was answered by names"));
        };
        if !handles.is_empty() {
            let mut handles = handles.into_iter();
            each_handle(&mut values, &mut |value| {
                let unknown = || wasmtime::Error::msg("a result holds an unknown resource");
                let store = store.as_context_mut();
                *value = match handles.next().ok_or_else(unknown)? {
                    Handle::Resource { remote, .. } => {
                        Value::Resource(Box::new(self.links.proxy(store, remote)?.1))
                    }
                    Handle::Host { place, parked, .. } => {
                        let (_, resource) = T::host_resources()[place].put(store, &parked)?;
                        Value::Resource(Box::new(resource))
                    }
                    Handle::Pipe(pipe) => pipe.give(store)?,
                };
                Ok(())
            })?;
        }
        Ok(values)
    }
}
