//! What a driver component exports.

use std::fmt;
use std::sync::Arc;

use canopy_ids::InterfaceName;
use wasmtime::component::types::{ComponentInstance, ComponentItem};
use wasmtime::component::{Component, ComponentExportIndex, ResourceType};

/// The interfaces of a component, and the resource types that it defines in them.
pub(crate) struct Exports {
    component: Component,
    interfaces: Vec<ExportedInterface>,
    kinds: Vec<ResourceKind>,
    imported: Vec<ImportedResource>,
}

/// An exported interface.
pub(crate) struct ExportedInterface {
    pub(crate) name: Arc<str>,
    pub(crate) index: ComponentExportIndex,
    pub(crate) ty: ComponentInstance,
}

/// A resource type that a component imports, known by the first interface that has it: the one that
/// defines it, as interfaces come after those that they use.
pub(crate) struct ImportedResource {
    pub(crate) ty: ResourceType,
    pub(crate) interface: String,
    pub(crate) name: String,
}

impl ImportedResource {
    /// All of a component.
    pub(crate) fn all(component: &Component) -> Vec<Self> {
        let engine = component.engine();
        let mut all: Vec<Self> = Vec::new();
        let mut add = |ty, interface: &str, name: &str| {
            if all.iter().all(|known: &Self| known.ty != ty) {
                let (interface, name) = (interface.to_owned(), name.to_owned());
                all.push(Self {
                    ty,
                    interface,
                    name,
                });
            }
        };
        for (name, import) in component.component_type().imports(engine) {
            match import.ty {
                ComponentItem::ComponentInstance(instance) => {
                    let interface = import.implements.unwrap_or(name);
                    for (name, item) in instance.exports(engine) {
                        if let ComponentItem::Resource(ty) = item.ty {
                            add(ty, interface, name);
                        }
                    }
                }
                ComponentItem::Resource(ty) => add(ty, name, name),
                _ => {}
            }
        }
        all
    }
}

impl fmt::Display for ImportedResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` of `{}`", self.name, self.interface)
    }
}

/// A resource type that the component defines, known by the first interface that exports it.
pub(crate) struct ResourceKind {
    /// The type as the component describes it; each instance has one of its own.
    pub(crate) ty: ResourceType,
    pub(crate) index: ComponentExportIndex,
}

impl Exports {
    pub(crate) fn of(component: &Component) -> Self {
        let engine = component.engine();
        let ty = component.component_type();
        let imported = ImportedResource::all(component);
        let mut interfaces = Vec::new();
        let mut kinds: Vec<ResourceKind> = Vec::new();
        for (name, export) in ty.exports(engine) {
            let ComponentItem::ComponentInstance(ty) = export.ty else {
                continue;
            };
            let Some(index) = component.get_export_index(None, name) else {
                continue;
            };
            for (name, item) in ty.exports(engine) {
                let ComponentItem::Resource(ty) = item.ty else {
                    continue;
                };
                if imported.iter().any(|known| known.ty == ty)
                    || kinds.iter().any(|kind| kind.ty == ty)
                {
                    continue;
                }
                if let Some(index) = component.get_export_index(Some(&index), name) {
                    kinds.push(ResourceKind { ty, index });
                }
            }
            interfaces.push(ExportedInterface {
                name: name.into(),
                index,
                ty,
            });
        }
        Self {
            component: component.clone(),
            interfaces,
            kinds,
            imported,
        }
    }

    pub(crate) fn component(&self) -> &Component {
        &self.component
    }

    /// The interface that serves an import: the same name, else the newest compatible version.
    pub(crate) fn serving(&self, import: &str) -> Option<&ExportedInterface> {
        if let Some(exact) = self
            .interfaces
            .iter()
            .find(|export| &*export.name == import)
        {
            return Some(exact);
        }
        let import: InterfaceName = import.parse().ok()?;
        let offers = self.interfaces.iter().filter_map(|export| {
            let name: InterfaceName = export.name.parse().ok()?;
            import.accepts(&name).then_some((name.version, export))
        });
        offers
            .max_by(|(a, _), (b, _)| a.cmp(b))
            .map(|(_, export)| export)
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.interfaces
            .iter()
            .map(|export| export.name.to_string())
            .collect()
    }

    pub(crate) fn kinds(&self) -> &[ResourceKind] {
        &self.kinds
    }

    /// Which kind a resource type is; `None` where the component only passes it on.
    pub(crate) fn kind_of(&self, ty: ResourceType) -> Option<usize> {
        self.kinds.iter().position(|kind| kind.ty == ty)
    }

    /// What the component imports a resource type as.
    pub(crate) fn imported(&self, ty: ResourceType) -> Option<&ImportedResource> {
        self.imported.iter().find(|known| known.ty == ty)
    }
}
