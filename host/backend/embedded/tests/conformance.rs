//! The suite of all key-value backends.

#[expect(dead_code, reason = "other tests use the rest of it")]
mod support;

use std::sync::Arc;

use canopy_backend::conformance::{Environment, Suite, scope};
use canopy_backend::{KeyPage, KeyValueProvider, Ledger};
use canopy_backend_embedded::{EmbeddedParts, EmbeddedSettings, EmbeddedStorage};

async fn open(environment: Environment) -> Suite {
    let dir = tempfile::tempdir().expect("a folder");
    let mut settings = EmbeddedSettings::default();
    settings.limits.value_bytes = 64 << 10;
    settings.limits.batch_bytes = 256 << 10;
    let parts = EmbeddedParts {
        ledger: Ledger::new(Arc::new(environment.quota)),
        clock: environment.clock.clone(),
        ..support::parts(dir.path(), environment.quota)
    };
    let storage = EmbeddedStorage::open(parts, settings).expect("storage opens");
    Suite::new(environment, storage, dir)
}

canopy_backend::keyvalue_conformance!(open);

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
