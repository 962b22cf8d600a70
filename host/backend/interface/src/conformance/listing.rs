//! Listings: order, prefixes, pages.

use super::{Suite, bucket, keys, set};

/// Neither length nor language nor upper case changes the order of bytes.
pub async fn keys_come_in_the_order_of_their_bytes(provider: &Suite) {
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
pub async fn prefixes_are_taken_literally(provider: &Suite) {
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
pub async fn pages_go_on_where_they_ended(provider: &Suite) {
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

/// Entries come as keys do, each with its value and version.
pub async fn entries_are_listed_with_their_values(provider: &Suite) {
    let bucket = bucket(provider).await;
    let names = ["a/1", "a/2", "a/3", "b"];
    for name in names {
        set(&*bucket, name, format!("value of {name}")).await;
    }
    let page = bucket.list_entries("a/", None, 2).await.expect("a page");
    assert_eq!(page.next.as_deref(), Some("a/2"));
    let rest = bucket.list_entries("a/", page.next.as_deref(), 2).await;
    let rest = rest.expect("a page");
    assert_eq!(rest.next, None);
    let all: Vec<_> = page.entries.into_iter().chain(rest.entries).collect();
    assert_eq!(all.len(), 3);
    for ((key, entry), name) in all.iter().zip(names) {
        assert_eq!(key, name);
        assert_eq!(entry.value, format!("value of {name}").into_bytes());
        let single = bucket.get_entry(name).await.expect("read");
        assert_eq!(single.as_ref(), Some(entry));
    }
}

/// A page of entries ends before it is more than an operation may give, and goes on from there.
pub async fn pages_of_entries_are_bounded_in_bytes(provider: &Suite) {
    let bucket = bucket(provider).await;
    let limits = provider.limits();
    let size = limits.value_bytes.min(limits.batch_bytes / 4);
    let fits = usize::try_from(provider.quota().key_value.bytes).unwrap_or(usize::MAX) / size - 1;
    let count = fits.min(12);
    for n in 0..count {
        set(&*bucket, &format!("{n:02}"), vec![1; size]).await;
    }
    let (mut after, mut found) = (None, 0);
    loop {
        let page = bucket.list_entries("", after.as_deref(), 1000).await;
        let page = page.expect("a page");
        let bytes: usize = page
            .entries
            .iter()
            .map(|(key, entry)| key.len() + entry.value.len())
            .sum();
        assert!(bytes <= limits.batch_bytes, "{bytes}");
        assert!(!page.entries.is_empty(), "a page has at least one entry");
        found += page.entries.len();
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    assert_eq!(found, count);
}
