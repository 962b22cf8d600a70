//! What is kept, how much of it, and in how many files.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use canopy_backend::blob::{BlobError, BlobProvider, PutOptions, body_of};
use canopy_backend::{Maintenance, QuotaOf, Scope, StorageError, StorageQuota, Usage};
use canopy_ids::{InstallationId, TenantId};
use futures::{StreamExt, stream};

use crate::{Storage, id, put, quota, read};

#[tokio::test]
async fn everything_is_there_after_a_restart() {
    let storage = Storage::new();
    let blobs = storage.objects().await;
    put(&*blobs, "it", "content").await;
    let upload = blobs
        .begin_upload(id("big"), PutOptions::default())
        .await
        .expect("begun");
    let part = blobs
        .put_part(&upload.id, 1, body_of("part"))
        .await
        .expect("a part");
    let storage = storage.reopened();
    let blobs = storage.objects().await;
    assert_eq!(read(&*blobs, "it").await.expect("there"), "content");
    blobs
        .complete_upload(&upload.id, vec![(1, part.etag)])
        .await
        .expect("complete");
    assert_eq!(read(&*blobs, "big").await.expect("there"), "part");
}

#[tokio::test]
async fn what_is_replaced_or_deleted_leaves_no_file() {
    let storage = Storage::new();
    let blobs = storage.objects().await;
    for content in ["one", "two", "three"] {
        put(&*blobs, "it", content).await;
        assert_eq!(storage.segments().len(), 1);
    }
    blobs
        .copy(id("it"), id("copy"), None)
        .await
        .expect("copied");
    assert_eq!(storage.segments().len(), 1, "a copy shares its files");
    blobs.delete(id("it"), None).await.expect("deleted");
    assert_eq!(read(&*blobs, "copy").await.expect("there"), "three");
    let mut reading = blobs.get(id("copy"), None).await.expect("a reading");
    blobs.delete(id("copy"), None).await.expect("deleted");
    assert_eq!(storage.segments().len(), 1, "it is being read");
    assert_eq!(
        reading.body.next().await.expect("bytes").expect("right"),
        "three"
    );
    drop(reading);
    assert_eq!(storage.segments().len(), 0);

    let broken = stream::iter([Ok("x".into()), Err(BlobError::Body("gone".into()))]);
    let refused = blobs
        .put(id("it"), PutOptions::default(), Box::pin(broken))
        .await;
    assert!(refused.is_err());
    let incoming = std::fs::read_dir(storage.path().join("incoming")).expect("a folder");
    assert_eq!(incoming.count(), 0);
}

#[tokio::test]
async fn left_overs_of_a_crash_are_swept_at_the_first_opening() {
    let storage = Storage::new();
    put(&*storage.objects().await, "it", "content").await;
    let objects = storage.path().join("objects");
    let orphan = objects.join("0123456789abcdef0123456789abcdef");
    let incoming = storage
        .path()
        .join("incoming/fedcba9876543210fedcba9876543210");
    for file in [&orphan, &incoming] {
        std::fs::write(file, "left over").expect("written");
    }
    let storage = storage.reopened();
    assert_eq!(
        read(&*storage.objects().await, "it").await.expect("there"),
        "content"
    );
    assert!(!orphan.exists() && !incoming.exists());
    assert_eq!(storage.segments().len(), 1);
}

#[tokio::test]
async fn the_quota_holds_to_the_byte_and_object() {
    let storage = Storage::with(quota(1000, 3), |_| {});
    let blobs = storage.objects().await;
    put(&*blobs, "a", vec![0; 600]).await;
    let full = |refused: Result<_, BlobError>, what: QuotaOf| match refused {
        Err(BlobError::Storage(StorageError::QuotaExceeded { quota, .. })) => {
            assert_eq!(quota, what);
        }
        other => panic!("{other:?}"),
    };
    let try_put = async |name: &'static str, bytes: usize| {
        let body = body_of(vec![1; bytes]);
        blobs.put(id(name), PutOptions::default(), body).await
    };
    full(try_put("b", 401).await, QuotaOf::InstallationBytes);
    try_put("b", 400).await.expect("just enough");
    full(try_put("c", 1).await, QuotaOf::InstallationBytes);
    // In the place of others, what they took counts.
    try_put("a", 500).await.expect("less than before");
    try_put("a", 600).await.expect("as much as there is");
    full(try_put("a", 601).await, QuotaOf::InstallationBytes);
    full(
        blobs.copy(id("a"), id("c"), None).await,
        QuotaOf::InstallationBytes,
    );
    try_put("c", 0).await.expect("an empty one");
    full(try_put("d", 0).await, QuotaOf::InstallationItems);
    let usage = storage.blobs.usage(storage.scope).await.expect("usage");
    assert_eq!(
        usage,
        Usage {
            bytes: 1000,
            items: 3
        }
    );
    blobs.delete(id("a"), None).await.expect("deleted");
    try_put("d", 600).await.expect("there is room again");

    let storage = storage.reopened();
    let usage = storage.blobs.usage(storage.scope).await.expect("usage");
    assert_eq!(
        usage,
        Usage {
            bytes: 1000,
            items: 3
        }
    );
}

