//! Conditions, copies and removals.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::{boxed, put, read, with_box};
use crate::blob::{BlobError, BlobProvider, Condition, ObjectId, PutOptions, body_of};

fn only(condition: Condition) -> PutOptions {
    PutOptions {
        condition: Some(condition),
        ..PutOptions::default()
    }
}

/// A condition that does not hold changes nothing and tells what is there.
pub async fn conditions_are_looked_at_when_the_body_has_ended(provider: &dyn BlobProvider) {
    let blobs = with_box(provider).await;
    let first = blobs
        .put(boxed("it"), only(Condition::IfAbsent), body_of("1"))
        .await
        .expect("it is absent");
    let refused = blobs
        .put(boxed("it"), only(Condition::IfAbsent), body_of("2"))
        .await;
    assert!(
        matches!(refused, Err(BlobError::Condition { etag: Some(etag) }) if etag == first.etag)
    );
    let matching = only(Condition::IfMatch(first.etag.clone()));
    let second = blobs
        .put(boxed("it"), matching.clone(), body_of("2"))
        .await
        .expect("it matches");
    let refused = blobs.put(boxed("it"), matching.clone(), body_of("3")).await;
    assert!(
        matches!(refused, Err(BlobError::Condition { etag: Some(etag) }) if etag == second.etag)
    );
    let refused = blobs.put(boxed("none"), matching, body_of("3")).await;
    assert!(matches!(refused, Err(BlobError::Condition { etag: None })));
    assert_eq!(read(&*blobs, "it", None).await.expect("the second"), "2");

    // What holds when the body begins need not hold when it ends.
    let racing = Arc::clone(&blobs);
    let slow = futures::stream::once(async move {
        put(&*racing, "late", "first").await;
        Ok("second".into())
    });
    let refused = blobs
        .put(boxed("late"), only(Condition::IfAbsent), Box::pin(slow))
        .await;
    assert!(matches!(refused, Err(BlobError::Condition { .. })));
    assert_eq!(read(&*blobs, "late", None).await.expect("first"), "first");
}

/// Of writers who all expect that nothing is there, one wins.
pub async fn a_condition_lets_one_of_many_writers_win(provider: &dyn BlobProvider) {
    let blobs = with_box(provider).await;
    let mut writers = JoinSet::new();
    for number in 0..8 {
        let blobs = Arc::clone(&blobs);
        writers.spawn(async move {
            let body = body_of(number.to_string());
            let put = blobs
                .put(boxed("it"), only(Condition::IfAbsent), body)
                .await;
            match put {
                Ok(_) => Some(number.to_string()),
                Err(BlobError::Condition { .. }) => None,
                Err(error) => panic!("{error}"),
            }
        });
    }
    let won: Vec<_> = writers.join_all().await.into_iter().flatten().collect();
    assert_eq!(won.len(), 1, "one wins");
    assert_eq!(read(&*blobs, "it", None).await.expect("there"), won[0]);
}

/// Within a container and across, over what is there and onto itself.
pub async fn copies_and_moves_keep_everything(provider: &dyn BlobProvider) {
    let blobs = with_box(provider).await;
    blobs.create_container("other").await.expect("a container");
    let options = PutOptions {
        content_type: Some("text/plain".into()),
        metadata: [("a".to_owned(), "b".to_owned())].into(),
        ..PutOptions::default()
    };
    let it = blobs
        .put(boxed("it"), options, body_of("content"))
        .await
        .expect("put");
    let there = ObjectId::new("other", "copy");
    for _ in 0..2 {
        let copy = blobs.copy(boxed("it"), there, None).await.expect("copied");
        assert_eq!(
            (copy.etag, copy.content_type, copy.metadata),
            (
                it.etag.clone(),
                it.content_type.clone(),
                it.metadata.clone()
            )
        );
    }
    let refused = blobs
        .copy(boxed("it"), there, Some(Condition::IfAbsent))
        .await;
    assert!(matches!(refused, Err(BlobError::Condition { .. })));
    blobs
        .copy(boxed("it"), boxed("it"), None)
        .await
        .expect("onto itself");
    blobs
        .rename(boxed("it"), boxed("it"), None)
        .await
        .expect("onto itself");
    assert_eq!(read(&*blobs, "it", None).await.expect("there"), "content");
    blobs.delete(boxed("it"), None).await.expect("deleted");
    blobs
        .rename(there, boxed("back"), None)
        .await
        .expect("moved");
    assert_eq!(read(&*blobs, "back", None).await.expect("there"), "content");
    let gone = blobs.head(there).await;
    assert!(matches!(gone, Err(BlobError::NoSuchObject)));
    let absent = blobs.copy(boxed("none"), there, None).await;
    assert!(matches!(absent, Err(BlobError::NoSuchObject)));
    let nowhere = ObjectId::new("nowhere", "x");
    let absent = blobs.rename(boxed("back"), nowhere, None).await;
    assert!(matches!(absent, Err(BlobError::NoSuchContainer)));
    assert_eq!(read(&*blobs, "back", None).await.expect("still"), "content");
}

/// One by one, by condition, and many at once.
pub async fn deleting_says_whether_there_was_one(provider: &dyn BlobProvider) {
    let blobs = with_box(provider).await;
    let it = put(&*blobs, "it", "1").await;
    let wrong = Some(Condition::IfMatch("no".into()));
    let refused = blobs.delete(boxed("it"), wrong).await;
    assert!(matches!(refused, Err(BlobError::Condition { .. })));
    let right = Some(Condition::IfMatch(it.etag));
    assert!(blobs.delete(boxed("it"), right).await.expect("deleted"));
    assert!(!blobs.delete(boxed("it"), None).await.expect("gone already"));
    for name in ["a", "b", "c"] {
        put(&*blobs, name, name).await;
    }
    let names = ["a", "none", "c"].map(str::to_owned).to_vec();
    assert_eq!(blobs.delete_many("box", names).await.expect("deleted"), 2);
    assert_eq!(read(&*blobs, "b", None).await.expect("there"), "b");
    let info = blobs.container("box").await.expect("a container");
    assert_eq!((info.objects, info.bytes), (1, 1));
}

/// Bodies of one name that arrive at once take its place one after the other: what is there is one
/// of them, whole, with what was noted about that one.
pub async fn of_writers_without_a_condition_the_last_one_counts(provider: &dyn BlobProvider) {
    let blobs = with_box(provider).await;
    for round in 0..5 {
        let mut writers = JoinSet::new();
        for number in 0..8 {
            let blobs = Arc::clone(&blobs);
            writers.spawn(async move {
                let options = PutOptions {
                    metadata: [("by".to_owned(), number.to_string())].into(),
                    ..PutOptions::default()
                };
                let text = number.to_string().repeat(70_000 * (number + 1));
                let put = blobs.put(boxed("it"), options, body_of(text)).await;
                put.expect("put")
            });
        }
        let put = writers.join_all().await;
        let info = blobs.head(boxed("it")).await.expect("there");
        let by = &info.metadata["by"];
        let same = put.iter().find(|each| each.etag == info.etag);
        assert_eq!(same.expect("one of them").metadata["by"], *by, "{round}");
        let length = by.parse::<usize>().expect("a number") + 1;
        let text = by.repeat(70_000 * length);
        assert!(
            read(&*blobs, "it", None).await.expect("read") == text,
            "{by}"
        );
        let usage = blobs.container("box").await.expect("there");
        assert_eq!((usage.objects, usage.bytes), (1, text.len() as u64));
    }
}
