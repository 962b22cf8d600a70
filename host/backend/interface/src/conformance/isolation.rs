//! Buckets and installations apart from each other, and erasure.

use super::{Suite, get, keys, scope, set};
use crate::StorageError;

/// Buckets of one installation share nothing, and one name is one bucket.
pub async fn buckets_are_apart(provider: &Suite) {
    let scope = scope();
    let open = |name: &'static str| async move {
        provider.open(scope, name).await.expect("a bucket opens")
    };
    let names = ["", "default", "Default", "default ", "../default", "a\0b"];
    for name in names {
        set(&*open(name).await, "key", name).await;
    }
    for name in names {
        let bucket = open(name).await;
        assert_eq!(
            get(&*bucket, "key").await.as_deref(),
            Some(name.as_bytes()),
            "{name:?}"
        );
        assert_eq!(keys(&*bucket, "", 10).await, ["key"], "{name:?}");
    }
    open("default").await.delete("key").await.expect("delete");
    assert!(open("Default").await.exists("key").await.expect("exists"));
}

/// Two installations share nothing, whatever they call their buckets and keys.
pub async fn installations_are_apart(provider: &Suite) {
    let (one, other) = (scope(), scope());
    let mine = provider.open(one, "default").await.expect("a bucket opens");
    set(&*mine, "key", "mine").await;
    let names = [
        "default".to_owned(),
        one.to_string(),
        format!("../{one}/default"),
        String::new(),
    ];
    for name in names {
        let theirs = provider.open(other, &name).await.expect("a bucket opens");
        assert_eq!(get(&*theirs, "key").await, None, "{name:?}");
        assert_eq!(keys(&*theirs, "", 10).await, Vec::<String>::new());
        theirs.delete("key").await.expect("delete");
        set(&*theirs, "key", "theirs").await;
    }
    assert_eq!(get(&*mine, "key").await.as_deref(), Some(&b"mine"[..]));
    provider.erase(other).await.expect("erase");
    assert_eq!(get(&*mine, "key").await.as_deref(), Some(&b"mine"[..]));
}

/// After erasure nothing is read and nothing is written, by old handles or new.
pub async fn erased_storage_does_not_come_back(provider: &Suite) {
    let scope = scope();
    let bucket = provider
        .open(scope, "default")
        .await
        .expect("a bucket opens");
    set(&*bucket, "key", "value").await;
    provider.erase(scope).await.expect("erase");
    for (case, result) in [
        ("get", bucket.get("key").await.map(drop)),
        ("exists", bucket.exists("key").await.map(drop)),
        ("list", bucket.list("", None, 1).await.map(drop)),
        ("get_many", bucket.get_many(&["key".into()]).await.map(drop)),
        ("set", bucket.set("key", Vec::new()).await),
        (
            "set_many",
            bucket.set_many(vec![("key".into(), Vec::new())]).await,
        ),
        ("delete", bucket.delete("key").await),
        ("delete_many", bucket.delete_many(vec!["key".into()]).await),
        ("increment", bucket.increment("key", 1).await.map(drop)),
        (
            "compare_and_set",
            bucket
                .compare_and_set("key", None, Vec::new())
                .await
                .map(drop),
        ),
        ("open", provider.open(scope, "default").await.map(drop)),
    ] {
        assert!(
            matches!(result, Err(StorageError::Erased)),
            "{case}: {result:?}"
        );
    }
}

/// Erasing twice, or what stored nothing, is no error.
pub async fn erasing_again_is_no_error(provider: &Suite) {
    let scope = scope();
    provider
        .erase(scope)
        .await
        .expect("erase what stored nothing");
    provider.erase(scope).await.expect("erase again");
}
