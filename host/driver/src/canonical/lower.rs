//! Writing values into a component. They come from another component, of a type that is the same.

use std::mem::MaybeUninit;

use wasmtime::component::__internal::LowerContext;
use wasmtime::component::__internal::wasmtime_environ::component::{InterfaceType, TypeTuple};
use wasmtime::component::Lower;
use wasmtime::{Result, ValRaw};

use super::{MAX_FLAT, case, is_scalar, mistaken, size_of_type, variant};
use crate::values::Value;

/// Writes all values of a function as core values, or to memory and where that is.
pub(super) fn to_flat<T>(
    values: &[Value],
    cx: &mut LowerContext<'_, T>,
    tuple: &TypeTuple,
    mut dst: &mut [ValRaw],
) -> Result<()> {
    if tuple.abi.flat_count(MAX_FLAT).is_none() {
        let pointer = cx.realloc(0, 0, tuple.abi.align32, tuple.abi.size32 as usize)?;
        to_memory(values, cx, &tuple.types, pointer)?;
        take(&mut dst, 1)?[0] = ValRaw::u64(pointer as u64);
        return Ok(());
    }
    same_length(values, tuple.types.len())?;
    for (value, ty) in values.iter().zip(&tuple.types) {
        flat(value, cx, *ty, &mut dst)?;
    }
    Ok(())
}

/// Writes values one after the other to memory.
pub(super) fn to_memory<T>(
    values: &[Value],
    cx: &mut LowerContext<'_, T>,
    types: &[InterfaceType],
    offset: usize,
) -> Result<()> {
    each(values, cx, types.iter().copied(), offset)
}

/// Writes one value as core values.
fn flat<T>(
    value: &Value,
    cx: &mut LowerContext<'_, T>,
    ty: InterfaceType,
    dst: &mut &mut [ValRaw],
) -> Result<()> {
    let types = cx.types;
    match (ty, value) {
        (InterfaceType::Record(index), Value::Many(values)) => {
            let fields = &types[index].fields;
            same_length(values, fields.len())?;
            for (value, field) in values.iter().zip(fields) {
                flat(value, cx, field.ty, dst)?;
            }
        }
        (InterfaceType::Tuple(index), Value::Many(values)) => {
            let types = &types[index].types;
            same_length(values, types.len())?;
            for (value, ty) in values.iter().zip(types) {
                flat(value, cx, *ty, dst)?;
            }
        }
        (InterfaceType::FixedLengthList(index), Value::Many(values)) => {
            same_length(values, types[index].size as usize)?;
            for value in values {
                flat(value, cx, types[index].element, dst)?;
            }
        }
        (_, Value::Case(number, held)) => {
            let (abi, _) = variant(types, ty).ok_or_else(mistaken)?;
            let mut mine = take(dst, abi.flat_count(MAX_FLAT).ok_or_else(mistaken)?)?;
            take(&mut mine, 1)?[0] = ValRaw::u32(*number);
            match (case(types, ty, *number)?, held) {
                (Some(ty), Some(held)) => flat(held, cx, ty, &mut mine)?,
                (None, None) => {}
                _ => return Err(mistaken()),
            }
        }
        (InterfaceType::List(_) | InterfaceType::Map(_), _) => {
            let (pointer, length) = list(value, cx, ty)?;
            let pair = take(dst, 2)?;
            pair[0] = ValRaw::u64(pointer as u64);
            pair[1] = ValRaw::u64(length as u64);
        }
        (_, Value::Text(text)) => {
            let pair = raw(text.as_str(), cx, ty)?;
            take(dst, 2)?.copy_from_slice(&pair);
        }
        (_, Value::Resource(resource)) => take(dst, 1)?[0] = raw(&**resource, cx, ty)?,
        (_, Value::Future(future)) => take(dst, 1)?[0] = raw(&**future, cx, ty)?,
        (_, Value::Stream(stream)) => take(dst, 1)?[0] = raw(&**stream, cx, ty)?,
        (_, Value::Scalar(bits)) => take(dst, 1)?[0] = scalar(ty, *bits)?,
        _ => return Err(mistaken()),
    }
    Ok(())
}

