//! From a description to something that can be instantiated: load, link, choose the way to call.

use std::collections::BTreeMap;
use std::sync::Arc;

use canopy_backend::Scope;
use canopy_capability_blobs::{BlobsCtx, Objects};
use canopy_capability_identity::Installation;
use canopy_capability_keyvalue::{Buckets, KeyValueCtx};
use canopy_capability_sql::{Databases, SqlCtx};
use canopy_driver::{Binding, DriverHandle, LinkError, Links, has_only_types};
use canopy_ids::{BindingKey, Import, InterfaceName};
use futures::future::BoxFuture;
use wasmtime::Engine;
use wasmtime::component::types::{ComponentInstance, ComponentItem};
use wasmtime::component::{Component, InstancePre, ResourceType};
use wasmtime_wasi_http::{p2, p3};

use crate::driver::{self, Drivers, Handle};
use crate::error::{PrepareError, SharedResource};
use crate::guest::{CallerFacts, GuestState};
use crate::handler::{HANDLER, HandlesPre};
use crate::installed::{Installed, Way};
use crate::instance::Program;
use crate::linker::Platform;
use crate::platform::{self, Storage};
use crate::runtime::Inner;
use crate::socket::{WEBSOCKET, WebsocketsPre};
use crate::spec::{Bindings, ComponentSpec, DriverSpec, InstallationSpec};
use crate::stores::{Borrows, Owner, StorageCtx, Stores};

/// Who serves what a component imports, running; `None`: the platform.
type Handles = BTreeMap<BindingKey, Option<Handle>>;

/// A component that is ready to be instantiated, and the links to its drivers.
type Linked = (InstancePre<GuestState>, Arc<Links<Arc<CallerFacts>>>);

impl Inner {
    /// Makes an installation ready to answer.
    pub(crate) async fn install(
        self: &Arc<Self>,
        spec: &InstallationSpec,
    ) -> Result<Installed, PrepareError> {
        let handles = self.handles(&spec.bindings, &self.drivers).await?;
        self.assemble(spec, &handles).await
    }

    /// Does the same with driver instances of its own, which never run, and forgets it all.
    pub(crate) async fn check(
        self: &Arc<Self>,
        spec: &InstallationSpec,
    ) -> Result<(), PrepareError> {
        let handles = self.handles(&spec.bindings, &Drivers::default()).await?;
        self.assemble(spec, &handles).await.map(drop)
    }

    /// A driver instance of its own with all that it builds on, which nobody else shares.
    pub(crate) async fn lone_driver(
        self: &Arc<Self>,
        spec: &DriverSpec,
    ) -> Result<Handle, PrepareError> {
        self.driver(spec, &Drivers::default()).await
    }

    async fn handles(
        self: &Arc<Self>,
        bindings: &Bindings,
        among: &Drivers,
    ) -> Result<Handles, PrepareError> {
        let mut handles = Handles::new();
        for (key, provider) in bindings {
            let handle = match provider.driver() {
                Some(driver) => Some(self.driver(driver, among).await?),
                None => None,
            };
            handles.insert(key.clone(), handle);
        }
        Ok(handles)
    }

