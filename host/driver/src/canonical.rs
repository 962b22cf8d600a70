//! Values of any type, as the canonical ABI has them in a component.
//!
//! Wasmtime reads and writes the parameters and results of a function as Rust types that are known
//! when the platform is built, or as [`Val`](wasmtime::component::Val), in which every byte of a list
//! is a value of its own and every field and case carries its name. [`Flat`] is a third way: a Rust
//! type for any parameters, or results, of `N` core values. What it is made of is found out by the
//! component's own type description while it is read and written, as for `Val`; but a list of numbers
//! is one block of bytes, and names are left out, since the types of both sides have been compared when
//! they were linked.
//!
//! # What is unsafe about it
//! The traits by which Wasmtime knows such types are unsafe to implement, and what they have is no
//! stable interface. What they ask for, and why it holds here:
//!
//! - `Lower` is nothing but core values: it is `[ValRaw; N]`.
//! - Lowering initialises all of it: it is filled with zeros before anything else.
//! - Nothing is read or written beyond it, whatever `N` is and whatever the function's type says: core
//!   values are taken from slices that know their length, and one too few is an error. Wasmtime itself
//!   refuses storage that is shorter than `N`.
//! - Size and alignment are by what others pass over a value in memory. No other type can have a `Flat`
//!   in it, as [`ComponentType::typecheck`] accepts the whole of a function's parameters or results alone, and
//!   where those are in memory, their size and alignment are taken from the function's type and checked
//!   against the memory here. All of memory is reached through slices.
//!
//! Everything else of this module is safe code.

mod lift;
mod lower;

use std::mem::MaybeUninit;

use wasmtime::component::__internal::wasmtime_environ::component::{
    CanonicalAbiInfo, ComponentTypes, InterfaceType, MAX_FLAT_PARAMS, TypeTuple, VariantInfo,
};
use wasmtime::component::__internal::{InstanceType, LiftContext, LowerContext};
use wasmtime::component::types::Type;
use wasmtime::component::{ComponentNamedList, ComponentType, Lift, Lower};
use wasmtime::{Result, ValRaw};

use crate::values::Value;

/// The most core values in which parameters are passed; where they would be more they are in memory.
pub(crate) const MAX_FLAT: usize = MAX_FLAT_PARAMS;

/// All parameters, or all results, of a function, in `N` core values.
///
/// Where a component passes parameters to the host, or returns results, `N` is how many [`flat_count`]
/// says. Parameters of a component can be written with any `N` that is large enough, so
/// [`MAX_FLAT`] does for all; results to a component with 1, or 0 where there are none.
pub(crate) struct Flat<const N: usize>(pub(crate) Vec<Value>);

// SAFETY: `Lower` is `N` core values; for what is said of size and alignment see the module.
unsafe impl<const N: usize> ComponentType for Flat<N> {
    type Lower = [ValRaw; N];

    const ABI: CanonicalAbiInfo = CanonicalAbiInfo::ZERO;

    fn typecheck(ty: &InterfaceType, types: &InstanceType<'_>) -> Result<()> {
        tuple(types.types, *ty).map(drop)
    }
}

// SAFETY: `typecheck` accepts lists of types alone.
unsafe impl<const N: usize> ComponentNamedList for Flat<N> {}

// SAFETY: all of the destination is initialised at once, and then written to as slices.
unsafe impl<const N: usize> Lower for Flat<N> {
    fn linear_lower_to_flat<T>(
        &self,
        cx: &mut LowerContext<'_, T>,
        ty: InterfaceType,
        dst: &mut MaybeUninit<Self::Lower>,
    ) -> Result<()> {
        let dst = dst.write([ValRaw::u64(0); N]);
        lower::to_flat(&self.0, cx, tuple(cx.types, ty)?, dst)
    }

    fn linear_lower_to_memory<T>(
        &self,
        cx: &mut LowerContext<'_, T>,
        ty: InterfaceType,
        offset: usize,
    ) -> Result<()> {
        lower::to_memory(&self.0, cx, &tuple(cx.types, ty)?.types, offset)
    }
}

// SAFETY: what is read are slices.
unsafe impl<const N: usize> Lift for Flat<N> {
    fn linear_lift_from_flat(
        cx: &mut LiftContext<'_>,
        ty: InterfaceType,
        src: &Self::Lower,
    ) -> Result<Self> {
        lift::from_flat(cx, tuple(cx.types, ty)?, src).map(Self)
    }

    fn linear_lift_from_memory(
        cx: &mut LiftContext<'_>,
        ty: InterfaceType,
        bytes: &[u8],
    ) -> Result<Self> {
        // The bytes are an empty slice, as `ABI` knows no size, and tell by where they are.
        let offset = bytes.as_ptr().addr();
        let offset = offset.wrapping_sub(cx.memory().as_ptr().addr());
        lift::from_memory(cx, tuple(cx.types, ty)?, offset).map(Self)
    }
}

