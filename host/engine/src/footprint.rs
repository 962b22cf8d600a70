//! What an instance of a component takes before it has done anything, found out without compiling it.
//!
//! Threat: the component is a stranger's and not validated yet. It can name what is not there, nest
//! without end, and double what it makes with each step. So each index is looked up, nothing refers to
//! what comes after it, long names are read once, and the work has a bound.

use std::collections::HashMap;
use std::rc::Rc;

use wasmparser::{
    BinaryReaderError, ComponentAlias, ComponentExternalKind as Kind, ComponentInstance,
    ComponentOuterAliasKind, Instance, Parser, Payload,
};

/// Instances that are followed, with what they are given and what they export.
const STEPS: usize = 100_000;

/// How deep components may be instantiated within each other.
const DEPTH: usize = 64;

/// What an instance of a component takes, its inner ones included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Footprint {
    /// Core instances.
    pub core_instances: u64,
    /// Linear memories.
    pub memories: u64,
    /// Bytes with which they begin, all together.
    pub memory_bytes: u64,
    /// Bytes with which the largest begins.
    pub largest_memory: u64,
    /// Tables.
    pub tables: u64,
    /// Elements with which they begin, all together.
    pub table_elements: u64,
    /// Elements with which the largest begins.
    pub largest_table: u64,
}

impl Footprint {
    /// Bytes of all memories and tables, as a store counts them.
    pub fn bytes(&self) -> u64 {
        let tables = self
            .table_elements
            .saturating_mul(size_of::<usize>() as u64);
        self.memory_bytes.saturating_add(tables)
    }

    fn add(&mut self, other: &Self) {
        self.core_instances += other.core_instances;
        self.memories += other.memories;
        self.memory_bytes = self.memory_bytes.saturating_add(other.memory_bytes);
        self.largest_memory = self.largest_memory.max(other.largest_memory);
        self.tables += other.tables;
        self.table_elements = self.table_elements.saturating_add(other.table_elements);
        self.largest_table = self.largest_table.max(other.largest_table);
    }
}

/// Why it is not known.
pub(crate) enum Uncounted {
    /// The component cannot be read.
    Malformed(BinaryReaderError),
    /// It makes more instances, or nests them deeper, than is followed.
    TooMuch,
}

impl From<BinaryReaderError> for Uncounted {
    fn from(error: BinaryReaderError) -> Self {
        Self::Malformed(error)
    }
}

/// What an instance of the component takes; `None` where that depends on what it imports.
pub(crate) fn footprint(bytes: &[u8]) -> Result<Option<Footprint>, Uncounted> {
    let definitions = Definitions::read(bytes)?;
    let mut count = Count {
        definitions: &definitions,
        frames: Vec::new(),
        steps: 0,
        sum: Footprint::default(),
        is_known: true,
    };
    count.instantiate(0, None, HashMap::new(), 0)?;
    Ok(count.is_known.then_some(count.sum))
}

/// A module, component or instance, by where it comes from.
#[derive(Clone, Copy)]
enum Item {
    /// It is defined here.
    Here(usize),
    /// It is defined in a component around this one.
    Outer { count: u32, index: u32 },
    /// An instance exports it.
    Of { instance: u32, name: Name },
    /// It is imported.
    Given(Name),
    /// The instance of an index before it.
    Same(u32),
    /// There is no such thing.
    Nothing,
}

/// What stands for a name.
type Name = usize;

/// A name, and the kind and index of what has it.
type Named = (Name, Kind, u32);

#[derive(Default)]
struct Names<'a>(HashMap<&'a str, Name>);

impl<'a> Names<'a> {
    fn of(&mut self, name: &'a str) -> Name {
        let next = self.0.len();
        *self.0.entry(name).or_insert(next)
    }
}

/// What makes an instance.
enum Making {
    New { component: u32, with: Vec<Named> },
    Bundle(Vec<Named>),
}

/// One component, without what it is instantiated with.
#[derive(Default)]
struct Scope {
    modules: Vec<Item>,
    components: Vec<Item>,
    instances: Vec<Item>,
    makings: Vec<Making>,
    /// The module of each core instance.
    started: Vec<u32>,
    exports: Vec<Named>,
}

impl Scope {
    fn define(&mut self, kind: Kind, item: Item) {
        match kind {
            Kind::Module => self.modules.push(item),
            Kind::Component => self.components.push(item),
            Kind::Instance => self.instances.push(item),
            Kind::Func | Kind::Value | Kind::Type => {}
        }
    }

    /// One more index for what has one.
    fn define_again(&mut self, kind: Kind, index: u32) {
        let known = match kind {
            Kind::Module => self.modules.get(index as usize).copied(),
            Kind::Component => self.components.get(index as usize).copied(),
            _ => Some(Item::Same(index)),
        };
        self.define(kind, known.unwrap_or(Item::Nothing));
    }

    fn make(&mut self, making: Making) {
        self.instances.push(Item::Here(self.makings.len()));
        self.makings.push(making);
    }
}

