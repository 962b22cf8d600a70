//! The only place that generates bindings for this capability.

use wasmtime::component::{HasData, Linker, LinkerInstance};

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

pub(crate) mod spin2 {
    #![allow(missing_docs, unused_qualifications, reason = "generated code")]

    wasmtime::component::bindgen!({
        inline: "package canopy:face; world face { import fermyon:spin/key-value@2.0.0; }",
        path: "../../../wit/deps/fermyon-spin-2.0.0",
        imports: { default: async | trappable },
        with: { "fermyon:spin/key-value.store": crate::bucket::Bucket },
        trappable_error_type: { "fermyon:spin/key-value.error" => crate::adapter::Failure },
    });

    pub(crate) use fermyon::spin::key_value;
}

pub(crate) mod spin3 {
    #![allow(missing_docs, unused_qualifications, reason = "generated code")]

    wasmtime::component::bindgen!({
        inline: "package canopy:face; world face { import spin:key-value/key-value@3.0.0; }",
        path: "../../../wit/deps/spin-key-value-3.0.0",
        imports: {
            "spin:key-value/key-value.[method]store.get-keys": store | trappable,
            default: trappable,
        },
        with: { "spin:key-value/key-value.store": crate::bucket::Bucket },
        trappable_error_type: { "spin:key-value/key-value.error" => crate::adapter::Failure },
    });

    pub(crate) use spin::key_value::key_value;
}

pub(crate) mod canopy {
    #![allow(missing_docs, unused_qualifications, reason = "generated code")]

    wasmtime::component::bindgen!({
        inline: "package canopy:face; world face { import canopy:storage/key-value@0.1.0; }",
        path: "../../../wit/storage/0.1.0",
        imports: { default: trappable },
        with: { "canopy:storage/key-value.store": crate::bucket::Bucket },
        trappable_error_type: { "canopy:storage/key-value.error" => crate::adapter::Failure },
    });

    pub(crate) use self::canopy::storage::key_value;
}

pub(crate) struct KeyValue;

impl HasData for KeyValue {
    type Data<'a> = KeyValueView<'a>;
}

/// Serves `wasi:keyvalue` in both drafts to components linked by `linker`.
pub fn add_wasi_to_linker<T: Send + 'static>(
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

/// Serves `fermyon:spin/key-value@2.0.0`.
pub fn add_spin2_to_linker<T: Send + 'static>(
    linker: &mut Linker<T>,
    view: fn(&mut T) -> KeyValueView<'_>,
) -> wasmtime::Result<()> {
    spin2::key_value::add_to_linker::<T, KeyValue>(linker, view)
}

/// Serves `spin:key-value@3.0.0`, whose functions are asynchronous.
pub fn add_spin3_to_linker<T: Send + 'static>(
    linker: &mut Linker<T>,
    view: fn(&mut T) -> KeyValueView<'_>,
) -> wasmtime::Result<()> {
    spin3::key_value::add_to_linker::<T, KeyValue>(linker, view)
}

/// Serves `canopy:storage/key-value@0.1.0`, whose functions are asynchronous.
pub fn add_canopy_to_linker<T: Send + 'static>(
    linker: &mut Linker<T>,
    view: fn(&mut T) -> KeyValueView<'_>,
) -> wasmtime::Result<()> {
    canopy::key_value::add_to_linker::<T, KeyValue>(linker, view)
}

/// Serves `interface` as the import that `instance` stands for, under whatever name. `false`: it is
/// none of this capability's.
pub fn add_one_to_linker<T: Send + 'static>(
    instance: &mut LinkerInstance<'_, T>,
    interface: &str,
    view: fn(&mut T) -> KeyValueView<'_>,
) -> wasmtime::Result<bool> {
    macro_rules! add {
        ($module:path) => {{
            use $module as module;
            module::add_to_linker_instance::<T, KeyValue>(instance, view)?
        }};
    }
    match interface {
        "wasi:keyvalue/store@0.2.0-draft" => add!(draft::store),
        "wasi:keyvalue/atomics@0.2.0-draft" => add!(draft::atomics),
        "wasi:keyvalue/batch@0.2.0-draft" => add!(draft::batch),
        "wasi:keyvalue/store@0.2.0-draft2" => add!(draft2::store),
        "wasi:keyvalue/atomics@0.2.0-draft2" => add!(draft2::atomics),
        "wasi:keyvalue/batch@0.2.0-draft2" => add!(draft2::batch),
        "fermyon:spin/key-value@2.0.0" => add!(spin2::key_value),
        "spin:key-value/key-value@3.0.0" => add!(spin3::key_value),
        "canopy:storage/key-value@0.1.0" => add!(canopy::key_value),
        _ => return Ok(false),
    }
    Ok(true)
}
