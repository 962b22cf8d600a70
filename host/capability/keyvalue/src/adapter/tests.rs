//! The versions of the interface that need no running guest, over the embedded engine.

use std::sync::Arc;

use canopy_backend::{Kept, KeyValueProvider, Scope, StorageError};
use canopy_backend_embedded::{EmbeddedParts, EmbeddedSettings, EmbeddedStorage};
use canopy_ids::{InstallationId, TenantId};
use tempfile::TempDir;
use wasmtime::component::{Resource, ResourceTable};

use crate::adapter::Failure;
use crate::adapter::draft2::SwapFailure;
use crate::bindings::{draft, draft2, spin2};
use crate::bucket::{Bucket, Buckets, MAX_BUCKET_NAME, PAGE};
use crate::ctx::{KeyValueCtx, KeyValueView};
use crate::names::StoreNames;

/// Stores of several installations over one engine.
struct Engine {
    provider: Arc<dyn KeyValueProvider>,
    _folder: TempDir,
}

impl Engine {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let parts = EmbeddedParts::temporary(folder.path()).expect("keys");
        let storage = EmbeddedStorage::open(parts, EmbeddedSettings::default());
        Self {
            provider: Arc::new(storage.expect("storage")),
            _folder: folder,
        }
    }

    /// A guest whose package declared the stores `a` and `b`.
    fn guest(&self) -> Guest {
        let scope = Scope {
            tenant: TenantId::new(),
            installation: InstallationId::new(),
        };
        let names = StoreNames::of(["a".to_owned(), "b".to_owned()]);
        let buckets = Buckets::of(self.provider.clone(), scope, Arc::new(names));
        Guest {
            ctx: KeyValueCtx::new(buckets),
            table: ResourceTable::new(),
            kept: Kept::new(2 << 20),
        }
    }
}

/// The part of a guest's store that matters here.
struct Guest {
    ctx: KeyValueCtx,
    table: ResourceTable,
    kept: Kept,
}

impl Guest {
    fn view(&mut self) -> KeyValueView<'_> {
        KeyValueView {
            ctx: &mut self.ctx,
            table: &mut self.table,
            kept: &self.kept,
        }
    }

    async fn bucket(&mut self, name: &str) -> Resource<Bucket> {
        let mut view = self.view();
        draft::store::Host::open(&mut view, name.into())
            .await
            .expect("bucket")
    }
}

fn again(bucket: &Resource<Bucket>) -> Resource<Bucket> {
    Resource::new_borrow(bucket.rep())
}

#[tokio::test]
async fn both_drafts_see_the_same_values() {
    let engine = Engine::new();
    let mut guest = engine.guest();
    let bucket = guest.bucket("").await;
    let mut view = guest.view();
    draft::store::HostBucket::set(&mut view, again(&bucket), "k".into(), vec![1])
        .await
        .expect("set");
    let named = draft2::store::Host::open(&mut view, "default".into())
        .await
        .expect("bucket");
    let value = draft2::store::HostBucket::get(&mut view, again(&named), "k".into()).await;
    assert_eq!(
        value.expect("get"),
        Some(vec![1]),
        "an empty name is the default bucket"
    );
    draft2::store::HostBucket::delete(&mut view, again(&named), "k".into())
        .await
        .expect("delete");
    let exists = draft::store::HostBucket::exists(&mut view, again(&bucket), "k".into()).await;
    assert!(!exists.expect("exists"));
}

#[tokio::test]
async fn installations_and_buckets_are_apart() {
    let engine = Engine::new();
    let (mut one, mut other) = (engine.guest(), engine.guest());
    let bucket = one.bucket("a").await;
    draft::store::HostBucket::set(&mut one.view(), again(&bucket), "k".into(), vec![1])
        .await
        .expect("set");
    let second = one.bucket("b").await;
    let foreign = other.bucket("a").await;
    let missing = draft::store::HostBucket::get(&mut one.view(), again(&second), "k".into()).await;
    assert_eq!(missing.expect("get"), None);
    let missing =
        draft::store::HostBucket::get(&mut other.view(), again(&foreign), "k".into()).await;
    assert_eq!(missing.expect("get"), None);
}

#[tokio::test]
async fn names_that_are_not_declared_or_could_mislead_are_no_buckets() {
    let engine = Engine::new();
    let mut guest = engine.guest();
    let long = "x".repeat(MAX_BUCKET_NAME + 1);
    for name in ["a\nb", "a\0", "\u{1b}[2J", &long, "undeclared", "*"] {
        let refused = draft::store::Host::open(&mut guest.view(), name.into()).await;
        assert!(matches!(refused, Err(Failure::NoSuchStore)), "{name:?}");
    }
}

