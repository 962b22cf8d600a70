//! `canopy:storage/blobs` and `wasi:blobstore` over the objects of one installation.
//!
//! Both are thin adapters (`storage`, `draft/`) over the engine behind
//! [`canopy_backend::blob::Blobs`]; whose objects they are was decided when the store was made
//! ([`Objects`]). [`Addresses`] are the third way to the same objects: paths by which anybody can
//! up- or download one object for a while, served by the edge without the guest.

mod address;
mod bindings;
mod ctx;
mod draft;
mod failure;
mod pipe;
mod settings;
mod storage;
mod stream;

pub use address::{Address, AddressError, AddressMethod, Addresses, PREFIX};
pub use bindings::{add_draft_to_linker, add_one_to_linker, add_storage_to_linker};
pub use ctx::{BlobsCtx, BlobsView, Objects};
pub use settings::BlobsSettings;

/// What the future of `canopy:storage/blobs` carries.
pub mod payload {
    pub use crate::bindings::storage::canopy::storage::blobs::Error;
}
