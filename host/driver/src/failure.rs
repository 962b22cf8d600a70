//! How an application sees that a driver failed: as an error value of the function's own result
//! type where that has room for it.

use wasmtime::component::types::{ComponentFunc, Type};

use crate::error::DriverFailed;
use crate::values::Value;

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
    /// A case of an enumeration or variant, by its number.
    Case(u32, Payload),
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
                let names: Vec<_> = cases.names().map(|name| (name, None)).collect();
                Self::among(&names)
            }
            Some(Type::Variant(variant)) => {
                let cases: Vec<_> = variant.cases().map(|case| (case.name, case.ty)).collect();
                Self::among(&cases)
            }
            _ => Self::Trap,
        }
    }

    /// The best of these cases.
    fn among(cases: &[(&str, Option<Type>)]) -> Self {
        let fitting = |wanted: &str| {
            let mut numbered = (0..).zip(cases);
            let (number, (_, ty)) = numbered.find(|(_, (name, _))| *name == wanted)?;
            Some(Self::Case(number, payload(ty.as_ref())?))
        };
        CASES.into_iter().find_map(fitting).unwrap_or(Self::Trap)
    }

    /// The result of a call that failed; the failure itself where it has to trap.
    pub(crate) fn value(&self, failure: DriverFailed) -> Result<Value, DriverFailed> {
        let text = || Value::Text(failure.to_string());
        let error = match self {
            Self::Trap => return Err(failure),
            Self::Text => text(),
            Self::Case(case, payload) => {
                let payload = match payload {
                    Payload::None => None,
                    Payload::Text => Some(text()),
                    Payload::OptionalText => Some(Value::Case(1, Some(Box::new(text())))),
                };
                Value::Case(*case, payload.map(Box::new))
            }
        };
        Ok(Value::Case(1, Some(Box::new(error))))
    }
}

fn payload(ty: Option<&Type>) -> Option<Payload> {
    match ty {
        None => Some(Payload::None),
        Some(Type::String) => Some(Payload::Text),
        Some(Type::Option(option)) if option.ty() == Type::String => Some(Payload::OptionalText),
        Some(_) => None,
    }
}
