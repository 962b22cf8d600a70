//! `wasi:keyvalue` over the storage of one installation.
//!
//! The drafts `0.2.0-draft` (wasmtime, wasmCloud) and `0.2.0-draft2` (Spin) are thin adapters
//! (`adapter/`) over one implementation (`bucket`). Whose storage it is was decided when the
//! store was made ([`Buckets`]): no function here takes a tenant or builds a key from a name.

mod adapter;
mod bindings;
mod bucket;
mod ctx;

pub use bindings::add_to_linker;
pub use bucket::{Buckets, MAX_BUCKET_NAME, PAGE};
pub use ctx::{KeyValueCtx, KeyValueView};
