//! Single keys: setting, reading, counting, comparing.

use super::{Suite, bucket, get, set};
use crate::{StorageError, Swap};

/// Reading gives what was set last.
pub async fn a_value_is_what_was_set_last(provider: &Suite) {
    let bucket = bucket(provider).await;
    for value in ["one", "", "a longer one than before"] {
        set(&*bucket, "key", value).await;
        assert_eq!(
            get(&*bucket, "key").await.as_deref(),
            Some(value.as_bytes())
        );
        assert!(bucket.exists("key").await.expect("exists"));
    }
}

/// A key that was never set has no value.
pub async fn an_absent_key_is_none(provider: &Suite) {
    let bucket = bucket(provider).await;
    assert_eq!(get(&*bucket, "key").await, None);
    assert!(!bucket.exists("key").await.expect("exists"));
    let values = bucket.get_many(&["key".into()]).await.expect("get_many");
    assert_eq!(values, [None]);
}

/// Keys are any text and values any bytes, and none of them means anything to the backend.
pub async fn any_key_and_value_comes_back(provider: &Suite) {
    let bucket = bucket(provider).await;
    let keys = [
        "",
        " ",
        "\0",
        "a\0",
        "a\0b",
        "../../x",
        "%",
        "_",
        "'; DROP TABLE x; --",
        "schlüssel",
        "🌳",
        "\u{10ffff}",
        "a/b:c",
    ];
    for (n, key) in keys.iter().enumerate() {
        set(&*bucket, key, format!("{n}\0\u{ff}")).await;
    }
    set(&*bucket, "bytes", (0..=255).collect::<Vec<u8>>()).await;
    for (n, key) in keys.iter().enumerate() {
        let expected = format!("{n}\0\u{ff}").into_bytes();
        assert_eq!(get(&*bucket, key).await, Some(expected), "{key:?}");
    }
    assert_eq!(get(&*bucket, "bytes").await, Some((0..=255).collect()));
    let mut sorted: Vec<_> = keys.iter().map(|key| (*key).to_owned()).collect();
    sorted.push("bytes".into());
    sorted.sort();
    assert_eq!(super::keys(&*bucket, "", 5).await, sorted);
}

/// Removing what is not there is no error.
pub async fn deleting_is_idempotent(provider: &Suite) {
    let bucket = bucket(provider).await;
    set(&*bucket, "key", "value").await;
    for _ in 0..2 {
        bucket.delete("key").await.expect("delete");
        assert_eq!(get(&*bucket, "key").await, None);
    }
    set(&*bucket, "key", "again").await;
    assert_eq!(get(&*bucket, "key").await.as_deref(), Some(&b"again"[..]));
}

/// Counters are numbers in decimal text, so that reading and setting them works as usual.
pub async fn increments_count_in_decimal_text(provider: &Suite) {
    let bucket = bucket(provider).await;
    assert_eq!(
        bucket.increment("n", 5).await.expect("absent counts as 0"),
        5
    );
    assert_eq!(bucket.increment("n", -7).await.expect("below 0"), -2);
    assert_eq!(get(&*bucket, "n").await.as_deref(), Some(&b"-2"[..]));
    set(&*bucket, "n", "41").await;
    assert_eq!(bucket.increment("n", 1).await.expect("from a text"), 42);
    assert_eq!(bucket.increment("n", 0).await.expect("by nothing"), 42);
}

/// What is no number, or would be none after the increment, stays as it is.
pub async fn increments_refuse_what_is_no_number(provider: &Suite) {
    let bucket = bucket(provider).await;
    for text in ["", "x", "1.5", " 1", "9223372036854775808", "\u{661}"] {
        set(&*bucket, "n", text).await;
        let result = bucket.increment("n", 1).await;
        assert!(
            matches!(result, Err(StorageError::NotANumber)),
            "{text:?}: {result:?}"
        );
        assert_eq!(get(&*bucket, "n").await.as_deref(), Some(text.as_bytes()));
    }
    for (number, delta) in [(i64::MAX, 1), (i64::MIN, -1)] {
        set(&*bucket, "n", number.to_string()).await;
        let result = bucket.increment("n", delta).await;
        assert!(
            matches!(result, Err(StorageError::Overflow)),
            "{number}: {result:?}"
        );
        assert_eq!(
            get(&*bucket, "n").await,
            Some(number.to_string().into_bytes())
        );
    }
}

/// Compare-and-set replaces what is as expected and otherwise tells what there is.
pub async fn compare_and_set_tells_what_it_found(provider: &Suite) {
    let bucket = bucket(provider).await;
    let swap = |expected: Option<&str>, new: &str| {
        let expected = expected.map(|text| text.as_bytes().to_vec());
        let new = new.as_bytes().to_vec();
        let bucket = bucket.clone();
        async move {
            bucket
                .compare_and_set("key", expected, new)
                .await
                .expect("compare_and_set")
        }
    };
    assert_eq!(swap(Some("a"), "b").await, Swap::Conflict(None));
    assert_eq!(get(&*bucket, "key").await, None);
    assert_eq!(swap(None, "a").await, Swap::Done);
    assert_eq!(swap(None, "b").await, Swap::Conflict(Some(b"a".to_vec())));
    assert_eq!(
        swap(Some(""), "b").await,
        Swap::Conflict(Some(b"a".to_vec()))
    );
    assert_eq!(swap(Some("a"), "").await, Swap::Done);
    assert_eq!(
        swap(None, "b").await,
        Swap::Conflict(Some(Vec::new())),
        "empty is not absent"
    );
    assert_eq!(swap(Some(""), "c").await, Swap::Done);
    assert_eq!(get(&*bucket, "key").await.as_deref(), Some(&b"c"[..]));
}
