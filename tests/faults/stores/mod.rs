//! What is tried: each store with the fixed work that it does, one step after the other.
//!
//! A step is acknowledged when the store has said that it is done. It may be made again, and is then
//! what it was. What a store shows is a set of units, each of which a step changes as a whole; so
//! after any number of acknowledged steps it is known what every unit must be, but for those of the
//! step that was under way, which may have taken place or not.

mod blobs;
mod control;
mod key_value;
mod keys;
mod logs;
mod queue;
mod sql;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;

use canopy_backend::{Ledger, Scope, StorageQuota};
use canopy_backend_keys::{Keyring, OperatorKey};

use crate::process::tell;

/// What a store shows: the value of each unit.
pub(crate) type Units = BTreeMap<String, String>;

/// A store and its work.
pub(crate) trait Store: Sized {
    const NAME: &'static str;
    /// How many steps there are, counted from 1.
    const STEPS: u32;
    /// Whether what was acknowledged is there after a power failure as well.
    const SURVIVES_POWER: bool = true;

    /// Opens it in the folder `dir`.
    async fn open(dir: &Path) -> Result<Self, String>;
    /// Makes step `n`.
    async fn step(&mut self, n: u32) -> Result<(), String>;
    /// What step `n` makes of the units.
    fn expect(n: u32, units: &mut Units);
    /// What there is.
    async fn observe(&mut self) -> Result<Units, String>;
    /// What its own check finds.
    async fn check(&mut self) -> Result<Vec<String>, String>;
    async fn close(self);
}

/// What is wrong with a store after a fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Problem {
    /// Something acknowledged is not there.
    Lost(String),
    /// Something is there that no step has made.
    Half(String),
    /// It does not open, or cannot be read.
    Unopened(String),
    /// Its own check finds something, or it does not go on as it should.
    Wrong(String),
}

impl Problem {
    fn line(&self) -> String {
        match self {
            Self::Lost(what) => format!("lost {what}"),
            Self::Half(what) => format!("half {what}"),
            Self::Unopened(what) => format!("unopened {what}"),
            Self::Wrong(what) => format!("wrong {what}"),
        }
    }

    pub(crate) fn parse(line: &str) -> Option<Self> {
        let (kind, what) = line.split_once(' ')?;
        let what = what.to_owned();
        Some(match kind {
            "lost" => Self::Lost(what),
            "half" => Self::Half(what),
            "unopened" => Self::Unopened(what),
            "wrong" => Self::Wrong(what),
            _ => return None,
        })
    }
}

type Task = Pin<Box<dyn Future<Output = ()>>>;

/// A store, in the list of all.
pub(crate) struct Entry {
    pub(crate) name: &'static str,
    pub(crate) steps: u32,
    pub(crate) survives_power: bool,
    pub(crate) work: fn(PathBuf) -> Task,
    pub(crate) verify: fn(PathBuf, u32, u32) -> Task,
}

const fn entry<S: Store + 'static>() -> Entry {
    Entry {
        name: S::NAME,
        steps: S::STEPS,
        survives_power: S::SURVIVES_POWER,
        work: |dir| Box::pin(async move { work::<S>(&dir).await }),
        verify: |dir, from, to| {
            Box::pin(async move {
                for problem in verify::<S>(&dir, from, to).await {
                    tell(&problem.line());
                }
                tell("end");
            })
        },
    }
}

pub(crate) static STORES: &[Entry] = &[
    entry::<key_value::KeyValueStore>(),
    entry::<blobs::BlobStore>(),
    entry::<sql::SqlStore>(),
    entry::<queue::QueueStore>(),
    entry::<logs::LogsStore>(),
    entry::<control::ControlStore>(),
    entry::<keys::KeysStore>(),
];

/// Makes all steps, in two sessions. What is refused is tried once more; what is refused then ends
/// the work.
async fn work<S: Store>(dir: &Path) {
    let half = S::STEPS / 2;
    for steps in [1..=half, half + 1..=S::STEPS] {
        let mut store = match twice(0, async || S::open(dir).await).await {
            Some(store) => store,
            None => return tell("end"),
        };
        for n in steps {
            let mut tries = 0;
            loop {
                match store.step(n).await {
                    Ok(()) => break tell(&format!("ack {n}")),
                    Err(error) => tell(&format!("refused {n} {error}")),
                }
                tries += 1;
                if tries == 2 {
                    store.close().await;
                    return tell("end");
                }
            }
        }
        store.close().await;
    }
    tell("end");
}

