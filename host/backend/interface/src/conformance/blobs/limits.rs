//! Quotas and limits: exact, and held while bodies arrive.

use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, stream};

use super::{BlobSuite, boxed, put, scope, with_box};
use crate::blob::{BlobError, Blobs, ObjectId, PutOptions, body_of};
use crate::{QuotaOf, Scope, StorageError, Usage};

const MIB: u64 = 1 << 20;

async fn with_box_of(suite: &BlobSuite, scope: Scope) -> Arc<dyn Blobs> {
    let blobs = suite.open(scope).await.expect("objects open");
    blobs.create_container("box").await.expect("a container");
    blobs
}

async fn put_bytes(blobs: &dyn Blobs, name: &str, bytes: u64) -> Result<(), BlobError> {
    let piece = Bytes::from(vec![7; 1 << 20]);
    let pieces = vec![piece; usize::try_from(bytes / MIB).unwrap_or(usize::MAX)];
    let rest = vec![7; usize::try_from(bytes % MIB).unwrap_or(usize::MAX)];
    let body = pieces.into_iter().chain([Bytes::from(rest)]).map(Ok);
    let body = Box::pin(stream::iter(body.collect::<Vec<_>>()));
    let put = blobs.put(boxed(name), PutOptions::default(), body).await;
    put.map(drop)
}

fn is_full(result: Result<(), BlobError>, expected: QuotaOf, expected_limit: u64) {
    match result {
        Err(BlobError::Storage(StorageError::QuotaExceeded { quota, limit })) => {
            assert_eq!((quota, limit), (expected, expected_limit));
        }
        other => panic!("{expected:?} of {expected_limit} is passed: {other:?}"),
    }
}

/// To the byte, whichever way bytes come; a body that would never end is refused when it is too
/// long, and what is refused leaves no trace.
pub async fn the_quota_of_bytes_holds_to_the_byte_as_bodies_arrive(suite: &mut BlobSuite) {
    let limit = suite.quota().blobs.bytes;
    let full = |result| is_full(result, QuotaOf::InstallationBytes, limit);
    let scope = scope();
    let blobs = with_box_of(suite, scope).await;
    put_bytes(&*blobs, "a", 16 * MIB).await.expect("fits");
    let upload = blobs.begin_upload(boxed("b"), PutOptions::default());
    let upload = upload.await.expect("an upload").id;
    let sixteen = Bytes::from(vec![1; 16 << 20]);
    let part = blobs.put_part(&upload, 1, body_of(sixteen)).await;
    part.expect("parts count too");
    let rest = limit - 32 * MIB;
    full(put_bytes(&*blobs, "c", rest + 1).await);
    assert_eq!(suite.usage(scope).await.bytes, 32 * MIB);
    put_bytes(&*blobs, "c", rest).await.expect("to the byte");
    let stored = Usage {
        bytes: limit,
        items: 3,
    };
    assert_eq!(suite.usage(scope).await, stored);

    full(put_bytes(&*blobs, "d", 1).await);
    let part = blobs.put_part(&upload, 2, body_of("x")).await;
    full(part.map(drop));
    let endless = stream::once(async { Ok(Bytes::from(vec![1; 1 << 20])) });
    let endless = endless.chain(stream::pending());
    let never = blobs.put(boxed("d"), PutOptions::default(), Box::pin(endless));
    full(never.await.map(drop));
    let copied = blobs.copy(boxed("a"), boxed("d"), None).await;
    full(copied.map(drop));
    put_bytes(&*blobs, "empty", 0).await.expect("no bytes");
    blobs.delete(boxed("empty"), None).await.expect("deleted");
    assert_eq!(suite.usage(scope).await, stored, "nothing has changed");

    put_bytes(&*blobs, "c", rest).await.expect("in its place");
    full(put_bytes(&*blobs, "c", rest + 1).await);
    put_bytes(&*blobs, "c", rest - 1).await.expect("less");
    put_bytes(&*blobs, "d", 1).await.expect("what that frees");
    blobs.abort_upload(&upload).await.expect("aborted");
    assert_eq!(suite.usage(scope).await.bytes, limit - 16 * MIB);
    blobs.delete_container("box", true).await.expect("removed");
    assert_eq!(suite.usage(scope).await, Usage::default());
}

/// Objects and parts are counted, not containers.
pub async fn the_quota_of_objects_holds_to_the_object(suite: &mut BlobSuite) {
    let limit = suite.quota().blobs.items;
    let full = |result| is_full(result, QuotaOf::InstallationItems, limit);
    let scope = scope();
    let blobs = with_box_of(suite, scope).await;
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..8 {
        let blobs = blobs.clone();
        writers.spawn(async move {
            for number in (writer..limit).step_by(8) {
                put(&*blobs, &format!("{number}"), "").await;
            }
        });
    }
    writers.join_all().await;
    assert_eq!(suite.usage(scope).await.items, limit);
    full(put_bytes(&*blobs, "more", 0).await);
    full(blobs.copy(boxed("0"), boxed("more"), None).await.map(drop));
    put(&*blobs, "0", "one that is there").await;
    let moved = blobs.rename(boxed("0"), boxed("more"), None).await;
    moved.expect("as many as before");
    let many: Vec<_> = (1..11).map(|number| number.to_string()).collect();
    assert_eq!(blobs.delete_many("box", many).await.expect("deleted"), 10);
    assert_eq!(suite.usage(scope).await.items, limit - 10);
    put(&*blobs, "1", "").await;
}

