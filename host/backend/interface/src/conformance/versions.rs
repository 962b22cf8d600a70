//! Versions of entries, and writes under conditions.

use super::{Suite, bucket, get, set};
use crate::{Condition, Conditional, Entry, KeyValue, SetOptions};

fn options(condition: Condition) -> SetOptions {
    SetOptions {
        ttl: None,
        condition,
    }
}

async fn entry(bucket: &dyn KeyValue, key: &str) -> Option<Entry> {
    bucket.get_entry(key).await.expect("an entry is read")
}

/// Each condition, where it holds and where it does not, for setting and for removing.
pub async fn conditions_hold_or_tell_what_they_found(provider: &Suite) {
    let bucket = bucket(provider).await;
    set(&*bucket, "there", "value").await;
    let there = entry(&*bucket, "there").await.expect("there");
    assert_eq!(
        (there.value.as_slice(), there.expires_at),
        (&b"value"[..], None)
    );
    let refused = [
        ("there", Condition::Absent),
        ("there", Condition::Version(there.version + 1)),
        ("there", Condition::Version(0)),
        ("there", Condition::Value(b"Value".to_vec())),
        ("absent", Condition::Present),
        ("absent", Condition::Version(there.version)),
        ("absent", Condition::Value(Vec::new())),
    ];
    for (key, condition) in refused {
        let found = (key == "there").then(|| there.clone());
        let written = bucket
            .set_with(key, b"new".to_vec(), options(condition.clone()))
            .await;
        assert_eq!(
            written.expect("answers"),
            Conditional::Conflict(found.clone()),
            "{key} {condition:?}"
        );
        let removed = bucket.delete_if(key, condition.clone()).await;
        assert_eq!(
            removed.expect("answers"),
            Conditional::Conflict(found),
            "{key} {condition:?}"
        );
    }
    assert_eq!(entry(&*bucket, "there").await, Some(there.clone()));
    assert_eq!(entry(&*bucket, "absent").await, None);

    let mut last = there.version;
    for condition in [
        Condition::Always,
        Condition::Present,
        Condition::Value(b"new".to_vec()),
        Condition::Version(u64::MAX),
    ] {
        let condition = match condition {
            Condition::Version(_) => Condition::Version(last),
            other => other,
        };
        let written = bucket
            .set_with("there", b"new".to_vec(), options(condition))
            .await;
        let Conditional::Done(version) = written.expect("answers") else {
            panic!("the condition holds");
        };
        assert!(version > last, "versions grow");
        last = version;
        assert_eq!(
            entry(&*bucket, "there").await.map(|entry| entry.version),
            Some(last)
        );
    }
    let removed = bucket.delete_if("there", Condition::Version(last)).await;
    assert_eq!(removed.expect("answers"), Conditional::Done(true));
    for condition in [Condition::Always, Condition::Absent] {
        let removed = bucket.delete_if("there", condition).await;
        assert_eq!(removed.expect("answers"), Conditional::Done(false));
    }
    let written = bucket
        .set_with("there", Vec::new(), options(Condition::Absent))
        .await;
    assert!(matches!(written.expect("answers"), Conditional::Done(version) if version > last));
}

/// What was seen once is not mistaken for what is there now, though it looks the same.
pub async fn a_version_never_comes_back(provider: &Suite) {
    let bucket = bucket(provider).await;
    set(&*bucket, "key", "A").await;
    let seen = entry(&*bucket, "key").await.expect("there").version;
    set(&*bucket, "key", "B").await;
    set(&*bucket, "key", "A").await;
    let stale = options(Condition::Version(seen));
    let written = bucket.set_with("key", b"C".to_vec(), stale.clone()).await;
    assert!(matches!(
        written.expect("answers"),
        Conditional::Conflict(Some(_))
    ));
    bucket.delete("key").await.expect("delete");
    bucket
        .set_many(vec![("key".into(), b"A".to_vec())])
        .await
        .expect("set");
    assert!(entry(&*bucket, "key").await.expect("there").version > seen);
    let written = bucket.set_with("key", b"C".to_vec(), stale).await;
    assert!(matches!(
        written.expect("answers"),
        Conditional::Conflict(Some(_))
    ));
    bucket.delete("key").await.expect("delete");
    bucket.increment("key", 1).await.expect("counted");
    assert!(entry(&*bucket, "key").await.expect("there").version > seen);
}

/// Each writer reads, adds one, and writes if nobody wrote since: the sum is that of all.
pub async fn of_writers_with_one_version_one_wins(provider: &Suite) {
    const WRITERS: u32 = 8;
    const ROUNDS: u32 = 10;
    let bucket = bucket(provider).await;
    set(&*bucket, "key", "0").await;
    let writers: Vec<_> = (0..WRITERS)
        .map(|_| {
            let bucket = bucket.clone();
            tokio::spawn(async move {
                let mut won = 0;
                while won < ROUNDS {
                    let found = entry(&*bucket, "key").await.expect("there");
                    let text = String::from_utf8(found.value).expect("text");
                    let sum: u32 = text.parse().expect("a number");
                    let value = (sum + 1).to_string().into_bytes();
                    let condition = options(Condition::Version(found.version));
                    match bucket
                        .set_with("key", value, condition)
                        .await
                        .expect("answers")
                    {
                        Conditional::Done(_) => won += 1,
                        Conditional::Conflict(_) => {}
                    }
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.expect("a writer ends well");
    }
    let sum = (WRITERS * ROUNDS).to_string();
    assert_eq!(get(&*bucket, "key").await, Some(sum.into_bytes()));
}