async fn twice<T>(n: u32, work: impl AsyncFn() -> Result<T, String>) -> Option<T> {
    for _ in 0..2 {
        match work().await {
            Ok(done) => return Some(done),
            Err(error) => tell(&format!("refused {n} {error}")),
        }
    }
    None
}

fn expected<S: Store>(steps: u32) -> Units {
    let mut units = Units::new();
    for n in 1..=steps {
        S::expect(n, &mut units);
    }
    units
}

/// Compares what is there with what the first `from` steps make, or any number up to `to`; then makes
/// the steps that are missing and compares again.
async fn verify<S: Store>(dir: &Path, from: u32, to: u32) -> Vec<Problem> {
    let unopened = |error| vec![Problem::Unopened(error)];
    let mut store = match S::open(dir).await {
        Ok(store) => store,
        Err(error) => return unopened(error),
    };
    let found = match store.observe().await {
        Ok(found) => found,
        Err(error) => return unopened(error),
    };
    let states: Vec<Units> = (from..=to.min(S::STEPS)).map(expected::<S>).collect();
    let mut problems = compare(&found, &states);
    // Of what is not promised after a power failure, some may be there by half.
    let promised = S::SURVIVES_POWER || from + 1 >= to;
    match store.check().await {
        Ok(_) if !promised => {}
        Ok(findings) => problems.extend(findings.into_iter().map(Problem::Wrong)),
        Err(error) => problems.push(Problem::Wrong(format!("its check: {error}"))),
    }
    for n in from + 1..=S::STEPS {
        if let Err(error) = store.step(n).await {
            problems.push(Problem::Wrong(format!("step {n} afterwards: {error}")));
            break;
        }
    }
    match store.observe().await {
        Ok(found) => {
            let differences = compare(&found, &[expected::<S>(S::STEPS)]);
            let afterwards = |problem: Problem| Problem::Wrong(format!("in the end {problem:?}"));
            problems.extend(differences.into_iter().map(afterwards));
        }
        Err(error) => problems.push(Problem::Wrong(format!("in the end: {error}"))),
    }
    store.close().await;
    problems
}

/// Each unit must be what it is in one of `states`.
fn compare(found: &Units, states: &[Units]) -> Vec<Problem> {
    let names: BTreeSet<&String> = states
        .iter()
        .flat_map(Units::keys)
        .chain(found.keys())
        .collect();
    let mut problems = Vec::new();
    for name in names {
        let is = found.get(name);
        if states.iter().any(|state| state.get(name) == is) {
            continue;
        }
        let should = states.first().and_then(|state| state.get(name));
        problems.push(match is {
            None => Problem::Lost(format!("{name}, which was {should:?}")),
            Some(is) => Problem::Half(format!("{name} is {is:?} and should be {should:?}")),
        });
    }
    problems
}

/// The installation that everything belongs to.
fn scope() -> Scope {
    Scope {
        tenant: "ten_019ac0000000700080000000000000a1"
            .parse()
            .expect("an id"),
        installation: "ins_019ac0000000700080000000000000b1"
            .parse()
            .expect("an id"),
    }
}

fn keyring(dir: &Path) -> Result<Keyring, String> {
    let operator = OperatorKey::from_file(&dir.join("operator.key"), true).map_err(text)?;
    Keyring::open(operator, &dir.join("storage")).map_err(text)
}

fn ledger() -> Ledger {
    Ledger::new(Arc::new(StorageQuota::default()))
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// What step `n` stores: `length` bytes that say so from the first to the last.
fn content(n: u32, length: usize) -> Vec<u8> {
    format!("{n}:").bytes().cycle().take(length).collect()
}

/// Which step stored these bytes, and how many they are; or that no step did.
fn of_content(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(16)]).into_owned();
    let n = text.split(':').next().and_then(|n| n.parse().ok());
    match n {
        Some(n) if content(n, bytes.len()) == bytes => written(n, bytes.len()),
        _ => format!(
            "not what any step stored: {text:?} and {} bytes",
            bytes.len()
        ),
    }
}

fn written(n: u32, length: usize) -> String {
    format!("{length} bytes of step {n}")
}
