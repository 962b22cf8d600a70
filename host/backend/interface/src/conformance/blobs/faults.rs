//! What objects do that are slow, closed, opened again, or out of reach.

use bytes::Bytes;
use futures::{StreamExt, stream};

use super::{BlobSuite, boxed, content, put, read, scope, with_box};
use crate::StorageError;
use crate::blob::{BlobError, Listing, PutOptions, body_of};

/// Neither a body that does not come nor one that is not taken keeps others from anything, of the
/// same object or another.
pub async fn a_slow_body_holds_up_nobody(suite: &mut BlobSuite) {
    let blobs = with_box(&**suite).await;
    let whole = content(3 << 20);
    put(&*blobs, "it", whole.clone()).await;
    let mut reading = blobs.get(boxed("it"), None).await.expect("a reading");
    let first = reading.body.next().await.expect("a piece").expect("right");
    let (asked, begun) = tokio::sync::oneshot::channel::<()>();
    let (tell, told) = tokio::sync::oneshot::channel::<()>();
    let slow = stream::once(async { Ok(Bytes::from_static(b"slow, ")) });
    let slow = slow.chain(stream::once(async move {
        asked.send(()).expect("the case waits");
        told.await
            .map_err(|error| BlobError::Body(error.to_string()))?;
        Ok(Bytes::from_static(b"and done"))
    }));
    let putting = blobs.clone();
    let writing = tokio::spawn(async move {
        let put = putting.put(boxed("slow"), PutOptions::default(), Box::pin(slow));
        put.await
    });
    begun.await.expect("it has begun");

    put(&*blobs, "slow", "in between").await;
    put(&*blobs, "it", "another").await;
    assert_eq!(
        read(&*blobs, "slow", None).await.expect("read"),
        "in between"
    );
    assert_eq!(read(&*blobs, "it", None).await.expect("read"), "another");
    assert!(blobs.delete(boxed("it"), None).await.expect("deleted"));
    let page = blobs.list(
        "box",
        Listing {
            limit: 10,
            ..Listing::default()
        },
    );
    assert_eq!(page.await.expect("listed").objects.len(), 1);

    tell.send(()).expect("it waits");
    writing.await.expect("no panic").expect("put");
    assert_eq!(
        read(&*blobs, "slow", None).await.expect("read"),
        "slow, and done"
    );
    let mut found = first.to_vec();
    while let Some(bytes) = reading.body.next().await {
        found.extend_from_slice(&bytes.expect("as it was"));
    }
    assert!(found == whole, "what was being read is whole");
}

/// Objects, what is noted about them, containers, and uploads that are under way.
pub async fn what_was_put_is_there_after_a_restart(suite: &mut BlobSuite) {
    let scope = scope();
    let whole = content(200_000);
    let (upload, part, info) = {
        let blobs = suite.open(scope).await.expect("objects open");
        blobs.create_container("box").await.expect("a container");
        blobs.create_container("none in it").await.expect("another");
        let options = PutOptions {
            content_type: Some("text/plain".to_owned()),
            metadata: [("by".to_owned(), "me".to_owned())].into(),
            ..PutOptions::default()
        };
        let body = body_of(whole.clone());
        let info = blobs.put(boxed("it"), options, body).await.expect("put");
        let upload = blobs.begin_upload(boxed("later"), PutOptions::default());
        let upload = upload.await.expect("an upload").id;
        let part = blobs.put_part(&upload, 1, body_of("part")).await;
        (upload, part.expect("a part"), info)
    };
    let before = suite.usage(scope).await;
    suite.restart().await;
    assert_eq!(suite.usage(scope).await, before);
    let blobs = suite.open(scope).await.expect("objects open");
    assert_eq!(blobs.head(boxed("it")).await.expect("there"), info);
    assert_eq!(read(&*blobs, "it", None).await.expect("read"), whole);
    blobs.container("none in it").await.expect("there");
    let parts = vec![(1, part.etag)];
    let completed = blobs.complete_upload(&upload, parts).await;
    completed.expect("it goes on where it was");
    assert_eq!(read(&*blobs, "later", None).await.expect("read"), "part");
}

/// No put is answered that is not stored, and nothing waits for ever.
pub async fn closed_objects_take_nothing_and_say_so(suite: &mut BlobSuite) {
    let scope = scope();
    {
        let blobs = suite.open(scope).await.expect("objects open");
        blobs.create_container("box").await.expect("a container");
        put(&*blobs, "it", "before").await;
        suite.close().await;
        let options = PutOptions::default();
        let refused = blobs.put(boxed("it"), options, body_of("after")).await;
        refused.expect_err("it is closed");
        blobs.delete(boxed("it"), None).await.expect_err("delete");
        blobs.head(boxed("it")).await.expect_err("head");
        assert!(blobs.get(boxed("it"), None).await.is_err());
        blobs.create_container("new").await.expect_err("create");
    }
    suite.restart().await;
    let blobs = suite.open(scope).await.expect("objects open");
    assert_eq!(read(&*blobs, "it", None).await.expect("read"), "before");
    let none = blobs.container("new").await;
    assert!(matches!(none, Err(BlobError::NoSuchContainer)), "{none:?}");
}

/// What can't be read is not taken for absent, and is whole again when it is in reach again.
pub async fn objects_out_of_reach_are_an_error_and_nobody_elses(suite: &mut BlobSuite) {
    let (lost, other) = (scope(), scope());
    for scope in [lost, other] {
        let blobs = suite.open(scope).await.expect("objects open");
        blobs.create_container("box").await.expect("a container");
        put(&*blobs, "it", "1").await;
    }
    suite.lose(lost).await;
    let failed = |case: &str, result: Result<(), BlobError>| match result {
        Err(BlobError::Storage(StorageError::Failed(_) | StorageError::Damaged(_))) => {}
        other => panic!("{case} of what is out of reach: {other:?}"),
    };
    for _ in 0..2 {
        // It may be told when objects are opened, or by whatever is done with them.
        match suite.open(lost).await {
            Err(error) => failed("open", Err(error.into())),
            Ok(blobs) => {
                failed("container", blobs.container("box").await.map(drop));
                failed("create", blobs.create_container("box").await.map(drop));
                failed("get", blobs.get(boxed("it"), None).await.map(drop));
                failed("head", blobs.head(boxed("it")).await.map(drop));
                let all = Listing {
                    limit: 10,
                    ..Listing::default()
                };
                failed("list", blobs.list("box", all).await.map(drop));
                failed("delete", blobs.delete(boxed("it"), None).await.map(drop));
                let put = blobs.put(boxed("it"), PutOptions::default(), body_of("2"));
                failed("put", put.await.map(drop));
            }
        }
        let blobs = suite.open(other).await.expect("objects open");
        put(&*blobs, "it", "2").await;
    }
    suite.find(lost).await;
    for (scope, expected) in [(lost, "1"), (other, "2")] {
        let blobs = suite.open(scope).await.expect("objects open");
        assert_eq!(read(&*blobs, "it", None).await.expect("read"), expected);
        put(&*blobs, "it", "3").await;
    }
}
