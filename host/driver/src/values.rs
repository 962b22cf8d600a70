//! Values on their way from one store to another.
//!
//! A [`Val`] belongs to no store except for the handles in it: resources, streams, futures. Those
//! travel beside the values, in the order in which a walk meets them, and take their places again
//! on arrival.

use std::sync::Arc;

use wasmtime::component::Val;

use crate::handle::Remote;
use crate::objects::Parked;
use crate::pipe::Pipe;

/// Values with the handles in them taken out.
pub(crate) struct Parcel<C> {
    pub(crate) values: Vec<Val>,
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

impl<C> Parcel<C> {
    pub(crate) fn of(values: Vec<Val>) -> Self {
        Self {
            values,
            handles: Vec::new(),
        }
    }
}

/// Calls `visit` with every resource, stream and future in `values`, in an order that depends on
/// the values alone.
pub(crate) fn each_handle(
    values: &mut [Val],
    visit: &mut impl FnMut(&mut Val) -> wasmtime::Result<()>,
) -> wasmtime::Result<()> {
    values
        .iter_mut()
        .try_for_each(|value| in_value(value, visit))
}

fn in_value(
    value: &mut Val,
    visit: &mut impl FnMut(&mut Val) -> wasmtime::Result<()>,
) -> wasmtime::Result<()> {
    match value {
        Val::Resource(_) | Val::Stream(_) | Val::Future(_) => visit(value),
        Val::List(values) | Val::Tuple(values) | Val::FixedLengthList(values) => {
            each_handle(values, visit)
        }
        Val::Record(fields) => fields
            .iter_mut()
            .try_for_each(|(_, value)| in_value(value, visit)),
        Val::Map(entries) => entries.iter_mut().try_for_each(|(key, value)| {
            in_value(key, visit)?;
            in_value(value, visit)
        }),
        Val::Variant(_, Some(value))
        | Val::Option(Some(value))
        | Val::Result(Ok(Some(value)) | Err(Some(value))) => in_value(value, visit),
        Val::Bool(_)
        | Val::S8(_)
        | Val::U8(_)
        | Val::S16(_)
        | Val::U16(_)
        | Val::S32(_)
        | Val::U32(_)
        | Val::S64(_)
        | Val::U64(_)
        | Val::Float32(_)
        | Val::Float64(_)
        | Val::Char(_)
        | Val::String(_)
        | Val::Variant(_, None)
        | Val::Enum(_)
        | Val::Option(None)
        | Val::Result(Ok(None) | Err(None))
        | Val::Flags(_)
        | Val::ErrorContext(_) => Ok(()),
    }
}
