//! The suite of all key-value backends.

use std::sync::Arc;

use canopy_backend::{KeyPage, KeyValue, KeyValueProvider, StorageError, StorageLimits};
use canopy_backend_embedded::{EmbeddedSettings, EmbeddedStorage};
use canopy_ids::InstallationId;

/// A storage in a folder that goes with it.
struct Temporary {
    storage: EmbeddedStorage,
    _dir: tempfile::TempDir,
}

#[async_trait::async_trait]
impl KeyValueProvider for Temporary {
    fn limits(&self) -> StorageLimits {
        self.storage.limits()
    }

    async fn open(
        &self,
        installation: InstallationId,
        name: &str,
    ) -> Result<Arc<dyn KeyValue>, StorageError> {
        self.storage.open(installation, name).await
    }

    async fn erase(&self, installation: InstallationId) -> Result<(), StorageError> {
        self.storage.erase(installation).await
    }
}

async fn open() -> Temporary {
    let dir = tempfile::tempdir().expect("a folder");
    let mut settings = EmbeddedSettings::default();
    settings.limits.value_bytes = 64 << 10;
    settings.limits.batch_bytes = 256 << 10;
    settings.limits.quota_bytes = 2 << 20;
    let storage = EmbeddedStorage::open(dir.path(), settings).expect("storage opens");
    Temporary { storage, _dir: dir }
}

canopy_backend::keyvalue_conformance!(open);

#[tokio::test]
async fn pages_are_limited_whatever_is_asked_for() {
    let provider = open().await;
    let bucket = provider
        .open(InstallationId::new(), "default")
        .await
        .expect("a bucket opens");
    let count = provider.limits().page_keys + 1;
    let keys: Vec<String> = (0..count).map(|n| format!("{n:05}")).collect();
    for half in keys.chunks(count.div_ceil(2)) {
        let pairs = half.iter().map(|key| (key.clone(), Vec::new())).collect();
        bucket.set_many(pairs).await.expect("set_many");
    }
    let page = bucket.list("", None, usize::MAX).await.expect("list");
    assert_eq!(page.keys, keys[..count - 1]);
    let rest = bucket
        .list("", page.next.as_deref(), usize::MAX)
        .await
        .expect("list");
    assert_eq!(
        rest,
        KeyPage {
            keys: keys[count - 1..].to_vec(),
            next: None
        }
    );
    let one = bucket.list("", None, 0).await.expect("list");
    assert_eq!(one.keys, keys[..1], "a page holds at least one key");
}
