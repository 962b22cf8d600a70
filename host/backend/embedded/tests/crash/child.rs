//! The processes that the other tests start, kill and meddle with.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use canopy_backend::{KeyValue, KeyValueProvider, Maintenance};

use crate::process::{acknowledge, given};
use crate::support::open;
use crate::{settings, value};

const TASKS: u64 = 8;

/// Writes, counts and removes in several tasks, for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by the other tests"]
async fn writing() {
    let Some((dir, scope, first)) = given() else {
        return;
    };
    let storage = open(Path::new(&dir), settings());
    let bucket = storage
        .open(scope, "default")
        .await
        .expect("a bucket opens");
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| tokio::spawn(write(task, first, bucket.clone())))
        .collect();
    for task in tasks {
        task.await.expect("a task goes on until it is killed");
    }
}

async fn write(task: u64, first: u64, bucket: Arc<dyn KeyValue>) {
    for n in first.. {
        let pairs = ["a", "b"].map(|half| (format!("{task}/{n}/{half}"), value(task, n)));
        bucket.set_many(pairs.to_vec()).await.expect("set_many");
        acknowledge(&format!("pair {task} {n}"));
        let sum = bucket.increment("counter", 1).await.expect("increment");
        acknowledge(&format!("sum {sum}"));
        if n % 3 == 0 && n > 0 {
            let old = ["a", "b"].map(|half| format!("{task}/{}/{half}", n - 1));
            bucket.delete_many(old.to_vec()).await.expect("delete_many");
            acknowledge(&format!("gone {task} {}", n - 1));
        }
        if n % 16 == 15 {
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    }
}

/// Stores, then erases.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by the other tests"]
async fn erasing() {
    let Some((dir, scope, _)) = given() else {
        return;
    };
    let storage = open(Path::new(&dir), settings());
    let bucket = storage
        .open(scope, "default")
        .await
        .expect("a bucket opens");
    let pairs = (0..100)
        .map(|n| (format!("k{n}"), vec![0; 10_000]))
        .collect();
    bucket.set_many(pairs).await.expect("set_many");
    acknowledge("stored");
    // Who kills looks when a line comes.
    tokio::spawn(async {
        loop {
            acknowledge("erasing");
            tokio::time::sleep(Duration::from_micros(100)).await;
        }
    });
    storage.erase(scope).await.expect("erased");
    std::future::pending::<()>().await;
}

/// Writes on a disk that is full for a while, until it is not.
#[tokio::test]
#[ignore = "run by the other tests"]
async fn on_a_full_disk() {
    const WRITES: u64 = 60;
    const ATTEMPTS: u64 = 200;
    let Some((dir, scope, _)) = given() else {
        return;
    };
    let storage = open(Path::new(&dir), Default::default());
    let bucket = storage
        .open(scope, "default")
        .await
        .expect("a bucket opens");
    let mut stored = Vec::new();
    let mut attempts = 0;
    for n in 0..ATTEMPTS {
        attempts = n + 1;
        match bucket.set(&format!("k{n}"), value(0, n)).await {
            Ok(()) if n < WRITES => stored.push(n),
            Ok(()) => {
                stored.push(n);
                break;
            }
            Err(error) => {
                acknowledge(&format!("refused: {error}"));
                if let Some(last) = stored.last() {
                    let found = bucket
                        .get(&format!("k{last}"))
                        .await
                        .expect("reading goes on");
                    assert_eq!(found, Some(value(0, *last)));
                }
            }
        }
    }
    assert!(
        attempts < ATTEMPTS,
        "writing goes on when there is space again"
    );
    for n in 0..attempts {
        let found = bucket.get(&format!("k{n}")).await.expect("get");
        assert_eq!(found, stored.contains(&n).then(|| value(0, n)), "k{n}");
    }
    storage.close().await;
}