/// Writes one value to memory.
fn store<T>(
    value: &Value,
    cx: &mut LowerContext<'_, T>,
    ty: InterfaceType,
    offset: usize,
) -> Result<()> {
    let types = cx.types;
    match (ty, value) {
        (InterfaceType::Record(index), Value::Many(values)) => {
            let fields = types[index].fields.iter();
            each(values, cx, fields.map(|field| field.ty), offset)
        }
        (InterfaceType::Tuple(index), Value::Many(values)) => {
            each(values, cx, types[index].types.iter().copied(), offset)
        }
        (InterfaceType::FixedLengthList(index), Value::Many(values)) => {
            let list = &types[index];
            each(values, cx, (0..list.size).map(|_| list.element), offset)
        }
        (_, Value::Case(number, held)) => {
            let (_, info) = variant(types, ty).ok_or_else(mistaken)?;
            put(cx, offset, usize::from(info.size), u64::from(*number))?;
            match (case(types, ty, *number)?, held) {
                (Some(ty), Some(held)) => {
                    store(held, cx, ty, offset + info.payload_offset32 as usize)
                }
                (None, None) => Ok(()),
                _ => Err(mistaken()),
            }
        }
        (InterfaceType::List(_) | InterfaceType::Map(_), _) => {
            let (pointer, length) = list(value, cx, ty)?;
            put(cx, offset, 4, pointer as u64)?;
            put(cx, offset + 4, 4, length as u64)
        }
        (InterfaceType::String, Value::Text(text)) => {
            text.as_str().linear_lower_to_memory(cx, ty, offset)
        }
        (InterfaceType::Own(_) | InterfaceType::Borrow(_), Value::Resource(resource)) => {
            resource.linear_lower_to_memory(cx, ty, offset)
        }
        (InterfaceType::Future(_), Value::Future(future)) => {
            future.linear_lower_to_memory(cx, ty, offset)
        }
        (InterfaceType::Stream(_), Value::Stream(stream)) => {
            stream.linear_lower_to_memory(cx, ty, offset)
        }
        (_, Value::Scalar(bits)) if is_scalar(ty) || matches!(ty, InterfaceType::Flags(_)) => {
            put(cx, offset, size_of_type(types, ty), *bits)
        }
        _ => Err(mistaken()),
    }
}

/// Writes values one after the other to memory.
fn each<T>(
    values: &[Value],
    cx: &mut LowerContext<'_, T>,
    types: impl ExactSizeIterator<Item = InterfaceType>,
    mut offset: usize,
) -> Result<()> {
    same_length(values, types.len())?;
    for (value, ty) in values.iter().zip(types) {
        let abi = cx.types.canonical_abi(&ty);
        store(value, cx, ty, abi.next_field32_size(&mut offset))?;
    }
    Ok(())
}

