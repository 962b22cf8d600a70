//! The storage on a disk whose power fails at any moment: everything acknowledged is there
//! afterwards, nothing is there by half, and it always opens.
//!
//! One run of the storage is recorded below SQLite, and then any number of disks are made of it, as
//! they may be when the power fails at some point of the run ([`image`]). `CANOPY_POWER_SEEDS` sets
//! how many; a failure names its seed, which `CANOPY_POWER_FIRST` begins with.

mod image;
#[path = "../support/mod.rs"]
mod support;
mod vfs;

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use canopy_backend::{KeyValueProvider, Maintenance, Scope};
use canopy_backend_embedded::EmbeddedSettings;

use crate::image::{Random, image};
use crate::vfs::Event;

const WRITERS: u64 = 6;
const WRITES: u64 = 60;
/// Keys that a writer writes in turn.
const KEYS: u64 = 7;
/// Times that the storage is closed in order and opened again.
const SESSIONS: u64 = 4;

/// A run of the storage, recorded.
struct Run {
    dir: tempfile::TempDir,
    scope: Scope,
    events: Vec<Event>,
    /// What each write wrote, by its number.
    writes: HashMap<u64, Write>,
}

#[derive(Clone)]
struct Write {
    key: String,
    length: usize,
}

fn value(number: u64, length: usize) -> Vec<u8> {
    let text = format!("{number}:");
    text.bytes().cycle().take(length.max(text.len())).collect()
}

/// Writers that write pairs over and over, at once, of some bytes up to many pages; in sessions,
/// so that logs are begun, emptied and removed.
async fn run() -> Run {
    let dir = tempfile::tempdir().expect("a folder");
    let scope = support::scope();
    let writes = Arc::new(std::sync::Mutex::new(HashMap::new()));
    let next = Arc::new(AtomicU64::new(1));
    vfs::record();
    for session in 0..SESSIONS {
        let storage = support::open(dir.path(), EmbeddedSettings::default());
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (storage, next, writes) = (storage.clone(), next.clone(), writes.clone());
                tokio::spawn(async move {
                    let bucket = storage.open(scope, "default").await.expect("a bucket");
                    for n in 0..WRITES {
                        let number = next.fetch_add(1, Ordering::SeqCst);
                        let length = match (n + session) % 10 {
                            0 => 60_000,
                            few => usize::try_from(few * 333).expect("small"),
                        };
                        let key = format!("{writer}/{}", n % KEYS);
                        let write = Write {
                            key: key.clone(),
                            length,
                        };
                        writes.lock().expect("whole").insert(number, write);
                        let half = |half| (format!("{key}/{half}"), value(number, length));
                        let pair = vec![half("a"), half("b")];
                        bucket.set_many(pair).await.expect("written");
                        vfs::push(Event::Acknowledged { number });
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.await.expect("a writer ends well");
        }
        storage.close().await;
    }
    let events = vfs::recorded();
    let writes = writes.lock().expect("whole").clone();
    Run {
        dir,
        scope,
        events,
        writes,
    }
}

impl Run {
    /// The disk of `seed`, compared with what had been acknowledged.
    async fn verify(&self, seed: u64, honest: bool) -> Result<(), String> {
        let mut random = Random::new(seed);
        let moment = random.below(self.events.len() + 1);
        let events = &self.events[..moment];
        let dir = tempfile::tempdir().expect("a folder");
        for file in ["operator.key", "node.key"] {
            fs::copy(self.dir.path().join(file), dir.path().join(file)).expect("copied");
        }
        let tenant = self.scope.tenant.to_string();
        let folder = support::folder(dir.path(), self.scope);
        fs::create_dir_all(&folder).expect("made");
        let key = Path::new(&tenant).join("key");
        fs::copy(self.dir.path().join(&key), dir.path().join(&key)).expect("copied");
        for (name, bytes) in image(events, honest, &mut random) {
            let name = Path::new(&*name).file_name().expect("a name");
            fs::write(folder.join(name), bytes).expect("written");
        }

        let storage = support::open(dir.path(), EmbeddedSettings::default());
        let failed = |what: &str| {
            let what = what.to_owned();
            move |error| format!("{what}: {error}")
        };
        let bucket = storage.open(self.scope, "default").await;
        let bucket = bucket.map_err(failed("opening"))?;
        let mut acknowledged: HashMap<&str, u64> = HashMap::new();
        for event in events {
            if let Event::Acknowledged { number } = event {
                let last = acknowledged.entry(&self.writes[number].key).or_default();
                *last = (*last).max(*number);
            }
        }
        for writer in 0..WRITERS {
            for n in 0..KEYS {
                let key = format!("{writer}/{n}");
                let halves = [format!("{key}/a"), format!("{key}/b")];
                let found = bucket.get_many(&halves).await.map_err(failed(&key))?;
                if found[0] != found[1] {
                    return Err(format!("{key} is there by half"));
                }
                let last = acknowledged.get(&*key).copied().unwrap_or(0);
                let Some(found) = &found[0] else {
                    if last > 0 {
                        return Err(format!("{key} is gone, and {last} was acknowledged"));
                    }
                    continue;
                };
                let text = String::from_utf8_lossy(found);
                let number: u64 = text
                    .split(':')
                    .next()
                    .and_then(|number| number.parse().ok())
                    .ok_or_else(|| format!("{key} is no value"))?;
                let write = self.writes.get(&number).filter(|write| write.key == key);
                if write.map(|write| value(number, write.length)).as_ref() != Some(found) {
                    return Err(format!("{key} is not what was written"));
                }
                if number < last {
                    return Err(format!("{key} is {number}, and {last} was acknowledged"));
                }
            }
        }
        let findings = storage.check(self.scope).await.map_err(failed("check"))?;
        storage.close().await;
        match findings.first() {
            Some(finding) => Err(finding.what.clone()),
            None => Ok(()),
        }
    }
}

fn number(variable: &str, default: u64) -> u64 {
    let set = std::env::var(variable).ok();
    set.and_then(|number| number.parse().ok())
        .unwrap_or(default)
}

/// One test, since it records what the whole process writes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_power_failure_everything_acknowledged_is_there() {
    let run = run().await;
    let syncs = (run.events.iter())
        .filter(|event| matches!(event, Event::Sync { .. }))
        .count();
    assert!(syncs > 100, "{syncs} synchronisations were recorded");
    let (first, seeds) = (
        number("CANOPY_POWER_FIRST", 0),
        number("CANOPY_POWER_SEEDS", 200),
    );
    for seed in first..first + seeds {
        if let Err(what) = run.verify(seed, true).await {
            panic!("seed {seed}: {what}");
        }
    }
    println!(
        "{seeds} power failures within {} events, {syncs} of them synchronisations: nothing lost",
        run.events.len()
    );
    // That the disks are bad enough shows on one that does not do what it says.
    let mut noticed = 0;
    for seed in 0..40 {
        noticed += u32::from(run.verify(seed, false).await.is_err());
    }
    assert!(
        noticed > 10,
        "a lying disk was noticed {noticed} times of 40"
    );
}