    /// The driver instance of `spec` among those that run, started if it is not there, after those
    /// that it builds on.
    fn driver<'a>(
        self: &'a Arc<Self>,
        spec: &'a DriverSpec,
        among: &'a Drivers,
    ) -> BoxFuture<'a, Result<Handle, PrepareError>> {
        Box::pin(async move {
            let start = || async {
                let handles = self.handles(&spec.bindings, among).await?;
                self.start_driver(spec, &handles).await
            };
            among.get(spec, start).await
        })
    }

    async fn assemble(
        &self,
        spec: &InstallationSpec,
        drivers: &Handles,
    ) -> Result<Installed, PrepareError> {
        let component = self.load(&spec.component).await?;
        let (pre, _) = self.link(&component, &spec.component, drivers)?;
        let sockets = self.sockets(&component, &spec.component, &pre)?;
        let messages = self.messages(&component, &spec.component, &pre)?;
        let requests = self.requests(&component, &spec.component, pre)?;
        if requests.is_none() && messages.is_none() {
            let package = spec.component.package.to_string();
            return Err(PrepareError::NoHandler { package });
        }

        let scope = Scope {
            tenant: spec.tenant.id,
            installation: spec.id,
        };
        let buckets = Buckets::of(self.storage.clone(), scope, spec.stores.clone());
        let objects = Objects::of(
            self.blobs.clone(),
            scope,
            Arc::new(self.parts.settings.blobs.clone()),
        );
        let databases = spec.databases.iter().cloned();
        let databases = Databases::of(self.sql.clone(), scope, databases);
        let storage = StorageCtx {
            keyvalue: KeyValueCtx::new(buckets),
            blobs: BlobsCtx::new(objects),
            sql: SqlCtx::new(databases),
            messages: self.messages.of(spec),
        };
        let owner = Owner {
            log: spec.id.into(),
            app: Some(spec.name.clone()),
            driver: None,
        };
        let stores = Stores::new(
            self.parts.clone(),
            &spec.tenant,
            (spec.component.clone(), &component),
            storage,
            owner,
            !spec.bindings.is_empty(),
        );
        let installation = Installation {
            id: spec.id,
            name: spec.name.to_string(),
            app: spec.component.package.to_string(),
            version: spec.component.version.to_string(),
        };
        Ok(Installed {
            installation: Arc::new(installation),
            stores,
            requests,
            sockets,
            messages,
        })
    }

    /// A driver instance. It begins to run with its first call.
    async fn start_driver(
        self: &Arc<Self>,
        spec: &DriverSpec,
        drivers: &Handles,
    ) -> Result<Handle, PrepareError> {
        let wrong = |error: PrepareError| PrepareError::InDriver {
            driver: spec.name.to_string(),
            error: Box::new(error),
        };
        let component = self.load(&spec.component).await.map_err(wrong)?;
        let (pre, links) = self
            .link(&component, &spec.component, drivers)
            .map_err(wrong)?;
        let borrows = self.borrows(&component, drivers);
        let owner = Owner {
            log: spec.id.into(),
            app: None,
            driver: Some(spec.name.clone()),
        };
        let stores = Stores::new(
            self.parts.clone(),
            &spec.tenant,
            (spec.component.clone(), &component),
            StorageCtx::none(),
            owner,
            true,
        )
        .borrowing(borrows);
        let program = driver::Program {
            pre,
            stores,
            inner: Arc::downgrade(self),
        };
        let settings = self.parts.settings.drivers.clone();
        Ok(DriverHandle::spawn(
            spec.id,
            spec.name.as_str(),
            program,
            links,
            settings,
        ))
    }

    async fn load(&self, spec: &ComponentSpec) -> Result<Component, PrepareError> {
        let path = (self.component_path)(&spec.digest);
        self.artifacts
            .load(&spec.digest, &path)
            .await
            .map_err(|error| PrepareError::Artifact {
                package: spec.package.to_string(),
                version: spec.version.to_string(),
                error,
            })
    }

    /// Links every import: to whom it is bound, else to the platform.
    fn link(
        &self,
        component: &Component,
        spec: &ComponentSpec,
        drivers: &Handles,
    ) -> Result<Linked, PrepareError> {
        let package = spec.package.to_string();
        let failed = |error: wasmtime::Error| PrepareError::Link {
            package: package.clone(),
            message: format!("{error:#}"),
        };
        let engine = self.parts.engine.raw();
        let kind = component.component_type();
        let mut bindings = Vec::new();
        let mut labelled = Vec::new();
        let mut unserved = Vec::new();
        let mut shared = Shared::default();
        for (name, item) in kind.imports(engine) {
            let import = import(name, item.implements);
            let driver = import.as_ref().and_then(|import| {
                let (_, handle) = BindingKey::choose(drivers, import)?;
                handle.as_ref()
            });
            if let ComponentItem::ComponentInstance(instance) = &item.ty {
                let interface = item.implements.unwrap_or(name);
                shared.add(&package, (name, interface), instance, driver, engine)?;
            }
            match (driver, import, &item.ty) {
                (Some(driver), _, _) => bindings.push(Binding {
                    import: name,
                    driver,
                }),
                (None, Some(import), _) if platform::serves_import(&import) => {
                    if import.label.is_some() {
                        labelled.push((name, import.interface));
                    }
                }
                (None, _, ComponentItem::ComponentInstance(instance))
                    if has_only_types(instance, engine) => {}
                (None, _, ComponentItem::Type(_)) => {}
                (None, Some(import), _) => unserved.push(import.to_string()),
                (None, None, _) => unserved.push(name.to_owned()),
            }
        }
        if !unserved.is_empty() {
            return Err(PrepareError::Unserved {
                package,
                imports: unserved,
            });
        }
        let mut linker = self.platform.linker();
        for (label, interface) in &labelled {
            Platform::add_labelled(&mut linker, label, interface).map_err(failed)?;
        }
        let links = canopy_driver::link_interfaces(&mut linker, component, &bindings)
            .map_err(|error: LinkError| PrepareError::Driver(error))?;
        Ok((linker.instantiate_pre(component).map_err(failed)?, links))
    }

    /// What a driver has of its callers' storage: what is bound to the platform by name.
    fn borrows(&self, component: &Component, drivers: &Handles) -> Borrows {
        let mut borrows = Borrows::default();
        let kind = component.component_type();
        for (name, item) in kind.imports(self.parts.engine.raw()) {
            let Some(import) = import(name, item.implements) else {
                continue;
            };
            if !matches!(BindingKey::choose(drivers, &import), Some((_, None))) {
                continue;
            }
            match platform::storage_of(&import.interface) {
                Some(Storage::KeyValue) => borrows.keyvalue = true,
                Some(Storage::Blobs) => borrows.blobs = true,
                Some(Storage::Sql) => borrows.sql = true,
                None => {}
            }
        }
        borrows
    }

    /// How the component takes connections, if it does and WASI 0.3 is on.
    fn sockets(
        &self,
        component: &Component,
        spec: &ComponentSpec,
        pre: &InstancePre<GuestState>,
    ) -> Result<Option<Way>, PrepareError> {
        if !self.exports(component, WEBSOCKET) || !self.parts.engine.settings().p3_enabled {
            return Ok(None);
        }
        let pre = WebsocketsPre::new(pre.clone()).map_err(|error| unfit(spec, &error))?;
        Ok(Some(Way::new(Program::Socket(pre))))
    }

    /// How the component takes messages, if it does so by itself.
    fn messages(
        &self,
        component: &Component,
        spec: &ComponentSpec,
        pre: &InstancePre<GuestState>,
    ) -> Result<Option<Way>, PrepareError> {
        if !self.exports(component, HANDLER) {
            return Ok(None);
        }
        let pre = HandlesPre::new(pre.clone()).map_err(|error| unfit(spec, &error))?;
        Ok(Some(Way::new(Program::Message(pre))))
    }

    fn exports(&self, component: &Component, interface: &str) -> bool {
        let engine = self.parts.engine.raw();
        let kind = component.component_type();
        kind.exports(engine).any(|(name, _)| name == interface)
    }

    /// How the component answers requests, if it does.
    fn requests(
        &self,
        component: &Component,
        spec: &ComponentSpec,
        pre: InstancePre<GuestState>,
    ) -> Result<Option<Way>, PrepareError> {
        let engine = self.parts.engine.raw();
        let p3_enabled = self.parts.engine.settings().p3_enabled;
        let kind = component.component_type();
        let exports: Vec<InterfaceName> = kind
            .exports(engine)
            .filter_map(|(name, _)| name.parse().ok())
            .collect();
        let has = |path: &str| {
            let wanted = path.parse::<InterfaceName>().ok();
            wanted.is_some_and(|wanted| {
                exports
                    .iter()
                    .any(|export| wanted.accepts(export) || export.accepts(&wanted))
            })
        };
        let (p2, p3) = (
            has("wasi:http/incoming-handler@0.2.0"),
            has("wasi:http/handler@0.3.0"),
        );
        if p3 && p3_enabled {
            let pre = p3::bindings::ServicePre::new(pre).map_err(|error| unfit(spec, &error))?;
            return Ok(Some(Way::new(Program::P3(pre))));
        }
        if p2 {
            let pre = p2::bindings::ProxyPre::new(pre).map_err(|error| unfit(spec, &error))?;
            return Ok(Some(Way::new(Program::P2(pre))));
        }
        match p3 {
            true => Err(PrepareError::P3Disabled {
                package: spec.package.to_string(),
            }),
            false => Ok(None),
        }
    }
}