/// Writes the elements of a list or map to memory that the component makes room in, and says where and
/// how many they are.
fn list<T>(
    value: &Value,
    cx: &mut LowerContext<'_, T>,
    ty: InterfaceType,
) -> Result<(usize, usize)> {
    let types = cx.types;
    match (ty, value) {
        (InterfaceType::List(index), Value::Block(bytes)) => {
            let element = types[index].element;
            if !is_scalar(element) {
                return Err(mistaken());
            }
            let abi = types.canonical_abi(&element);
            let pointer = cx.realloc(0, 0, abi.align32, bytes.len())?;
            memory(cx, pointer, bytes.len())?.copy_from_slice(bytes);
            Ok((pointer, bytes.len() / abi.size32 as usize))
        }
        (InterfaceType::List(index), Value::Many(values)) => {
            let element = types[index].element;
            let abi = types.canonical_abi(&element);
            let (size, total) = room(values.len(), abi.size32)?;
            let pointer = cx.realloc(0, 0, abi.align32, total)?;
            for (number, value) in values.iter().enumerate() {
                store(value, cx, element, pointer + number * size)?;
            }
            Ok((pointer, values.len()))
        }
        (InterfaceType::Map(index), Value::Many(entries)) => {
            let map = &types[index];
            let (size, total) = room(entries.len(), map.entry_abi.size32)?;
            let pointer = cx.realloc(0, 0, map.entry_abi.align32, total)?;
            for (number, entry) in entries.iter().enumerate() {
                let Value::Many(entry) = entry else {
                    return Err(mistaken());
                };
                let [key, value] = entry.as_slice() else {
                    return Err(mistaken());
                };
                let at = pointer + number * size;
                store(key, cx, map.key, at)?;
                store(value, cx, map.value, at + map.value_offset32 as usize)?;
            }
            Ok((pointer, entries.len()))
        }
        _ => Err(mistaken()),
    }
}

fn room(count: usize, size: u32) -> Result<(usize, usize)> {
    let size = size as usize;
    let too_large = || wasmtime::Error::msg("a list is too large for a memory");
    Ok((size, count.checked_mul(size).ok_or_else(too_large)?))
}

/// What a type of Wasmtime's own is as core values.
fn raw<T, V: Lower + ?Sized>(
    value: &V,
    cx: &mut LowerContext<'_, T>,
    ty: InterfaceType,
) -> Result<V::Lower> {
    let mut raw = MaybeUninit::uninit();
    value.linear_lower_to_flat(cx, ty, &mut raw)?;
    // SAFETY: where it returns without an error, it has initialised all of it, which the trait
    // demands of it.
    Ok(unsafe { raw.assume_init() })
}

fn scalar(ty: InterfaceType, bits: u64) -> Result<ValRaw> {
    let [a, b, c, d, ..] = bits.to_le_bytes();
    Ok(match ty {
        InterfaceType::S8 => ValRaw::i32(i8::from_le_bytes([a]).into()),
        InterfaceType::S16 => ValRaw::i32(i16::from_le_bytes([a, b]).into()),
        InterfaceType::S64 | InterfaceType::U64 => ValRaw::u64(bits),
        InterfaceType::Float32 => ValRaw::f32(u32::from_le_bytes([a, b, c, d])),
        InterfaceType::Float64 => ValRaw::f64(bits),
        InterfaceType::Flags(_) => ValRaw::u32(u32::from_le_bytes([a, b, c, d])),
        _ if is_scalar(ty) => ValRaw::u32(u32::from_le_bytes([a, b, c, d])),
        _ => return Err(mistaken()),
    })
}

/// Writes the lowest bytes of a number.
fn put<T>(cx: &mut LowerContext<'_, T>, offset: usize, size: usize, bits: u64) -> Result<()> {
    memory(cx, offset, size)?.copy_from_slice(&bits.to_le_bytes()[..size]);
    Ok(())
}

fn memory<'a, T>(
    cx: &'a mut LowerContext<'_, T>,
    offset: usize,
    size: usize,
) -> Result<&'a mut [u8]> {
    let from = cx.as_slice_mut().get_mut(offset..);
    let found = from.and_then(|from| from.get_mut(..size));
    found.ok_or_else(|| wasmtime::Error::msg("a place is out of bounds of memory"))
}

fn take<'a>(dst: &mut &'a mut [ValRaw], count: usize) -> Result<&'a mut [ValRaw]> {
    let (taken, rest) = std::mem::take(dst)
        .split_at_mut_checked(count)
        .ok_or_else(mistaken)?;
    *dst = rest;
    Ok(taken)
}

fn same_length(values: &[Value], count: usize) -> Result<()> {
    match values.len() == count {
        true => Ok(()),
        false => Err(mistaken()),
    }
}
