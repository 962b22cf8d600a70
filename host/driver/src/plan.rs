//! Deciding how a component's imports are served by drivers, before anything is defined.
//!
//! A resource in an imported interface is one that the driver makes, or one that the driver has from
//! somebody else and passes on. The component has to have the latter from there as well: from the
//! host, or from the same driver instance.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use wasmtime::Engine;
use wasmtime::component::types::{ComponentFunc, ComponentInstance, ComponentItem};
use wasmtime::component::{Component, ResourceType};

use crate::canonical::{MAX_FLAT, flat_count};
use crate::error::LinkError;
use crate::exports::{ExportedInterface, Exports, ImportedResource};
use crate::failure::FailureShape;
use crate::handle::Target;
use crate::host::DriverHost;
use crate::objects::{HostName, HostResource};
use crate::shape::{self, Handles, Mismatch};

/// A driver component that is to serve an import.
#[derive(Clone, Copy)]
pub struct Candidate<'a> {
    /// The name of the import.
    pub import: &'a str,
    /// The driver instance's name, for messages. One name stands for one driver instance.
    pub driver: &'a str,
    /// The driver's component.
    pub component: &'a Component,
}

/// Checks that the imports of `component` can be served by drivers, each by its candidate, in stores
/// of `T`. What the candidates import themselves is taken to be served by the host.
pub fn check_interfaces<T: DriverHost>(
    component: &Component,
    candidates: &[Candidate<'_>],
) -> Result<(), LinkError> {
    let mut sources: Vec<Source> = Vec::new();
    let mut imports = Vec::new();
    for candidate in candidates {
        let known = sources
            .iter()
            .position(|source| &*source.name == candidate.driver);
        let source = known.unwrap_or_else(|| {
            let exports = Arc::new(Exports::of(candidate.component));
            sources.push(Source {
                name: candidate.driver.into(),
                exports,
                origins: Vec::new(),
            });
            sources.len() - 1
        });
        imports.push((candidate.import, source));
    }
    plan(component, &sources, &imports, &host_names::<T>()).map(drop)
}

/// The host's own resources that may cross between stores of `T`.
pub(crate) fn host_names<T: DriverHost>() -> Vec<HostName> {
    let resources = T::host_resources().iter();
    resources.map(HostResource::name).collect()
}

/// Whether an interface has types alone, so that nobody needs to serve it.
pub fn has_only_types(interface: &ComponentInstance, engine: &Engine) -> bool {
    interface
        .exports(engine)
        .all(|(_, item)| matches!(item.ty, ComponentItem::Type(_)))
}

/// A driver instance, as far as linking needs to know it.
pub(crate) struct Source {
    pub(crate) name: Arc<str>,
    pub(crate) exports: Arc<Exports>,
    /// Where it has from what it imports, as far as that is from drivers.
    pub(crate) origins: Vec<Origin>,
}

/// A resource type that a driver has from another driver.
pub(crate) struct Origin {
    /// The type as the driver imports it.
    pub(crate) ty: ResourceType,
    /// The other driver's name.
    pub(crate) driver: Arc<str>,
    /// Which of the sources the other driver is, if it is one.
    pub(crate) source: Option<usize>,
    /// Which of the other driver's resource types it is.
    pub(crate) kind: usize,
}

/// What a resource type of the component is to be defined as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Definition {
    /// A resource in a driver's store, by the number of its type in the component's.
    Proxy(u32),
    /// One of the host's own, by its place in the list of those that may cross.
    Host(usize),
}

/// How the imports are served.
pub(crate) struct Plan {
    pub(crate) interfaces: Vec<PlannedInterface>,
    pub(crate) resources: Resources,
}

pub(crate) struct PlannedInterface {
    pub(crate) import: String,
    pub(crate) source: usize,
    pub(crate) resources: Vec<(String, Definition)>,
    pub(crate) functions: Vec<PlannedFunction>,
}

pub(crate) struct PlannedFunction {
    pub(crate) name: String,
    pub(crate) is_async: bool,
    pub(crate) parameters: Handles,
    /// In how many core values they are passed.
    pub(crate) flat_parameters: usize,
    pub(crate) failure: FailureShape,
    pub(crate) target: Arc<Target>,
}

