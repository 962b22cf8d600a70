//! What some bytes are, and what a component imports and exports, without compiling it.
//!
//! One pass over the sections; types and code are left to the compiler, which validates them in
//! its child process. Whatever is not a component is refused with what it is instead.

use std::collections::HashMap;
use std::fmt;

use canopy_ids::{Import, InterfaceName, Label};
use wasmparser::{
    ComponentAlias, ComponentExternName, ComponentExternalKind, Encoding, Parser, Payload,
};
use wasmtime::Precompiled;

use crate::footprint::{Footprint, Uncounted, footprint};

/// Imports or exports that a component may have; more is not a program that anyone wrote.
const MAX_ITEMS: usize = 10_000;

/// What a component asks for and offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// What it imports, in its order.
    pub imports: Vec<Item>,
    /// What it exports, in its order.
    pub exports: Vec<Item>,
    /// How it serves HTTP, where it does.
    pub http: Option<HttpWorld>,
    /// Size of the component in bytes.
    pub size: usize,
    /// Core modules in it, at any depth.
    pub core_modules: usize,
    /// Functions in all of its core modules.
    pub functions: usize,
    /// What an instance of it takes; `None` where that depends on a core module or component that it
    /// imports.
    pub footprint: Option<Footprint>,
}

/// How a component serves HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpWorld {
    /// It exports `wasi:http/incoming-handler@0.2.x`: the world `proxy`.
    Proxy02,
    /// It exports `wasi:http/handler@0.3.x`: the world `service`.
    Service03,
}

/// One import or export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Its name.
    pub name: ItemName,
    /// The label of an import whose `(implements …)` says which interface it is.
    pub label: Option<Label>,
    /// What kind of thing it is.
    pub kind: ItemKind,
    /// Whether the component takes a function out of it by itself, and not by what is nested in it.
    pub calls: bool,
}

/// The name of an import or export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ItemName {
    /// An interface, such as `wasi:http/types@0.2.3`.
    Interface(InterfaceName),
    /// Anything else, such as a function of the world itself.
    Other(Box<str>),
}

/// What kind of thing an import or export is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ItemKind {
    /// An instance: what an interface is in a component.
    Instance,
    /// A function.
    Function,
    /// A type or resource.
    Type,
    /// A value.
    Value,
    /// A core module.
    Module,
    /// A component.
    Component,
}

/// Why some bytes are not a component that can be looked at.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InspectError {
    /// There is nothing.
    #[error("the file is empty; a WebAssembly component was expected")]
    Empty,
    /// The text format.
    #[error(
        "the file is WebAssembly text; publish the binary instead (`wasm-tools parse FILE -o OUT`)"
    )]
    Text,
    /// A core module.
    #[error(
        "the file is a core module, not a component; build for `wasm32-wasip2`, or wrap it with \
         `wasm-tools component new`"
    )]
    CoreModule,
    /// Native code, ours or another's.
    #[error(
        "the file is native code ({what}), not a component; publish the component it was \
         compiled from"
    )]
    Native {
        /// What native code it is.
        what: &'static str,
    },
    /// Something else.
    #[error("the file is not WebAssembly: it does not begin with `\\0asm`")]
    NotWasm,
    /// A component of a version of the format that is not known.
    #[error("the component is of an unknown version of the binary format: {message}")]
    Version {
        /// What the parser says.
        message: String,
    },
    /// The end is missing.
    #[error("the component is truncated: it ends at byte {size}, inside of a section")]
    Truncated {
        /// Its size.
        size: usize,
    },
    /// The sections make no sense.
    #[error("the component is malformed at byte {offset}: {message}")]
    Malformed {
        /// Where.
        offset: u64,
        /// What the parser says.
        message: String,
    },
    /// More imports or exports than anyone needs.
    #[error("the component has more than {MAX_ITEMS} {what}")]
    TooManyItems {
        /// `imports` or `exports`.
        what: &'static str,
    },
    /// More instances in it than anyone needs.
    #[error(
        "the component makes more instances within it, or nests them deeper, than can be counted"
    )]
    TooManyInstances,
}

