//! What this capability knows, and the part of a store that it works on.

use std::sync::Arc;

use canopy_backend::blob::{BlobError, BlobLimits, BlobProvider, Blobs};
use canopy_backend::{Kept, Scope, StorageError};
use wasmtime::component::ResourceTable;

use crate::address::Addresses;
use crate::settings::BlobsSettings;

/// The objects of one installation.
#[derive(Clone)]
pub struct Objects {
    provider: Arc<dyn BlobProvider>,
    scope: Scope,
    settings: Arc<BlobsSettings>,
}

impl Objects {
    /// The objects of `scope`, and of no other.
    pub fn of(provider: Arc<dyn BlobProvider>, scope: Scope, settings: Arc<BlobsSettings>) -> Self {
        Self {
            provider,
            scope,
            settings,
        }
    }

    pub(crate) async fn open(&self) -> Result<Arc<dyn Blobs>, StorageError> {
        self.provider.open(self.scope).await
    }

    pub(crate) fn scope(&self) -> Scope {
        self.scope
    }

    pub(crate) fn settings(&self) -> &BlobsSettings {
        &self.settings
    }

    /// How much one operation may name and bring.
    pub(crate) fn limits(&self) -> BlobLimits {
        self.provider.limits()
    }

    pub(crate) fn addresses(&self) -> Addresses {
        Addresses::new(self.provider.clone())
    }
}

/// The objects that one component may use.
#[derive(Clone)]
pub struct BlobsCtx {
    objects: Option<Objects>,
}

/// The component has no storage of its own.
pub(crate) struct NoStorage;

impl BlobsCtx {
    /// A component that stores in `objects`.
    pub fn new(objects: Objects) -> Self {
        Self {
            objects: Some(objects),
        }
    }

    /// A component without storage of its own: every call is `access-denied`.
    pub fn none() -> Self {
        Self { objects: None }
    }

    pub(crate) fn objects(&self) -> Result<Objects, NoStorage> {
        self.objects.clone().ok_or(NoStorage)
    }
}

/// The part of a store that this capability works on.
pub struct BlobsView<'a> {
    /// The objects.
    pub ctx: &'a mut BlobsCtx,
    /// Where containers and values are.
    pub table: &'a mut ResourceTable,
    /// What the host keeps for the store.
    pub kept: &'a Kept,
}

/// What a guest is told of an error whose text is for the operator, and the log.
pub(crate) fn told(error: &BlobError) -> String {
    match error {
        BlobError::Storage(StorageError::Failed(text)) => {
            tracing::error!("{text}");
            "storage is not available".into()
        }
        told => told.to_string(),
    }
}