#[tokio::test]
async fn the_tenants_quota_counts_all_its_installations() {
    let quota = StorageQuota {
        tenant_bytes: 1000,
        ..StorageQuota::default()
    };
    let storage = Storage::with(quota, |_| {});
    put(&*storage.objects().await, "a", vec![0; 600]).await;
    let other = Scope {
        installation: InstallationId::new(),
        ..storage.scope
    };
    let blobs = BlobProvider::open(&storage.blobs, other)
        .await
        .expect("objects");
    blobs.create_container("box").await.expect("a container");
    let refused = blobs
        .put(id("b"), PutOptions::default(), body_of(vec![0; 401]))
        .await;
    assert!(matches!(
        refused,
        Err(BlobError::Storage(StorageError::QuotaExceeded {
            quota: QuotaOf::TenantBytes,
            limit: 1000,
        }))
    ));
    put(&*blobs, "b", vec![0; 400]).await;
    storage
        .objects()
        .await
        .delete(id("a"), None)
        .await
        .expect("deleted");
    put(&*blobs, "c", vec![0; 600]).await;
}

#[tokio::test]
async fn a_body_of_unknown_length_is_refused_before_it_fills_the_disk() {
    let storage = Storage::with(quota(1 << 20, 10), |_| {});
    let blobs = storage.objects().await;
    let (send, receive) = tokio::sync::mpsc::channel::<()>(1024);
    let endless = stream::unfold(send, |send| async move {
        send.send(()).await.ok()?;
        Some((Ok(vec![0; 64 << 10].into()), send))
    });
    let refused = blobs
        .put(id("it"), PutOptions::default(), Box::pin(endless))
        .await;
    assert!(matches!(
        refused,
        Err(BlobError::Storage(StorageError::QuotaExceeded { .. }))
    ));
    assert!(receive.len() <= 17, "{} pieces were taken", receive.len());
    put(&*blobs, "it", vec![0; 1 << 20]).await;
}

