//! What a backend does that is closed, opened again, out of reach of its data, or whose callers go
//! away.

use std::task::{Context, Poll, Waker};

use super::{Suite, get, keys, scope, set};
use crate::{Action, Condition, Operation, SetOptions, StorageError};

/// All that a write was answered for, whichever operation it was.
pub async fn what_was_stored_is_there_after_a_restart(suite: &mut Suite) {
    let scope = scope();
    {
        let bucket = suite.open(scope, "default").await.expect("a bucket");
        set(&*bucket, "set", "1").await;
        bucket.increment("count", 5).await.expect("increment");
        let pairs = vec![("a".to_owned(), vec![1]), ("b".to_owned(), vec![2])];
        bucket.set_many(pairs).await.expect("set_many");
        bucket.delete("b").await.expect("delete");
        let step = Operation {
            bucket: "other".to_owned(),
            key: "in another".to_owned(),
            action: Action::Set {
                value: vec![3],
                options: SetOptions::default(),
            },
        };
        suite.transact(scope, vec![step]).await.expect("transact");
    }
    let before = suite.usage(scope).await;
    suite.restart().await;
    assert_eq!(suite.usage(scope).await, before);
    let bucket = suite.open(scope, "default").await.expect("a bucket");
    assert_eq!(keys(&*bucket, "", 10).await, ["a", "count", "set"]);
    assert_eq!(get(&*bucket, "count").await, Some(b"5".to_vec()));
    let version = bucket.get_entry("set").await.expect("an entry");
    let version = version.expect("it is there").version;
    set(&*bucket, "set", "2").await;
    let later = bucket.get_entry("set").await.expect("an entry");
    assert!(
        later.expect("it is there").version > version,
        "versions go on"
    );
    let other = suite.open(scope, "other").await.expect("a bucket");
    assert_eq!(get(&*other, "in another").await, Some(vec![3]));
}

/// No write is answered that is not stored, and nothing waits for ever.
pub async fn a_closed_backend_takes_nothing_and_says_so(suite: &mut Suite) {
    let scope = scope();
    let bucket = suite.open(scope, "default").await.expect("a bucket");
    set(&*bucket, "key", "before").await;
    suite.close().await;
    for (case, result) in [
        ("set", bucket.set("key", b"after".to_vec()).await),
        ("delete", bucket.delete("key").await),
        ("increment", bucket.increment("n", 1).await.map(drop)),
        ("get", bucket.get("key").await.map(drop)),
        ("list", bucket.list("", None, 1).await.map(drop)),
    ] {
        result.expect_err(case);
    }
    drop(bucket);
    suite.restart().await;
    let bucket = suite.open(scope, "default").await.expect("a bucket");
    assert_eq!(get(&*bucket, "key").await, Some(b"before".to_vec()));
    assert_eq!(get(&*bucket, "n").await, None);
}

/// What can't be read is not taken for empty, and is whole again when it is in reach again.
pub async fn what_is_out_of_reach_is_an_error_and_nobody_elses(suite: &mut Suite) {
    let (lost, other) = (scope(), scope());
    for scope in [lost, other] {
        let bucket = suite.open(scope, "default").await.expect("a bucket");
        set(&*bucket, "key", "1").await;
    }
    suite.lose(lost).await;
    let failed = |case: &str, result: Result<(), StorageError>| match result {
        Err(StorageError::Failed(_) | StorageError::Damaged(_)) => {}
        other => panic!("{case} of what is out of reach: {other:?}"),
    };
    for _ in 0..2 {
        // It may be told when the bucket is opened, or by whatever is done with it.
        match suite.open(lost, "default").await {
            Err(error) => failed("open", Err(error)),
            Ok(bucket) => {
                failed("get", bucket.get("key").await.map(drop));
                failed("exists", bucket.exists("key").await.map(drop));
                failed("list", bucket.list("", None, 10).await.map(drop));
                failed("set", bucket.set("key", b"2".to_vec()).await);
                failed("delete", bucket.delete("key").await);
                failed("increment", bucket.increment("n", 1).await.map(drop));
                let swapped = bucket.compare_and_set("key", None, b"2".to_vec());
                failed("compare_and_set", swapped.await.map(drop));
            }
        }
        let check = Operation {
            bucket: "default".to_owned(),
            key: "key".to_owned(),
            action: Action::Check(Condition::Absent),
        };
        let transacted = suite.transact(lost, vec![check]).await;
        failed("transact", transacted.map(drop));
        let bucket = suite.open(other, "default").await.expect("a bucket");
        set(&*bucket, "key", "2").await;
    }
    suite.find(lost).await;
    for (scope, expected) in [(lost, "1"), (other, "2")] {
        let bucket = suite.open(scope, "default").await.expect("a bucket");
        assert_eq!(get(&*bucket, "key").await, Some(expected.into()));
        set(&*bucket, "key", "3").await;
    }
}

/// A write whose caller goes away takes place whole or not at all, and nothing that comes later
/// waits for it.
pub async fn a_caller_that_goes_away_leaves_nothing_half(suite: &mut Suite) {
    let scope = scope();
    let bucket = suite.open(scope, "default").await.expect("a bucket");
    for round in 0..50_u8 {
        let pairs = (0..10).map(|n| (format!("k{n}"), vec![round])).collect();
        let mut write = bucket.set_many(pairs);
        // It is begun, and nobody waits for what becomes of it.
        let mut context = Context::from_waker(Waker::noop());
        let _begun: Poll<_> = write.as_mut().poll(&mut context);
        drop(write);
        let keys: Vec<String> = (0..10).map(|n| format!("k{n}")).collect();
        let found = bucket.get_many(&keys).await.expect("get_many");
        assert!(found.iter().all(|value| *value == found[0]), "{found:?}");
    }
    set(&*bucket, "k0", "the end").await;
    assert_eq!(get(&*bucket, "k0").await, Some(b"the end".to_vec()));
}
