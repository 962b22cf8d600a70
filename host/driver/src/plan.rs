//! Deciding how a component's imports are served by drivers, before anything is defined.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use wasmtime::Engine;
use wasmtime::component::types::{ComponentFunc, ComponentInstance, ComponentItem};
use wasmtime::component::{Component, ResourceType};

use crate::error::LinkError;
use crate::exports::{ExportedInterface, Exports};
use crate::failure::FailureShape;
use crate::handle::Target;
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

/// Checks that the imports of `component` can be served by drivers, each by its candidate.
pub fn check_interfaces(
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
            });
            sources.len() - 1
        });
        imports.push((candidate.import, source));
    }
    plan(component, &sources, &imports).map(drop)
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
}

/// How the imports are served.
pub(crate) struct Plan {
    pub(crate) interfaces: Vec<PlannedInterface>,
    pub(crate) resources: Resources,
}

pub(crate) struct PlannedInterface {
    pub(crate) import: String,
    pub(crate) source: usize,
    /// Names and the numbers that stand for their types in the importing store.
    pub(crate) resources: Vec<(String, u32)>,
    pub(crate) functions: Vec<PlannedFunction>,
}

pub(crate) struct PlannedFunction {
    pub(crate) name: String,
    pub(crate) is_async: bool,
    pub(crate) parameters: Handles,
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

    /// The number of each kind of a driver's resources, where the component imports it.
    pub(crate) fn numbers(&self, source: usize, kinds: usize) -> Vec<Option<u32>> {
        let mut numbers = vec![None; kinds];
        for pair in self.pairs.iter().filter(|pair| pair.source == source) {
            numbers[pair.kind] = Some(pair.number);
        }
        numbers
    }
}

/// An import with the export that serves it.
struct Matched<'a> {
    import: &'a str,
    imported: ComponentInstance,
    source: usize,
    export: &'a ExportedInterface,
}

pub(crate) fn plan(
    component: &Component,
    sources: &[Source],
    imports: &[(&str, usize)],
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
        let Source { name, exports } = &sources[source];
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
    let mut named = Vec::new();
    for interface in &matched {
        named.push(pair_resources(engine, sources, interface, &mut resources)?);
    }
    let mut interfaces = Vec::new();
    for (interface, resource_names) in matched.iter().zip(named) {
        let mut functions = Vec::new();
        for (name, item) in interface.imported.exports(engine) {
            match item.ty {
                ComponentItem::ComponentFunc(ty) => {
                    let function = plan_function(sources, interface, name, &ty, &resources, engine);
                    functions.push(function?);
                }
                ComponentItem::Type(_) | ComponentItem::Resource(_) => {}
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
            resources: resource_names,
            functions,
        });
    }
    Ok(Plan {
        interfaces,
        resources,
    })
}

/// Finds the driver's type for each resource type of an imported interface.
fn pair_resources(
    engine: &Engine,
    sources: &[Source],
    interface: &Matched<'_>,
    resources: &mut Resources,
) -> Result<Vec<(String, u32)>, LinkError> {
    let Source {
        name: driver,
        exports,
    } = &sources[interface.source];
    let mut named = Vec::new();
    for (name, item) in interface.imported.exports(engine) {
        let ComponentItem::Resource(imported) = item.ty else {
            continue;
        };
        let exported = interface
            .export
            .ty
            .get_export(engine, name)
            .map(|item| item.ty);
        let Some(ComponentItem::Resource(exported)) = exported else {
            return Err(LinkError::Missing {
                driver: driver.clone(),
                interface: interface.export.name.to_string(),
                kind: "resource",
                item: name.to_owned(),
            });
        };
        let kind = exports
            .kind_of(exported)
            .ok_or_else(|| LinkError::Unsupported {
                interface: interface.import.to_owned(),
                item: name.to_owned(),
                reason: foreign(exports.imports(exported)).to_owned(),
            })?;
        let number = resources.pair(imported, interface.source, kind);
        let number = number.ok_or_else(|| LinkError::Shape {
            driver: driver.clone(),
            interface: interface.export.name.to_string(),
            item: name.to_owned(),
            difference: "the component and its drivers disagree on which interfaces share this \
                         resource type"
                .to_owned(),
        })?;
        named.push((name.to_owned(), number));
    }
    Ok(named)
}

fn plan_function(
    sources: &[Source],
    interface: &Matched<'_>,
    name: &str,
    imported: &ComponentFunc,
    resources: &Resources,
    engine: &Engine,
) -> Result<PlannedFunction, LinkError> {
    let Source {
        name: driver,
        exports,
    } = &sources[interface.source];
    let missing = || LinkError::Missing {
        driver: driver.clone(),
        interface: interface.export.name.to_string(),
        kind: "function",
        item: name.to_owned(),
    };
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
        let unsupported = |reason: &str| Err(Mismatch::Unsupported(reason.to_owned()));
        let Some(kind) = exports.kind_of(theirs) else {
            return unsupported(foreign(exports.imports(theirs)));
        };
        match resources.find(ours) {
            None => unsupported("its resource is of an interface that this driver does not serve"),
            Some(pair) if pair.source != interface.source => {
                let other = &sources[pair.source].name;
                unsupported(&format!(
                    "its resource is served by another driver, `{other}`"
                ))
            }
            Some(pair) if pair.kind == kind => Ok(()),
            Some(_) => Err(Mismatch::Differs(
                "the component imports another resource than the driver exports".to_owned(),
            )),
        }
    };
    let carries = shape::compare(imported, &exported, &corresponds);
    let carries = carries.map_err(|mismatch| match mismatch {
        Mismatch::Differs(difference) => LinkError::Shape {
            driver: driver.clone(),
            interface: interface.export.name.to_string(),
            item: name.to_owned(),
            difference,
        },
        Mismatch::Unsupported(reason) => LinkError::Unsupported {
            interface: interface.import.to_owned(),
            item: name.to_owned(),
            reason,
        },
    })?;
    let target = Arc::new(Target {
        interface: interface.export.name.clone(),
        function: name.into(),
        index,
        has_streams: !(carries.parameters.payloads.is_empty()
            && carries.results.payloads.is_empty()),
        results: exported.results().len(),
        carried: carries.results,
    });
    let failure = FailureShape::of(imported);
    Ok(PlannedFunction {
        name: name.to_owned(),
        is_async: imported.async_(),
        parameters: carries.parameters,
        failure,
        target,
    })
}

fn foreign(is_imported: bool) -> &'static str {
    match is_imported {
        true => "the driver imports this resource itself and only passes it on",
        false => "the driver does not export the type of this resource",
    }
}