/// The component's exports are not what their names say.
fn unfit(spec: &ComponentSpec, error: &wasmtime::Error) -> PrepareError {
    PrepareError::Link {
        package: spec.package.to_string(),
        message: format!("{error:#}"),
    }
}

/// What an import is, where it is an interface: by its name, or by what it says to implement under
/// the label that is its name.
fn import(name: &str, implements: Option<&str>) -> Option<Import> {
    match implements {
        Some(interface) => Some(Import {
            interface: interface.parse().ok()?,
            label: Some(name.parse().ok()?),
        }),
        None => Some(name.parse::<InterfaceName>().ok()?.into()),
    }
}

/// Which resource types were met, and by whom their interfaces are served. A resource of one side
/// means nothing to another. Those that a driver has from somebody else and passes on are left to
/// the linking of drivers.
#[derive(Default)]
struct Shared(Vec<(ResourceType, String, Option<Handle>)>);

impl Shared {
    fn add(
        &mut self,
        package: &str,
        (import, interface): (&str, &str),
        instance: &ComponentInstance,
        driver: Option<&Handle>,
        engine: &Engine,
    ) -> Result<(), PrepareError> {
        let by = |driver: Option<&Handle>| match driver {
            Some(driver) => format!("driver `{}`", driver.name()),
            None => "the platform".to_owned(),
        };
        for (resource, item) in instance.exports(engine) {
            let ComponentItem::Resource(ty) = item.ty else {
                continue;
            };
            match self.0.iter().find(|(known, ..)| *known == ty) {
                Some((_, one, known))
                    if known.as_ref().map(Handle::id) != driver.map(Handle::id)
                        && !driver.is_some_and(|driver| driver.passes_on(interface, resource)) =>
                {
                    return Err(PrepareError::SharedResource(Box::new(SharedResource {
                        package: package.to_owned(),
                        one: one.clone(),
                        by_one: by(known.as_ref()),
                        other: import.to_owned(),
                        by_other: by(driver),
                        resource: resource.to_owned(),
                    })));
                }
                Some(_) => {}
                None => self.0.push((ty, import.to_owned(), driver.cloned())),
            }
        }
        Ok(())
    }
}
