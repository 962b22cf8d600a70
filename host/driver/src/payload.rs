//! What streams and futures can carry from store to store.
//!
//! Values of calls cross as they are, whatever their type. What a stream carries is read and
//! written by Wasmtime as a Rust type that must be known when the platform is built, so there is a
//! list of them: the primitive types, what is commonly made of them, and the payloads of the
//! interfaces that the platform serves itself and a driver may serve in its place. Those are the very
//! types of the platform's own bindings: a driver may hand on what it has from the platform, and a
//! stream that the platform writes can be read as what was written alone. Last are those of published
//! interfaces that drivers alone serve. A type of a component is looked up in the list by its full text.

mod heap;
mod spin_postgres;

use std::fmt::Write as _;

use canopy_capability_blobs::payload as blobs;
use canopy_capability_sql::payload as sql;
use wasmtime::component::types::Type;
use wasmtime::component::{ComponentType, Lift, Lower};

use crate::error::DriverFailed;

pub(crate) use heap::Heap;

/// Length of a type's text beyond which no payload is looked for. The longest in the list has about
/// 900 characters.
const MAX_TEXT: usize = 1024;

/// A type that streams and futures can carry.
pub(crate) trait Item:
    ComponentType + Lift + Lower + Heap + Send + Sync + Sized + Unpin + 'static
{
    /// How many of a stream are on their way at once.
    const CHUNK: usize;
    /// Whether it can say that the driver failed.
    const TELLS: bool;

    /// Says that the driver failed.
    fn failed(failure: &DriverFailed) -> Option<Self>;
}

/// Something to be done for the Rust type of a payload.
pub(crate) trait Visit {
    type Output;

    fn visit<T: Item>(self) -> Self::Output;
}

macro_rules! payloads {
    ($($name:ident: $ty:ty = $text:expr, $chunk:expr $(, tells $tell:expr)?;)*) => {
        /// A type that streams and futures can carry, by name.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Payload { $($name,)* }

        const PAYLOADS: &[(Payload, &str)] = &[$((Payload::$name, $text),)*];

        impl Payload {
            /// Does something for its Rust type.
            pub(crate) fn visit<V: Visit>(self, visit: V) -> V::Output {
                match self { $(Self::$name => visit.visit::<$ty>(),)* }
            }
        }

        $(impl Item for $ty {
            const CHUNK: usize = $chunk;
            const TELLS: bool = payloads!(@tells $($tell)?);

            fn failed(failure: &DriverFailed) -> Option<Self> {
                payloads!(@failed failure $($tell)?)
            }
        })*
    };
    (@tells) => { false };
    (@tells $tell:expr) => { true };
    (@failed $failure:ident) => {{
        let _ = $failure;
        None
    }};
    (@failed $failure:ident $tell:expr) => { Some(Err($tell($failure.to_string()))) };
}

macro_rules! sql_error {
    () => {
        "variant {no-such-database, access-denied(string), invalid-statement(string), \
         constraint(record {constraint: enum {unique, foreign-key, not-null, check, other}, \
         message: string}), quota-exceeded(string), too-large(string), timeout(string), busy, \
         transaction-over(string), other(string)}"
    };
}

macro_rules! blobs_error {
    () => {
        "variant {no-such-container, no-such-object, no-such-upload, container-not-empty, \
         invalid(string), condition-failed(option<string>), invalid-range(u64), \
         invalid-part(string), wrong-size, too-large(string), quota-exceeded(string), busy, \
         access-denied, damaged, other(string)}"
    };
}

/// Bytes of a stream on their way at once. One such chunk waits between the stores and one with the
/// reader, so a stream pins twice as much.
const BYTES: usize = 32 * 1024;
/// The same for numbers, which have at most 8 bytes.
const NUMBERS: usize = 4 * 1024;
/// The same for what has parts of its own. What all of them take counts in the writer's account.
const VALUES: usize = 16;

