//! Bodies in and out.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures::StreamExt;

use super::{boxed, content, pieces, put, read, with_box};
use crate::blob::{BlobError, BlobProvider, ByteRange, PutOptions, body_of, whole_body};

/// Lengths about every edge that a backend may have, in pieces of any size.
pub async fn a_body_comes_back_whole_and_in_ranges(provider: &dyn BlobProvider) {
    let blobs = with_box(provider).await;
    let chunk = 64 << 10;
    for length in [
        0,
        1,
        chunk - 1,
        chunk,
        chunk + 1,
        4 * chunk,
        4 * chunk + 1,
        1_000_003,
    ] {
        let whole = content(length);
        let mut given = whole.clone();
        let mut parts = Vec::new();
        let mut size = 1;
        while !given.is_empty() {
            parts.push(given.split_to(size.min(given.len())));
            size = size * 3 + 1;
        }
        let info = blobs
            .put(boxed("it"), PutOptions::default(), pieces(parts, None))
            .await
            .expect("put");
        assert_eq!(info.size, length as u64);
        assert_eq!(read(&*blobs, "it", None).await.expect("read"), whole);
        let length = length as u64;
        for (offset, wanted) in [
            (0, 1),
            (0, length),
            (length / 2, length),
            (length / 3, length / 3),
            (length.saturating_sub(1), 5),
            (length, 1),
            (chunk as u64 - 1, 2),
            (chunk as u64, chunk as u64),
        ] {
            let range = ByteRange::Slice {
                offset,
                length: wanted,
            };
            let found = read(&*blobs, "it", Some(range)).await;
            match range.within(length) {
                Some((offset, length)) => {
                    let from = usize::try_from(offset).expect("small");
                    let to = usize::try_from(offset + length).expect("small");
                    assert_eq!(found.expect("in the object"), whole[from..to]);
                }
                None => assert!(matches!(found, Err(BlobError::Range { size }) if size == length)),
            }
        }
        let last = read(&*blobs, "it", Some(ByteRange::Last(10))).await;
        let from = whole.len().saturating_sub(10);
        assert_eq!(last.expect("the end"), whole[from..]);
    }
}

/// Content type, metadata and times belong to the object.
pub async fn what_is_noted_comes_back(provider: &dyn BlobProvider) {
    let blobs = with_box(provider).await;
    let metadata = BTreeMap::from([
        ("author".to_owned(), "Grace Hopper".to_owned()),
        ("empty".to_owned(), String::new()),
    ]);
    let options = PutOptions {
        content_type: Some("text/plain; charset=utf-8".into()),
        metadata: metadata.clone(),
        ..PutOptions::default()
    };
    let first = blobs
        .put(boxed("it"), options, body_of("1"))
        .await
        .expect("put");
    assert_eq!(first.metadata, metadata);
    let head = blobs.head(boxed("it")).await.expect("head");
    assert_eq!(head, first);
    let listed = blobs.list("box", crate::blob::Listing::default()).await;
    assert_eq!(
        listed.expect("a page").objects,
        std::slice::from_ref(&first)
    );

    let again = put(&*blobs, "it", "2").await;
    assert_eq!(again.created, first.created);
    assert_ne!(again.etag, first.etag);
    assert_eq!(again.metadata, BTreeMap::new());
    let same = put(&*blobs, "other", "2").await;
    assert_eq!(same.etag, again.etag, "equal content has equal etags");

    let absent = blobs.head(boxed("none")).await;
    assert!(matches!(absent, Err(BlobError::NoSuchObject)));
    for options in [
        PutOptions {
            content_type: Some("text/html\r\nset-cookie: a=b".into()),
            ..PutOptions::default()
        },
        PutOptions {
            metadata: BTreeMap::from([("big".into(), "x".repeat(1 << 20))]),
            ..PutOptions::default()
        },
    ] {
        let refused = blobs.put(boxed("it"), options, body_of("3")).await;
        assert!(matches!(
            refused,
            Err(BlobError::Invalid { .. } | BlobError::TooLarge { .. })
        ));
    }
    assert_eq!(read(&*blobs, "it", None).await.expect("as before"), "2");
}

