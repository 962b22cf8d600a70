//! The only place that generates bindings for this capability.

use wasmtime::component::{HasData, Linker};

use crate::ctx::ConfigView;

mod rc {
    #![allow(missing_docs, unused_qualifications, reason = "generated code")]

    wasmtime::component::bindgen!({
        path: "../../../wit/deps/config-0.2.0-rc.1",
        world: "wasi:config/imports",
    });
}

mod draft {
    #![allow(missing_docs, unused_qualifications, reason = "generated code")]

    wasmtime::component::bindgen!({
        path: "../../../wit/deps/config-0.2.0-draft-2024-09-27",
        world: "wasi:config/imports",
    });
}

pub(crate) use draft::wasi::config::store as store_draft;
pub(crate) use rc::wasi::config::store as store_rc;

struct Config;

impl HasData for Config {
    type Data<'a> = ConfigView<'a>;
}

/// Serves `wasi:config/store` to components linked by `linker`.
pub fn add_to_linker<T: 'static>(
    linker: &mut Linker<T>,
    view: fn(&mut T) -> ConfigView<'_>,
) -> wasmtime::Result<()> {
    store_rc::add_to_linker::<T, Config>(linker, view)?;
    store_draft::add_to_linker::<T, Config>(linker, view)
}
