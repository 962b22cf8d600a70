//! The storage in a process that is killed at any moment: every object that was acknowledged is there
//! and right, and nothing else is. Every call in turn is killed by `tests/faults`.
//!
//! The process is this test program itself, run again with the ignored test in `child`. It
//! acknowledges on its standard output, which survives it. `CANOPY_CRASH_ROUNDS` sets how often it
//! is killed.

mod child;
mod process;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use canopy_backend::blob::{BlobError, BlobProvider, ObjectId, whole_body};
use canopy_backend::{Ledger, Maintenance, StorageQuota};
use canopy_backend_blobs::{BlobSettings, BlobStorage};
use canopy_backend_keys::{Keyring, OperatorKey};

use crate::process::Setup;

/// Kills of one storage; then comes a new one, as each check reads all there is.
const KILLS: usize = 10;

fn open(setup: &Setup) -> BlobStorage {
    let key = OperatorKey::from_file(&setup.dir().join("operator.key"), true).expect("a key");
    let root = setup.dir().join("storage");
    let keyring = Keyring::open(key, &root).expect("a keyring");
    let ledger = Ledger::new(Arc::new(StorageQuota::default()));
    BlobStorage::open(root, keyring, ledger, BlobSettings::default()).expect("opened")
}

/// What task `task` puts as its object number `n`: within one chunk, or over several.
fn content(task: u64, n: u64) -> Vec<u8> {
    let length = 40 + usize::try_from((task * 7919 + n * 104_729) % 200_000).expect("small");
    format!("{task}/{n}:")
        .bytes()
        .cycle()
        .take(length)
        .collect()
}

fn rounds(default: usize) -> usize {
    let set = std::env::var("CANOPY_CRASH_ROUNDS").ok();
    set.and_then(|rounds| rounds.parse().ok())
        .unwrap_or(default)
}

/// What the killed processes acknowledged: the newest number of each name, or that it was deleted.
#[derive(Default)]
struct Acknowledged {
    objects: HashMap<String, Option<u64>>,
    next: u64,
    lines: u64,
}

impl Acknowledged {
    fn take(&mut self, line: &str) {
        self.lines += 1;
        let words: Vec<&str> = line.split(' ').collect();
        let number = words[2].parse::<u64>().expect("a number");
        let there = match words[0] {
            "put" => Some(number),
            "gone" => None,
            other => panic!("{other}"),
        };
        self.objects.insert(words[1].to_owned(), there);
        self.next = self.next.max(number + 1);
    }

    /// Compares what is there with what was acknowledged. Of each task, one write may have taken
    /// place whose acknowledgement was cut off: its number is greater.
    async fn check(&self, setup: &Setup) {
        let storage = open(setup);
        let blobs = BlobProvider::open(&storage, setup.scope)
            .await
            .expect("objects");
        let mut there = 0;
        for (name, acknowledged) in &self.objects {
            let task = name.split('-').next().expect("a task");
            let task = task.parse().expect("a number");
            let found = match blobs.get(ObjectId::new("box", name), None).await {
                Ok(reading) => {
                    there += 1;
                    Some(whole_body(reading.body, u64::MAX).await.expect(name))
                }
                Err(BlobError::NoSuchObject) => None,
                Err(error) => panic!("{name}: {error}"),
            };
            let number = found.as_ref().map(|found| {
                let text = String::from_utf8_lossy(&found[..found.len().min(40)]).into_owned();
                let number = text
                    .split_once('/')
                    .and_then(|(_, rest)| rest.split_once(':'));
                number.map_or(0, |(number, _)| number.parse().expect("a number"))
            });
            match (acknowledged, number) {
                (Some(n), Some(_)) if found == Some(content(task, *n).into()) => {}
                (Some(n), Some(newer)) => {
                    assert!(newer > *n, "{name} is {newer} and not {n}");
                    assert_eq!(found, Some(content(task, newer).into()), "{name}");
                }
                (None, Some(newer)) => {
                    assert_eq!(found, Some(content(task, newer).into()), "{name}");
                }
                // Deleted by what follows, whose acknowledgement was cut off.
                (Some(n), None) => assert!(n % 4 == 3, "{name} was acknowledged"),
                (None, None) => {}
            }
        }
        let findings = storage.check(setup.scope).await.expect("checked");
        assert_eq!(findings, [], "nothing is damaged");
        let usage = storage.usage(setup.scope).await.expect("usage");
        assert!(usage.items >= there, "{usage:?} counts {there} objects");
        storage.close();
    }
}

#[tokio::test]
async fn killed_at_any_moment_every_acknowledged_object_is_there() {
    let rounds = rounds(20);
    let mut lines = 0;
    for round in (0..rounds).step_by(KILLS) {
        let mut setup = Setup::new();
        let mut acknowledged = Acknowledged::default();
        for _ in round..rounds.min(round + KILLS) {
            setup.first = acknowledged.next;
            let child = setup.start("child::writing");
            let status =
                child.kill_within(Duration::from_millis(150), |line| acknowledged.take(line));
            assert!(!status.success(), "the child was killed");
            acknowledged.check(&setup).await;
        }
        lines += acknowledged.lines;
    }
    println!("{rounds} kills, {lines} acknowledgements, none lost");
}
