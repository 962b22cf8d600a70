//! The suite of all key-value backends.

#[expect(dead_code, reason = "other tests use the rest of it")]
mod support;

use std::sync::Arc;

use canopy_backend::conformance::{Backend, Environment, Running, in_place_of, scope};
use canopy_backend::{KeyPage, KeyValueProvider, Ledger, Scope};
use canopy_backend_embedded::{EmbeddedParts, EmbeddedSettings, EmbeddedStorage};
use tempfile::TempDir;

/// A storage in a folder.
struct Embedded(TempDir);

#[async_trait::async_trait]
impl Backend<dyn KeyValueProvider> for Embedded {
    async fn open(&self, environment: &Environment) -> Running<dyn KeyValueProvider> {
        let mut settings = EmbeddedSettings::default();
        settings.limits.value_bytes = 64 << 10;
        settings.limits.batch_bytes = 256 << 10;
        let parts = EmbeddedParts {
            ledger: Ledger::new(Arc::new(environment.quota)),
            clock: environment.clock.clone(),
            ..support::parts(self.0.path(), environment.quota)
        };
        let storage = EmbeddedStorage::open(parts, settings).expect("storage opens");
        let closing = storage.clone();
        Running {
            provider: Arc::new(storage.clone()),
            maintenance: Arc::new(storage),
            close: Box::new(move || {
                let storage = closing.clone();
                Box::pin(async move { storage.close().await })
            }),
        }
    }

    fn lose(&self, scope: Scope) {
        in_place_of(&support::folder(self.0.path(), scope), true);
    }

    fn find(&self, scope: Scope) {
        in_place_of(&support::folder(self.0.path(), scope), false);
    }
}

canopy_backend::keyvalue_conformance!(Embedded(tempfile::tempdir().expect("a folder")));

#[tokio::test]
async fn pages_are_limited_whatever_is_asked_for() {
    let dir = tempfile::tempdir().expect("a folder");
    let provider = support::open(dir.path(), EmbeddedSettings::default());
    let bucket = provider
        .open(scope(), "default")
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
