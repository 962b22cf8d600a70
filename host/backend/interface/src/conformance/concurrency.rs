//! Many callers at once.

use std::sync::Arc;

use super::{Suite, bucket, get, set};
use crate::{KeyValue, Swap};

const TASKS: usize = 16;
const ROUNDS: usize = 25;

async fn all<F, Fut>(bucket: &Arc<dyn KeyValue>, work: F)
where
    F: Fn(usize, Arc<dyn KeyValue>) -> Fut,
    Fut: Future<Output = ()> + Send + 'static,
{
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| tokio::spawn(work(task, bucket.clone())))
        .collect();
    for task in tasks {
        task.await.expect("a task ends well");
    }
}

/// Every increment counts once, and each caller gets a sum of its own.
pub async fn increments_lose_nothing(provider: &Suite) {
    let bucket = bucket(provider).await;
    all(&bucket, |task, bucket| async move {
        for _ in 0..ROUNDS {
            let sum = bucket.increment("n", 1).await.expect("increment");
            let seen = bucket
                .increment(&format!("sum{sum}"), 1)
                .await
                .expect("increment");
            assert_eq!(seen, 1, "task {task}: the sum {sum} was given twice");
        }
    })
    .await;
    let expected = (TASKS * ROUNDS).to_string().into_bytes();
    assert_eq!(get(&*bucket, "n").await, Some(expected));
}

/// A counter kept by compare-and-set alone loses nothing: of those who expect one value, one wins.
pub async fn compare_and_set_lets_one_win(provider: &Suite) {
    let bucket = bucket(provider).await;
    set(&*bucket, "n", "0").await;
    all(&bucket, |_, bucket| async move {
        let mut current = get(&*bucket, "n").await.expect("set before");
        for _ in 0..ROUNDS {
            loop {
                let text = std::str::from_utf8(&current).expect("decimal text");
                let next = (text.parse::<u64>().expect("a number") + 1)
                    .to_string()
                    .into_bytes();
                let swapped = bucket
                    .compare_and_set("n", Some(current.clone()), next.clone())
                    .await;
                match swapped.expect("compare_and_set") {
                    Swap::Done => {
                        current = next;
                        break;
                    }
                    Swap::Conflict(found) => current = found.expect("never removed"),
                }
            }
        }
    })
    .await;
    let expected = (TASKS * ROUNDS).to_string().into_bytes();
    assert_eq!(get(&*bucket, "n").await, Some(expected));
}

/// Readers see all pairs of a batch or none.
pub async fn a_batch_is_never_seen_half(provider: &Suite) {
    let bucket = bucket(provider).await;
    let keys: Vec<String> = (0..8).map(|n| format!("k{n}")).collect();
    all(&bucket, |task, bucket| {
        let keys = keys.clone();
        async move {
            for round in 0..ROUNDS {
                if task % 2 == 0 {
                    let value = format!("{task}/{round}").into_bytes();
                    let pairs = keys
                        .iter()
                        .map(|key| (key.clone(), value.clone()))
                        .collect();
                    bucket.set_many(pairs).await.expect("set_many");
                } else {
                    let values = bucket.get_many(&keys).await.expect("get_many");
                    assert!(
                        values.windows(2).all(|pair| pair[0] == pair[1]),
                        "{values:?}"
                    );
                }
            }
        }
    })
    .await;
}