/// Who has begun to read goes on with what was there.
pub async fn a_reading_sees_the_object_as_it_was(provider: &dyn BlobProvider) {
    let blobs = with_box(provider).await;
    let (one, two) = (content(700_000), Bytes::from_static(b"two"));
    put(&*blobs, "it", one.clone()).await;
    let mut reading = blobs.get(boxed("it"), None).await.expect("a reading");
    let first = reading.body.next().await.expect("bytes").expect("right");
    put(&*blobs, "it", two.clone()).await;
    assert_eq!(read(&*blobs, "it", None).await.expect("the new one"), two);
    blobs.delete(boxed("it"), None).await.expect("deleted");
    let rest = whole_body(reading.body, u64::MAX).await.expect("the rest");
    assert_eq!([first, rest].concat(), one);
}

/// What is not given to its end is not there.
pub async fn a_body_that_breaks_off_changes_nothing(provider: &dyn BlobProvider) {
    let blobs = with_box(provider).await;
    put(&*blobs, "it", "before").await;
    let end = BlobError::Body("the client has gone".into());
    let broken = pieces(vec![content(300_000)], Some(end));
    let refused = blobs.put(boxed("it"), PutOptions::default(), broken).await;
    assert!(matches!(refused, Err(BlobError::Body(_))));
    assert_eq!(
        read(&*blobs, "it", None).await.expect("as before"),
        "before"
    );
}

/// A length that was said is kept to.
pub async fn a_body_of_another_length_changes_nothing(provider: &dyn BlobProvider) {
    let blobs = with_box(provider).await;
    for said in [0, 4, 6, 1 << 40] {
        let options = PutOptions {
            size: Some(said),
            ..PutOptions::default()
        };
        let refused = blobs.put(boxed("it"), options, body_of("12345")).await;
        assert!(
            matches!(
                refused,
                Err(BlobError::WrongSize { .. } | BlobError::TooLarge { .. })
            ),
            "{said}"
        );
    }
    let absent = read(&*blobs, "it", None).await;
    assert!(matches!(absent, Err(BlobError::NoSuchObject)));
    let options = PutOptions {
        size: Some(5),
        ..PutOptions::default()
    };
    let put = blobs.put(boxed("it"), options, body_of("12345")).await;
    assert_eq!(put.expect("as said").size, 5);
}

/// A put whose caller went away has not taken place.
pub async fn a_put_that_is_dropped_changes_nothing(provider: &dyn BlobProvider) {
    let blobs = with_box(provider).await;
    let first = futures::stream::iter([Ok(content(400_000))]);
    let endless = Box::pin(first.chain(futures::stream::pending()));
    let put = blobs.put(boxed("it"), PutOptions::default(), endless);
    tokio::select! {
        biased;
        _ = put => panic!("the body has no end"),
        () = tokio::task::yield_now() => {}
    }
    let absent = read(&*blobs, "it", None).await;
    assert!(matches!(absent, Err(BlobError::NoSuchObject)));
}

/// Also where the length is not known before.
pub async fn bodies_over_a_limit_are_refused(provider: &dyn BlobProvider) {
    let blobs = with_box(provider).await;
    for max_size in [0, 4] {
        let options = PutOptions {
            max_size: Some(max_size),
            ..PutOptions::default()
        };
        let refused = blobs.put(boxed("it"), options, body_of("12345")).await;
        assert!(matches!(refused, Err(BlobError::TooLarge { limit, .. }) if limit == max_size));
    }
    let limit = provider.limits().object_bytes;
    let piece = content(1 << 20);
    let count = usize::try_from(limit >> 20).expect("small");
    let all = vec![piece.clone(); count];
    let whole = blobs
        .put(
            boxed("it"),
            PutOptions::default(),
            pieces(all.clone(), None),
        )
        .await
        .expect("just the limit");
    assert_eq!(whole.size, limit);
    let more = [all, vec![Bytes::from_static(b"x")]].concat();
    let refused = blobs
        .put(boxed("more"), PutOptions::default(), pieces(more, None))
        .await;
    assert!(matches!(refused, Err(BlobError::TooLarge { .. })));
}
