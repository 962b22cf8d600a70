//! Listings: order, prefixes, pages.

use super::{bucket, keys, set};
use crate::KeyValueProvider;

/// Neither length nor language nor upper case changes the order of bytes.
pub async fn keys_come_in_the_order_of_their_bytes(provider: &dyn KeyValueProvider) {
    let bucket = bucket(provider).await;
    let sorted = [
        "", "\0", "\0a", "A", "B", "Z", "a", "a\0", "aa", "b", "z", "{", "\u{7f}", "Ä", "é",
        "\u{ffff}", "🌳",
    ];
    assert!(sorted.is_sorted());
    for key in sorted.iter().rev() {
        set(&*bucket, key, "x").await;
    }
    for limit in [1, 2, sorted.len() - 1, sorted.len(), sorted.len() + 1] {
        assert_eq!(keys(&*bucket, "", limit).await, sorted, "pages of {limit}");
    }
}

/// A prefix is a text, not a pattern, and ends where its last character does.
pub async fn prefixes_are_taken_literally(provider: &dyn KeyValueProvider) {
    let bucket = bucket(provider).await;
    for key in [
        "a",
        "a%",
        "a%b",
        "a*",
        "a_",
        "ab",
        "b",
        "B",
        "\u{d7ff}",
        "\u{e000}",
        "\u{10ffff}",
        "\u{10ffff}x",
    ] {
        set(&*bucket, key, "x").await;
    }
    for (prefix, expected) in [
        ("a", &["a", "a%", "a%b", "a*", "a_", "ab"][..]),
        ("a%", &["a%", "a%b"]),
        ("a_", &["a_"]),
        ("b", &["b"]),
        ("c", &[]),
        ("\u{d7ff}", &["\u{d7ff}"]),
        ("\u{10ffff}", &["\u{10ffff}", "\u{10ffff}x"]),
    ] {
        assert_eq!(keys(&*bucket, prefix, 2).await, expected, "{prefix:?}");
    }
}

/// The next page begins after the last one, whatever was written or removed in between.
pub async fn pages_go_on_where_they_ended(provider: &dyn KeyValueProvider) {
    let bucket = bucket(provider).await;
    for n in 0..10 {
        set(&*bucket, &format!("k{n}"), "x").await;
    }
    let first = bucket.list("k", None, 4).await.expect("list");
    assert_eq!(first.keys, ["k0", "k1", "k2", "k3"]);
    let next = first.next.expect("there is more");
    bucket.delete(&next).await.expect("delete");
    bucket.delete("k5").await.expect("delete");
    set(&*bucket, "k00", "x").await;
    let second = bucket.list("k", Some(&next), 4).await.expect("list");
    assert_eq!(second.keys, ["k4", "k6", "k7", "k8"]);
    let third = bucket
        .list("k", second.next.as_deref(), 4)
        .await
        .expect("list");
    assert_eq!((third.keys, third.next), (vec!["k9".to_owned()], None));
    let exact = bucket.list("k6", None, 1).await.expect("list");
    assert_eq!(
        (exact.keys, exact.next),
        (vec!["k6".to_owned()], None),
        "no page follows"
    );
    let before = bucket.list("k", Some("a"), 1).await.expect("list");
    assert_eq!(before.keys, ["k0"], "`after` may be before the prefix");
    let beyond = bucket.list("k", Some("z"), 1).await.expect("list");
    assert_eq!(
        (beyond.keys, beyond.next),
        (vec![], None),
        "`after` may be beyond the prefix"
    );
}
