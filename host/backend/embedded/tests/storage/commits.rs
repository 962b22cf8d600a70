//! Writes and the commits that they share.

use std::time::Duration;

use canopy_backend::StorageError;
use canopy_backend_embedded::EmbeddedSettings;

use crate::bucket;
use crate::support::{open, scope};

/// 64 writers, one installation: while one commit is under way, the other writes queue up and
/// share the next one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_writes_share_commits() {
    const WRITERS: u64 = 64;
    const WRITES: u64 = 20;
    let dir = tempfile::tempdir().expect("a folder");
    let storage = open(dir.path(), EmbeddedSettings::default());
    let bucket = bucket(&storage, scope()).await;
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let bucket = bucket.clone();
            tokio::spawn(async move {
                for n in 0..WRITES {
                    bucket
                        .set(&format!("{writer}/{n}"), vec![0; 100])
                        .await
                        .expect("set");
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.expect("a writer ends well");
    }
    let stats = storage.stats();
    assert_eq!(stats.writes, WRITERS * WRITES);
    // Each writer waits for its own write, so at least WRITES commits are needed.
    assert!(stats.commits >= WRITES, "{stats:?}");
    assert!(stats.commits < stats.writes / 2, "{stats:?}");
}

#[tokio::test]
async fn a_write_alone_is_one_commit_and_a_refused_one_is_none() {
    let dir = tempfile::tempdir().expect("a folder");
    let storage = open(dir.path(), EmbeddedSettings::default());
    let bucket = bucket(&storage, scope()).await;
    for n in 0..5 {
        bucket.set("key", vec![n]).await.expect("set");
    }
    assert_eq!((storage.stats().writes, storage.stats().commits), (5, 5));
    let conflict = bucket.compare_and_set("key", None, Vec::new()).await;
    assert!(conflict.is_ok(), "{conflict:?}");
    let refused = bucket.increment("key", 1).await;
    assert!(
        matches!(refused, Err(StorageError::NotANumber)),
        "{refused:?}"
    );
    assert_eq!(storage.stats().commits, 5);
}

#[tokio::test]
async fn one_commit_per_write_can_be_had() {
    let dir = tempfile::tempdir().expect("a folder");
    let storage = open(
        dir.path(),
        EmbeddedSettings {
            commit_writes: 1,
            ..Default::default()
        },
    );
    let bucket = bucket(&storage, scope()).await;
    let writes: Vec<_> = (0..16)
        .map(|n| {
            let bucket = bucket.clone();
            tokio::spawn(async move { bucket.set(&format!("k{n}"), Vec::new()).await })
        })
        .collect();
    for write in writes {
        write.await.expect("a writer ends well").expect("set");
    }
    assert_eq!((storage.stats().writes, storage.stats().commits), (16, 16));
}

/// A caller who goes away leaves the write whole, and nobody waiting.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_that_go_away_leave_nothing_half_done() {
    let dir = tempfile::tempdir().expect("a folder");
    let storage = open(
        dir.path(),
        EmbeddedSettings {
            open_databases: 2,
            ..Default::default()
        },
    );
    let scopes: Vec<_> = (0..6).map(|_| scope()).collect();
    for round in 0..20_u64 {
        for scope in &scopes {
            let bucket = bucket(&storage, *scope).await;
            let pairs = vec![("a".to_owned(), vec![1]), ("b".to_owned(), vec![1])];
            let wait = Duration::from_micros(round * 50);
            let _ = tokio::time::timeout(wait, bucket.set_many(pairs)).await;
        }
    }
    for scope in scopes {
        let bucket = bucket(&storage, scope).await;
        let values = bucket
            .get_many(&["a".into(), "b".into()])
            .await
            .expect("get_many");
        assert_eq!(values[0], values[1]);
        bucket.set("c", Vec::new()).await.expect("set");
    }
}
