//! What this capability knows, and the part of a store that it works on.

use std::collections::BTreeSet;
use std::sync::Arc;

use canopy_backend::sql::{DEFAULT_DATABASE, Sql, SqlError, SqlProvider};
use canopy_backend::{Kept, Scope};
use wasmtime::component::ResourceTable;

/// The databases of one installation.
#[derive(Clone)]
pub struct Databases {
    provider: Arc<dyn SqlProvider>,
    scope: Scope,
    names: Arc<BTreeSet<String>>,
}

impl Databases {
    /// The databases of `scope` and of nobody else: the default one, and those in `names`, which
    /// its package declares.
    pub fn of(
        provider: Arc<dyn SqlProvider>,
        scope: Scope,
        names: impl IntoIterator<Item = String>,
    ) -> Self {
        let mut names: BTreeSet<_> = names.into_iter().collect();
        names.insert(DEFAULT_DATABASE.to_owned());
        Self {
            provider,
            scope,
            names: Arc::new(names),
        }
    }

    /// Opens the database `name`; an empty name is the default one.
    pub(crate) async fn open(&self, name: &str) -> Result<Arc<dyn Sql>, SqlError> {
        let name = if name.is_empty() {
            DEFAULT_DATABASE
        } else {
            name
        };
        if !self.names.contains(name) {
            return Err(SqlError::NoSuchDatabase);
        }
        self.provider.open(self.scope, name).await
    }

    /// Bytes of a result that is handed over as one list.
    pub(crate) fn list_bytes(&self) -> u64 {
        self.provider.limits().list_bytes
    }
}

/// The databases that one component may use.
#[derive(Clone)]
pub struct SqlCtx {
    pub(crate) databases: Option<Databases>,
}

impl SqlCtx {
    /// A component that has `databases`.
    pub fn new(databases: Databases) -> Self {
        Self {
            databases: Some(databases),
        }
    }

    /// A component without databases of its own: opening one is `access-denied`.
    pub fn none() -> Self {
        Self { databases: None }
    }
}

/// The part of a store that this capability works on.
pub struct SqlView<'a> {
    /// The databases.
    pub ctx: &'a mut SqlCtx,
    /// Where opened databases and transactions are.
    pub table: &'a mut ResourceTable,
    /// What the host keeps for the store.
    pub kept: &'a Kept,
}
