//! Uploads in parts.

use super::{boxed, content, objects, read, with_box};
use crate::blob::{BlobError, BlobProvider, ByteRange, Condition, PutOptions, body_of};

/// Put in any order, replaced, listed in pages; ranges go over the edges of parts.
pub async fn parts_become_an_object(provider: &dyn BlobProvider) {
    let blobs = with_box(provider).await;
    let options = PutOptions {
        content_type: Some("text/plain".into()),
        ..PutOptions::default()
    };
    let upload = blobs
        .begin_upload(boxed("it"), options)
        .await
        .expect("begun");
    let whole = content(500_000);
    let parts = [
        &whole[..200_000],
        &whole[200_000..200_001],
        &whole[200_001..],
    ];
    let mut named = Vec::new();
    for number in [7, 3, 5] {
        blobs
            .put_part(&upload.id, number, body_of("to be replaced"))
            .await
            .expect("a part");
    }
    for (number, part) in [(7, parts[2]), (3, parts[0]), (5, parts[1]), (9, parts[0])] {
        let body = body_of(part.to_vec());
        let info = blobs
            .put_part(&upload.id, number, body)
            .await
            .expect("a part");
        assert_eq!(info.size, part.len() as u64);
        if number < 9 {
            named.push((number, info.etag));
        }
    }
    let page = blobs.parts(&upload.id, None, 3).await.expect("a page");
    let numbers: Vec<_> = page.parts.iter().map(|part| part.number).collect();
    assert_eq!((numbers, page.next), (vec![3, 5, 7], Some(7)));
    let page = blobs.parts(&upload.id, page.next, 3).await.expect("a page");
    assert_eq!((page.parts.len(), page.next), (1, None));
    assert_eq!(
        blobs.uploads("box").await.expect("a list"),
        std::slice::from_ref(&upload)
    );
    let absent = read(&*blobs, "it", None).await;
    assert!(matches!(absent, Err(BlobError::NoSuchObject)));

    named.sort();
    let info = blobs
        .complete_upload(&upload.id, named)
        .await
        .expect("complete");
    assert_eq!(info.size, whole.len() as u64);
    assert_eq!(info.content_type.as_deref(), Some("text/plain"));
    assert_eq!(read(&*blobs, "it", None).await.expect("read"), whole);
    let range = ByteRange::Slice {
        offset: 199_999,
        length: 3,
    };
    let over = read(&*blobs, "it", Some(range)).await.expect("read");
    assert_eq!(over, whole[199_999..200_002]);
    assert_eq!(blobs.uploads("box").await.expect("a list"), []);
    let gone = blobs.put_part(&upload.id, 1, body_of("x")).await;
    assert!(matches!(gone, Err(BlobError::NoSuchUpload)));
}

/// Nothing happens if a part is missing, another, or out of order, or the condition fails.
pub async fn parts_must_be_as_they_are_named(provider: &dyn BlobProvider) {
    let blobs = with_box(provider).await;
    let options = PutOptions {
        condition: Some(Condition::IfAbsent),
        ..PutOptions::default()
    };
    let upload = blobs
        .begin_upload(boxed("it"), options)
        .await
        .expect("begun");
    let mut etags = Vec::new();
    for number in [1, 2] {
        let body = body_of(number.to_string());
        let info = blobs
            .put_part(&upload.id, number, body)
            .await
            .expect("a part");
        etags.push(info.etag);
    }
    let part = |number: u32, etag: &str| (number, etag.to_owned());
    for wrong in [
        vec![part(1, &etags[0]), part(3, &etags[1])],
        vec![part(2, &etags[1]), part(1, &etags[0])],
        vec![part(1, &etags[0]), part(1, &etags[0])],
        vec![part(1, &etags[1])],
    ] {
        let refused = blobs.complete_upload(&upload.id, wrong).await;
        assert!(matches!(refused, Err(BlobError::Part { .. })));
    }
    let refused = blobs.complete_upload(&upload.id, Vec::new()).await;
    assert!(matches!(refused, Err(BlobError::Invalid { .. })));
    for number in [0, provider.limits().parts + 1] {
        let refused = blobs.put_part(&upload.id, number, body_of("x")).await;
        assert!(matches!(
            refused,
            Err(BlobError::Part { .. } | BlobError::TooMany { .. })
        ));
    }
    super::put(&*blobs, "it", "meanwhile").await;
    let all = vec![part(1, &etags[0]), part(2, &etags[1])];
    let refused = blobs.complete_upload(&upload.id, all.clone()).await;
    assert!(matches!(refused, Err(BlobError::Condition { .. })));
    blobs.delete(boxed("it"), None).await.expect("deleted");
    blobs
        .complete_upload(&upload.id, all)
        .await
        .expect("complete");
    assert_eq!(read(&*blobs, "it", None).await.expect("read"), "12");
}

/// Nor does one whose container goes.
pub async fn an_aborted_upload_leaves_nothing(provider: &dyn BlobProvider) {
    let blobs = with_box(provider).await;
    let nowhere = objects(provider).await;
    let absent = nowhere
        .begin_upload(boxed("it"), PutOptions::default())
        .await;
    assert!(matches!(absent, Err(BlobError::NoSuchContainer)));
    let begin = || blobs.begin_upload(boxed("it"), PutOptions::default());
    let upload = begin().await.expect("begun");
    blobs
        .put_part(&upload.id, 1, body_of("x"))
        .await
        .expect("a part");
    blobs.abort_upload(&upload.id).await.expect("aborted");
    let gone = blobs.abort_upload(&upload.id).await;
    assert!(matches!(gone, Err(BlobError::NoSuchUpload)));
    let upload = begin().await.expect("begun");
    let kept = blobs.delete_container("box", false).await;
    assert!(matches!(kept, Err(BlobError::ContainerNotEmpty)));
    blobs.delete_container("box", true).await.expect("removed");
    let gone = blobs.parts(&upload.id, None, 1).await;
    assert!(matches!(gone, Err(BlobError::NoSuchUpload)));
}
