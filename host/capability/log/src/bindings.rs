//! The only place that generates bindings for this capability.

use wasmtime::component::{HasData, Linker};

use crate::ctx::LogView;

mod generated {
    #![allow(missing_docs, unused_qualifications, reason = "generated code")]

    wasmtime::component::bindgen!({
        path: "../../../wit/deps/logging-0.1.0-draft",
        world: "wasi:logging/imports",
    });
}

pub(crate) use generated::wasi::logging::logging;

struct Logging;

impl HasData for Logging {
    type Data<'a> = LogView<'a>;
}

/// Serves `wasi:logging/logging@0.1.0-draft` to components linked by `linker`.
pub fn add_to_linker<T: 'static>(
    linker: &mut Linker<T>,
    view: fn(&mut T) -> LogView<'_>,
) -> wasmtime::Result<()> {
    logging::add_to_linker::<T, Logging>(linker, view)
}
