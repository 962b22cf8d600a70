//! The only place that generates bindings for this capability.

use wasmtime::component::{HasData, Linker};

use crate::ctx::IdentityView;

mod generated {
    #![allow(missing_docs, unused_qualifications, reason = "generated code")]

    wasmtime::component::bindgen!({
        path: "../../../wit/tenant/0.1.0",
        world: "canopy:tenant/imports",
    });
}

pub(crate) use generated::canopy::tenant::identity;

struct Identity;

impl HasData for Identity {
    type Data<'a> = IdentityView<'a>;
}

/// Serves `canopy:tenant/identity@0.1.0` to components linked by `linker`.
pub fn add_to_linker<T: 'static>(
    linker: &mut Linker<T>,
    view: fn(&mut T) -> IdentityView<'_>,
) -> wasmtime::Result<()> {
    identity::add_to_linker::<T, Identity>(linker, view)
}