payloads! {
    Unit: () = "", NUMBERS;
    Bool: bool = "bool", NUMBERS;
    S8: i8 = "s8", BYTES;
    U8: u8 = "u8", BYTES;
    S16: i16 = "s16", NUMBERS;
    U16: u16 = "u16", NUMBERS;
    S32: i32 = "s32", NUMBERS;
    U32: u32 = "u32", NUMBERS;
    S64: i64 = "s64", NUMBERS;
    U64: u64 = "u64", NUMBERS;
    Float32: f32 = "f32", NUMBERS;
    Float64: f64 = "f64", NUMBERS;
    Char: char = "char", NUMBERS;
    Text: String = "string", VALUES;
    Bytes: Vec<u8> = "list<u8>", VALUES;
    Texts: Vec<String> = "list<string>", VALUES;
    Pair: (String, String) = "tuple<string, string>", VALUES;
    Pairs: Vec<(String, String)> = "list<tuple<string, string>>", VALUES;
    Entry: (String, Vec<u8>) = "tuple<string, list<u8>>", VALUES;
    Entries: Vec<(String, Vec<u8>)> = "list<tuple<string, list<u8>>>", VALUES;
    OptionalText: Option<String> = "option<string>", VALUES;
    OptionalBytes: Option<Vec<u8>> = "option<list<u8>>", VALUES;
    Done: Result<(), ()> = "result<_, _>", VALUES;
    DoneOrText: Result<(), String> = "result<_, string>", VALUES, tells std::convert::identity;
    BoolOrText: Result<bool, String> = "result<bool, string>", VALUES, tells std::convert::identity;
    U32OrText: Result<u32, String> = "result<u32, string>", VALUES, tells std::convert::identity;
    U64OrText: Result<u64, String> = "result<u64, string>", VALUES, tells std::convert::identity;
    TextOrText: Result<String, String> = "result<string, string>", VALUES,
        tells std::convert::identity;
    BytesOrText: Result<Vec<u8>, String> = "result<list<u8>, string>", VALUES,
        tells std::convert::identity;
    SqlRow: Vec<sql::Value> =
        "list<variant {null, integer(s64), real(f64), text(string), blob(list<u8>)}>", VALUES;
    SqlOutcome: Result<sql::Outcome, sql::Error> =
        concat!("result<record {changes: u64, last-insert-rowid: s64}, ", sql_error!(), ">"),
        VALUES, tells sql::Error::Other;
    BlobsOutcome: Result<(), blobs::Error> = concat!("result<_, ", blobs_error!(), ">"),
        VALUES, tells blobs::Error::Other;
    SpinPostgresRow: Vec<spin_postgres::DbValue> = spin_postgres::ROW, VALUES;
    SpinPostgresOutcome: Result<(), spin_postgres::Error> = spin_postgres::OUTCOME,
        VALUES, tells spin_postgres::Error::Other;
}

impl Payload {
    /// The payload of a stream or future, where it is one that can cross.
    pub(crate) fn of(ty: Option<&Type>) -> Option<Self> {
        let mut text = String::new();
        if let Some(ty) = ty {
            spell(ty, &mut text)?;
        }
        PAYLOADS
            .iter()
            .find(|(_, known)| *known == text)
            .map(|(payload, _)| *payload)
    }
}

/// Writes a type in full. `None` where it is too long, or has what no payload has.
fn spell(ty: &Type, text: &mut String) -> Option<()> {
    if text.len() > MAX_TEXT {
        return None;
    }
    let or_blank = |ty: Option<Type>, text: &mut String| match ty {
        Some(ty) => spell(&ty, text),
        None => {
            text.push('_');
            Some(())
        }
    };
    match ty {
        Type::Bool => text.push_str("bool"),
        Type::S8 => text.push_str("s8"),
        Type::U8 => text.push_str("u8"),
        Type::S16 => text.push_str("s16"),
        Type::U16 => text.push_str("u16"),
        Type::S32 => text.push_str("s32"),
        Type::U32 => text.push_str("u32"),
        Type::S64 => text.push_str("s64"),
        Type::U64 => text.push_str("u64"),
        Type::Float32 => text.push_str("f32"),
        Type::Float64 => text.push_str("f64"),
        Type::Char => text.push_str("char"),
        Type::String => text.push_str("string"),
        Type::List(list) => {
            text.push_str("list<");
            spell(&list.ty(), text)?;
            text.push('>');
        }
        Type::Option(option) => {
            text.push_str("option<");
            spell(&option.ty(), text)?;
            text.push('>');
        }
        Type::Result(result) => {
            text.push_str("result<");
            or_blank(result.ok(), text)?;
            text.push_str(", ");
            or_blank(result.err(), text)?;
            text.push('>');
        }
        Type::Tuple(tuple) => {
            text.push_str("tuple<");
            for (index, ty) in tuple.types().enumerate() {
                separate(index, text);
                spell(&ty, text)?;
            }
            text.push('>');
        }
        Type::Record(record) => {
            text.push_str("record {");
            for (index, field) in record.fields().enumerate() {
                separate(index, text);
                let _ = write!(text, "{}: ", field.name);
                spell(&field.ty, text)?;
            }
            text.push('}');
        }
        Type::Variant(variant) => {
            text.push_str("variant {");
            for (index, case) in variant.cases().enumerate() {
                separate(index, text);
                text.push_str(case.name);
                if let Some(ty) = case.ty {
                    text.push('(');
                    spell(&ty, text)?;
                    text.push(')');
                }
            }
            text.push('}');
        }
        Type::Enum(cases) => {
            text.push_str("enum {");
            for (index, name) in cases.names().enumerate() {
                separate(index, text);
                text.push_str(name);
            }
            text.push('}');
        }
        Type::Map(_)
        | Type::FixedLengthList(_)
        | Type::Flags(_)
        | Type::Own(_)
        | Type::Borrow(_)
        | Type::Future(_)
        | Type::Stream(_)
        | Type::ErrorContext => return None,
    }
    Some(())
}

fn separate(index: usize, text: &mut String) {
    if index > 0 {
        text.push_str(", ");
    }
}
