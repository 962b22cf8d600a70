//! Comparing the types of a function as one component imports it and another exports it.
//!
//! Two components describe an interface each in its own type tables, so types are compared by
//! structure and names. Resource types correspond by a table made before.

use wasmtime::component::ResourceType;
use wasmtime::component::types::{ComponentFunc, Type};

use crate::payload::Payload;

/// Types visited per function before the comparison gives up: a type may name another one many
/// times over, so that its tree grows exponentially with its text.
const MAX_TYPES: usize = 10_000;

/// How many levels of a type a message shows.
const SHOWN_LEVELS: usize = 3;

/// Why a function cannot be linked.
pub(crate) enum Mismatch {
    /// The two sides differ; where and how.
    Differs(String),
    /// The two sides agree on something that cannot cross.
    Unsupported(String),
}

/// What is known of a function whose shape is the same on both sides.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Carries {
    pub(crate) parameters: Handles,
    pub(crate) results: Handles,
}

/// What values of a type can hold that belongs to a store.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Handles {
    /// A resource, a stream or a future.
    pub(crate) any: bool,
    /// The types of the resources that are given away, as the driver has them.
    pub(crate) owned: Vec<ResourceType>,
    /// What its streams and futures carry.
    pub(crate) payloads: Vec<Payload>,
}

/// Compares a function's two types. `corresponds` says of two resource types whether they are
/// known to be the same, or why not.
pub(crate) fn compare(
    imported: &ComponentFunc,
    exported: &ComponentFunc,
    corresponds: &dyn Fn(ResourceType, ResourceType) -> Result<(), Mismatch>,
) -> Result<Carries, Mismatch> {
    if imported.async_() != exported.async_() {
        let side = |is_async| {
            if is_async {
                "an async function"
            } else {
                "a function"
            }
        };
        return Err(Mismatch::Differs(format!(
            "the component imports {}, the driver exports {}",
            side(imported.async_()),
            side(exported.async_())
        )));
    }
    let mut walk = Walk {
        corresponds,
        path: Vec::new(),
        visited: 0,
        handles: Handles::default(),
        in_payload: false,
    };
    let (ours, theirs): (Vec<_>, Vec<_>) =
        (imported.params().collect(), exported.params().collect());
    let names = |params: &[(&str, Type)]| {
        params
            .iter()
            .map(|(name, _)| format!("`{name}`"))
            .collect::<Vec<_>>()
            .join(", ")
    };
    if ours.len() != theirs.len() || ours.iter().zip(&theirs).any(|(a, b)| a.0 != b.0) {
        return Err(Mismatch::Differs(format!(
            "the component passes parameters ({}), the driver takes ({})",
            names(&ours),
            names(&theirs)
        )));
    }
    for ((name, a), (_, b)) in ours.iter().zip(&theirs) {
        walk.within(format!("parameter `{name}`"), a, b)?;
    }
    let parameters = std::mem::take(&mut walk.handles);
    let (ours, theirs): (Vec<_>, Vec<_>) =
        (imported.results().collect(), exported.results().collect());
    match (ours.as_slice(), theirs.as_slice()) {
        ([], []) => {}
        ([a], [b]) => walk.within("result".to_owned(), a, b)?,
        _ => {
            let shown = |types: &[Type]| types.first().map_or("nothing".to_owned(), show);
            return Err(Mismatch::Differs(format!(
                "the component expects {} as its result, the driver returns {}",
                shown(&ours),
                shown(&theirs)
            )));
        }
    }
    Ok(Carries {
        parameters,
        results: walk.handles,
    })
}

struct Walk<'a> {
    corresponds: &'a dyn Fn(ResourceType, ResourceType) -> Result<(), Mismatch>,
    path: Vec<String>,
    visited: usize,
    handles: Handles,
    /// Within what a stream or future carries.
    in_payload: bool,
}