/// Which resource type of the importing component is which of a driver.
#[derive(Default)]
pub(crate) struct Resources {
    pairs: Vec<Pair>,
}

struct Pair {
    imported: ResourceType,
    source: usize,
    kind: usize,
    number: u32,
}

/// Numbers of resource types are not reused by another linking, so that two of them on one linker
/// cannot take each other's resources for their own.
static NEXT_NUMBER: AtomicU32 = AtomicU32::new(0);

impl Resources {
    /// Notes that two types correspond; `None` where one of them already has another partner.
    fn pair(&mut self, imported: ResourceType, source: usize, kind: usize) -> Option<u32> {
        for pair in &self.pairs {
            let same_import = pair.imported == imported;
            let same_export = pair.source == source && pair.kind == kind;
            if same_import && same_export {
                return Some(pair.number);
            }
            if same_import || same_export {
                return None;
            }
        }
        let number = NEXT_NUMBER.fetch_add(1, Ordering::Relaxed);
        self.pairs.push(Pair {
            imported,
            source,
            kind,
            number,
        });
        Some(number)
    }

    fn find(&self, imported: ResourceType) -> Option<&Pair> {
        self.pairs.iter().find(|pair| pair.imported == imported)
    }

    /// The types that the component imports from drivers, of which each is from, and which of its
    /// kinds it is there.
    pub(crate) fn all(&self) -> impl Iterator<Item = (ResourceType, usize, usize)> {
        let one = |pair: &Pair| (pair.imported, pair.source, pair.kind);
        self.pairs.iter().map(one)
    }

    /// The number of a kind of a driver's resources, where the component imports it.
    pub(crate) fn number(&self, source: usize, kind: usize) -> Option<u32> {
        let pair = |pair: &&Pair| pair.source == source && pair.kind == kind;
        self.pairs.iter().find(pair).map(|pair| pair.number)
    }
}

/// An import with the export that serves it.
struct Matched<'a> {
    import: &'a str,
    imported: ComponentInstance,
    source: usize,
    export: &'a ExportedInterface,
}

impl Matched<'_> {
    fn missing(&self, driver: &Arc<str>, kind: &'static str, item: &str) -> LinkError {
        LinkError::Missing {
            driver: driver.clone(),
            interface: self.export.name.to_string(),
            kind,
            item: item.to_owned(),
        }
    }

    fn refusal(&self, driver: &Arc<str>, item: &str, mismatch: Mismatch) -> LinkError {
        match mismatch {
            Mismatch::Differs(difference) => LinkError::Shape {
                driver: driver.clone(),
                interface: self.export.name.to_string(),
                item: item.to_owned(),
                difference,
            },
            Mismatch::Unsupported(reason) => LinkError::Unsupported {
                interface: self.import.to_owned(),
                item: item.to_owned(),
                reason,
            },
        }
    }

    /// The driver's type for a resource of the interface.
    fn exported_resource(
        &self,
        name: &str,
        driver: &Arc<str>,
        engine: &Engine,
    ) -> Result<ResourceType, LinkError> {
        match self.export.ty.get_export(engine, name).map(|item| item.ty) {
            Some(ComponentItem::Resource(exported)) => Ok(exported),
            _ => Err(self.missing(driver, "resource", name)),
        }
    }
}

