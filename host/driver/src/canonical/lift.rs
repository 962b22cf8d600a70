//! Reading values out of a component. Every number is a guest's and may be any.

use wasmtime::component::__internal::LiftContext;
use wasmtime::component::__internal::wasmtime_environ::component::{InterfaceType, TypeTuple};
use wasmtime::component::{FutureAny, Lift, ResourceAny, StreamAny};
use wasmtime::{Result, ValRaw};

use super::{MAX_FLAT, case, is_scalar, mistaken, size_of_type, variant};
use crate::values::Value;

/// Reads all values of a function from core values, or from where those point to.
pub(super) fn from_flat(
    cx: &mut LiftContext<'_>,
    tuple: &TypeTuple,
    mut src: &[ValRaw],
) -> Result<Vec<Value>> {
    if tuple.abi.flat_count(MAX_FLAT).is_none() {
        let pointer = take(&mut src, 1)?[0].get_u32();
        return from_memory(cx, tuple, pointer as usize);
    }
    let types = tuple.types.iter();
    exactly(types.map(|ty| flat(cx, *ty, &mut src)))
}

/// Reads all values of a function from memory.
pub(super) fn from_memory(
    cx: &mut LiftContext<'_>,
    tuple: &TypeTuple,
    offset: usize,
) -> Result<Vec<Value>> {
    aligned(offset, tuple.abi.align32)?;
    memory(cx, offset, tuple.abi.size32 as usize)?;
    each(cx, tuple.types.iter().copied(), offset)
}

/// Reads one value from core values.
fn flat(cx: &mut LiftContext<'_>, ty: InterfaceType, src: &mut &[ValRaw]) -> Result<Value> {
    let types = cx.types;
    if let Some((abi, _)) = variant(types, ty) {
        let mut mine = take(src, abi.flat_count(MAX_FLAT).ok_or_else(mistaken)?)?;
        let number = take(&mut mine, 1)?[0].get_u32();
        let held = case(types, ty, number)?;
        let held = held.map(|held| {
            cx.consume_fuel(size_of::<Value>())?;
            flat(cx, held, &mut mine).map(Box::new)
        });
        return Ok(Value::Case(number, held.transpose()?));
    }
    let mut many = |types: &mut dyn ExactSizeIterator<Item = InterfaceType>| {
        cx.consume_fuel_array(types.len(), size_of::<Value>())?;
        exactly(types.map(|ty| flat(cx, ty, src))).map(Value::Many)
    };
    match ty {
        InterfaceType::Record(index) => many(&mut types[index].fields.iter().map(|field| field.ty)),
        InterfaceType::Tuple(index) => many(&mut types[index].types.iter().copied()),
        InterfaceType::FixedLengthList(index) => {
            let list = &types[index];
            many(&mut (0..list.size).map(|_| list.element))
        }
        InterfaceType::String => {
            let pair = [take(src, 1)?[0], take(src, 1)?[0]];
            String::linear_lift_from_flat(cx, ty, &pair).map(text)
        }
        InterfaceType::List(_) | InterfaceType::Map(_) => {
            let (pointer, length) = (take(src, 1)?[0].get_u32(), take(src, 1)?[0].get_u32());
            list(cx, ty, pointer as usize, length as usize)
        }
        InterfaceType::Own(_) | InterfaceType::Borrow(_) => {
            let index = &take(src, 1)?[0];
            ResourceAny::linear_lift_from_flat(cx, ty, index)
                .map(|resource| Value::Resource(Box::new(resource)))
        }
        InterfaceType::Future(_) => {
            let index = &take(src, 1)?[0];
            FutureAny::linear_lift_from_flat(cx, ty, index).map(|end| Value::Future(Box::new(end)))
        }
        InterfaceType::Stream(_) => {
            let index = &take(src, 1)?[0];
            StreamAny::linear_lift_from_flat(cx, ty, index).map(|end| Value::Stream(Box::new(end)))
        }
        InterfaceType::S64 | InterfaceType::U64 => Ok(Value::Scalar(take(src, 1)?[0].get_u64())),
        InterfaceType::Float64 => Ok(Value::Scalar(take(src, 1)?[0].get_f64())),
        InterfaceType::Float32 => {
            let bits = take(src, 1)?[0].get_f32();
            Ok(Value::Scalar(bits.into()))
        }
        InterfaceType::Flags(index) => {
            let bits = take(src, 1)?[0].get_u32();
            flags(types[index].names.len(), bits)
        }
        // A component may set any bits beyond those that the type has.
        _ => {
            let bits = take(src, 1)?[0].get_u32();
            let kept = match ty {
                InterfaceType::S8 | InterfaceType::U8 => bits & 0xff,
                InterfaceType::S16 | InterfaceType::U16 => bits & 0xffff,
                _ => bits,
            };
            scalar(ty, kept.into())
        }
    }
}

