//! Entries that end to exist.

use std::time::Duration;

use super::{Suite, bucket, get, keys, scope, set};
use crate::{Action, Operation};
use crate::{Condition, Conditional, KeyValue, Outcome, SetOptions, Transaction};

const MINUTE: Duration = Duration::from_secs(60);
const MOMENT: Duration = Duration::from_millis(1);

async fn set_for(bucket: &dyn KeyValue, key: &str, value: &str, ttl: Duration) {
    let options = SetOptions {
        ttl: Some(ttl),
        condition: Condition::Always,
    };
    let written = bucket.set_with(key, value.into(), options).await;
    assert!(matches!(written, Ok(Conditional::Done(_))), "{written:?}");
}

/// To the millisecond, for every way to look at it.
pub async fn an_expired_entry_is_as_if_removed(provider: &Suite) {
    let scope = scope();
    let bucket = provider.open(scope, "default").await.expect("a bucket");
    set(&*bucket, "stays", "s").await;
    set_for(&*bucket, "key", "5", MINUTE).await;
    provider.advance(MINUTE - MOMENT);
    assert_eq!(get(&*bucket, "key").await, Some(b"5".to_vec()));
    provider.advance(MOMENT);
    assert_eq!(get(&*bucket, "key").await, None);
    assert_eq!(bucket.get_entry("key").await.expect("read"), None);
    assert!(!bucket.exists("key").await.expect("read"));
    assert_eq!(keys(&*bucket, "", 10).await, ["stays"]);
    let page = bucket.list_entries("", None, 10).await.expect("a page");
    assert_eq!(page.entries.len(), 1);
    let many = bucket.get_many(&["key".into(), "stays".into()]).await;
    assert_eq!(many.expect("read"), [None, Some(b"s".to_vec())]);
    let get = Operation {
        bucket: "default".into(),
        key: "key".into(),
        action: Action::Get,
    };
    let read = provider.transact(scope, vec![get]).await.expect("answers");
    assert_eq!(read, Transaction::Done(vec![Outcome::Found(None)]));
    let removed = bucket.delete_if("key", Condition::Present).await;
    assert_eq!(removed.expect("answers"), Conditional::Conflict(None));

    for key in ["a", "b", "c"] {
        set_for(&*bucket, key, "5", MINUTE).await;
    }
    provider.advance(MINUTE);
    assert_eq!(
        bucket.increment("a", 1).await.expect("counted"),
        1,
        "from 0 again"
    );
    let entry = bucket.get_entry("a").await.expect("read").expect("there");
    assert_eq!(entry.expires_at, None, "a new number does not expire");
    let absent = SetOptions {
        ttl: None,
        condition: Condition::Absent,
    };
    let written = bucket.set_with("b", b"new".to_vec(), absent).await;
    assert!(matches!(written, Ok(Conditional::Done(_))), "{written:?}");
    bucket.delete("c").await.expect("no error");
    assert_eq!(provider.usage(scope).await.items, 3);
}

/// Until then it is like any other, and tells when it ends.
pub async fn what_expires_is_listed_until_then(provider: &Suite) {
    let bucket = bucket(provider).await;
    for (key, minutes) in [("a", 1), ("b", 2), ("c", 3)] {
        set_for(&*bucket, key, "value", minutes * MINUTE).await;
    }
    let ends =
        async |key: &str| -> Option<u64> { bucket.get_entry(key).await.expect("read")?.expires_at };
    let (a, b) = (ends("a").await, ends("b").await);
    assert_eq!(b.zip(a).map(|(b, a)| b - a), Some(60_000));
    for expected in [&["a", "b", "c"][..], &["b", "c"], &["c"], &[]] {
        assert_eq!(keys(&*bucket, "", 2).await, expected);
        provider.advance(MINUTE);
    }
    assert_eq!(bucket.increment("n", 5).await.expect("counted"), 5);
    set_for(&*bucket, "n", "5", MINUTE).await;
    let before = ends("n").await;
    assert_eq!(bucket.increment("n", 1).await.expect("counted"), 6);
    assert_eq!(ends("n").await, before, "counting does not prolong it");
}

/// A value set without a time has none.
pub async fn setting_anew_ends_a_time_to_live(provider: &Suite) {
    let bucket = bucket(provider).await;
    for key in ["set", "set_many", "longer"] {
        set_for(&*bucket, key, "old", MINUTE).await;
    }
    set(&*bucket, "set", "new").await;
    let pairs = vec![("set_many".to_owned(), b"new".to_vec())];
    bucket.set_many(pairs).await.expect("set");
    set_for(&*bucket, "longer", "new", 3 * MINUTE).await;
    provider.advance(2 * MINUTE);
    for key in ["set", "set_many", "longer"] {
        assert_eq!(get(&*bucket, key).await, Some(b"new".to_vec()), "{key}");
    }
    provider.advance(MINUTE);
    assert_eq!(keys(&*bucket, "", 10).await, ["set", "set_many"]);
}

/// What has expired counts no more, in the usage and against the quota.
pub async fn expired_entries_free_the_quota(provider: &Suite) {
    let scope = scope();
    let bucket = provider.open(scope, "default").await.expect("a bucket");
    set(&*bucket, "stays", "").await;
    let before = provider.usage(scope).await;
    let size = provider
        .limits()
        .value_bytes
        .min(usize::try_from(provider.quota().key_value.bytes / 8).unwrap_or(usize::MAX));
    let value = "v".repeat(size);
    for round in 0..3 {
        let mut stored = 0;
        loop {
            let options = SetOptions {
                ttl: Some(MINUTE),
                condition: Condition::Always,
            };
            let key = format!("{round}/{stored}");
            let written = bucket.set_with(&key, value.clone().into(), options).await;
            match written {
                Ok(_) => stored += 1,
                Err(_) => break,
            }
        }
        assert!(stored >= 4, "round {round}: {stored}");
        assert_eq!(provider.usage(scope).await.items, stored + before.items);
        provider.advance(MINUTE);
    }
    assert_eq!(provider.usage(scope).await, before);
}
