//! What a driver component exports.

use std::sync::Arc;

use canopy_ids::InterfaceName;
use wasmtime::component::types::{ComponentInstance, ComponentItem};
use wasmtime::component::{Component, ComponentExportIndex, ResourceType};

/// The interfaces of a component, and the resource types that it defines in them.
pub(crate) struct Exports {
    component: Component,
    interfaces: Vec<ExportedInterface>,
    kinds: Vec<ResourceKind>,
    imported: Vec<ResourceType>,
}

/// An exported interface.
pub(crate) struct ExportedInterface {
    pub(crate) name: Arc<str>,
    pub(crate) index: ComponentExportIndex,
    pub(crate) ty: ComponentInstance,
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
        let mut imported = Vec::new();
        for (_, import) in ty.imports(engine) {
            match import.ty {
                ComponentItem::ComponentInstance(instance) => {
                    imported.extend(instance.exports(engine).filter_map(
                        |(_, item)| match item.ty {
                            ComponentItem::Resource(ty) => Some(ty),
                            _ => None,
                        },
                    ));
                }
                ComponentItem::Resource(ty) => imported.push(ty),
                _ => {}
            }
        }
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
                if imported.contains(&ty) || kinds.iter().any(|kind| kind.ty == ty) {
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

    pub(crate) fn imports(&self, ty: ResourceType) -> bool {
        self.imported.contains(&ty)
    }
}
