//! What this capability knows, and the part of a store that it works on.

use canopy_backend::Kept;
use wasmtime::component::ResourceTable;

use crate::bucket::Buckets;

/// The storage that one component may use.
#[derive(Clone)]
pub struct KeyValueCtx {
    pub(crate) buckets: Option<Buckets>,
}

impl KeyValueCtx {
    /// A component that stores in `buckets`.
    pub fn new(buckets: Buckets) -> Self {
        Self {
            buckets: Some(buckets),
        }
    }

    /// A component without storage of its own: opening a bucket is `access-denied`.
    pub fn none() -> Self {
        Self { buckets: None }
    }
}

/// The part of a store that this capability works on.
pub struct KeyValueView<'a> {
    /// The storage.
    pub ctx: &'a mut KeyValueCtx,
    /// Where opened buckets are.
    pub table: &'a mut ResourceTable,
    /// What the host keeps for the store.
    pub kept: &'a Kept,
}