/// All modules and components of a file, at any depth. The first component is the file.
#[derive(Default)]
struct Definitions {
    modules: Vec<Footprint>,
    scopes: Vec<Scope>,
}

/// Where in a file a reader is.
#[derive(Clone, Copy)]
enum Place {
    Module(usize),
    Component(usize),
}

impl Definitions {
    fn read(bytes: &[u8]) -> Result<Self, BinaryReaderError> {
        let mut this = Self::default();
        let mut names = Names::default();
        this.scopes.push(Scope::default());
        let mut places = vec![Place::Component(0)];
        for payload in Parser::new(0).parse_all(bytes) {
            let payload = payload?;
            let Some(place) = places.last().copied() else {
                break;
            };
            match (&payload, place) {
                (Payload::End(_), _) => {
                    places.pop();
                }
                (Payload::ModuleSection { .. }, Place::Component(at)) => {
                    let module = this.modules.len();
                    this.scopes[at].define(Kind::Module, Item::Here(module));
                    this.modules.push(Footprint {
                        core_instances: 1,
                        ..Footprint::default()
                    });
                    places.push(Place::Module(module));
                }
                (Payload::ComponentSection { .. }, Place::Component(at)) => {
                    let component = this.scopes.len();
                    this.scopes[at].define(Kind::Component, Item::Here(component));
                    this.scopes.push(Scope::default());
                    places.push(Place::Component(component));
                }
                (_, Place::Module(at)) => this.modules[at].read_section(payload)?,
                (_, Place::Component(at)) => this.scopes[at].read(payload, &mut names)?,
            }
        }
        Ok(this)
    }
}

impl Footprint {
    /// What a section of a module adds to what the module takes.
    fn read_section(&mut self, payload: Payload<'_>) -> Result<(), BinaryReaderError> {
        match payload {
            Payload::MemorySection(memories) => {
                for memory in memories {
                    let memory = memory?;
                    let page = 1_u64.checked_shl(memory.page_size_log2.unwrap_or(16));
                    let bytes = memory.initial.saturating_mul(page.unwrap_or(u64::MAX));
                    self.memories += 1;
                    self.memory_bytes = self.memory_bytes.saturating_add(bytes);
                    self.largest_memory = self.largest_memory.max(bytes);
                }
            }
            Payload::TableSection(tables) => {
                for table in tables {
                    let elements = table?.ty.initial;
                    self.tables += 1;
                    self.table_elements = self.table_elements.saturating_add(elements);
                    self.largest_table = self.largest_table.max(elements);
                }
            }
            _ => {}
        }
        Ok(())
    }
}

