//! Several keys in one operation.

use super::{Suite, bucket, get, keys, set};
use crate::StorageError;

fn names(keys: &[&str]) -> Vec<String> {
    keys.iter().map(|key| (*key).to_owned()).collect()
}

/// Values come in the order of the keys, also twice, and the absent ones as `None`.
pub async fn a_batch_reads_and_removes_in_order(provider: &Suite) {
    let bucket = bucket(provider).await;
    let pairs = ["c", "a", "b"].map(|key| (key.to_owned(), key.as_bytes().to_vec()));
    bucket.set_many(pairs.to_vec()).await.expect("set_many");
    let values = bucket
        .get_many(&names(&["b", "x", "a", "b"]))
        .await
        .expect("get_many");
    let value = |text: &str| Some(text.as_bytes().to_vec());
    assert_eq!(values, [value("b"), None, value("a"), value("b")]);
    bucket
        .delete_many(names(&["a", "x", "a", "c"]))
        .await
        .expect("delete_many");
    assert_eq!(keys(&*bucket, "", 10).await, ["b"]);
    bucket.set_many(Vec::new()).await.expect("an empty batch");
    bucket
        .delete_many(Vec::new())
        .await
        .expect("an empty batch");
    assert_eq!(
        bucket.get_many(&[]).await.expect("an empty batch"),
        Vec::<Option<Vec<u8>>>::new()
    );
}

/// Of several pairs with one key, the last counts.
pub async fn the_last_pair_of_a_key_counts(provider: &Suite) {
    let bucket = bucket(provider).await;
    let pairs = [("a", "1"), ("b", "2"), ("a", "3")];
    let pairs = pairs.map(|(key, value)| (key.to_owned(), value.as_bytes().to_vec()));
    bucket.set_many(pairs.to_vec()).await.expect("set_many");
    assert_eq!(get(&*bucket, "a").await.as_deref(), Some(&b"3"[..]));
    assert_eq!(get(&*bucket, "b").await.as_deref(), Some(&b"2"[..]));
}

/// One pair over a limit, or too many pairs, and none of them is set.
pub async fn a_batch_over_a_limit_changes_nothing(provider: &Suite) {
    let limits = provider.limits();
    let bucket = bucket(provider).await;
    set(&*bucket, "a", "before").await;
    let long = vec![0; limits.value_bytes + 1];
    let pairs = vec![("a".to_owned(), b"x".to_vec()), ("b".to_owned(), long)];
    let result = bucket.set_many(pairs).await;
    assert!(
        matches!(result, Err(StorageError::TooLarge { what: "value", .. })),
        "{result:?}"
    );

    let many: Vec<_> = (0..=limits.batch_keys).map(|n| format!("k{n}")).collect();
    let pairs = many.iter().map(|key| (key.clone(), Vec::new())).collect();
    for result in [
        bucket.set_many(pairs).await,
        bucket.delete_many(many.clone()).await,
        bucket.get_many(&many).await.map(drop),
    ] {
        let (actual, limit) = (many.len(), limits.batch_keys);
        match result {
            Err(StorageError::TooManyKeys {
                actual: a,
                limit: l,
            }) => assert_eq!((a, l), (actual, limit)),
            other => panic!("{actual} keys: {other:?}"),
        }
    }

    let count = limits.batch_bytes / limits.value_bytes + 1;
    if count <= limits.batch_keys {
        let value = vec![0; limits.value_bytes];
        let pairs: Vec<_> = (0..count)
            .map(|n| (format!("v{n}"), value.clone()))
            .collect();
        let result = bucket.set_many(pairs.clone()).await;
        assert!(
            matches!(result, Err(StorageError::TooLarge { what: "batch", .. })),
            "{result:?}"
        );
        for (key, value) in pairs {
            set(&*bucket, &key, value).await;
        }
        let wanted: Vec<_> = (0..count).map(|n| format!("v{n}")).collect();
        let result = bucket.get_many(&wanted).await;
        assert!(
            matches!(result, Err(StorageError::TooLarge { what: "batch", .. })),
            "too much to read"
        );
        bucket
            .delete_many(wanted)
            .await
            .expect("keys alone are a small batch");
    }
    assert_eq!(keys(&*bucket, "", 10).await, ["a"]);
    assert_eq!(get(&*bucket, "a").await.as_deref(), Some(&b"before"[..]));
}
