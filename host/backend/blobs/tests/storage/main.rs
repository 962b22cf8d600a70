//! The storage of objects: the suite of all backends, and what this one promises beyond it.

mod damage;
mod keeping;
mod maintenance;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use canopy_backend::blob::{
    BlobProvider, Blobs, ObjectId, ObjectInfo, PutOptions, body_of, whole_body,
};
use canopy_backend::conformance::{Backend, Environment, Running, in_place_of};
use canopy_backend::{Ledger, Quota, Scope, StorageQuota};
use canopy_backend_blobs::{BlobSettings, BlobStorage};
use canopy_backend_keys::{Keyring, OperatorKey, OperatorKeys};
use canopy_ids::{InstallationId, TenantId};
use tempfile::TempDir;

/// A storage in a folder of its own.
struct Storage {
    blobs: BlobStorage,
    keyring: Keyring,
    scope: Scope,
    folder: Arc<TempDir>,
}

impl Storage {
    fn new() -> Self {
        Self::with(StorageQuota::default(), |_| {})
    }

    fn with(quota: StorageQuota, change: impl FnOnce(&mut BlobSettings)) -> Self {
        let scope = Scope {
            tenant: TenantId::new(),
            installation: InstallationId::new(),
        };
        let folder = Arc::new(tempfile::tempdir().expect("a folder"));
        Self::open(folder, scope, quota, change)
    }

    fn open(
        folder: Arc<TempDir>,
        scope: Scope,
        quota: StorageQuota,
        change: impl FnOnce(&mut BlobSettings),
    ) -> Self {
        let mut settings = BlobSettings::default();
        settings.limits.object_bytes = 16 << 20;
        change(&mut settings);
        let key = OperatorKey::from_file(&folder.path().join("operator.key"), true);
        let keys = OperatorKeys::from(key.expect("a key"));
        let keyring = Keyring::open(keys, &folder.path().join("storage")).expect("a keyring");
        let ledger = Ledger::new(Arc::new(quota));
        let root = folder.path().join("storage");
        let blobs = BlobStorage::open(root, keyring.clone(), ledger, settings).expect("opened");
        Self {
            blobs,
            keyring,
            scope,
            folder,
        }
    }

    /// As after a restart.
    fn reopened(self) -> Self {
        self.blobs.close();
        let (folder, scope) = (self.folder.clone(), self.scope);
        drop(self);
        Self::open(folder, scope, StorageQuota::default(), |_| {})
    }

    async fn objects(&self) -> Arc<dyn Blobs> {
        let blobs = BlobProvider::open(&self.blobs, self.scope)
            .await
            .expect("objects");
        blobs.create_container("box").await.expect("a container");
        blobs
    }

    /// Where the objects are.
    fn path(&self) -> PathBuf {
        folder(self.folder.path(), self.scope)
    }

    /// The files of segments.
    fn segments(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.path().join("objects")).expect("a folder");
        let mut paths: Vec<_> = entries
            .map(|entry| entry.expect("an entry").path())
            .collect();
        paths.sort();
        paths
    }
}

fn folder(root: &Path, scope: Scope) -> PathBuf {
    let Scope {
        tenant,
        installation,
    } = scope;
    root.join("storage")
        .join(tenant.to_string())
        .join(installation.to_string())
        .join("blobs")
}

fn quota(bytes: u64, items: u64) -> StorageQuota {
    StorageQuota {
        blobs: Quota { bytes, items },
        ..StorageQuota::default()
    }
}

fn id(name: &str) -> ObjectId<'_> {
    ObjectId::new("box", name)
}

async fn put(blobs: &dyn Blobs, name: &str, content: impl Into<bytes::Bytes>) -> ObjectInfo {
    blobs
        .put(id(name), PutOptions::default(), body_of(content))
        .await
        .unwrap_or_else(|error| panic!("put {name:?}: {error}"))
}

async fn read(
    blobs: &dyn Blobs,
    name: &str,
) -> Result<bytes::Bytes, canopy_backend::blob::BlobError> {
    whole_body(blobs.get(id(name), None).await?.body, u64::MAX).await
}

/// A storage in a folder, for the suite of all backends.
struct InFolder(Arc<TempDir>);

impl InFolder {
    fn folder(&self, scope: Scope) -> PathBuf {
        folder(self.0.path(), scope)
    }
}

#[async_trait::async_trait]
impl Backend<dyn BlobProvider> for InFolder {
    async fn open(&self, environment: &Environment) -> Running<dyn BlobProvider> {
        let nobody = Scope {
            tenant: TenantId::new(),
            installation: InstallationId::new(),
        };
        let Storage { blobs, .. } =
            Storage::open(self.0.clone(), nobody, environment.quota, |_| {});
        let closing = blobs.clone();
        Running {
            provider: Arc::new(blobs.clone()),
            maintenance: Arc::new(blobs),
            close: Box::new(move || {
                let blobs = closing.clone();
                Box::pin(async move { blobs.close() })
            }),
        }
    }

    fn lose(&self, scope: Scope) {
        in_place_of(&self.folder(scope), true);
    }

    fn find(&self, scope: Scope) {
        in_place_of(&self.folder(scope), false);
    }
}

canopy_backend::blob_conformance!(InFolder(Arc::new(tempfile::tempdir().expect("a folder"))));
