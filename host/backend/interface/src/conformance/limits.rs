//! Limits: exact, and each with an error that says which.

use canopy_ids::InstallationId;

use super::{bucket, get, keys, set};
use crate::{KeyValueProvider, StorageError, Swap};

/// The limits themselves are allowed.
pub async fn keys_and_values_may_be_as_long_as_the_limit(provider: &dyn KeyValueProvider) {
    let limits = provider.limits();
    let name = "n".repeat(limits.bucket_name_bytes);
    let bucket = provider
        .open(InstallationId::new(), &name)
        .await
        .expect("the longest name");
    let key = "k".repeat(limits.key_bytes);
    let value = vec![7; limits.value_bytes];
    set(&*bucket, &key, value.clone()).await;
    assert_eq!(get(&*bucket, &key).await, Some(value));
    assert_eq!(keys(&*bucket, "", 10).await, [key]);
}

/// One byte more is refused and changes nothing, whatever the operation.
pub async fn longer_keys_and_values_are_refused(provider: &dyn KeyValueProvider) {
    let limits = provider.limits();
    let name = "n".repeat(limits.bucket_name_bytes + 1);
    let Err(error) = provider.open(InstallationId::new(), &name).await else {
        panic!("a name over the limit is refused");
    };
    assert!(
        matches!(
            error,
            StorageError::TooLarge {
                what: "bucket name",
                ..
            }
        ),
        "{error:?}"
    );

    let bucket = bucket(provider).await;
    let key = "k".repeat(limits.key_bytes + 1);
    let long = vec![0; limits.value_bytes + 1];
    let many = vec![key.clone()];
    for (case, result) in [
        ("get", bucket.get(&key).await.map(drop)),
        ("set", bucket.set(&key, Vec::new()).await),
        ("delete", bucket.delete(&key).await),
        ("exists", bucket.exists(&key).await.map(drop)),
        ("list", bucket.list(&key, None, 1).await.map(drop)),
        ("list after", bucket.list("", Some(&key), 1).await.map(drop)),
        ("get_many", bucket.get_many(&many).await.map(drop)),
        (
            "set_many",
            bucket.set_many(vec![(key.clone(), Vec::new())]).await,
        ),
        ("delete_many", bucket.delete_many(many.clone()).await),
        ("increment", bucket.increment(&key, 1).await.map(drop)),
        (
            "compare_and_set",
            bucket
                .compare_and_set(&key, None, Vec::new())
                .await
                .map(drop),
        ),
    ] {
        match result {
            Err(StorageError::TooLarge {
                what: "key",
                actual,
                limit,
            }) => {
                assert_eq!((actual, limit), (key.len(), limits.key_bytes), "{case}");
            }
            other => panic!("{case} with a key over the limit: {other:?}"),
        }
    }
    for (case, result) in [
        ("set", bucket.set("key", long.clone()).await),
        (
            "compare_and_set",
            bucket
                .compare_and_set("key", None, long.clone())
                .await
                .map(drop),
        ),
    ] {
        match result {
            Err(StorageError::TooLarge {
                what: "value",
                actual,
                limit,
            }) => {
                assert_eq!((actual, limit), (long.len(), limits.value_bytes), "{case}");
            }
            other => panic!("{case} with a value over the limit: {other:?}"),
        }
    }
    assert_eq!(keys(&*bucket, "", 10).await, Vec::<String>::new());
}

/// A full store refuses whatever makes it larger, and nothing else. What is deleted can be stored
/// again. Runs only with a quota that a test can fill: 64 MiB at most.
pub async fn the_quota_holds_and_deleting_frees_it(provider: &dyn KeyValueProvider) {
    let limits = provider.limits();
    let quota = limits.quota_bytes;
    assert!(
        quota <= 64 << 20,
        "give the suite a provider with a small quota, not of {quota} bytes"
    );
    let bucket = bucket(provider).await;
    let value = vec![
        1;
        limits
            .value_bytes
            .min(usize::try_from(quota / 8).unwrap_or(usize::MAX))
    ];
    let mut stored = 0_u64;
    let refused = loop {
        match bucket.set(&format!("k{stored:06}"), value.clone()).await {
            Ok(()) => stored += 1,
            Err(error) => break error,
        }
        assert!(stored * value.len() as u64 <= quota, "the quota holds");
    };
    assert!(
        matches!(refused, StorageError::QuotaExceeded { limit, .. } if limit == quota),
        "{refused:?}"
    );
    assert!(stored >= 4, "most of the quota can be used");

    let pairs = vec![
        ("a".to_owned(), Vec::new()),
        ("b".to_owned(), value.clone()),
    ];
    for (case, result) in [
        ("set_many", bucket.set_many(pairs).await),
        (
            "compare_and_set",
            bucket
                .compare_and_set("a", None, value.clone())
                .await
                .map(drop),
        ),
    ] {
        assert!(
            matches!(result, Err(StorageError::QuotaExceeded { .. })),
            "{case}: {result:?}"
        );
    }
    assert_eq!(
        get(&*bucket, "a").await,
        None,
        "a refused batch sets nothing"
    );

    set(&*bucket, "k000000", vec![2; value.len()]).await;
    set(&*bucket, "k000000", "small").await;
    let swapped = bucket
        .compare_and_set("k000000", Some(b"small".to_vec()), b"s".to_vec())
        .await;
    assert_eq!(swapped.expect("smaller fits"), Swap::Done);
    bucket.delete("k000000").await.expect("delete");
    bucket.delete("k000001").await.expect("delete");
    set(&*bucket, "again", value.clone()).await;
    assert_eq!(get(&*bucket, "again").await, Some(value));
}
