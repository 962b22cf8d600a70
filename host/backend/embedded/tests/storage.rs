//! What embedded storage does beyond the suite: files, group commit, idle closing, erasure,
//! quota, refusals.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use canopy_backend::{KeyValue, KeyValueProvider, StorageError};
use canopy_backend_embedded::{EmbeddedSettings, EmbeddedStorage, OpenError};
use canopy_ids::InstallationId;

fn open(dir: &Path, settings: EmbeddedSettings) -> EmbeddedStorage {
    EmbeddedStorage::open(dir, settings).expect("storage opens")
}

async fn bucket(storage: &EmbeddedStorage, installation: InstallationId) -> Arc<dyn KeyValue> {
    storage
        .open(installation, "default")
        .await
        .expect("a bucket opens")
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..1000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("in ten seconds: {what}");
}

/// 64 writers, one installation: while one commit is under way, the other writes queue up and
/// share the next one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_writes_share_commits() {
    const WRITERS: u64 = 64;
    const WRITES: u64 = 20;
    let dir = tempfile::tempdir().expect("a folder");
    let storage = open(dir.path(), EmbeddedSettings::default());
    let bucket = bucket(&storage, InstallationId::new()).await;
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let bucket = bucket.clone();
            tokio::spawn(async move {
                for n in 0..WRITES {
                    bucket
                        .set(&format!("{writer}/{n}"), vec![0; 100])
                        .await
                        .expect("set");
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.expect("a writer ends well");
    }
    let stats = storage.stats();
    assert_eq!(stats.writes, WRITERS * WRITES);
    // Each writer waits for its own write, so at least WRITES commits are needed.
    assert!(stats.commits >= WRITES, "{stats:?}");
    assert!(stats.commits < stats.writes / 2, "{stats:?}");
}

#[tokio::test]
async fn a_write_alone_is_one_commit_and_a_refused_one_is_none() {
    let dir = tempfile::tempdir().expect("a folder");
    let storage = open(dir.path(), EmbeddedSettings::default());
    let bucket = bucket(&storage, InstallationId::new()).await;
    for n in 0..5 {
        bucket.set("key", vec![n]).await.expect("set");
    }
    assert_eq!((storage.stats().writes, storage.stats().commits), (5, 5));
    let conflict = bucket.compare_and_set("key", None, Vec::new()).await;
    assert!(conflict.is_ok(), "{conflict:?}");
    let refused = bucket.increment("key", 1).await;
    assert!(
        matches!(refused, Err(StorageError::NotANumber)),
        "{refused:?}"
    );
    assert_eq!(storage.stats().commits, 5);
}

#[tokio::test]
async fn one_commit_per_write_can_be_had() {
    let dir = tempfile::tempdir().expect("a folder");
    let storage = open(
        dir.path(),
        EmbeddedSettings {
            commit_writes: 1,
            ..Default::default()
        },
    );
    let bucket = bucket(&storage, InstallationId::new()).await;
    let writes: Vec<_> = (0..16)
        .map(|n| {
            let bucket = bucket.clone();
            tokio::spawn(async move { bucket.set(&format!("k{n}"), Vec::new()).await })
        })
        .collect();
    for write in writes {
        write.await.expect("a writer ends well").expect("set");
    }
    assert_eq!((storage.stats().writes, storage.stats().commits), (16, 16));
}

#[tokio::test]
async fn everything_is_there_after_opening_again() {
    let dir = tempfile::tempdir().expect("a folder");
    let installation = InstallationId::new();
    {
        let storage = open(dir.path(), EmbeddedSettings::default());
        let bucket = bucket(&storage, installation).await;
        bucket.set("key", b"value".to_vec()).await.expect("set");
        storage.close().await;
        assert_eq!(storage.stats().open_databases, 0);
        let late = bucket.get("key").await;
        assert!(matches!(late, Err(StorageError::Busy(_))), "{late:?}");
    }
    let files: Vec<_> = fs::read_dir(dir.path().join(installation.to_string()))
        .expect("the installation's folder")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    assert_eq!(
        files,
        ["data.db"],
        "nothing is left beside a closed database"
    );
    let storage = open(dir.path(), EmbeddedSettings::default());
    let value = bucket(&storage, installation)
        .await
        .get("key")
        .await
        .expect("get");
    assert_eq!(value.as_deref(), Some(&b"value"[..]));
}

#[tokio::test]
async fn a_database_that_is_not_used_is_closed_and_opens_again() {
    let dir = tempfile::tempdir().expect("a folder");
    let idle_close = Duration::from_millis(20);
    let storage = open(
        dir.path(),
        EmbeddedSettings {
            idle_close,
            ..Default::default()
        },
    );
    let bucket = bucket(&storage, InstallationId::new()).await;
    bucket.set("key", b"value".to_vec()).await.expect("set");
    until("the database is closed", || {
        storage.stats().open_databases == 0
    })
    .await;
    let value = bucket.get("key").await.expect("get");
    assert_eq!(value.as_deref(), Some(&b"value"[..]));
    assert_eq!(storage.stats().opened, 2);
}

#[tokio::test]
async fn opening_a_bucket_makes_no_file() {
    let dir = tempfile::tempdir().expect("a folder");
    let storage = open(dir.path(), EmbeddedSettings::default());
    let installation = InstallationId::new();
    bucket(&storage, installation).await;
    assert!(!dir.path().join(installation.to_string()).exists());
}

/// More installations than files that may be open, all at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn open_databases_are_bounded_and_everybody_gets_a_turn() {
    let dir = tempfile::tempdir().expect("a folder");
    let settings = EmbeddedSettings {
        open_databases: 3,
        open_wait: Duration::from_secs(60),
        ..Default::default()
    };
    let storage = open(dir.path(), settings);
    let tasks: Vec<_> = (0..20)
        .map(|n| {
            let storage = storage.clone();
            tokio::spawn(async move {
                let bucket = bucket(&storage, InstallationId::new()).await;
                for round in 1..=3 {
                    assert_eq!(
                        bucket.increment("n", n).await.expect("increment"),
                        n * round
                    );
                    assert!(storage.stats().open_databases <= 3);
                    let value = bucket.get("n").await.expect("get");
                    assert_eq!(value, Some((n * round).to_string().into_bytes()));
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("a task ends well");
    }
    let stats = storage.stats();
    assert!(stats.open_databases <= 3 && stats.opened >= 20, "{stats:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn erasing_waits_for_what_is_under_way_and_removes_the_files() {
    let dir = tempfile::tempdir().expect("a folder");
    let storage = open(dir.path(), EmbeddedSettings::default());
    let installation = InstallationId::new();
    let bucket = bucket(&storage, installation).await;
    bucket.set("key", vec![0; 1000]).await.expect("set");
    let path = dir.path().join(installation.to_string());
    assert!(path.join("data.db").exists());
    let writers: Vec<_> = (0..32)
        .map(|n| {
            let bucket = bucket.clone();
            tokio::spawn(async move {
                for _ in 0..50 {
                    match bucket.set(&format!("k{n}"), vec![0; 1000]).await {
                        Ok(()) => {}
                        Err(StorageError::Erased) => return,
                        Err(error) => panic!("{error}"),
                    }
                }
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(5)).await;
    let (one, two) = tokio::join!(storage.erase(installation), storage.erase(installation));
    one.expect("erased");
    two.expect("erased");
    for writer in writers {
        writer.await.expect("a writer ends well");
    }
    let names: Vec<_> = fs::read_dir(dir.path())
        .expect("the folder")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    assert_eq!(names, ["lock"], "no file of the installation is left");
}

#[tokio::test]
async fn an_erasure_that_a_crash_cut_short_is_finished_at_the_next_start() {
    let dir = tempfile::tempdir().expect("a folder");
    let half = dir
        .path()
        .join(format!(".erased-{}", InstallationId::new()));
    fs::create_dir(&half).expect("made");
    fs::write(half.join("data.db"), "left over").expect("written");
    open(dir.path(), EmbeddedSettings::default());
    assert!(!half.exists());
}

/// Writers that race for the last bytes never get more than there is, and what they delete is
/// there for others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_that_race_never_pass_the_quota() {
    const QUOTA: u64 = 200_000;
    const VALUE: usize = 1000;
    let dir = tempfile::tempdir().expect("a folder");
    let mut settings = EmbeddedSettings::default();
    settings.limits.quota_bytes = QUOTA;
    let storage = open(dir.path(), settings);
    let bucket = bucket(&storage, InstallationId::new()).await;
    for round in 0..3 {
        let writers: Vec<_> = (0..32)
            .map(|writer| {
                let bucket = bucket.clone();
                tokio::spawn(async move {
                    let mut stored = Vec::new();
                    loop {
                        let key = format!("{writer}/{}", stored.len());
                        match bucket.set(&key, vec![0; VALUE]).await {
                            Ok(()) => stored.push(key),
                            Err(StorageError::QuotaExceeded { limit: QUOTA, .. }) => return stored,
                            Err(error) => panic!("{error}"),
                        }
                    }
                })
            })
            .collect();
        let mut stored = Vec::new();
        for writer in writers {
            stored.extend(writer.await.expect("a writer ends well"));
        }
        let bytes = (stored.len() * VALUE) as u64;
        assert!(
            bytes <= QUOTA && bytes > QUOTA * 8 / 10,
            "round {round}: {bytes}"
        );
        bucket.delete_many(stored).await.expect("delete_many");
    }
}

#[tokio::test]
async fn a_second_opening_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let storage = open(dir.path(), EmbeddedSettings::default());
    let second = EmbeddedStorage::open(dir.path(), EmbeddedSettings::default());
    assert!(matches!(second, Err(OpenError::InUse { .. })), "{second:?}");
    storage.close().await;
    open(dir.path(), EmbeddedSettings::default());
}

#[test]
fn settings_that_cannot_work_are_refused_by_name() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut small = EmbeddedSettings::default();
    small.limits.batch_bytes = 10;
    for (settings, name) in [
        (
            EmbeddedSettings {
                open_databases: 0,
                ..Default::default()
            },
            "open_databases",
        ),
        (
            EmbeddedSettings {
                readers: 0,
                ..Default::default()
            },
            "readers",
        ),
        (
            EmbeddedSettings {
                commit_writes: 0,
                ..Default::default()
            },
            "commit_writes",
        ),
        (
            EmbeddedSettings {
                queue_bytes: 1,
                ..Default::default()
            },
            "queue_bytes",
        ),
        (small, "limits.batch_bytes"),
    ] {
        match EmbeddedStorage::open(dir.path(), settings) {
            Err(OpenError::Settings(text)) => assert!(text.contains(name), "{name}: {text}"),
            other => panic!("{name}: {other:?}"),
        }
    }
}

/// One installation's damage is its own, and is told, not hidden.
#[tokio::test]
async fn a_damaged_or_foreign_file_is_refused_and_others_go_on() {
    let dir = tempfile::tempdir().expect("a folder");
    let storage = open(dir.path(), EmbeddedSettings::default());
    let (damaged, foreign, newer, whole) = (
        InstallationId::new(),
        InstallationId::new(),
        InstallationId::new(),
        InstallationId::new(),
    );
    let path = |installation: InstallationId| dir.path().join(installation.to_string());
    for installation in [damaged, foreign, newer] {
        fs::create_dir(path(installation)).expect("made");
    }
    fs::write(path(damaged).join("data.db"), [7; 8192]).expect("written");
    let sqlite = |installation| {
        rusqlite::Connection::open(path(installation).join("data.db")).expect("a database")
    };
    sqlite(foreign)
        .execute_batch("CREATE TABLE t (a)")
        .expect("made");
    sqlite(newer)
        .execute_batch("PRAGMA application_id = 0x436e7079; PRAGMA user_version = 2")
        .expect("made");
    for (installation, reason) in [
        (damaged, "not a database"),
        (foreign, "another program"),
        (newer, "newer version"),
    ] {
        let bucket = bucket(&storage, installation).await;
        for result in [
            bucket.get("key").await.map(drop),
            bucket.set("key", Vec::new()).await,
        ] {
            match result {
                Err(StorageError::Failed(text)) => assert!(text.contains(reason), "{text}"),
                other => panic!("{reason}: {other:?}"),
            }
        }
    }
    let bucket = bucket(&storage, whole).await;
    bucket.set("key", Vec::new()).await.expect("others go on");
    storage
        .erase(damaged)
        .await
        .expect("a damaged one can be erased");
    assert!(!path(damaged).exists());
}

/// A caller who goes away leaves the write whole, and nobody waiting.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_that_go_away_leave_nothing_half_done() {
    let dir = tempfile::tempdir().expect("a folder");
    let storage = open(
        dir.path(),
        EmbeddedSettings {
            open_databases: 2,
            ..Default::default()
        },
    );
    let installations: Vec<_> = (0..6).map(|_| InstallationId::new()).collect();
    for round in 0..20_u64 {
        for installation in &installations {
            let bucket = bucket(&storage, *installation).await;
            let pairs = vec![("a".to_owned(), vec![1]), ("b".to_owned(), vec![1])];
            let wait = Duration::from_micros(round * 50);
            let _ = tokio::time::timeout(wait, bucket.set_many(pairs)).await;
        }
    }
    for installation in installations {
        let bucket = bucket(&storage, installation).await;
        let values = bucket
            .get_many(&["a".into(), "b".into()])
            .await
            .expect("get_many");
        assert_eq!(values[0], values[1]);
        bucket.set("c", Vec::new()).await.expect("set");
    }
}

/// What was deleted goes back to the disk when the database is closed.
#[tokio::test]
async fn deleting_gives_space_back() {
    let dir = tempfile::tempdir().expect("a folder");
    let installation = InstallationId::new();
    let size = || {
        let path = dir.path().join(installation.to_string()).join("data.db");
        fs::metadata(path).expect("the file").len()
    };
    let storage = open(dir.path(), EmbeddedSettings::default());
    let bucket = bucket(&storage, installation).await;
    let keys: Vec<String> = (0..48).map(|n| format!("k{n}")).collect();
    for key in &keys {
        bucket.set(key, vec![0; 1 << 20]).await.expect("set");
    }
    bucket.delete_many(keys).await.expect("delete_many");
    storage.close().await;
    assert!(size() < 20 << 20, "{} bytes of 48 MiB are left", size());
}
