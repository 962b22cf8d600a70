//! Measures, here and now, what committing writes together brings, what encryption costs, and what
//! SQLite alone does with the same data:
//!
//! `cargo run -p canopy-backend-embedded --example group_commit`
//!
//! Absolute figures depend on the disk and on what else the machine does. The ratios of one run
//! are what holds.

use std::error::Error;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use canopy_backend::{KeyValueProvider, Scope};
use canopy_backend_embedded::{EmbeddedParts, EmbeddedSettings, EmbeddedStorage};
use canopy_backend_keys::FileKeys;
use canopy_backend_sqlite::Format;
use canopy_ids::{InstallationId, TenantId};
use rusqlite::{Connection, params};

const VALUE: usize = 256;
const ROUND: Duration = Duration::from_secs(2);
const ROUNDS: usize = 3;
const FORMAT: Format = Format {
    application_id: 0x7465_7374,
    migrations: &["CREATE TABLE entry (key BLOB PRIMARY KEY, value BLOB NOT NULL) STRICT"],
};
const PUT: &str = "INSERT INTO entry VALUES (?1, ?2)
    ON CONFLICT (key) DO UPDATE SET value = excluded.value";

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

#[derive(Default)]
struct Measured {
    operations: u64,
    commits: u64,
    time: Duration,
}

impl Measured {
    fn add(&mut self, operations: u64, time: Duration) {
        self.operations += operations;
        self.time += time;
    }

    fn per_second(&self) -> f64 {
        self.operations as f64 / self.time.as_secs_f64()
    }
}

