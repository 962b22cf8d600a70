//! Several keys of several buckets at once.

use super::{Suite, get, scope, set};
use crate::{Action, Condition, Operation, Outcome, SetOptions, StorageError, Transaction};

fn step(bucket: &str, key: &str, action: Action) -> Operation {
    Operation {
        bucket: bucket.into(),
        key: key.into(),
        action,
    }
}

fn set_to(value: &str) -> Action {
    Action::Set {
        value: value.into(),
        options: SetOptions::default(),
    }
}

/// In their order, over buckets, with the outcomes of each.
pub async fn steps_see_what_those_before_did(provider: &Suite) {
    let scope = scope();
    let steps = vec![
        step("a", "key", Action::Check(Condition::Absent)),
        step("a", "key", set_to("one")),
        step("a", "key", Action::Get),
        step("b", "key", Action::Get),
        step("b", "n", Action::Increment(4)),
        step("b", "n", Action::Increment(-1)),
        step(
            "a",
            "key",
            Action::Delete(Condition::Value(b"one".to_vec())),
        ),
        step("a", "key", Action::Delete(Condition::Always)),
        step("a", "key", Action::Check(Condition::Absent)),
        step("a", "other", set_to("two")),
    ];
    let done = provider.transact(scope, steps).await.expect("answers");
    let Transaction::Done(outcomes) = done else {
        panic!("all conditions hold: {done:?}");
    };
    let Outcome::Stored(version) = outcomes[1] else {
        panic!("{outcomes:?}");
    };
    match &outcomes[2] {
        Outcome::Found(Some(entry)) => {
            assert_eq!(
                (entry.value.as_slice(), entry.version),
                (&b"one"[..], version)
            );
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(outcomes[0], Outcome::Checked);
    assert_eq!(outcomes[3], Outcome::Found(None));
    assert_eq!(outcomes[4..6], [Outcome::Sum(4), Outcome::Sum(3)]);
    assert_eq!(
        outcomes[6..8],
        [Outcome::Removed(true), Outcome::Removed(false)]
    );
    assert!(matches!(outcomes[9], Outcome::Stored(later) if later > version));
    let a = provider.open(scope, "a").await.expect("a bucket");
    let b = provider.open(scope, "b").await.expect("a bucket");
    assert_eq!(get(&*a, "key").await, None);
    assert_eq!(get(&*a, "other").await, Some(b"two".to_vec()));
    assert_eq!(get(&*b, "n").await, Some(b"3".to_vec()));
    let none = provider.transact(scope, Vec::new()).await.expect("answers");
    assert_eq!(none, Transaction::Done(Vec::new()));
}

/// Which step it was, and what it found; and nothing of those before it.
pub async fn a_transaction_that_meets_a_conflict_changes_nothing(provider: &Suite) {
    let scope = scope();
    let a = provider.open(scope, "a").await.expect("a bucket");
    set(&*a, "key", "old").await;
    let found = a.get_entry("key").await.expect("read");
    let before = provider.usage(scope).await;
    let conditional = |condition| Action::Set {
        value: b"new".to_vec(),
        options: SetOptions {
            ttl: None,
            condition,
        },
    };
    for last in [
        Action::Check(Condition::Absent),
        Action::Delete(Condition::Value(b"other".to_vec())),
        conditional(Condition::Absent),
        conditional(Condition::Version(0)),
    ] {
        let steps = vec![
            step("new bucket", "key", set_to("value")),
            step("a", "second", set_to("value")),
            step("a", "key", last),
            step("a", "third", set_to("value")),
        ];
        let ended = provider.transact(scope, steps).await.expect("answers");
        let expected = Transaction::Conflict {
            operation: 2,
            found: found.clone(),
        };
        assert_eq!(ended, expected);
    }
    assert_eq!(provider.usage(scope).await, before);
    assert_eq!(get(&*a, "second").await, None);
    assert_eq!(
        provider.provider().buckets(scope).await.expect("read"),
        ["a"]
    );
}

/// What can't be done undoes what was done before it.
pub async fn a_transaction_that_fails_changes_nothing(provider: &Suite) {
    let scope = scope();
    let bucket = provider.open(scope, "a").await.expect("a bucket");
    set(&*bucket, "text", "no number").await;
    set(&*bucket, "large", i64::MAX.to_string()).await;
    let before = provider.usage(scope).await;
    let attempt = async |key: &str| {
        let steps = vec![
            step("a", "new", set_to("value")),
            step("a", "text", Action::Delete(Condition::Always)),
            step("a", "text", set_to("no number")),
            step("a", key, Action::Increment(1)),
        ];
        provider.transact(scope, steps).await.expect_err("refused")
    };
    let refused = attempt("text").await;
    assert!(matches!(refused, StorageError::NotANumber), "{refused:?}");
    let refused = attempt("large").await;
    assert!(matches!(refused, StorageError::Overflow), "{refused:?}");
    let size = provider.limits().value_bytes;
    let too_much = usize::try_from(provider.quota().key_value.bytes).unwrap_or(usize::MAX) / size;
    let fits = (provider.limits().batch_bytes / (size + 1)).max(1);
    let mut refused = None;
    for round in 0..=too_much {
        let steps = (0..fits)
            .map(|n| step("a", &format!("{round}/{n}"), set_to(&"x".repeat(size))))
            .collect();
        let held = provider.usage(scope).await;
        if let Err(error) = provider.transact(scope, steps).await {
            assert_eq!(provider.usage(scope).await, held, "all of it or nothing");
            refused = Some(error);
            break;
        }
    }
    assert!(
        matches!(refused, Some(StorageError::QuotaExceeded { .. })),
        "{refused:?}"
    );
    let other = bucket.get("new").await.expect("read");
    assert_eq!(other, None);
    assert!(provider.usage(scope).await.items >= before.items);
}

/// The limits of single operations hold for each step and for all of them.
pub async fn a_transaction_over_a_limit_changes_nothing(provider: &Suite) {
    let limits = provider.limits();
    let scope = scope();
    let long = "k".repeat(limits.key_bytes + 1);
    let name = "n".repeat(limits.bucket_name_bytes + 1);
    let value = "v".repeat(limits.value_bytes + 1);
    let expected = Action::Check(Condition::Value(vec![0; limits.value_bytes + 1]));
    for (what, last) in [
        ("key", step("a", &long, Action::Get)),
        ("bucket name", step(&name, "key", Action::Get)),
        ("value", step("a", "key", set_to(&value))),
        ("value", step("a", "key", expected)),
    ] {
        let steps = vec![step("a", "first", set_to("value")), last];
        match provider.transact(scope, steps).await {
            Err(StorageError::TooLarge { what: found, .. }) => assert_eq!(found, what),
            other => panic!("{what}: {other:?}"),
        }
    }
    let many = (0..=limits.batch_keys)
        .map(|n| step("a", &n.to_string(), set_to("")))
        .collect();
    let refused = provider.transact(scope, many).await;
    assert!(
        matches!(refused, Err(StorageError::TooManyKeys { .. })),
        "{refused:?}"
    );
    let size = limits.value_bytes;
    let many = (0..=limits.batch_bytes / size)
        .map(|n| step("a", &n.to_string(), set_to(&"v".repeat(size))))
        .collect();
    let refused = provider.transact(scope, many).await;
    assert!(
        matches!(refused, Err(StorageError::TooLarge { what: "batch", .. })),
        "{refused:?}"
    );
    let bucket = provider.open(scope, "a").await.expect("a bucket");
    assert_eq!(get(&*bucket, "first").await, None);
}

/// The name of a bucket says nothing of whose it is.
pub async fn a_transaction_of_another_installation_sees_nothing(provider: &Suite) {
    let (mine, theirs) = (scope(), scope());
    let bucket = provider.open(mine, "a").await.expect("a bucket");
    set(&*bucket, "key", "mine").await;
    for name in ["a".to_owned(), format!("{mine}/a"), format!("../{mine}/a")] {
        let steps = vec![
            step(&name, "key", Action::Get),
            step(&name, "key", set_to("theirs")),
        ];
        let done = provider.transact(theirs, steps).await.expect("answers");
        match done {
            Transaction::Done(outcomes) => assert_eq!(outcomes[0], Outcome::Found(None)),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(get(&*bucket, "key").await, Some(b"mine".to_vec()));
    provider.erase(theirs).await.expect("erased");
    let refused = provider
        .transact(theirs, vec![step("a", "key", Action::Get)])
        .await;
    assert!(matches!(refused, Err(StorageError::Erased)), "{refused:?}");
}

/// Many move amounts between buckets; whoever looks sees the same sum.
pub async fn transactions_move_between_buckets_without_loss(provider: &Suite) {
    const MOVERS: usize = 6;
    const MOVES: usize = 15;
    let scope = scope();
    let accounts = ["a", "b", "c"];
    for name in accounts {
        let bucket = provider.open(scope, name).await.expect("a bucket");
        set(&*bucket, "sum", "100").await;
    }
    let look = || async {
        let steps = accounts.map(|name| step(name, "sum", Action::Get)).to_vec();
        let sums = match provider.transact(scope, steps).await.expect("answers") {
            Transaction::Done(outcomes) => outcomes,
            other => panic!("{other:?}"),
        };
        let sum = |outcome: &Outcome| -> i64 {
            match outcome {
                Outcome::Found(Some(entry)) => String::from_utf8_lossy(&entry.value)
                    .parse()
                    .expect("a number"),
                other => panic!("{other:?}"),
            }
        };
        sums.iter().map(sum).sum::<i64>()
    };
    let movers: Vec<_> = (0..MOVERS)
        .map(|mover| {
            let backend = provider.shared();
            tokio::spawn(async move {
                for round in 0..MOVES {
                    let from = accounts[(mover + round) % 3];
                    let to = accounts[(mover + round + 1 + round % 2) % 3];
                    let steps = vec![
                        step(from, "sum", Action::Increment(-3)),
                        step(to, "sum", Action::Increment(3)),
                    ];
                    backend.transact(scope, steps).await.expect("moved");
                }
            })
        })
        .collect();
    while !movers.iter().all(tokio::task::JoinHandle::is_finished) {
        assert_eq!(look().await, 300);
    }
    for mover in movers {
        mover.await.expect("a mover ends well");
    }
    assert_eq!(look().await, 300);
}
