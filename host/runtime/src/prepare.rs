//! From a description to something that can be instantiated: load, link, choose the way to call.

use std::collections::BTreeMap;
use std::sync::Arc;

use canopy_backend::Scope;
use canopy_capability_blobs::{BlobsCtx, Objects};
use canopy_capability_identity::Installation;
use canopy_capability_keyvalue::{Buckets, KeyValueCtx};
use canopy_capability_sql::{Databases, SqlCtx};
use canopy_driver::{Binding, DriverHandle, LinkError, has_only_types};
use canopy_ids::{InterfaceName, WitPackage};
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, InstancePre};
use wasmtime_wasi_http::{p2, p3};

use crate::driver::{self, Handle};
use crate::error::PrepareError;
use crate::guest::GuestState;
use crate::installed::Installed;
use crate::instance::{Idle, Program};
use crate::platform;
use crate::runtime::Inner;
use crate::spec::{ComponentSpec, DriverSpec, InstallationSpec};
use crate::stores::{Owner, StorageCtx, Stores};

impl Inner {
    /// Makes an installation ready to answer.
    pub(crate) async fn install(
        self: &Arc<Self>,
        spec: &InstallationSpec,
    ) -> Result<Installed, PrepareError> {
        let mut drivers = BTreeMap::new();
        for (package, driver) in &spec.bindings {
            let start = || self.start_driver(driver);
            let handle = self
                .drivers
                .get(driver.id, driver.generation, start)
                .await?;
            drivers.insert(package.clone(), handle);
        }
        self.assemble(spec, &drivers).await
    }

    /// Does the same with driver instances of its own, which never run, and forgets it all.
    pub(crate) async fn check(
        self: &Arc<Self>,
        spec: &InstallationSpec,
    ) -> Result<(), PrepareError> {
        let mut drivers = BTreeMap::new();
        for (package, driver) in &spec.bindings {
            drivers.insert(package.clone(), self.start_driver(driver).await?);
        }
        self.assemble(spec, &drivers).await.map(drop)
    }

    async fn assemble(
        &self,
        spec: &InstallationSpec,
        drivers: &BTreeMap<WitPackage, Handle>,
    ) -> Result<Installed, PrepareError> {
        let component = self.load(&spec.component).await?;
        let pre = self.link(&component, &spec.component, drivers)?;
        let program = self.program(&component, &spec.component, pre)?;

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
            spec.component.clone(),
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
            program,
            idle: Idle::default(),
        })
    }

    /// A driver instance. It begins to run with its first call.
    async fn start_driver(self: &Arc<Self>, spec: &DriverSpec) -> Result<Handle, PrepareError> {
        let wrong = |error: PrepareError| PrepareError::InDriver {
            driver: spec.name.to_string(),
            error: Box::new(error),
        };
        let component = self.load(&spec.component).await.map_err(wrong)?;
        let pre = self
            .link(&component, &spec.component, &BTreeMap::new())
            .map_err(wrong)?;
        let owner = Owner {
            log: spec.id.into(),
            app: None,
            driver: Some(spec.name.clone()),
        };
        let stores = Stores::new(
            self.parts.clone(),
            &spec.tenant,
            spec.component.clone(),
            StorageCtx::none(),
            owner,
            true,
        );
        let program = driver::Program { pre, stores };
        let settings = self.parts.settings.drivers.clone();
        Ok(DriverHandle::spawn(
            spec.id,
            spec.name.as_str(),
            program,
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

    /// Links every import: to a driver where its package is bound, else to the platform.
    fn link(
        &self,
        component: &Component,
        spec: &ComponentSpec,
        drivers: &BTreeMap<WitPackage, Handle>,
    ) -> Result<InstancePre<GuestState>, PrepareError> {
        let failed = |error: wasmtime::Error| PrepareError::Link {
            package: spec.package.to_string(),
            message: format!("{error:#}"),
        };
        let engine = self.parts.engine.raw();
        let kind = component.component_type();
        let mut bindings = Vec::new();
        let mut unserved = Vec::new();
        for (import, item) in kind.imports(engine) {
            let interface = import.parse::<InterfaceName>().ok();
            let driver = interface
                .as_ref()
                .and_then(|name| drivers.get(&name.package));
            match (driver, interface, &item.ty) {
                (Some(driver), _, _) => bindings.push(Binding { import, driver }),
                (None, Some(name), _) if platform::serves(&name) => {}
                (None, _, ComponentItem::ComponentInstance(instance))
                    if has_only_types(instance, engine) => {}
                (None, _, ComponentItem::Type(_)) => {}
                (None, _, _) => unserved.push(import.to_owned()),
            }
        }
        if !unserved.is_empty() {
            return Err(PrepareError::Unserved {
                package: spec.package.to_string(),
                imports: unserved,
            });
        }
        let is_bound = |package: &str| drivers.keys().any(|bound| bound.to_string() == package);
        let mut linker = self.platform.linker(is_bound).map_err(failed)?;
        canopy_driver::link_interfaces(&mut linker, component, &bindings)
            .map_err(|error: LinkError| PrepareError::Driver(error))?;
        linker.instantiate_pre(component).map_err(failed)
    }

    /// How the component is to be called.
    fn program(
        &self,
        component: &Component,
        spec: &ComponentSpec,
        pre: InstancePre<GuestState>,
    ) -> Result<Program, PrepareError> {
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
        let failed = |error: wasmtime::Error| PrepareError::Link {
            package: spec.package.to_string(),
            message: format!("{error:#}"),
        };
        let (p2, p3) = (
            has("wasi:http/incoming-handler@0.2.0"),
            has("wasi:http/handler@0.3.0"),
        );
        if p3 && p3_enabled {
            let pre = p3::bindings::ServicePre::new(pre).map_err(failed)?;
            return Ok(Program::P3(pre));
        }
        if p2 {
            return p2::bindings::ProxyPre::new(pre)
                .map(Program::P2)
                .map_err(failed);
        }
        let package = spec.package.to_string();
        Err(match p3 {
            true => PrepareError::P3Disabled { package },
            false => PrepareError::NoHandler { package },
        })
    }
}