impl Walk<'_> {
    fn within(&mut self, step: String, a: &Type, b: &Type) -> Result<(), Mismatch> {
        self.path.push(step);
        self.same(a, b)?;
        self.path.pop();
        Ok(())
    }

    fn optional(&mut self, step: String, a: Option<Type>, b: Option<Type>) -> Result<(), Mismatch> {
        match (a, b) {
            (None, None) => Ok(()),
            (Some(a), Some(b)) => self.within(step, &a, &b),
            (a, b) => {
                self.path.push(step);
                let shown = |ty: &Option<Type>| ty.as_ref().map_or("nothing".to_owned(), show);
                Err(self.differs(&shown(&a), &shown(&b)))
            }
        }
    }

    fn same(&mut self, a: &Type, b: &Type) -> Result<(), Mismatch> {
        self.visited += 1;
        if self.visited > MAX_TYPES {
            let reason = format!("its types are more than {MAX_TYPES} when written out");
            return Err(Mismatch::Unsupported(reason));
        }
        match (a, b) {
            (Type::Bool, Type::Bool)
            | (Type::S8, Type::S8)
            | (Type::U8, Type::U8)
            | (Type::S16, Type::S16)
            | (Type::U16, Type::U16)
            | (Type::S32, Type::S32)
            | (Type::U32, Type::U32)
            | (Type::S64, Type::S64)
            | (Type::U64, Type::U64)
            | (Type::Float32, Type::Float32)
            | (Type::Float64, Type::Float64)
            | (Type::Char, Type::Char)
            | (Type::String, Type::String) => Ok(()),
            (Type::List(a), Type::List(b)) => self.within("element".to_owned(), &a.ty(), &b.ty()),
            (Type::FixedLengthList(a), Type::FixedLengthList(b)) => {
                if a.len() != b.len() {
                    return Err(
                        self.differs(&format!("{} elements", a.len()), &format!("{}", b.len()))
                    );
                }
                self.within("element".to_owned(), &a.ty(), &b.ty())
            }
            (Type::Map(a), Type::Map(b)) => {
                self.within("key".to_owned(), &a.key(), &b.key())?;
                self.within("value".to_owned(), &a.value(), &b.value())
            }
            (Type::Record(a), Type::Record(b)) => {
                let names = |record: &wasmtime::component::types::Record| {
                    record
                        .fields()
                        .map(|field| field.name.to_owned())
                        .collect::<Vec<_>>()
                };
                self.same_names("fields", &names(a), &names(b))?;
                for (a, b) in a.fields().zip(b.fields()) {
                    self.within(format!("field `{}`", a.name), &a.ty, &b.ty)?;
                }
                Ok(())
            }
            (Type::Tuple(a), Type::Tuple(b)) => {
                let (a, b): (Vec<_>, Vec<_>) = (a.types().collect(), b.types().collect());
                if a.len() != b.len() {
                    return Err(
                        self.differs(&format!("{} elements", a.len()), &format!("{}", b.len()))
                    );
                }
                for (index, (a, b)) in a.iter().zip(&b).enumerate() {
                    self.within(format!("element {index}"), a, b)?;
                }
                Ok(())
            }
            (Type::Variant(a), Type::Variant(b)) => {
                let names = |variant: &wasmtime::component::types::Variant| {
                    variant
                        .cases()
                        .map(|case| case.name.to_owned())
                        .collect::<Vec<_>>()
                };
                self.same_names("cases", &names(a), &names(b))?;
                for (a, b) in a.cases().zip(b.cases()) {
                    self.optional(format!("case `{}`", a.name), a.ty, b.ty)?;
                }
                Ok(())
            }
            (Type::Enum(a), Type::Enum(b)) => {
                let names = |ty: &wasmtime::component::types::Enum| {
                    ty.names().map(str::to_owned).collect::<Vec<_>>()
                };
                self.same_names("cases", &names(a), &names(b))
            }
            (Type::Flags(a), Type::Flags(b)) => {
                let names = |ty: &wasmtime::component::types::Flags| {
                    ty.names().map(str::to_owned).collect::<Vec<_>>()
                };
                self.same_names("flags", &names(a), &names(b))
            }
            (Type::Option(a), Type::Option(b)) => self.within("value".to_owned(), &a.ty(), &b.ty()),
            (Type::Result(a), Type::Result(b)) => {
                self.optional("ok".to_owned(), a.ok(), b.ok())?;
                self.optional("err".to_owned(), a.err(), b.err())
            }
            (Type::Own(a), Type::Own(b)) => {
                if !self.handles.owned.contains(b) {
                    self.handles.owned.push(*b);
                }
                self.resource(*a, *b)
            }
            (Type::Borrow(a), Type::Borrow(b)) => self.resource(*a, *b),
            (Type::Future(a), Type::Future(b)) => self.carried(a.ty(), b.ty()),
            (Type::Stream(a), Type::Stream(b)) => self.carried(a.ty(), b.ty()),
            (Type::ErrorContext, Type::ErrorContext) => {
                let reason = "`error-context` is not supported: it is no part of WASI 0.3";
                Err(self.placed(Mismatch::Unsupported(reason.to_owned())))
            }
            (a, b) => Err(self.differs(&show(a), &show(b))),
        }
    }

    fn resource(&mut self, a: ResourceType, b: ResourceType) -> Result<(), Mismatch> {
        self.handles.any = true;
        if self.in_payload {
            let reason = "resources cannot be in streams and futures between components";
            return Err(self.placed(Mismatch::Unsupported(reason.to_owned())));
        }
        (self.corresponds)(a, b).map_err(|mismatch| self.placed(mismatch))
    }

    /// Compares what two streams or futures carry.
    fn carried(&mut self, a: Option<Type>, b: Option<Type>) -> Result<(), Mismatch> {
        if self.in_payload {
            let reason = "streams and futures cannot be in others between components";
            return Err(self.placed(Mismatch::Unsupported(reason.to_owned())));
        }
        self.in_payload = true;
        self.optional("payload".to_owned(), a.clone(), b)?;
        self.in_payload = false;
        let Some(payload) = Payload::of(a.as_ref()) else {
            let shown = a.as_ref().map_or("nothing".to_owned(), show);
            return Err(self.placed(Mismatch::Unsupported(format!(
                "streams and futures of {shown} are not supported between components"
            ))));
        };
        self.handles.any = true;
        if !self.handles.payloads.contains(&payload) {
            self.handles.payloads.push(payload);
        }
        Ok(())
    }

    fn same_names(&self, what: &str, a: &[String], b: &[String]) -> Result<(), Mismatch> {
        if a == b {
            return Ok(());
        }
        let only = |these: &[String], those: &[String]| {
            let names = these.iter().filter(|name| !those.contains(name));
            names
                .map(|name| format!("`{name}`"))
                .collect::<Vec<_>>()
                .join(", ")
        };
        let text = match (only(a, b).as_str(), only(b, a).as_str()) {
            ("", "") => format!("the {what} are in another order"),
            (ours, "") => format!("{what} {ours} only in the component's import"),
            ("", theirs) => format!("{what} {theirs} only in the driver's export"),
            (ours, theirs) => {
                format!(
                    "{what} {ours} only in the component's import, {theirs} only in the driver's export"
                )
            }
        };
        Err(self.placed(Mismatch::Differs(text)))
    }

    fn differs(&self, a: &str, b: &str) -> Mismatch {
        self.placed(Mismatch::Differs(format!(
            "the component imports {a}, the driver exports {b}"
        )))
    }

    /// Says where in the function it is.
    fn placed(&self, mismatch: Mismatch) -> Mismatch {
        let at = |text: String| match self.path.is_empty() {
            true => text,
            false => format!("{}: {text}", self.path.join(", ")),
        };
        match mismatch {
            Mismatch::Differs(text) => Mismatch::Differs(at(text)),
            Mismatch::Unsupported(text) => Mismatch::Unsupported(at(text)),
        }
    }
}