pub(crate) fn plan(
    component: &Component,
    sources: &[Source],
    imports: &[(&str, usize)],
    host: &[HostName],
) -> Result<Plan, LinkError> {
    let engine = component.engine();
    let ty = component.component_type();
    let mut matched = Vec::new();
    for &(import, source) in imports {
        let no_import = || LinkError::NoSuchImport {
            import: import.to_owned(),
        };
        let found = ty.get_import(engine, import).ok_or_else(no_import)?;
        let ComponentItem::ComponentInstance(imported) = found.ty else {
            return Err(no_import());
        };
        if has_only_types(&imported, engine) {
            continue;
        }
        let interface = found.implements.unwrap_or(import);
        let Source { name, exports, .. } = &sources[source];
        let export = exports
            .serving(interface)
            .ok_or_else(|| LinkError::NoSuchExport {
                driver: name.clone(),
                import: interface.to_owned(),
                exports: exports.names(),
            })?;
        matched.push(Matched {
            import,
            imported,
            source,
            export,
        });
    }
    // All resource types are known before any function is compared: an interface may use those of
    // another one.
    let mut resources = Resources::default();
    for interface in &matched {
        pair_resources(engine, sources, interface, &mut resources)?;
    }
    let types = Types {
        sources,
        resources: &resources,
        imported: ImportedResource::all(component),
        host,
    };
    let mut interfaces = Vec::new();
    for interface in &matched {
        let mut functions = Vec::new();
        let mut named = Vec::new();
        for (name, item) in interface.imported.exports(engine) {
            match item.ty {
                ComponentItem::ComponentFunc(ty) => {
                    functions.push(plan_function(&types, interface, name, &ty, engine)?);
                }
                ComponentItem::Resource(ty) => {
                    named.push((
                        name.to_owned(),
                        define(&types, interface, name, ty, engine)?,
                    ));
                }
                ComponentItem::Type(_) => {}
                _ => {
                    return Err(LinkError::Unsupported {
                        interface: interface.import.to_owned(),
                        item: name.to_owned(),
                        reason: "only functions, types and resources can be".to_owned(),
                    });
                }
            }
        }
        interfaces.push(PlannedInterface {
            import: interface.import.to_owned(),
            source: interface.source,
            resources: named,
            functions,
        });
    }
    Ok(Plan {
        interfaces,
        resources,
    })
}

/// Notes which of the driver's types the resource types of an imported interface are, where they are
/// the driver's own.
fn pair_resources(
    engine: &Engine,
    sources: &[Source],
    interface: &Matched<'_>,
    resources: &mut Resources,
) -> Result<(), LinkError> {
    let Source {
        name: driver,
        exports,
        ..
    } = &sources[interface.source];
    for (name, item) in interface.imported.exports(engine) {
        let ComponentItem::Resource(imported) = item.ty else {
            continue;
        };
        let exported = interface.exported_resource(name, driver, engine)?;
        let Some(kind) = exports.kind_of(exported) else {
            continue;
        };
        if resources.pair(imported, interface.source, kind).is_none() {
            return Err(LinkError::Shape {
                driver: driver.clone(),
                interface: interface.export.name.to_string(),
                item: name.to_owned(),
                difference:
                    "the component and its drivers disagree on which interfaces share this \
                             resource type"
                        .to_owned(),
            });
        }
    }
    Ok(())
}

/// What a resource of an imported interface is to be defined as.
fn define(
    types: &Types<'_>,
    interface: &Matched<'_>,
    name: &str,
    imported: ResourceType,
    engine: &Engine,
) -> Result<Definition, LinkError> {
    let driver = &types.sources[interface.source].name;
    let exported = interface.exported_resource(name, driver, engine)?;
    let defined = types.correspond(interface.source, imported, exported);
    defined.map_err(|mismatch| interface.refusal(driver, name, mismatch))
}

/// What is known of resource types when functions are compared.
struct Types<'a> {
    sources: &'a [Source],
    resources: &'a Resources,
    /// What the component imports them as.
    imported: Vec<ImportedResource>,
    /// The host's own that may cross.
    host: &'a [HostName],
}