impl Scope {
    /// What a section defines.
    fn read<'a>(
        &mut self,
        payload: Payload<'a>,
        names: &mut Names<'a>,
    ) -> Result<(), BinaryReaderError> {
        match payload {
            Payload::InstanceSection(instances) => {
                for instance in instances {
                    if let Instance::Instantiate { module_index, .. } = instance? {
                        self.started.push(module_index);
                    }
                }
            }
            Payload::ComponentInstanceSection(instances) => {
                for instance in instances {
                    self.make(match instance? {
                        ComponentInstance::Instantiate {
                            component_index,
                            args,
                        } => Making::New {
                            component: component_index,
                            with: args
                                .iter()
                                .map(|arg| (names.of(arg.name), arg.kind, arg.index))
                                .collect(),
                        },
                        ComponentInstance::FromExports(exports) => Making::Bundle(
                            exports
                                .iter()
                                .map(|export| {
                                    (names.of(export.name.name), export.kind, export.index)
                                })
                                .collect(),
                        ),
                    });
                }
            }
            Payload::ComponentAliasSection(aliases) => {
                for alias in aliases {
                    match alias? {
                        ComponentAlias::InstanceExport {
                            kind,
                            instance_index: instance,
                            name,
                        } => {
                            let name = names.of(name);
                            self.define(kind, Item::Of { instance, name });
                        }
                        ComponentAlias::Outer { kind, count, index } => {
                            let kind = match kind {
                                ComponentOuterAliasKind::CoreModule => Kind::Module,
                                ComponentOuterAliasKind::Component => Kind::Component,
                                ComponentOuterAliasKind::CoreType
                                | ComponentOuterAliasKind::Type => Kind::Type,
                            };
                            match count {
                                0 => self.define_again(kind, index),
                                _ => self.define(kind, Item::Outer { count, index }),
                            }
                        }
                        ComponentAlias::CoreInstanceExport { .. } => {}
                    }
                }
            }
            Payload::ComponentImportSection(imports) => {
                for import in imports {
                    let import = import?;
                    self.define(import.ty.kind(), Item::Given(names.of(import.name.name)));
                }
            }
            Payload::ComponentExportSection(exports) => {
                for export in exports {
                    let export = export?;
                    let name = names.of(export.name.name);
                    self.exports.push((name, export.kind, export.index));
                    self.define_again(export.kind, export.index);
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// What an index means in one instance.
#[derive(Clone)]
enum Meaning {
    Module(usize),
    /// A component, and the instance in which it is defined.
    Component(usize, usize),
    Instance(Rc<HashMap<Name, Meaning>>),
    /// What comes from outside, or is not there.
    Unknown,
}

/// One instance of a component.
struct Frame {
    scope: usize,
    /// The instance of the component around it.
    outer: Option<usize>,
    given: HashMap<Name, Meaning>,
    instances: Vec<Meaning>,
}

struct Count<'d> {
    definitions: &'d Definitions,
    frames: Vec<Frame>,
    steps: usize,
    sum: Footprint,
    is_known: bool,
}

impl<'d> Count<'d> {
    /// Counts what an instance of a component takes, and gives the number of its frame.
    fn instantiate(
        &mut self,
        scope: usize,
        outer: Option<usize>,
        given: HashMap<Name, Meaning>,
        depth: usize,
    ) -> Result<usize, Uncounted> {
        if depth > DEPTH {
            return Err(Uncounted::TooMuch);
        }
        let at = self.frames.len();
        self.frames.push(Frame {
            scope,
            outer,
            given,
            instances: Vec::new(),
        });
        let scope: &'d Scope = &self.definitions.scopes[scope];
        for item in &scope.instances {
            self.step()?;
            let instance = match *item {
                Item::Here(making) => self.make(at, &scope.makings[making], depth)?,
                Item::Of { instance, name } => self.export(at, instance, name),
                Item::Given(name) => self.given(at, name),
                Item::Same(index) => self.find(at, Kind::Instance, index),
                Item::Outer { .. } | Item::Nothing => Meaning::Unknown,
            };
            self.frames[at].instances.push(instance);
        }
        for module in &scope.started {
            self.step()?;
            match self.find(at, Kind::Module, *module) {
                Meaning::Module(module) => self.sum.add(&self.definitions.modules[module]),
                _ => self.is_known = false,
            }
        }
        Ok(at)
    }

    fn make(&mut self, at: usize, making: &'d Making, depth: usize) -> Result<Meaning, Uncounted> {
        let exports = match making {
            Making::Bundle(exports) => self.all(at, exports)?,
            Making::New { component, with } => {
                let Meaning::Component(scope, outer) = self.find(at, Kind::Component, *component)
                else {
                    self.is_known = false;
                    return Ok(Meaning::Unknown);
                };
                let given = self.all(at, with)?;
                let made = self.instantiate(scope, Some(outer), given, depth + 1)?;
                self.all(made, &self.definitions.scopes[scope].exports)?
            }
        };
        Ok(Meaning::Instance(Rc::new(exports)))
    }

    fn all(&mut self, at: usize, named: &'d [Named]) -> Result<HashMap<Name, Meaning>, Uncounted> {
        let mut all = HashMap::new();
        for (name, kind, index) in named {
            self.step()?;
            all.insert(*name, self.find(at, *kind, *index));
        }
        Ok(all)
    }

    fn find(&self, mut at: usize, kind: Kind, index: u32) -> Meaning {
        let mut index = index as usize;
        loop {
            let frame = &self.frames[at];
            let scope = &self.definitions.scopes[frame.scope];
            let items = match kind {
                Kind::Module => &scope.modules,
                Kind::Component => &scope.components,
                Kind::Instance => {
                    let known = frame.instances.get(index);
                    return known.cloned().unwrap_or(Meaning::Unknown);
                }
                Kind::Func | Kind::Value | Kind::Type => return Meaning::Unknown,
            };
            match items.get(index).copied().unwrap_or(Item::Nothing) {
                Item::Here(defined) if kind == Kind::Module => return Meaning::Module(defined),
                Item::Here(defined) => return Meaning::Component(defined, at),
                Item::Of { instance, name } => return self.export(at, instance, name),
                Item::Given(name) => return self.given(at, name),
                Item::Same(_) | Item::Nothing => return Meaning::Unknown,
                // Each time nearer to the outermost, of which nothing is outside.
                Item::Outer {
                    count,
                    index: there,
                } => {
                    for _ in 0..count {
                        match self.frames[at].outer {
                            Some(outer) => at = outer,
                            None => return Meaning::Unknown,
                        }
                    }
                    index = there as usize;
                }
            }
        }
    }

    fn export(&self, at: usize, instance: u32, name: Name) -> Meaning {
        match self.frames[at].instances.get(instance as usize) {
            Some(Meaning::Instance(exports)) => exports.get(&name).cloned(),
            _ => None,
        }
        .unwrap_or(Meaning::Unknown)
    }

    fn given(&self, at: usize, name: Name) -> Meaning {
        let given = self.frames[at].given.get(&name);
        given.cloned().unwrap_or(Meaning::Unknown)
    }

    fn step(&mut self) -> Result<(), Uncounted> {
        self.steps += 1;
        match self.steps > STEPS {
            true => Err(Uncounted::TooMuch),
            false => Ok(()),
        }
    }
}