fn scope() -> Scope {
    Scope {
        tenant: TenantId::new(),
        installation: InstallationId::new(),
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let seconds = ROUND.as_secs();
    println!("{VALUE}-byte values, {ROUNDS} rounds of {seconds} s each in turn\n");
    grouping(dir.path()).await?;
    writing(dir.path()).await?;
    reading(dir.path()).await
}

/// One commit for each write against the commits of what has queued up.
async fn grouping(dir: &Path) -> Result<()> {
    println!(
        "| writers | installations | one commit per write | group commit | ratio | writes per commit |"
    );
    println!("|---|---|---|---|---|---|");
    for (writers, installations) in [(1, 1), (8, 1), (64, 1), (64, 8), (64, 64)] {
        let (mut single, mut group) = (Measured::default(), Measured::default());
        for _ in 0..ROUNDS {
            write(dir, 1, writers, installations, &mut single).await?;
            let all = EmbeddedSettings::default().commit_writes;
            write(dir, all, writers, installations, &mut group).await?;
        }
        println!(
            "| {writers} | {installations} | {:.0}/s | {:.0}/s | {:.1} | {:.1} |",
            single.per_second(),
            group.per_second(),
            group.per_second() / single.per_second(),
            group.operations as f64 / group.commits as f64,
        );
    }
    println!();
    Ok(())
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
    let storage = EmbeddedStorage::open(EmbeddedParts::temporary(fresh(dir))?, settings)?;
    let mut buckets = Vec::new();
    for _ in 0..installations {
        let bucket = storage.open(scope(), "default").await?;
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
    let after = storage.stats();
    measured.add(after.writes - before.writes, started.elapsed());
    measured.commits += after.commits - before.commits;
    storage.close().await;
    Ok(())
}

/// A folder that nobody has used.
fn fresh(dir: &Path) -> std::path::PathBuf {
    dir.join(InstallationId::new().to_string())
}

/// SQLite alone, as a program would use it, on an encrypted file or a plain one.
fn native(dir: &Path, encrypted: bool) -> Result<Connection> {
    let path = fresh(dir).join("native.db");
    if encrypted {
        let parts = EmbeddedParts::temporary(fresh(dir))?;
        let keys = FileKeys::from(parts.keys.node_key("native"));
        return Ok(canopy_backend_sqlite::open(&path, &keys, &FORMAT, 1 << 20)?);
    }
    std::fs::create_dir_all(path.parent().ok_or("a folder")?)?;
    let conn = Connection::open(path)?;
    conn.pragma_update(None, "journal_mode", "WAL")?;
    conn.pragma_update(None, "synchronous", "FULL")?;
    conn.pragma_update(None, "cache_size", -1024)?;
    conn.execute_batch(FORMAT.migrations[0])?;
    Ok(conn)
}

/// `writers` threads that share one connection and commit each write alone, as plain programs do,
/// and one that commits 64 writes together, which is what grouping could at best be.
fn write_native(conn: &Connection, together: u64, measured: &mut Measured) -> Result<()> {
    let started = Instant::now();
    let mut n = 0_u64;
    while started.elapsed() < ROUND {
        conn.execute_batch("BEGIN IMMEDIATE")?;
        {
            let mut put = conn.prepare_cached(PUT)?;
            for _ in 0..together {
                put.execute(params![n.to_string().as_bytes(), vec![0_u8; VALUE]])?;
                n += 1;
            }
        }
        conn.execute_batch("COMMIT")?;
    }
    measured.add(n, started.elapsed());
    Ok(())
}

async fn writing(dir: &Path) -> Result<()> {
    println!("| writes | plain SQLite | encrypted SQLite | ours | ours to encrypted | to plain |");
    println!("|---|---|---|---|---|---|");
    for (name, together, writers) in [("one at a time", 1, 1), ("64 at once", 64, 64)] {
        let [mut plain, mut encrypted, mut ours] = [(); 3].map(|()| Measured::default());
        let (plain_conn, encrypted_conn) = (native(dir, false)?, native(dir, true)?);
        for _ in 0..ROUNDS {
            write_native(&plain_conn, together, &mut plain)?;
            write_native(&encrypted_conn, together, &mut encrypted)?;
            let all = EmbeddedSettings::default().commit_writes;
            write(dir, all, writers, 1, &mut ours).await?;
        }
        println!(
            "| {name} | {:.0}/s | {:.0}/s | {:.0}/s | {:.2} | {:.2} |",
            plain.per_second(),
            encrypted.per_second(),
            ours.per_second(),
            ours.per_second() / encrypted.per_second(),
            ours.per_second() / plain.per_second(),
        );
    }
    println!();
    Ok(())
}

/// Reading one key after the other: of a few that stay in memory, and of many that do not.
async fn reading(dir: &Path) -> Result<()> {
    println!("| reads | plain SQLite | encrypted SQLite | ours | ours to encrypted | to plain |");
    println!("|---|---|---|---|---|---|");
    for keys in [1_000_u64, 100_000] {
        let storage =
            EmbeddedStorage::open(EmbeddedParts::temporary(fresh(dir))?, Default::default())?;
        let bucket = storage.open(scope(), "default").await?;
        let natives = Arc::new(Mutex::new([native(dir, false)?, native(dir, true)?]));
        for from in (0..keys).step_by(1000) {
            let pair = |n: u64| (n.to_string(), vec![0; VALUE]);
            bucket
                .set_many((from..from + 1000).map(pair).collect())
                .await?;
        }
        for conn in &*natives.lock().map_err(|_| "poisoned")? {
            conn.execute_batch("BEGIN")?;
            for n in 0..keys {
                conn.prepare_cached(PUT)?
                    .execute(params![n.to_string().as_bytes(), vec![0_u8; VALUE]])?;
            }
            conn.execute_batch("COMMIT")?;
        }
        let [mut plain, mut encrypted, mut ours] = [(); 3].map(|()| Measured::default());
        for _ in 0..ROUNDS {
            {
                let natives = natives.lock().map_err(|_| "poisoned")?;
                read_native(&natives[0], keys, &mut plain)?;
                read_native(&natives[1], keys, &mut encrypted)?;
            }
            let (started, mut n) = (Instant::now(), 0);
            while started.elapsed() < ROUND {
                let key = scattered(n, keys).to_string();
                bucket.get(&key).await?.ok_or("a key is missing")?;
                n += 1;
            }
            ours.add(n, started.elapsed());
        }
        println!(
            "| of {keys} keys | {:.0}/s | {:.0}/s | {:.0}/s | {:.2} | {:.2} |",
            plain.per_second(),
            encrypted.per_second(),
            ours.per_second(),
            ours.per_second() / encrypted.per_second(),
            ours.per_second() / plain.per_second(),
        );
        storage.close().await;
    }
    Ok(())
}

fn read_native(conn: &Connection, keys: u64, measured: &mut Measured) -> Result<()> {
    let mut get = conn.prepare("SELECT value FROM entry WHERE key = ?1")?;
    let (started, mut n) = (Instant::now(), 0);
    while started.elapsed() < ROUND {
        let key = scattered(n, keys).to_string();
        let _: Vec<u8> = get.query_row([key.as_bytes()], |row| row.get(0))?;
        n += 1;
    }
    measured.add(n, started.elapsed());
    Ok(())
}

/// The keys in an order that jumps.
fn scattered(n: u64, keys: u64) -> u64 {
    n.wrapping_mul(0x9e37_79b9_7f4a_7c15) % keys
}