impl Types<'_> {
    /// What `ours` of the component is, which the driver `source` has as `theirs`; or why it cannot
    /// be that.
    fn correspond(
        &self,
        source: usize,
        ours: ResourceType,
        theirs: ResourceType,
    ) -> Result<Definition, Mismatch> {
        let Source {
            name: driver,
            exports,
            origins,
        } = &self.sources[source];
        let found = self.resources.find(ours);
        if let Some(kind) = exports.kind_of(theirs) {
            return match found {
                Some(pair) if pair.source == source && pair.kind == kind => {
                    Ok(Definition::Proxy(pair.number))
                }
                Some(pair) if pair.source == source => Err(Mismatch::Differs(
                    "the component imports another resource than the driver exports".to_owned(),
                )),
                Some(pair) => {
                    let other = &self.sources[pair.source].name;
                    unsupported(format!(
                        "its resource is served by another driver, `{other}`"
                    ))
                }
                None => unsupported(
                    "its resource is of an interface that this driver does not serve".to_owned(),
                ),
            };
        }
        let Some(known) = exports.imported(theirs) else {
            return unsupported("the driver does not export the type of this resource".to_owned());
        };
        let origin = origins.iter().find(|origin| origin.ty == theirs);
        if let Some(pair) = found {
            if let Some(origin) = origin
                && origin.source == Some(pair.source)
                && origin.kind == pair.kind
            {
                return Ok(Definition::Proxy(pair.number));
            }
            let ours = &self.sources[pair.source].name;
            let theirs = match origin {
                Some(origin) => format!("from driver `{}`", origin.driver),
                None => "from the platform".to_owned(),
            };
            return unsupported(format!(
                "the component has {known} from driver `{ours}` and driver `{driver}` has it \
                 {theirs}: bind both to the same"
            ));
        }
        if let Some(origin) = origin {
            return unsupported(format!(
                "driver `{driver}` has {known} from driver `{}`, and the component does not: bind \
                 it to the same",
                origin.driver
            ));
        }
        let serves = |name: &HostName, resource: &ImportedResource| {
            name.serves(&resource.interface, &resource.name)
        };
        let Some(place) = self.host.iter().position(|name| serves(name, known)) else {
            return unsupported(format!(
                "{known} is bound to the store that made it and cannot go to another component"
            ));
        };
        let imported = self.imported.iter().find(|known| known.ty == ours);
        match imported {
            Some(imported) if serves(&self.host[place], imported) => Ok(Definition::Host(place)),
            Some(imported) => Err(Mismatch::Differs(format!(
                "the component imports {imported}, the driver passes on {known}"
            ))),
            None => unsupported(format!("the component does not import {known}")),
        }
    }
}

fn unsupported<T>(reason: String) -> Result<T, Mismatch> {
    Err(Mismatch::Unsupported(reason))
}

fn plan_function(
    types: &Types<'_>,
    interface: &Matched<'_>,
    name: &str,
    imported: &ComponentFunc,
    engine: &Engine,
) -> Result<PlannedFunction, LinkError> {
    let Source {
        name: driver,
        exports,
        ..
    } = &types.sources[interface.source];
    let missing = || interface.missing(driver, "function", name);
    let exported = interface
        .export
        .ty
        .get_export(engine, name)
        .ok_or_else(missing)?;
    let ComponentItem::ComponentFunc(exported) = exported.ty else {
        return Err(missing());
    };
    let index = exports
        .component()
        .get_export_index(Some(&interface.export.index), name);
    let index = index.ok_or_else(missing)?;
    let corresponds = |ours: ResourceType, theirs: ResourceType| {
        let found = types.correspond(interface.source, ours, theirs);
        found.map(drop)
    };
    let carries = shape::compare(imported, &exported, &corresponds);
    let carries = carries.map_err(|mismatch| interface.refusal(driver, name, mismatch))?;
    let owned = &carries.results.owned;
    let target = Arc::new(Target {
        interface: interface.export.name.clone(),
        function: name.into(),
        index,
        has_streams: !(carries.parameters.payloads.is_empty()
            && carries.results.payloads.is_empty()),
        results: exported.results().len(),
        flat_results: flat_count(exported.results()).unwrap_or(1),
        gives: owned.iter().any(|ty| exports.kind_of(*ty).is_some()),
        carried: carries.results,
    });
    let failure = FailureShape::of(imported);
    let flat_parameters = flat_count(imported.params().map(|(_, ty)| ty)).unwrap_or(MAX_FLAT);
    Ok(PlannedFunction {
        name: name.to_owned(),
        is_async: imported.async_(),
        parameters: carries.parameters,
        flat_parameters,
        failure,
        target,
    })
}
