//! Keys and values of one installation, by every name that components import them by.
//!
//! `wasi:keyvalue` in the drafts `0.2.0-draft` (wasmtime, wasmCloud) and `0.2.0-draft2` (Spin),
//! `fermyon:spin/key-value@2.0.0`, `spin:key-value@3.0.0` and `canopy:storage/key-value@0.1.0` are
//! thin adapters (`adapter/`) over one implementation (`bucket`). Whose storage it is, and which
//! stores the package declared, was decided when the store was made ([`Buckets`]): no function here
//! takes a tenant or builds a key from a name.

mod adapter;
mod bindings;
mod bucket;
mod ctx;
mod names;

pub use bindings::{
    add_canopy_to_linker, add_one_to_linker, add_spin2_to_linker, add_spin3_to_linker,
    add_wasi_to_linker,
};
pub use bucket::{Buckets, MAX_BUCKET_NAME, PAGE};
pub use ctx::{KeyValueCtx, KeyValueView};
pub use names::StoreNames;
