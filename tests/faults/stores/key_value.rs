//! Keys and values: alone, in pairs, at once, over buckets, under conditions.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use canopy_backend::{
    Action, KeyValue, KeyValueProvider, Maintenance, Operation, SetOptions, Swap, SystemClock,
    Transaction,
};
use canopy_backend_embedded::{EmbeddedParts, EmbeddedSettings, EmbeddedStorage};

use super::{Store, Units, content, keyring, ledger, of_content, scope, text, written};

pub(super) struct KeyValueStore {
    storage: EmbeddedStorage,
    bucket: Arc<dyn KeyValue>,
}

/// How long what a step stores is: a part of a page, or several.
fn length(n: u32) -> usize {
    40 + usize::try_from(n * 997 % 5000).expect("small")
}

/// The step before `n` of the same kind.
fn before(n: u32) -> u32 {
    n.saturating_sub(6)
}

pub(super) fn open_storage(dir: &Path) -> Result<EmbeddedStorage, String> {
    let parts = EmbeddedParts {
        dir: dir.join("storage"),
        keys: keyring(dir)?,
        ledger: ledger(),
        clock: Arc::new(SystemClock),
    };
    EmbeddedStorage::open(parts, EmbeddedSettings::default()).map_err(text)
}

impl Store for KeyValueStore {
    const NAME: &'static str = "key-value";
    const STEPS: u32 = 24;

    async fn open(dir: &Path) -> Result<Self, String> {
        let storage = open_storage(dir)?;
        let bucket = storage.open(scope(), "default").await.map_err(text)?;
        Ok(Self { storage, bucket })
    }

    async fn step(&mut self, n: u32) -> Result<(), String> {
        let value = content(n, length(n));
        match n % 6 {
            1 => {
                let pair = ["a", "b"].map(|half| (format!("pair{n}/{half}"), value.clone()));
                self.bucket.set_many(pair.to_vec()).await.map_err(text)
            }
            2 => {
                let keys: Vec<String> = (0..4).map(|i| format!("one{i}")).collect();
                let sets = keys.iter().map(|key| self.bucket.set(key, value.clone()));
                let done = futures::future::join_all(sets).await;
                done.into_iter().collect::<Result<(), _>>().map_err(text)
            }
            3 => {
                let set = |bucket: &str| Operation {
                    bucket: bucket.into(),
                    key: "both/".into(),
                    action: Action::Set {
                        value: value.clone(),
                        options: SetOptions::default(),
                    },
                };
                let steps = vec![set("default"), set("other")];
                match self.storage.transact(scope(), steps).await.map_err(text)? {
                    Transaction::Done(_) => Ok(()),
                    conflict => Err(format!("{conflict:?}")),
                }
            }
            4 => {
                let old = (before(n) > 0).then(|| content(before(n), length(before(n))));
                let swap = self.bucket.compare_and_set("swap", old, value.clone());
                match swap.await.map_err(text)? {
                    Swap::Done => Ok(()),
                    // It had taken place.
                    Swap::Conflict(Some(found)) if found == value => Ok(()),
                    conflict => Err(format!("{conflict:?}")),
                }
            }
            5 => {
                let pair = ["a", "b"].map(|half| format!("pair{}/{half}", n - 4));
                self.bucket.delete_many(pair.to_vec()).await.map_err(text)
            }
            _ => {
                let large = content(n, 60_000);
                self.bucket.set("large", large).await.map_err(text)
            }
        }
    }

    fn expect(n: u32, units: &mut Units) {
        let value = written(n, length(n));
        let mut set = |unit: &str, value: &str| units.insert(unit.into(), value.into());
        match n % 6 {
            1 => drop(set(&format!("pair{n}"), &value)),
            2 => (0..4).for_each(|i| drop(set(&format!("one{i}"), &value))),
            3 => drop(set("both", &value)),
            4 => drop(set("swap", &value)),
            5 => drop(units.remove(&format!("pair{}", n - 4))),
            _ => drop(set("large", &written(n, 60_000))),
        }
    }

    async fn observe(&mut self) -> Result<Units, String> {
        // Both halves of a pair, and both buckets of `both/`, are one unit.
        let mut parts: BTreeMap<String, (usize, Vec<String>)> = BTreeMap::new();
        for bucket in ["default", "other"] {
            let bucket = self.storage.open(scope(), bucket).await.map_err(text)?;
            for key in bucket.list("", None, 1000).await.map_err(text)?.keys {
                let value = bucket.get(&key).await.map_err(text)?;
                let value = value.ok_or("a key that is listed has no value")?;
                let (unit, wanted) = key
                    .split_once('/')
                    .map_or((&*key, 1), |(unit, _)| (unit, 2));
                let part = parts.entry(unit.to_owned()).or_insert((wanted, Vec::new()));
                part.1.push(of_content(&value));
            }
        }
        let whole = |(unit, (wanted, parts)): (String, (usize, Vec<String>))| {
            let same = parts.iter().all(|part| *part == parts[0]);
            let value = match same && parts.len() == wanted {
                true => parts[0].clone(),
                false => format!("by half: {parts:?}"),
            };
            (unit, value)
        };
        Ok(parts.into_iter().map(whole).collect())
    }

    async fn check(&mut self) -> Result<Vec<String>, String> {
        let findings = self.storage.check(scope()).await.map_err(text)?;
        Ok(findings.into_iter().map(|finding| finding.what).collect())
    }

    async fn close(self) {
        drop(self.bucket);
        self.storage.close().await;
    }
}