/// A type as WIT writes it, its depths left out.
fn show(ty: &Type) -> String {
    show_level(ty, SHOWN_LEVELS)
}

fn show_level(ty: &Type, levels: usize) -> String {
    let Some(below) = levels.checked_sub(1) else {
        return "…".to_owned();
    };
    let inner = |ty: &Type| show_level(ty, below);
    let or_blank = |ty: Option<Type>| ty.as_ref().map_or("_".to_owned(), inner);
    let names = |names: &mut dyn Iterator<Item = String>| {
        let mut all: Vec<_> = names.take(9).collect();
        if all.len() == 9 {
            all[8] = "…".to_owned();
        }
        all.join(", ")
    };
    match ty {
        Type::Bool => "bool".into(),
        Type::S8 => "s8".into(),
        Type::U8 => "u8".into(),
        Type::S16 => "s16".into(),
        Type::U16 => "u16".into(),
        Type::S32 => "s32".into(),
        Type::U32 => "u32".into(),
        Type::S64 => "s64".into(),
        Type::U64 => "u64".into(),
        Type::Float32 => "f32".into(),
        Type::Float64 => "f64".into(),
        Type::Char => "char".into(),
        Type::String => "string".into(),
        Type::List(list) => format!("list<{}>", inner(&list.ty())),
        Type::FixedLengthList(list) => format!("list<{}, {}>", inner(&list.ty()), list.len()),
        Type::Map(map) => format!("map<{}, {}>", inner(&map.key()), inner(&map.value())),
        Type::Record(record) => {
            format!(
                "record {{{}}}",
                names(&mut record.fields().map(|field| field.name.to_owned()))
            )
        }
        Type::Tuple(tuple) => {
            format!("tuple<{}>", names(&mut tuple.types().map(|ty| inner(&ty))))
        }
        Type::Variant(variant) => {
            format!(
                "variant {{{}}}",
                names(&mut variant.cases().map(|case| case.name.to_owned()))
            )
        }
        Type::Enum(ty) => format!("enum {{{}}}", names(&mut ty.names().map(str::to_owned))),
        Type::Flags(ty) => format!("flags {{{}}}", names(&mut ty.names().map(str::to_owned))),
        Type::Option(option) => format!("option<{}>", inner(&option.ty())),
        Type::Result(result) => {
            format!(
                "result<{}, {}>",
                or_blank(result.ok()),
                or_blank(result.err())
            )
        }
        Type::Own(_) => "a resource".into(),
        Type::Borrow(_) => "a borrowed resource".into(),
        Type::Future(_) => "a future".into(),
        Type::Stream(_) => "a stream".into(),
        Type::ErrorContext => "error-context".into(),
    }
}
