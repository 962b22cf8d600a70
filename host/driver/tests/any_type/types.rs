//! Types of any kind and values of them, for properties.

use std::fmt::Write as _;

use proptest::prelude::*;
use proptest::sample::Index;
use wasmtime::component::Val;

/// A type of the component model without resources, streams and futures.
#[derive(Debug, Clone)]
pub(crate) enum Ty {
    Scalar(Scalar),
    Text,
    List(Box<Ty>),
    Tuple(Vec<Ty>),
    Record(Vec<Ty>),
    Variant(Vec<Option<Ty>>),
    /// Of so many cases.
    Enum(usize),
    /// So many, at most 32.
    Flags(usize),
    Optional(Box<Ty>),
    Result(Option<Box<Ty>>, Option<Box<Ty>>),
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Scalar {
    Bool,
    S8,
    U8,
    S16,
    U16,
    S32,
    U32,
    S64,
    U64,
    F32,
    F64,
    Char,
}

const SCALARS: [(Scalar, &str); 12] = [
    (Scalar::Bool, "bool"),
    (Scalar::S8, "s8"),
    (Scalar::U8, "u8"),
    (Scalar::S16, "s16"),
    (Scalar::U16, "u16"),
    (Scalar::S32, "s32"),
    (Scalar::U32, "u32"),
    (Scalar::S64, "s64"),
    (Scalar::U64, "u64"),
    (Scalar::F32, "f32"),
    (Scalar::F64, "f64"),
    (Scalar::Char, "char"),
];

/// A type of core WebAssembly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Core {
    I32,
    I64,
    F32,
    F64,
}

impl Core {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::I32 => "i32",
            Self::I64 => "i64",
            Self::F32 => "f32",
            Self::F64 => "f64",
        }
    }

    /// What has room for either.
    fn joined(self, other: Self) -> Self {
        match (self, other) {
            (a, b) if a == b => a,
            (Self::I32, Self::F32) | (Self::F32, Self::I32) => Self::I32,
            _ => Self::I64,
        }
    }
}

impl Ty {
    pub(crate) fn any() -> impl Strategy<Value = Self> {
        let scalar = any::<Index>().prop_map(|at| Self::Scalar(at.get(&SCALARS).0));
        let leaf = prop_oneof![
            4 => scalar,
            2 => Just(Self::Text),
            1 => prop_oneof![Just(1_usize), Just(3), Just(300)].prop_map(Self::Enum),
            1 => prop_oneof![Just(1_usize), Just(9), Just(20), Just(32)].prop_map(Self::Flags),
        ];
        leaf.prop_recursive(4, 24, 5, |inner| {
            let boxed = inner.clone().prop_map(Box::new);
            let maybe = proptest::option::of(boxed.clone());
            prop_oneof![
                boxed.clone().prop_map(Self::List),
                prop::collection::vec(inner.clone(), 1..5).prop_map(Self::Tuple),
                prop::collection::vec(inner.clone(), 1..6).prop_map(Self::Record),
                prop::collection::vec(proptest::option::of(inner), 1..5).prop_map(Self::Variant),
                boxed.prop_map(Self::Optional),
                (maybe.clone(), maybe).prop_map(|(ok, err)| Self::Result(ok, err)),
            ]
        })
    }

    /// How it is written, with the types that need a name put before it.
    pub(crate) fn spell(&self, named: &mut Vec<(String, String)>) -> String {
        let numbered = |word: &str, count: usize| {
            let names = (0..count).map(|number| format!(" \"{word}{number}\""));
            names.collect::<String>()
        };
        match self {
            Self::Scalar(scalar) => {
                let known = SCALARS
                    .iter()
                    .find(|known| known.0 as usize == *scalar as usize);
                known.expect("in the list").1.to_owned()
            }
            Self::Text => "string".to_owned(),
            Self::Enum(count) => name(named, format!("(enum{})", numbered("e", *count))),
            Self::Flags(count) => name(named, format!("(flags{})", numbered("f", *count))),
            Self::List(element) => format!("(list {})", element.spell(named)),
            Self::Tuple(types) => {
                let types: Vec<_> = types.iter().map(|ty| ty.spell(named)).collect();
                format!("(tuple {})", types.join(" "))
            }
            Self::Record(fields) => {
                let mut text = String::from("(record");
                for (number, field) in fields.iter().enumerate() {
                    let _ = write!(text, " (field \"r{number}\" {})", field.spell(named));
                }
                name(named, text + ")")
            }
            Self::Variant(cases) => {
                let mut text = String::from("(variant");
                for (number, case) in cases.iter().enumerate() {
                    let held = case.as_ref().map(|ty| ty.spell(named));
                    let held = held.unwrap_or_default();
                    let _ = write!(text, " (case \"c{number}\" {held})");
                }
                name(named, text + ")")
            }
            Self::Optional(ty) => format!("(option {})", ty.spell(named)),
            Self::Result(ok, err) => {
                let ok = ok.as_ref().map(|ty| ty.spell(named)).unwrap_or_default();
                let err = err.as_ref().map(|ty| ty.spell(named));
                let err = err.map(|err| format!("(error {err})")).unwrap_or_default();
                format!("(result {ok} {err})")
            }
        }
    }