#[tokio::test]
async fn few_indexes_are_open_and_none_for_long() {
    let storage = Storage::with(StorageQuota::default(), |settings| {
        settings.open_stores = 4;
        settings.idle_close = Duration::from_millis(10);
    });
    let mut scopes = Vec::new();
    for number in 0..20 {
        let scope = Scope {
            installation: InstallationId::new(),
            ..storage.scope
        };
        let blobs = BlobProvider::open(&storage.blobs, scope)
            .await
            .expect("objects");
        blobs.create_container("box").await.expect("a container");
        put(&*blobs, "it", number.to_string()).await;
        assert!(storage.blobs.open_stores() <= 4);
        scopes.push(scope);
    }
    let closed = tokio::time::timeout(Duration::from_secs(60), async {
        while storage.blobs.open_stores() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    closed.await.expect("what is idle is closed");
    for (number, scope) in scopes.into_iter().enumerate() {
        let blobs = BlobProvider::open(&storage.blobs, scope)
            .await
            .expect("objects");
        assert_eq!(
            read(&*blobs, "it").await.expect("there"),
            number.to_string()
        );
    }
}

/// An index that is read from stays open; whoever needs its place waits until it is free, and not
/// for ever.
#[tokio::test]
async fn an_operation_waits_for_an_index_that_is_in_use() {
    for (wait, expected) in [(Duration::from_secs(60), true), (Duration::ZERO, false)] {
        let storage = Storage::with(StorageQuota::default(), |settings| {
            settings.open_stores = 1;
            settings.open_wait = wait;
        });
        let blobs = storage.objects().await;
        put(&*blobs, "it", "x").await;
        let reading = blobs.get(id("it"), None).await.expect("a reading");
        let other = Scope {
            installation: InstallationId::new(),
            ..storage.scope
        };
        let other = BlobProvider::open(&storage.blobs, other).await;
        let other = other.expect("objects");
        let mut waiting = Box::pin(other.create_container("box"));
        if expected {
            let early = futures::poll!(&mut waiting);
            assert!(early.is_pending(), "it waits: {early:?}");
            drop(reading);
            assert!(waiting.await.expect("its turn has come"));
        } else {
            let refused = waiting.await;
            assert!(
                matches!(refused, Err(BlobError::Storage(StorageError::Busy(_)))),
                "{refused:?}"
            );
            drop(reading);
        }
    }
}

/// A tenant that reads from as many indexes as it may has no part of the others' places, and one that
/// has many installations closes its own.
#[tokio::test]
async fn a_tenant_has_so_many_of_the_places_for_indexes() {
    let storage = Storage::with(StorageQuota::default(), |settings| {
        settings.open_stores = 4;
        settings.tenant_stores = 2;
        settings.open_wait = Duration::ZERO;
    });
    let of = async |tenant| {
        let scope = Scope {
            tenant,
            installation: InstallationId::new(),
        };
        let blobs = BlobProvider::open(&storage.blobs, scope).await;
        blobs.expect("objects")
    };
    let mut readings = Vec::new();
    for _ in 0..2 {
        let blobs = of(storage.scope.tenant).await;
        blobs.create_container("box").await.expect("a container");
        put(&*blobs, "it", "x").await;
        readings.push((blobs.get(id("it"), None).await.expect("a reading"), blobs));
    }
    let third = of(storage.scope.tenant).await;
    let refused = third.create_container("box").await;
    assert!(
        matches!(&refused, Err(BlobError::Storage(StorageError::Busy(told))) if told.contains("one tenant")),
        "{refused:?}"
    );
    let neighbour = of(TenantId::new()).await;
    neighbour
        .create_container("box")
        .await
        .expect("a container");
    put(&*neighbour, "it", "y").await;
    let reading = neighbour.get(id("it"), None).await.expect("a reading");
    drop(readings.pop());
    // Whoever reads tells nobody when it is done.
    let freed = tokio::time::timeout(Duration::from_secs(60), async {
        while third.create_container("box").await.is_err() {
            tokio::task::yield_now().await;
        }
    });
    freed.await.expect("a place of its own is free");
    drop((reading, readings));
}

#[tokio::test]
async fn abandoned_uploads_are_swept() {
    let storage = Storage::new();
    let blobs = storage.objects().await;
    let upload = blobs
        .begin_upload(id("it"), PutOptions::default())
        .await
        .expect("begun");
    blobs
        .put_part(&upload.id, 1, body_of("part"))
        .await
        .expect("a part");
    storage.blobs.close();
    let (folder, scope) = (storage.folder.clone(), storage.scope);
    drop((storage, blobs));
    let quota = StorageQuota::default();
    let storage = Storage::open(folder, scope, quota, |settings| {
        settings.upload_expiry = Duration::ZERO;
    });
    // Older than nothing is what was touched a millisecond ago.
    tokio::time::sleep(Duration::from_millis(5)).await;
    let blobs = storage.objects().await;
    let gone = blobs.parts(&upload.id, None, 1).await;
    assert!(matches!(gone, Err(BlobError::NoSuchUpload)));
    assert_eq!(storage.segments().len(), 0);
    let usage = storage.blobs.usage(scope).await.expect("usage");
    assert_eq!(usage, Usage::default());
}

#[tokio::test]
async fn only_so_many_bodies_are_read_and_written_at_once() {
    let storage = Storage::with(StorageQuota::default(), |settings| {
        settings.limits.concurrent_reads = 2;
        settings.limits.concurrent_writes = 1;
    });
    let blobs = storage.objects().await;
    put(&*blobs, "it", "x").await;
    let first = blobs.get(id("it"), None).await.expect("one");
    let _second = blobs.get(id("it"), None).await.expect("two");
    let third = blobs.get(id("it"), None).await.map(drop);
    assert!(matches!(
        third,
        Err(BlobError::Storage(StorageError::Busy(_)))
    ));
    drop(first);
    blobs.get(id("it"), None).await.expect("one has gone");

    let writing = blobs.clone();
    let inner = stream::once(async move {
        let second = writing
            .put(id("other"), PutOptions::default(), body_of("y"))
            .await;
        assert!(matches!(
            second,
            Err(BlobError::Storage(StorageError::Busy(_)))
        ));
        Ok("z".into())
    });
    blobs
        .put(id("it"), PutOptions::default(), Box::pin(inner))
        .await
        .expect("the first");
}

/// Bodies are encrypted, hashed and decrypted by threads of the storage.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_processor_time_of_bodies_is_their_tenants() {
    const LEAST: Duration = Duration::from_millis(1);
    let storage = Storage::new();
    let blobs = storage.objects().await;
    let charges: Arc<Mutex<Vec<_>>> = Arc::default();
    let told = charges.clone();
    storage.blobs.paid_by(Arc::new(move |tenant, time| {
        told.lock().expect("lock").push((tenant, time));
    }));
    let charged = |since: Instant, way: &str| {
        let charges = std::mem::take(&mut *charges.lock().expect("lock"));
        let tenant = storage.scope.tenant;
        assert!(charges.iter().all(|(charged, _)| *charged == tenant));
        let sum: Duration = charges.iter().map(|(_, time)| *time).sum();
        let passed = since.elapsed() + LEAST;
        assert!(
            (LEAST..=passed).contains(&sum),
            "{way}: {sum:?} of {passed:?}"
        );
    };
    let since = Instant::now();
    put(&*blobs, "it", "x".repeat(8 << 20)).await;
    charged(since, "put");
    let since = Instant::now();
    assert_eq!(read(&*blobs, "it").await.expect("there").len(), 8 << 20);
    charged(since, "get");
}
