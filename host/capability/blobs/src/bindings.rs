//! The only place that generates bindings for this capability.

use wasmtime::component::{HasData, Linker, LinkerInstance};

use crate::ctx::BlobsView;

pub(crate) mod storage {
    #![allow(missing_docs, unused_qualifications, reason = "generated code")]

    wasmtime::component::bindgen!({
        inline: "
            package canopy:blobs-host;
            world host { import canopy:storage/blobs@0.1.0; }
        ",
        path: "../../../wit/storage/0.1.0",
        imports: { default: async | store | trappable },
        trappable_error_type: { "canopy:storage/blobs.error" => crate::failure::Failure },
    });

    pub(crate) use canopy::storage::blobs::*;
}

pub(crate) mod draft {
    #![allow(missing_docs, unused_qualifications, reason = "generated code")]

    wasmtime::component::bindgen!({
        path: ["../../../wit/deps/io-0.2.2", "../../../wit/deps/blobstore-0.2.0-draft"],
        world: "wasi:blobstore/imports",
        imports: { default: async | trappable },
        with: {
            "wasi:io": wasmtime_wasi::p2::bindings::io,
            "wasi:blobstore/container.container": crate::draft::Container,
            "wasi:blobstore/container.stream-object-names": crate::draft::ObjectNames,
            "wasi:blobstore/types.incoming-value": crate::draft::IncomingValue,
            "wasi:blobstore/types.outgoing-value": crate::draft::OutgoingValue,
        },
    });

    pub(crate) use wasi::blobstore::{blobstore, container, types};
}

/// How the bindings reach this capability's part of a store.
pub(crate) struct Capability;

impl HasData for Capability {
    type Data<'a> = BlobsView<'a>;
}

/// Serves `canopy:storage/blobs` to components linked by `linker`, whose engine has WASI 0.3.
pub fn add_storage_to_linker<T: Send + 'static>(
    linker: &mut Linker<T>,
    view: fn(&mut T) -> BlobsView<'_>,
) -> wasmtime::Result<()> {
    storage::add_to_linker::<T, Capability>(linker, view)
}

/// Serves `wasi:blobstore` in its draft to components linked by `linker`.
pub fn add_draft_to_linker<T: Send + 'static>(
    linker: &mut Linker<T>,
    view: fn(&mut T) -> BlobsView<'_>,
) -> wasmtime::Result<()> {
    draft::types::add_to_linker::<T, Capability>(linker, view)?;
    draft::container::add_to_linker::<T, Capability>(linker, view)?;
    draft::blobstore::add_to_linker::<T, Capability>(linker, view)
}

/// Serves `interface` as the import that `instance` stands for, under whatever name. `false`: it is
/// none of this capability's.
pub fn add_one_to_linker<T: Send + 'static>(
    instance: &mut LinkerInstance<'_, T>,
    interface: &str,
    view: fn(&mut T) -> BlobsView<'_>,
) -> wasmtime::Result<bool> {
    match interface {
        "canopy:storage/blobs@0.1.0" => {
            storage::add_to_linker_instance::<T, Capability>(instance, view)?;
        }
        "wasi:blobstore/types@0.2.0-draft" => {
            draft::types::add_to_linker_instance::<T, Capability>(instance, view)?;
        }
        "wasi:blobstore/container@0.2.0-draft" => {
            draft::container::add_to_linker_instance::<T, Capability>(instance, view)?;
        }
        "wasi:blobstore/blobstore@0.2.0-draft" => {
            draft::blobstore::add_to_linker_instance::<T, Capability>(instance, view)?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}