/// Reads one value from memory.
fn load(cx: &mut LiftContext<'_>, ty: InterfaceType, offset: usize) -> Result<Value> {
    let types = cx.types;
    let bytes = memory(cx, offset, size_of_type(types, ty))?;
    if let Some((_, info)) = variant(types, ty) {
        let number = little_endian(&bytes[..usize::from(info.size)]);
        let number = u32::try_from(number)?;
        let held = case(types, ty, number)?;
        let held = held.map(|held| {
            cx.consume_fuel(size_of::<Value>())?;
            load(cx, held, offset + info.payload_offset32 as usize).map(Box::new)
        });
        return Ok(Value::Case(number, held.transpose()?));
    }
    let mut many = |types: &mut dyn ExactSizeIterator<Item = InterfaceType>| {
        cx.consume_fuel_array(types.len(), size_of::<Value>())?;
        each(cx, types, offset).map(Value::Many)
    };
    match ty {
        InterfaceType::Record(index) => many(&mut types[index].fields.iter().map(|field| field.ty)),
        InterfaceType::Tuple(index) => many(&mut types[index].types.iter().copied()),
        InterfaceType::FixedLengthList(index) => {
            let list = &types[index];
            many(&mut (0..list.size).map(|_| list.element))
        }
        InterfaceType::String => String::linear_lift_from_memory(cx, ty, bytes).map(text),
        InterfaceType::List(_) | InterfaceType::Map(_) => {
            let (pointer, length) = bytes.split_at(4);
            let (pointer, length) = (little_endian(pointer), little_endian(length));
            list(cx, ty, usize::try_from(pointer)?, usize::try_from(length)?)
        }
        InterfaceType::Own(_) | InterfaceType::Borrow(_) => {
            ResourceAny::linear_lift_from_memory(cx, ty, bytes)
                .map(|resource| Value::Resource(Box::new(resource)))
        }
        InterfaceType::Future(_) => FutureAny::linear_lift_from_memory(cx, ty, bytes)
            .map(|end| Value::Future(Box::new(end))),
        InterfaceType::Stream(_) => StreamAny::linear_lift_from_memory(cx, ty, bytes)
            .map(|end| Value::Stream(Box::new(end))),
        InterfaceType::Flags(index) => {
            let bits = u32::try_from(little_endian(bytes))?;
            flags(types[index].names.len(), bits)
        }
        _ => scalar(ty, little_endian(bytes)),
    }
}

/// Reads values that follow each other in memory.
fn each(
    cx: &mut LiftContext<'_>,
    types: impl ExactSizeIterator<Item = InterfaceType>,
    mut offset: usize,
) -> Result<Vec<Value>> {
    let known = cx.types;
    exactly(types.map(|ty| {
        let at = known.canonical_abi(&ty).next_field32_size(&mut offset);
        load(cx, ty, at)
    }))
}

/// Values in as much memory as they take, which has been counted before; `collect` would take up to four
/// times as much, as it does not know how many come.
fn exactly(values: impl ExactSizeIterator<Item = Result<Value>>) -> Result<Vec<Value>> {
    let mut all = Vec::with_capacity(values.len());
    for value in values {
        all.push(value?);
    }
    Ok(all)
}

