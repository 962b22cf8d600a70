//! The only place that generates bindings for this capability.

use wasmtime::component::{HasData, Linker};

use crate::ctx::KeyValueView;

pub(crate) mod draft {
    #![allow(missing_docs, unused_qualifications, reason = "generated code")]

    wasmtime::component::bindgen!({
        path: "../../../wit/deps/keyvalue-0.2.0-draft",
        world: "wasi:keyvalue/imports",
        imports: { default: async | trappable },
        with: { "wasi:keyvalue/store.bucket": crate::bucket::Bucket },
        trappable_error_type: { "wasi:keyvalue/store.error" => crate::adapter::Failure },
    });

    pub(crate) use wasi::keyvalue::{atomics, batch, store};
}

pub(crate) mod draft2 {
    #![allow(missing_docs, unused_qualifications, reason = "generated code")]

    wasmtime::component::bindgen!({
        path: "../../../wit/deps/keyvalue-0.2.0-draft2",
        world: "wasi:keyvalue/imports",
        imports: { default: async | trappable },
        with: {
            "wasi:keyvalue/store.bucket": crate::bucket::Bucket,
            "wasi:keyvalue/atomics.cas": crate::bucket::Cas,
        },
        trappable_error_type: {
            "wasi:keyvalue/store.error" => crate::adapter::Failure,
            "wasi:keyvalue/atomics.cas-error" => crate::adapter::draft2::SwapFailure,
        },
    });

    pub(crate) use wasi::keyvalue::{atomics, batch, store};
}

struct KeyValue;

impl HasData for KeyValue {
    type Data<'a> = KeyValueView<'a>;
}

/// Serves `wasi:keyvalue` in both drafts to components linked by `linker`.
pub fn add_to_linker<T: Send + 'static>(
    linker: &mut Linker<T>,
    view: fn(&mut T) -> KeyValueView<'_>,
) -> wasmtime::Result<()> {
    draft::store::add_to_linker::<T, KeyValue>(linker, view)?;
    draft::atomics::add_to_linker::<T, KeyValue>(linker, view)?;
    draft::batch::add_to_linker::<T, KeyValue>(linker, view)?;
    draft2::store::add_to_linker::<T, KeyValue>(linker, view)?;
    draft2::atomics::add_to_linker::<T, KeyValue>(linker, view)?;
    draft2::batch::add_to_linker::<T, KeyValue>(linker, view)
}