/// Bodies of two installations that arrive at once never pass the quota of their tenant together:
/// what one has taken already the other can't have, and gets when the one has given up.
pub async fn the_tenants_quota_holds_for_bodies_that_arrive_at_once(suite: &mut BlobSuite) {
    let limit = suite.quota().tenant_bytes;
    let full = |result| is_full(result, QuotaOf::TenantBytes, limit);
    let one = scope();
    let two = Scope {
        installation: scope().installation,
        ..one
    };
    let (first, second) = (with_box_of(suite, one).await, with_box_of(suite, two).await);
    for name in ["a", "b"] {
        put_bytes(&*first, name, 16 * MIB).await.expect("fits");
    }
    let rest = limit - 32 * MIB;

    // The body of the first has given all but one byte of the rest, and goes on when it is told to.
    let given = (rest - 1).min(4 * MIB);
    put_bytes(&*second, "c", rest - 1 - given)
        .await
        .expect("fits");
    let piece = usize::try_from(given).expect("a few MiB");
    let (tell, told) = tokio::sync::oneshot::channel::<bool>();
    let (asked, begun) = tokio::sync::oneshot::channel::<()>();
    let body = stream::once(async move { Ok(Bytes::from(vec![1; piece])) });
    let body = body.chain(stream::once(async move {
        // It is asked for more when what came before has been counted.
        asked.send(()).expect("the case waits");
        match told.await {
            Ok(true) => Ok(Bytes::from_static(b"x")),
            _ => Err(BlobError::Body("given up".into())),
        }
    }));
    let putting = first.clone();
    let arriving = tokio::spawn(async move {
        let put = putting.put(boxed("slow"), PutOptions::default(), Box::pin(body));
        put.await.map(drop)
    });
    begun.await.expect("it has begun");
    full(put_bytes(&*second, "d", 2).await);
    put_bytes(&*second, "d", 1).await.expect("the last byte");
    tell.send(true).expect("it waits");
    full(arriving.await.expect("no panic"));
    put_bytes(&*second, "d", given + 1)
        .await
        .expect("all that is left");
    full(put_bytes(&*first, "more", 1).await);
    let total = suite.usage(one).await.bytes + suite.usage(two).await.bytes;
    assert_eq!(total, limit);

    let elsewhere = with_box(&**suite).await;
    put(&*elsewhere, "a", "another tenant's").await;
    suite.erase(one).await.expect("erased");
    put_bytes(&*second, "e", 1)
        .await
        .expect("there is room again");
}

/// The limits themselves are allowed, one more is not.
pub async fn names_and_metadata_may_be_as_long_as_the_limit(suite: &mut BlobSuite) {
    let limits = suite.limits();
    let blobs = with_box(&**suite).await;
    let (most, more) = (
        "n".repeat(limits.name_bytes),
        "n".repeat(limits.name_bytes + 1),
    );
    put(&*blobs, &most, "named").await;
    blobs.create_container(&most).await.expect("the longest");
    let long = |result: Result<(), BlobError>| match result {
        Err(BlobError::TooLarge { limit, .. }) => limit,
        other => panic!("one byte more is refused: {other:?}"),
    };
    let refused = blobs.create_container(&more).await.map(drop);
    assert_eq!(long(refused), limits.name_bytes as u64);
    for id in [ObjectId::new("box", &more), ObjectId::new(&more, "it")] {
        let put = blobs.put(id, PutOptions::default(), body_of("x")).await;
        assert_eq!(long(put.map(drop)), limits.name_bytes as u64);
        let copied = blobs.copy(boxed(&most), id, None).await;
        assert_eq!(long(copied.map(drop)), limits.name_bytes as u64);
    }
    for (bytes, fits) in [
        (limits.metadata_bytes, true),
        (limits.metadata_bytes + 1, false),
    ] {
        let options = PutOptions {
            metadata: [("n".to_owned(), "v".repeat(bytes - 1))].into(),
            ..PutOptions::default()
        };
        let put = blobs.put(boxed("it"), options, body_of("x")).await;
        match fits {
            true => drop(put.expect("the limit itself")),
            false => assert_eq!(long(put.map(drop)), limits.metadata_bytes as u64),
        }
    }
    let names = vec![String::from("x"); limits.batch + 1];
    let refused = blobs.delete_many("box", names).await;
    assert!(
        matches!(refused, Err(BlobError::TooMany { .. })),
        "{refused:?}"
    );
}
