//! How an application sees that a driver failed: as an error value of the function's own result
//! type where that has room for it.

use wasmtime::component::Val;
use wasmtime::component::types::{ComponentFunc, Type};

use crate::error::DriverFailed;

/// Cases of an error type that say no more than that the other side is to blame, best first.
const CASES: [&str; 6] = [
    "unavailable",
    "driver-failed",
    "internal",
    "other",
    "io",
    "unexpected",
];

/// What a function returns when its driver fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FailureShape {
    /// The result type has no room for it: the call traps.
    Trap,
    /// `result<_, string>`.
    Text,
    /// A case of an enumeration.
    Enum(String),
    /// A case of a variant.
    Variant(String, Payload),
}

/// What the variant's case holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Payload {
    None,
    Text,
    OptionalText,
}

impl FailureShape {
    pub(crate) fn of(function: &ComponentFunc) -> Self {
        let Some(Type::Result(result)) = function.results().next() else {
            return Self::Trap;
        };
        match result.err() {
            Some(Type::String) => Self::Text,
            Some(Type::Enum(cases)) => {
                let case = CASES
                    .into_iter()
                    .find(|case| cases.names().any(|name| name == *case));
                case.map_or(Self::Trap, |case| Self::Enum(case.to_owned()))
            }
            Some(Type::Variant(variant)) => {
                let fitting = |case: &str| {
                    let found = variant.cases().find(|found| found.name == case)?;
                    Some(Self::Variant(case.to_owned(), payload(found.ty)?))
                };
                CASES.into_iter().find_map(fitting).unwrap_or(Self::Trap)
            }
            _ => Self::Trap,
        }
    }

    /// The result of a call that failed; the failure itself where it has to trap.
    pub(crate) fn value(&self, failure: DriverFailed) -> Result<Val, DriverFailed> {
        let text = |failure: &DriverFailed| Val::String(failure.to_string());
        let error = match self {
            Self::Trap => return Err(failure),
            Self::Text => text(&failure),
            Self::Enum(case) => Val::Enum(case.clone()),
            Self::Variant(case, payload) => {
                let payload = match payload {
                    Payload::None => None,
                    Payload::Text => Some(text(&failure)),
                    Payload::OptionalText => Some(Val::Option(Some(Box::new(text(&failure))))),
                };
                Val::Variant(case.clone(), payload.map(Box::new))
            }
        };
        Ok(Val::Result(Err(Some(Box::new(error)))))
    }
}

fn payload(ty: Option<Type>) -> Option<Payload> {
    match ty {
        None => Some(Payload::None),
        Some(Type::String) => Some(Payload::Text),
        Some(Type::Option(option)) if option.ty() == Type::String => Some(Payload::OptionalText),
        Some(_) => None,
    }
}