    /// What it is in core WebAssembly where it is not in memory.
    pub(crate) fn flat(&self) -> Vec<Core> {
        let cases = |cases: Vec<Vec<Core>>| {
            let mut all = vec![Core::I32];
            for case in cases {
                for (at, core) in case.into_iter().enumerate() {
                    match all.get_mut(at + 1) {
                        Some(known) => *known = known.joined(core),
                        None => all.push(core),
                    }
                }
            }
            all
        };
        match self {
            Self::Scalar(Scalar::S64 | Scalar::U64) => vec![Core::I64],
            Self::Scalar(Scalar::F32) => vec![Core::F32],
            Self::Scalar(Scalar::F64) => vec![Core::F64],
            Self::Scalar(_) | Self::Enum(_) | Self::Flags(_) => vec![Core::I32],
            Self::Text | Self::List(_) => vec![Core::I32; 2],
            Self::Tuple(types) | Self::Record(types) => types.iter().flat_map(Self::flat).collect(),
            Self::Variant(types) => {
                let held = |ty: &Option<Self>| ty.as_ref().map(Self::flat).unwrap_or_default();
                cases(types.iter().map(held).collect())
            }
            Self::Optional(ty) => cases(vec![ty.flat()]),
            Self::Result(ok, err) => {
                let held = [ok, err].into_iter().flatten();
                cases(held.map(|ty| ty.flat()).collect())
            }
        }
    }

    /// Any value of it.
    pub(crate) fn value(&self) -> BoxedStrategy<Val> {
        match self {
            Self::Scalar(scalar) => scalar.value(),
            Self::Text => "\\PC{0,12}".prop_map(Val::String).boxed(),
            Self::Enum(count) => (0..*count)
                .prop_map(|number| Val::Enum(format!("e{number}")))
                .boxed(),
            Self::Flags(count) => {
                let set = prop::collection::vec(any::<bool>(), *count);
                let named = |set: Vec<bool>| {
                    let set = set.into_iter().enumerate().filter(|(_, set)| *set);
                    Val::Flags(set.map(|(number, _)| format!("f{number}")).collect())
                };
                set.prop_map(named).boxed()
            }
            Self::List(element) => prop::collection::vec(element.value(), 0..4)
                .prop_map(Val::List)
                .boxed(),
            Self::Tuple(types) => {
                let values: Vec<_> = types.iter().map(Self::value).collect();
                values.prop_map(Val::Tuple).boxed()
            }
            Self::Record(types) => {
                let values: Vec<_> = types.iter().map(Self::value).collect();
                let named = |values: Vec<Val>| {
                    let fields = values.into_iter().enumerate();
                    Val::Record(
                        fields
                            .map(|(at, value)| (format!("r{at}"), value))
                            .collect(),
                    )
                };
                values.prop_map(named).boxed()
            }
            Self::Variant(cases) => {
                let cases = cases.iter().enumerate().map(|(number, case)| {
                    let name = format!("c{number}");
                    match case {
                        None => Just(Val::Variant(name, None)).boxed(),
                        Some(ty) => ty
                            .value()
                            .prop_map(move |held| Val::Variant(name.clone(), Some(held.into())))
                            .boxed(),
                    }
                });
                prop::strategy::Union::new(cases.collect::<Vec<_>>()).boxed()
            }
            Self::Optional(ty) => proptest::option::of(ty.value().prop_map(Box::new))
                .prop_map(Val::Option)
                .boxed(),
            Self::Result(ok, err) => {
                let held = |ty: &Option<Box<Self>>| match ty {
                    None => Just(None).boxed(),
                    Some(ty) => ty.value().prop_map(|held| Some(Box::new(held))).boxed(),
                };
                prop_oneof![
                    held(ok).prop_map(|held| Val::Result(Ok(held))),
                    held(err).prop_map(|held| Val::Result(Err(held))),
                ]
                .boxed()
            }
        }
    }
}

fn name(named: &mut Vec<(String, String)>, definition: String) -> String {
    let name = format!("t{}", named.len());
    named.push((name.clone(), definition));
    format!("${name}")
}

impl Scalar {
    fn value(self) -> BoxedStrategy<Val> {
        match self {
            Self::Bool => any::<bool>().prop_map(Val::Bool).boxed(),
            Self::S8 => any::<i8>().prop_map(Val::S8).boxed(),
            Self::U8 => any::<u8>().prop_map(Val::U8).boxed(),
            Self::S16 => any::<i16>().prop_map(Val::S16).boxed(),
            Self::U16 => any::<u16>().prop_map(Val::U16).boxed(),
            Self::S32 => any::<i32>().prop_map(Val::S32).boxed(),
            Self::U32 => any::<u32>().prop_map(Val::U32).boxed(),
            Self::S64 => any::<i64>().prop_map(Val::S64).boxed(),
            Self::U64 => any::<u64>().prop_map(Val::U64).boxed(),
            Self::F32 => any::<f32>().prop_map(Val::Float32).boxed(),
            Self::F64 => any::<f64>().prop_map(Val::Float64).boxed(),
            Self::Char => any::<char>().prop_map(Val::Char).boxed(),
        }
    }
}