/// How many core values these types take up together, where that is not more than [`MAX_FLAT`].
pub(crate) fn flat_count(types: impl IntoIterator<Item = Type>) -> Option<usize> {
    let mut types = types.into_iter();
    types.try_fold(0, |before: usize, ty| {
        let count = before + flat_count_of(&ty)?;
        (count <= MAX_FLAT).then_some(count)
    })
}

fn flat_count_of(ty: &Type) -> Option<usize> {
    match ty {
        Type::String | Type::List(_) | Type::Map(_) => Some(2),
        Type::Record(record) => flat_count(record.fields().map(|field| field.ty)),
        Type::Tuple(tuple) => flat_count(tuple.types()),
        Type::FixedLengthList(list) => {
            let length = usize::try_from(list.len()).ok()?;
            flat_count_of(&list.ty())?.checked_mul(length)
        }
        Type::Variant(variant) => flat_count_of_cases(variant.cases().map(|case| case.ty)),
        Type::Option(option) => flat_count_of_cases([Some(option.ty())]),
        Type::Result(result) => flat_count_of_cases([result.ok(), result.err()]),
        Type::Bool
        | Type::S8
        | Type::U8
        | Type::S16
        | Type::U16
        | Type::S32
        | Type::U32
        | Type::S64
        | Type::U64
        | Type::Float32
        | Type::Float64
        | Type::Char
        | Type::Enum(_)
        | Type::Flags(_)
        | Type::Own(_)
        | Type::Borrow(_)
        | Type::Future(_)
        | Type::Stream(_)
        | Type::ErrorContext => Some(1),
    }
}

/// The number of the case, and room for what the longest holds.
fn flat_count_of_cases(cases: impl IntoIterator<Item = Option<Type>>) -> Option<usize> {
    let mut longest = 0;
    for case in cases {
        longest = flat_count(case)?.max(longest);
    }
    Some(1 + longest)
}

/// Does `$then` with a constant `$N` that has the value of `$count`, at most [`MAX_FLAT`].
macro_rules! with_count {
    ($count:expr, $N:ident => $then:expr) => {
        $crate::canonical::with_count!(@ $count, $N => $then,
            0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15)
    };
    (@ $count:expr, $N:ident => $then:expr, $($number:literal)*) => {
        match $count {
            $($number => {
                const $N: usize = $number;
                $then
            })*
            _ => {
                const $N: usize = $crate::canonical::MAX_FLAT;
                $then
            }
        }
    };
}
pub(crate) use with_count;

/// The parameters or results of a function.
fn tuple(types: &ComponentTypes, ty: InterfaceType) -> Result<&TypeTuple> {
    match ty {
        InterfaceType::Tuple(index) => Ok(&types[index]),
        _ => Err(mistaken()),
    }
}

/// What is known of a type of which a value is one of several cases.
fn variant(types: &ComponentTypes, ty: InterfaceType) -> Option<(&CanonicalAbiInfo, &VariantInfo)> {
    Some(match ty {
        InterfaceType::Variant(index) => (&types[index].abi, &types[index].info),
        InterfaceType::Enum(index) => (&types[index].abi, &types[index].info),
        InterfaceType::Option(index) => (&types[index].abi, &types[index].info),
        InterfaceType::Result(index) => (&types[index].abi, &types[index].info),
        _ => return None,
    })
}

/// What a case holds.
fn case(types: &ComponentTypes, ty: InterfaceType, number: u32) -> Result<Option<InterfaceType>> {
    let at = number as usize;
    let found = match ty {
        InterfaceType::Variant(index) => types[index].cases.get_index(at).map(|(_, held)| *held),
        InterfaceType::Enum(index) => (at < types[index].names.len()).then_some(None),
        InterfaceType::Option(index) => [None, Some(types[index].ty)].get(at).copied(),
        InterfaceType::Result(index) => [types[index].ok, types[index].err].get(at).copied(),
        _ => None,
    };
    found.ok_or_else(|| wasmtime::Error::msg(format!("there is no case {number} of a variant")))
}

/// Whether a value of the type is a number by itself, of as many bytes as it is aligned to.
fn is_scalar(ty: InterfaceType) -> bool {
    matches!(
        ty,
        InterfaceType::Bool
            | InterfaceType::S8
            | InterfaceType::U8
            | InterfaceType::S16
            | InterfaceType::U16
            | InterfaceType::S32
            | InterfaceType::U32
            | InterfaceType::S64
            | InterfaceType::U64
            | InterfaceType::Float32
            | InterfaceType::Float64
            | InterfaceType::Char
    )
}

fn size_of_type(types: &ComponentTypes, ty: InterfaceType) -> usize {
    types.canonical_abi(&ty).size32 as usize
}

/// The types were compared when the function was linked, so this is a mistake of the host.
fn mistaken() -> wasmtime::Error {
    wasmtime::Error::msg("a value is of another type than its function has")
}