/// What a component imports, exports and takes. Linear in the size of `bytes`.
pub fn inspect(bytes: &[u8]) -> Result<Inspection, InspectError> {
    refuse_other_formats(bytes)?;
    let mut inspection = Inspection {
        imports: Vec::new(),
        exports: Vec::new(),
        http: None,
        size: bytes.len(),
        core_modules: 0,
        functions: 0,
        footprint: None,
    };
    let mut depth = 0_usize;
    let mut instances = Instances::default();
    let refused = |error: wasmparser::BinaryReaderError| refusal(&error, bytes.len());
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.map_err(refused)? {
            Payload::Version {
                encoding: Encoding::Module,
                ..
            } if depth == 0 => {
                return Err(InspectError::CoreModule);
            }
            Payload::ModuleSection { .. } => {
                depth += 1;
                inspection.core_modules += 1;
            }
            Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::CodeSectionStart { count, .. } => inspection.functions += count as usize,
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section {
                    let import = import.map_err(refused)?;
                    let item = Item::new(&import.name, import.ty.kind());
                    if item.kind == ItemKind::Instance {
                        instances.imported(inspection.imports.len());
                    }
                    push(&mut inspection.imports, item, "imports")?;
                }
            }
            Payload::ComponentExportSection(section) if depth == 0 => {
                for export in section {
                    let export = export.map_err(refused)?;
                    let item = Item::new(&export.name, export.kind);
                    if item.kind == ItemKind::Instance {
                        instances.made(1);
                    }
                    push(&mut inspection.exports, item, "exports")?;
                }
            }
            Payload::ComponentInstanceSection(section) if depth == 0 => {
                instances.made(section.count());
            }
            Payload::ComponentAliasSection(section) if depth == 0 => {
                for alias in section {
                    let ComponentAlias::InstanceExport {
                        kind,
                        instance_index,
                        ..
                    } = alias.map_err(refused)?
                    else {
                        continue;
                    };
                    match (kind, instances.import(instance_index)) {
                        (ComponentExternalKind::Instance, _) => instances.made(1),
                        (ComponentExternalKind::Func, Some(import)) => {
                            inspection.imports[import].calls = true;
                        }
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    inspection.http = http_world(&inspection.exports);
    inspection.footprint = footprint(bytes).map_err(|uncounted| match uncounted {
        Uncounted::Malformed(error) => refused(error),
        Uncounted::TooMuch => InspectError::TooManyInstances,
    })?;
    Ok(inspection)
}

/// The instances of a component by their index, as far as they are imported.
#[derive(Default)]
struct Instances {
    count: u32,
    imports: HashMap<u32, usize>,
}

impl Instances {
    fn made(&mut self, count: u32) {
        self.count = self.count.saturating_add(count);
    }

    /// The next one is that import.
    fn imported(&mut self, import: usize) {
        self.imports.insert(self.count, import);
        self.made(1);
    }

    fn import(&self, instance: u32) -> Option<usize> {
        self.imports.get(&instance).copied()
    }
}

fn refuse_other_formats(bytes: &[u8]) -> Result<(), InspectError> {
    const MAGIC: &[u8] = b"\0asm";
    if bytes.is_empty() {
        return Err(InspectError::Empty);
    }
    if let Some(precompiled) = wasmtime::Engine::detect_precompiled(bytes) {
        let what = match precompiled {
            Precompiled::Module => "a module compiled by wasmtime",
            Precompiled::Component => "a component compiled by wasmtime",
        };
        return Err(InspectError::Native { what });
    }
    if bytes.starts_with(b"\x7fELF") {
        return Err(InspectError::Native {
            what: "an ELF file",
        });
    }
    if MAGIC.starts_with(bytes) {
        return Err(InspectError::Truncated { size: bytes.len() });
    }
    if bytes.starts_with(MAGIC) {
        return if bytes.len() < 8 {
            Err(InspectError::Truncated { size: bytes.len() })
        } else {
            Ok(())
        };
    }
    if is_text(bytes) {
        Err(InspectError::Text)
    } else {
        Err(InspectError::NotWasm)
    }
}

/// Whether the bytes begin as the text format does: blanks and comments, then `(component` or
/// `(module`.
fn is_text(bytes: &[u8]) -> bool {
    let start = &bytes[..bytes.len().min(64 << 10)];
    let Some(text) = start.utf8_chunks().next().map(|chunk| chunk.valid()) else {
        return false;
    };
    let mut rest = text.trim_start_matches('\u{feff}').trim_start();
    while let Some(comment) = rest.strip_prefix(";;") {
        rest = comment
            .split_once('\n')
            .map_or("", |(_, after)| after)
            .trim_start();
    }
    rest.starts_with("(;")
        || rest
            .strip_prefix('(')
            .map(str::trim_start)
            .is_some_and(|head| {
                ["component", "module", "wit-component"]
                    .iter()
                    .any(|word| head.starts_with(word))
            })
}

fn refusal(error: &wasmparser::BinaryReaderError, size: usize) -> InspectError {
    let message = error.message().to_owned();
    let at_end = error.offset() >= size || message.contains("unexpected end");
    if at_end {
        InspectError::Truncated { size }
    } else if message.contains("version") {
        InspectError::Version { message }
    } else {
        InspectError::Malformed {
            offset: error.offset() as u64,
            message,
        }
    }
}

fn push(items: &mut Vec<Item>, item: Item, what: &'static str) -> Result<(), InspectError> {
    if items.len() == MAX_ITEMS {
        return Err(InspectError::TooManyItems { what });
    }
    items.push(item);
    Ok(())
}

fn http_world(exports: &[Item]) -> Option<HttpWorld> {
    let mut world = None;
    for export in exports {
        let ItemName::Interface(name) = &export.name else {
            continue;
        };
        if &*name.package.namespace != "wasi" || &*name.package.name != "http" {
            continue;
        }
        let Some(version) = &name.version else {
            continue;
        };
        match (&*name.interface, version.major, version.minor) {
            ("handler", 0, 3) if version.pre.is_empty() => return Some(HttpWorld::Service03),
            ("incoming-handler", 0, 2) if version.pre.is_empty() => {
                world = Some(HttpWorld::Proxy02);
            }
            _ => {}
        }
    }
    world
}

impl Inspection {
    /// The interfaces it imports, with their labels.
    pub fn imported_interfaces(&self) -> impl Iterator<Item = Import> {
        let named = |item: &Item| {
            let interface = item.interface()?.clone();
            let label = item.label.clone();
            Some(Import { interface, label })
        };
        self.imports.iter().filter_map(named)
    }

    /// Whether it takes a function out of an import by itself.
    pub fn calls(&self, import: &Import) -> bool {
        self.imports.iter().any(|item| {
            item.calls && item.label == import.label && item.interface() == Some(&import.interface)
        })
    }

    /// The interfaces it exports.
    pub fn exported_interfaces(&self) -> impl Iterator<Item = &InterfaceName> {
        self.exports.iter().filter_map(Item::interface)
    }
}

impl Item {
    fn new(name: &ComponentExternName<'_>, kind: ComponentExternalKind) -> Self {
        let kind = match kind {
            ComponentExternalKind::Module => ItemKind::Module,
            ComponentExternalKind::Func => ItemKind::Function,
            ComponentExternalKind::Value => ItemKind::Value,
            ComponentExternalKind::Type => ItemKind::Type,
            ComponentExternalKind::Instance => ItemKind::Instance,
            ComponentExternalKind::Component => ItemKind::Component,
        };
        let labelled = name.implements.and_then(|interface| {
            let label: Label = name.name.parse().ok()?;
            Some((interface.parse().ok()?, label))
        });
        if let Some((interface, label)) = labelled {
            return Self {
                name: ItemName::Interface(interface),
                label: Some(label),
                kind,
                calls: false,
            };
        }
        let name = match name.name.parse() {
            Ok(interface) => ItemName::Interface(interface),
            Err(_) => ItemName::Other(name.name.into()),
        };
        Self {
            name,
            label: None,
            kind,
            calls: false,
        }
    }

    /// Its name, where it is an instance of a named interface.
    pub fn interface(&self) -> Option<&InterfaceName> {
        match (&self.name, self.kind) {
            (ItemName::Interface(name), ItemKind::Instance) => Some(name),
            _ => None,
        }
    }
}

impl fmt::Display for ItemName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interface(name) => name.fmt(f),
            Self::Other(name) => f.write_str(name),
        }
    }
}

impl fmt::Display for ItemKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Instance => "instance",
            Self::Function => "function",
            Self::Type => "type",
            Self::Value => "value",
            Self::Module => "core module",
            Self::Component => "component",
        })
    }
}
