//! Values on their way from one store to another.
//!
//! A [`Value`] belongs to no store except for the handles in it: resources, streams, futures. Those
//! travel beside the values, in the order in which a walk meets them, and take their places again
//! on arrival.

use std::sync::Arc;

use wasmtime::component::{FutureAny, ResourceAny, StreamAny, Val};

use crate::handle::Remote;
use crate::objects::Parked;
use crate::pipe::Pipe;

/// A value of a component. What it means is said by its type, which both sides have.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    /// A number, truth value, character or flags: its bits.
    Scalar(u64),
    Text(String),
    /// A list of numbers, truth values or characters: its bytes, as they are in memory.
    Block(Vec<u8>),
    /// The parts of a record or tuple, the elements of another list; the entries of a map, each a key
    /// and a value.
    Many(Vec<Value>),
    /// A case of a variant, enumeration, option or result, by its number, and what it holds.
    Case(u32, Option<Box<Value>>),
    Resource(Box<ResourceAny>),
    Future(Box<FutureAny>),
    Stream(Box<StreamAny>),
}

// The documentation says so, and what a component may hand over is counted by it.
const _: () = assert!(size_of::<Value>() == 32);

/// The parameters or results of a call.
pub(crate) enum Values {
    /// Between components, whose types were compared when they were linked.
    Compared(Vec<Value>),
    /// With the platform itself, by names.
    Named(Vec<Val>),
}

/// Values with the handles in them taken out.
pub(crate) struct Parcel<C> {
    pub(crate) values: Values,
    pub(crate) handles: Vec<Handle<C>>,
}

/// What belongs to a store, on its way to another.
pub(crate) enum Handle<C> {
    Resource {
        remote: Arc<Remote<C>>,
        /// Given away rather than lent.
        owned: bool,
    },
    /// An object of the host's own.
    Host {
        /// Which of the host's resources it is.
        place: usize,
        parked: Parked,
        owned: bool,
    },
    /// The readable end of a stream or future.
    Pipe(Pipe),
}

impl Values {
    /// What they take of memory.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Compared(values) => values.iter().map(Value::bytes).sum(),
            // The platform's own.
            Self::Named(_) => 0,
        }
    }
}

impl Value {
    /// What it takes of memory.
    pub(crate) fn bytes(&self) -> usize {
        let within = match self {
            Self::Text(text) => text.capacity(),
            Self::Block(bytes) => bytes.capacity(),
            Self::Many(values) => {
                let spare = values.capacity() - values.len();
                spare * size_of::<Self>() + values.iter().map(Self::bytes).sum::<usize>()
            }
            Self::Case(_, Some(value)) => value.bytes(),
            Self::Resource(_) | Self::Future(_) | Self::Stream(_) => size_of::<ResourceAny>(),
            Self::Scalar(_) | Self::Case(_, None) => 0,
        };
        size_of::<Self>() + within
    }
}

impl<C> Parcel<C> {
    pub(crate) fn of(values: Values) -> Self {
        Self {
            values,
            handles: Vec::new(),
        }
    }
}

/// Calls `visit` with every resource, stream and future in `values`, in an order that depends on
/// the values alone.
pub(crate) fn each_handle(
    values: &mut [Value],
    visit: &mut impl FnMut(&mut Value) -> wasmtime::Result<()>,
) -> wasmtime::Result<()> {
    values.iter_mut().try_for_each(|value| match value {
        Value::Resource(_) | Value::Stream(_) | Value::Future(_) => visit(value),
        Value::Many(values) => each_handle(values, visit),
        Value::Case(_, Some(value)) => each_handle(std::slice::from_mut(value), visit),
        Value::Scalar(_) | Value::Text(_) | Value::Block(_) | Value::Case(_, None) => Ok(()),
    })
}
