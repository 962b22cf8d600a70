//! Measures what committing writes together brings, here and now:
//!
//! `cargo run -p canopy-backend-embedded --example group_commit`
//!
//! Absolute figures depend on the disk and on what else the machine does. The ratios of one run
//! are what holds.

use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

use canopy_backend::KeyValueProvider;
use canopy_backend_embedded::{EmbeddedSettings, EmbeddedStorage};
use canopy_ids::InstallationId;

const VALUE: usize = 256;
const ROUND: Duration = Duration::from_secs(2);
const ROUNDS: usize = 3;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

#[derive(Default)]
struct Measured {
    writes: u64,
    commits: u64,
    time: Duration,
}

impl Measured {
    fn per_second(&self) -> f64 {
        self.writes as f64 / self.time.as_secs_f64()
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    let dir = tempfile::tempdir()?;
    println!(
        "{VALUE}-byte values, {ROUNDS} rounds of {} s each in turn\n",
        ROUND.as_secs()
    );
    println!(
        "| writers | installations | one commit per write | group commit | ratio | writes per commit |"
    );
    println!("|---|---|---|---|---|---|");
    for (writers, installations) in [(1, 1), (8, 1), (64, 1), (64, 8), (64, 64)] {
        let mut single = Measured::default();
        let mut group = Measured::default();
        for _ in 0..ROUNDS {
            write(dir.path(), 1, writers, installations, &mut single).await?;
            let commit_writes = EmbeddedSettings::default().commit_writes;
            write(
                dir.path(),
                commit_writes,
                writers,
                installations,
                &mut group,
            )
            .await?;
        }
        println!(
            "| {writers} | {installations} | {:.0}/s | {:.0}/s | {:.1} | {:.1} |",
            single.per_second(),
            group.per_second(),
            group.per_second() / single.per_second(),
            group.writes as f64 / group.commits as f64,
        );
    }
    println!();
    read(dir.path()).await
}

async fn write(
    dir: &Path,
    commit_writes: usize,
    writers: usize,
    installations: usize,
    measured: &mut Measured,
) -> Result<()> {
    let settings = EmbeddedSettings {
        commit_writes,
        ..Default::default()
    };
    let storage = EmbeddedStorage::open(dir, settings)?;
    let mut buckets = Vec::new();
    for _ in 0..installations {
        let bucket = storage.open(InstallationId::new(), "default").await?;
        bucket.set("made", Vec::new()).await?;
        buckets.push(bucket);
    }
    let before = storage.stats();
    let started = Instant::now();
    let tasks: Vec<_> = (0..writers)
        .map(|writer| {
            let bucket = buckets[writer % installations].clone();
            tokio::spawn(async move {
                let mut n = 0_u64;
                while started.elapsed() < ROUND {
                    bucket.set(&format!("{writer}/{n}"), vec![0; VALUE]).await?;
                    n += 1;
                }
                Ok::<_, canopy_backend::StorageError>(())
            })
        })
        .collect();
    for task in tasks {
        task.await??;
    }
    measured.time += started.elapsed();
    let after = storage.stats();
    measured.writes += after.writes - before.writes;
    measured.commits += after.commits - before.commits;
    storage.close().await;
    Ok(())
}

/// Compares reading through the storage with reading the same file by SQLite alone.
async fn read(dir: &Path) -> Result<()> {
    const KEYS: u64 = 1000;
    let installation = InstallationId::new();
    let storage = EmbeddedStorage::open(dir, EmbeddedSettings::default())?;
    let bucket = storage.open(installation, "default").await?;
    let pairs = (0..KEYS)
        .map(|n| (format!("{n}"), vec![0; VALUE]))
        .collect();
    bucket.set_many(pairs).await?;
    let file = dir.join(installation.to_string()).join("data.db");
    let native = rusqlite::Connection::open(file)?;
    let mut ours = (0_u64, Duration::ZERO);
    let mut theirs = (0_u64, Duration::ZERO);
    for _ in 0..ROUNDS {
        let started = Instant::now();
        while started.elapsed() < ROUND {
            for n in 0..KEYS {
                bucket
                    .get(&n.to_string())
                    .await?
                    .ok_or("a key is missing")?;
            }
            ours.0 += KEYS;
        }
        ours.1 += started.elapsed();
        let started = Instant::now();
        let mut get =
            native.prepare("SELECT value FROM canopy_entry WHERE bucket = 1 AND key = ?1")?;
        while started.elapsed() < ROUND {
            for n in 0..KEYS {
                let _: Vec<u8> = get.query_row([n.to_string().as_bytes()], |row| row.get(0))?;
            }
            theirs.0 += KEYS;
        }
        theirs.1 += started.elapsed();
    }
    let per_second = |(count, time): (u64, Duration)| count as f64 / time.as_secs_f64();
    println!(
        "get, one caller: {:.0}/s, SQLite alone {:.0}/s, ratio {:.2}",
        per_second(ours),
        per_second(theirs),
        per_second(ours) / per_second(theirs),
    );
    storage.close().await;
    Ok(())
}
