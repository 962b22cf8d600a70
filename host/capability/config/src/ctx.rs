//! What this capability knows, and the part of a store that it works on.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// The values that one component may read.
#[derive(Clone, Default)]
pub struct ConfigCtx {
    pub(crate) values: Arc<BTreeMap<String, String>>,
}

impl ConfigCtx {
    /// A component that may read `values`.
    pub fn new(values: Arc<BTreeMap<String, String>>) -> Self {
        Self { values }
    }
}

/// Without values: secrets are among them.
impl fmt::Debug for ConfigCtx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.values.keys()).finish()
    }
}

/// The part of a store that this capability works on.
pub struct ConfigView<'a> {
    /// The values.
    pub ctx: &'a mut ConfigCtx,
}