#[tokio::test]
async fn a_component_without_storage_is_denied() {
    let mut guest = Guest {
        ctx: KeyValueCtx::none(),
        table: ResourceTable::new(),
        kept: Kept::new(2 << 20),
    };
    let refused = draft::store::Host::open(&mut guest.view(), "a".into()).await;
    assert!(matches!(refused, Err(Failure::AccessDenied)));
}

#[tokio::test]
async fn listings_give_every_key_once_by_either_cursor() {
    let engine = Engine::new();
    let mut guest = engine.guest();
    let bucket = guest.bucket("a").await;
    let keys: Vec<String> = (0..PAGE + 200).map(|n| format!("{n:05}")).collect();
    let mut view = guest.view();
    for chunk in keys.chunks(100) {
        let pairs = chunk.iter().map(|key| (key.clone(), vec![0])).collect();
        draft::batch::Host::set_many(&mut view, again(&bucket), pairs)
            .await
            .expect("set");
    }

    let (mut listed, mut cursor) = (Vec::new(), None);
    loop {
        let page = draft::store::HostBucket::list_keys(&mut view, again(&bucket), cursor).await;
        let page = page.expect("page");
        listed.extend(page.keys);
        cursor = page.cursor;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(listed, keys);

    let (mut listed, mut cursor) = (Vec::new(), None);
    loop {
        let page = draft2::store::HostBucket::list_keys(&mut view, again(&bucket), cursor).await;
        let page = page.expect("page");
        listed.extend(page.keys);
        cursor = page.cursor;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(listed, keys);

    // A number that comes from another request is counted off.
    let fresh = draft::store::Host::open(&mut view, "a".into())
        .await
        .expect("bucket");
    let page = draft::store::HostBucket::list_keys(&mut view, again(&fresh), Some(1_199)).await;
    assert_eq!(page.expect("page").keys, [keys[1_199].clone()]);
    let page = draft::store::HostBucket::list_keys(&mut view, again(&fresh), Some(9_999)).await;
    let page = page.expect("page");
    assert!(page.keys.is_empty() && page.cursor.is_none());
}

#[tokio::test]
async fn counters_count_and_refuse_what_is_not_theirs() {
    let engine = Engine::new();
    let mut guest = engine.guest();
    let bucket = guest.bucket("a").await;
    let mut view = guest.view();
    let sum = draft::atomics::Host::increment(&mut view, again(&bucket), "n".into(), 5).await;
    assert_eq!(sum.expect("sum"), 5);
    let sum = draft2::atomics::Host::increment(&mut view, again(&bucket), "n".into(), -7).await;
    assert_eq!(sum.expect("sum"), -2);
    let refused = draft::atomics::Host::increment(&mut view, again(&bucket), "n".into(), 1).await;
    assert!(
        matches!(&refused, Err(error) if error.to_string().contains("negative")),
        "{refused:?}"
    );
    let huge =
        draft::atomics::Host::increment(&mut view, again(&bucket), "m".into(), u64::MAX).await;
    assert!(
        matches!(&huge, Err(error) if error.to_string().contains("at most")),
        "{huge:?}"
    );
    draft::store::HostBucket::set(&mut view, again(&bucket), "t".into(), b"text".to_vec())
        .await
        .expect("set");
    let refused = draft::atomics::Host::increment(&mut view, again(&bucket), "t".into(), 1).await;
    assert!(
        matches!(&refused, Err(error) if error.to_string().contains("not a number")),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_swap_takes_place_only_where_nothing_changed() {
    let engine = Engine::new();
    let mut guest = engine.guest();
    let bucket = guest.bucket("a").await;
    let mut view = guest.view();
    let cas = draft2::atomics::HostCas::new(&mut view, again(&bucket), "k".into()).await;
    let cas = cas.expect("cas");
    draft2::atomics::Host::swap(&mut view, cas, b"1".to_vec())
        .await
        .expect("absent as seen");

    let cas = draft2::atomics::HostCas::new(&mut view, again(&bucket), "k".into()).await;
    let cas = cas.expect("cas");
    draft::store::HostBucket::set(&mut view, again(&bucket), "k".into(), b"2".to_vec())
        .await
        .expect("set");
    let conflict = draft2::atomics::Host::swap(&mut view, cas, b"3".to_vec()).await;
    let Err(SwapFailure::Conflict(cas)) = conflict else {
        panic!("{conflict:?}")
    };
    let seen = Resource::new_borrow(cas.rep());
    let current = draft2::atomics::HostCas::current(&mut view, seen)
        .await
        .expect("current");
    assert_eq!(current, Some(b"2".to_vec()));
    draft2::atomics::Host::swap(&mut view, cas, b"3".to_vec())
        .await
        .expect("as seen now");
    let value = draft::store::HostBucket::get(&mut view, again(&bucket), "k".into()).await;
    assert_eq!(value.expect("get"), Some(b"3".to_vec()));
}

#[tokio::test]
async fn batches_keep_the_order_of_their_keys() {
    let engine = Engine::new();
    let mut guest = engine.guest();
    let bucket = guest.bucket("a").await;
    let mut view = guest.view();
    let pairs = vec![("a".into(), vec![1]), ("c".into(), vec![3])];
    draft2::batch::Host::set_many(&mut view, again(&bucket), pairs)
        .await
        .expect("set");
    let keys = vec!["c".to_owned(), "b".to_owned(), "a".to_owned()];
    let found = draft::batch::Host::get_many(&mut view, again(&bucket), keys.clone()).await;
    assert_eq!(
        found.expect("get"),
        [
            Some(("c".into(), vec![3])),
            None,
            Some(("a".into(), vec![1]))
        ]
    );
    let found = draft2::batch::Host::get_many(&mut view, again(&bucket), keys.clone()).await;
    assert_eq!(
        found.expect("get"),
        [
            ("c".into(), Some(vec![3])),
            ("b".into(), None),
            ("a".into(), Some(vec![1]))
        ]
    );
    draft2::batch::Host::delete_many(&mut view, again(&bucket), keys)
        .await
        .expect("delete");
    let page = draft2::store::HostBucket::list_keys(&mut view, again(&bucket), None).await;
    assert!(page.expect("page").keys.is_empty());
}

#[tokio::test]
async fn what_is_too_large_is_said_in_words() {
    let engine = Engine::new();
    let mut guest = engine.guest();
    let bucket = guest.bucket("a").await;
    let key = "k".repeat(1 << 20);
    let mut view = guest.view();
    let refused = draft::store::HostBucket::set(&mut view, again(&bucket), key, Vec::new()).await;
    assert!(
        matches!(&refused, Err(error) if error.to_string().contains("over the limit")),
        "{refused:?}"
    );
}

#[tokio::test]
async fn all_keys_come_at_once_where_the_interface_has_no_pages() {
    let engine = Engine::new();
    let mut guest = engine.guest();
    let bucket = guest.bucket("a").await;
    let keys: Vec<String> = (0..PAGE + 200).map(|n| format!("{n:05}")).collect();
    let mut view = guest.view();
    for chunk in keys.chunks(100) {
        let pairs = chunk.iter().map(|key| (key.clone(), vec![0])).collect();
        draft::batch::Host::set_many(&mut view, again(&bucket), pairs)
            .await
            .expect("set");
    }
    let listed = spin2::key_value::HostStore::get_keys(&mut view, again(&bucket)).await;
    assert_eq!(listed.expect("keys"), keys);
    let refused = spin2::key_value::HostStore::open(&mut view, "undeclared".into()).await;
    assert!(matches!(refused, Err(Failure::NoSuchStore)));
}

#[tokio::test]
async fn values_that_a_guest_looks_at_have_so_much_together() {
    let engine = Engine::new();
    let mut guest = engine.guest();
    let bucket = guest.bucket("a").await;
    let mut view = guest.view();
    let value = vec![7; 1_000_000];
    draft::store::HostBucket::set(&mut view, again(&bucket), "k".into(), value)
        .await
        .expect("set");
    let mut looked = Vec::new();
    for _ in 0..2 {
        let cas = draft2::atomics::HostCas::new(&mut view, again(&bucket), "k".into()).await;
        looked.push(cas.expect("room"));
    }
    let refused = draft2::atomics::HostCas::new(&mut view, again(&bucket), "k".into()).await;
    assert!(matches!(
        refused,
        Err(Failure::Storage(StorageError::Busy(_)))
    ));
    for cas in looked {
        draft2::atomics::HostCas::drop(&mut view, cas)
            .await
            .expect("dropped");
    }
    assert_eq!(view.kept.bytes(), 0);
}
