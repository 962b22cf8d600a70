//! Limits: exact, and each with an error that says which.

use super::{Suite, bucket, get, keys, scope, set};
use crate::{QuotaOf, StorageError, Swap};

/// The limits themselves are allowed.
pub async fn keys_and_values_may_be_as_long_as_the_limit(provider: &Suite) {
    let limits = provider.limits();
    let name = "n".repeat(limits.bucket_name_bytes);
    let bucket = provider
        .open(scope(), &name)
        .await
        .expect("the longest name");
    let key = "k".repeat(limits.key_bytes);
    let value = vec![7; limits.value_bytes];
    set(&*bucket, &key, value.clone()).await;
    assert_eq!(get(&*bucket, &key).await, Some(value));
    assert_eq!(keys(&*bucket, "", 10).await, [key]);
}

/// One byte more is refused and changes nothing, whatever the operation.
pub async fn longer_keys_and_values_are_refused(provider: &Suite) {
    let limits = provider.limits();
    let name = "n".repeat(limits.bucket_name_bytes + 1);
    let Err(error) = provider.open(scope(), &name).await else {
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
/// again.
pub async fn the_quota_holds_and_deleting_frees_it(provider: &Suite) {
    let limits = provider.limits();
    let quota = provider.quota().key_value.bytes;
    let scope = scope();
    let bucket = provider.open(scope, "default").await.expect("a bucket");
    let eighth = usize::try_from(quota / 8).unwrap_or(usize::MAX);
    let value = vec![1; limits.value_bytes.min(eighth)];
    let mut stored = 0_u64;
    let refused = loop {
        match bucket.set(&format!("k{stored:06}"), value.clone()).await {
            Ok(()) => stored += 1,
            Err(error) => break error,
        }
        assert!(
            provider.usage(scope).await.bytes <= quota,
            "the quota holds"
        );
        assert_eq!(provider.usage(scope).await.items, stored);
    };
    assert!(
        is_full(&refused, QuotaOf::InstallationBytes, quota),
        "{refused:?}"
    );
    assert!(stored >= 4, "most of the quota can be used");

    let before = provider.usage(scope).await;
    let pairs = vec![
        ("a".to_owned(), Vec::new()),
        ("b".to_owned(), value.clone()),
    ];
    let swap = bucket.compare_and_set("a", None, value.clone());
    for (case, result) in [
        ("set_many", bucket.set_many(pairs).await),
        ("compare_and_set", swap.await.map(drop)),
    ] {
        let refused = result.expect_err(case);
        assert!(
            is_full(&refused, QuotaOf::InstallationBytes, quota),
            "{case}: {refused:?}"
        );
    }
    assert_eq!(
        get(&*bucket, "a").await,
        None,
        "a refused batch sets nothing"
    );
    assert_eq!(provider.usage(scope).await, before);

    set(&*bucket, "k000000", vec![2; value.len()]).await;
    assert_eq!(provider.usage(scope).await, before, "as long as before");
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

/// As many keys as the quota says, and not one more, whatever the operation.
pub async fn the_quota_of_keys_holds_to_the_key(provider: &Suite) {
    let quota = provider.quota().key_value.items;
    let scope = scope();
    let bucket = provider.open(scope, "default").await.expect("a bucket");
    let batch = provider.limits().batch_keys as u64;
    let mut from = 0;
    while from < quota {
        let to = quota.min(from + batch);
        let pairs = (from..to)
            .map(|n| (format!("{n:06}"), Vec::new()))
            .collect();
        bucket.set_many(pairs).await.expect("within the quota");
        from = to;
    }
    assert_eq!(provider.usage(scope).await.items, quota);
    let pairs = vec![
        ("000000".to_owned(), Vec::new()),
        ("more".to_owned(), Vec::new()),
    ];
    for (case, result) in [
        ("set", bucket.set("more", Vec::new()).await),
        ("set_many", bucket.set_many(pairs).await),
        ("increment", bucket.increment("more", 1).await.map(drop)),
    ] {
        let refused = result.expect_err(case);
        assert!(
            is_full(&refused, QuotaOf::InstallationItems, quota),
            "{case}: {refused:?}"
        );
    }
    set(&*bucket, "000000", "an old key").await;
    bucket.delete("000001").await.expect("delete");
    set(&*bucket, "more", "").await;
    assert_eq!(provider.usage(scope).await.items, quota);
}

/// Installations of one tenant share its quota, and erasing one frees what it stored.
pub async fn the_tenants_quota_holds_over_its_installations(provider: &Suite) {
    let quota = provider.quota().tenant_bytes;
    let one = scope();
    let other = crate::Scope {
        installation: scope().installation,
        ..one
    };
    let size = usize::try_from(provider.quota().key_value.bytes / 2).unwrap_or(usize::MAX);
    let size = provider.limits().value_bytes.min(size - (size / 8));
    let (mut refused, mut stored) = (None, 0_u64);
    'all: for scope in [one, other] {
        let bucket = provider.open(scope, "default").await.expect("a bucket");
        for n in 0..quota / size as u64 {
            match bucket.set(&n.to_string(), vec![0; size]).await {
                Ok(()) => stored += size as u64,
                Err(error) if is_full_of_its_own(&error) => continue 'all,
                Err(error) => {
                    refused = Some(error);
                    break 'all;
                }
            }
            assert!(stored <= quota, "the quota holds");
        }
    }
    let refused = refused.expect("the tenant's quota ends before those of two installations");
    assert!(
        is_full(&refused, QuotaOf::TenantBytes, quota),
        "{refused:?}"
    );
    let elsewhere = bucket(provider).await;
    set(&*elsewhere, "key", vec![0; size]).await;
    provider.erase(one).await.expect("erased");
    let bucket = provider.open(other, "default").await.expect("a bucket");
    set(&*bucket, "more", vec![0; size]).await;
}

fn is_full(error: &StorageError, expected: QuotaOf, expected_limit: u64) -> bool {
    matches!(
        error,
        StorageError::QuotaExceeded { quota, limit }
            if (*quota, *limit) == (expected, expected_limit)
    )
}

fn is_full_of_its_own(error: &StorageError) -> bool {
    let own = QuotaOf::InstallationBytes;
    matches!(error, StorageError::QuotaExceeded { quota, .. } if *quota == own)
}