/// Reads the elements of a list or map.
fn list(
    cx: &mut LiftContext<'_>,
    ty: InterfaceType,
    pointer: usize,
    length: usize,
) -> Result<Value> {
    let types = cx.types;
    let (abi, scalars) = match ty {
        InterfaceType::List(index) => {
            let element = types[index].element;
            let scalars = is_scalar(element).then_some(element);
            (types.canonical_abi(&element), scalars)
        }
        InterfaceType::Map(index) => (&types[index].entry_abi, None),
        _ => return Err(mistaken()),
    };
    let size = abi.size32 as usize;
    let total = length.checked_mul(size).ok_or_else(beyond)?;
    let bytes = memory(cx, pointer, total)?;
    aligned(pointer, abi.align32)?;
    if let Some(element) = scalars {
        cx.consume_fuel(total)?;
        return block(element, bytes.to_vec());
    }
    let places = (0..length).map(|number| pointer + number * size);
    let values = match ty {
        InterfaceType::List(index) => {
            cx.consume_fuel_array(length, size_of::<Value>())?;
            let element = types[index].element;
            exactly(places.map(|at| load(cx, element, at)))
        }
        InterfaceType::Map(index) => {
            cx.consume_fuel_array(length, size_of::<Value>() * 3)?;
            let map = &types[index];
            let entry = |at| {
                let key = load(cx, map.key, at)?;
                let value = load(cx, map.value, at + map.value_offset32 as usize)?;
                Ok(Value::Many(vec![key, value]))
            };
            exactly(places.map(entry))
        }
        _ => Err(mistaken()),
    };
    values.map(Value::Many)
}

/// A string in as much memory as it takes: one that was not in UTF-8 has grown by and by.
fn text(mut text: String) -> Value {
    text.shrink_to_fit();
    Value::Text(text)
}

/// A list of numbers, as it is in memory, once its elements are what they must be.
fn block(element: InterfaceType, mut bytes: Vec<u8>) -> Result<Value> {
    match element {
        InterfaceType::Bool => {
            for byte in &mut bytes {
                *byte = u8::from(*byte != 0);
            }
        }
        InterfaceType::Char => {
            for bytes in bytes.chunks_exact(4) {
                scalar(element, little_endian(bytes))?;
            }
        }
        _ => {}
    }
    Ok(Value::Block(bytes))
}

fn scalar(ty: InterfaceType, bits: u64) -> Result<Value> {
    match ty {
        InterfaceType::Bool => Ok(Value::Scalar(u64::from(bits != 0))),
        InterfaceType::Char => {
            let character = u32::try_from(bits).ok().and_then(char::from_u32);
            match character {
                Some(character) => Ok(Value::Scalar(u32::from(character).into())),
                None => Err(wasmtime::Error::msg(format!(
                    "{bits:#x} is not a character"
                ))),
            }
        }
        _ if is_scalar(ty) => Ok(Value::Scalar(bits)),
        _ => Err(mistaken()),
    }
}

/// Bits that no flag has are left out. There are at most 32 flags.
fn flags(count: usize, bits: u32) -> Result<Value> {
    let known = (1_u64 << count.min(32)) - 1;
    Ok(Value::Scalar(u64::from(bits) & known))
}

fn take<'a>(src: &mut &'a [ValRaw], count: usize) -> Result<&'a [ValRaw]> {
    let (taken, rest) = src.split_at_checked(count).ok_or_else(mistaken)?;
    *src = rest;
    Ok(taken)
}

fn memory<'a>(cx: &LiftContext<'a>, offset: usize, size: usize) -> Result<&'a [u8]> {
    let from = cx.memory().get(offset..);
    from.and_then(|from| from.get(..size)).ok_or_else(beyond)
}

fn aligned(offset: usize, to: u32) -> Result<()> {
    match offset.is_multiple_of(to as usize) {
        true => Ok(()),
        false => Err(wasmtime::Error::msg("a pointer is not aligned")),
    }
}

fn little_endian(bytes: &[u8]) -> u64 {
    let mut wide = [0; 8];
    wide[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(wide)
}

fn beyond() -> wasmtime::Error {
    wasmtime::Error::msg("a pointer or length is out of bounds of memory")
}
