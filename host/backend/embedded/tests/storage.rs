//! What embedded storage does beyond the suite: files, group commit, idle closing, erasure,
//! quota, refusals.

mod support;
#[path = "storage/tenants.rs"]
mod tenants;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use canopy_backend::{
    Condition, KeyValue, KeyValueProvider, Maintenance, Quota, Scope, SetOptions, StorageError,
    StorageQuota,
};
use canopy_backend_embedded::{EmbeddedParts, EmbeddedSettings, EmbeddedStorage, OpenError};
use canopy_backend_keys::Keyring;

use support::{folder, open, parts, scope};

async fn bucket(storage: &EmbeddedStorage, scope: Scope) -> Arc<dyn KeyValue> {
    storage
        .open(scope, "default")
        .await
        .expect("a bucket opens")
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let name = |entry: std::io::Result<fs::DirEntry>| entry.expect("an entry").file_name();
    let mut names: Vec<_> = entries
        .map(|entry| name(entry).to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
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
    let bucket = bucket(&storage, scope()).await;
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
    let bucket = bucket(&storage, scope()).await;
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
    let bucket = bucket(&storage, scope()).await;
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
    let scope = scope();
    {
        let storage = open(dir.path(), EmbeddedSettings::default());
        let bucket = bucket(&storage, scope).await;
        bucket.set("key", b"value".to_vec()).await.expect("set");
        storage.close().await;
        assert_eq!(storage.stats().open_databases, 0);
        let late = bucket.get("key").await;
        assert!(matches!(late, Err(StorageError::Busy(_))), "{late:?}");
    }
    assert_eq!(
        names(&folder(dir.path(), scope)),
        ["data.db"],
        "nothing is left beside a closed database"
    );
    let storage = open(dir.path(), EmbeddedSettings::default());
    let value = bucket(&storage, scope).await.get("key").await.expect("get");
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
    let bucket = bucket(&storage, scope()).await;
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
    let scope = scope();
    bucket(&storage, scope).await;
    assert!(!dir.path().join(scope.to_string()).exists());
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
                let bucket = bucket(&storage, scope()).await;
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
    let scope = scope();
    let bucket = bucket(&storage, scope).await;
    bucket.set("key", vec![0; 1000]).await.expect("set");
    assert!(folder(dir.path(), scope).join("data.db").exists());
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
    let (one, two) = tokio::join!(storage.erase(scope), storage.erase(scope));
    one.expect("erased");
    two.expect("erased");
    for writer in writers {
        writer.await.expect("a writer ends well");
    }
    let left = names(&dir.path().join(scope.tenant.to_string()));
    assert_eq!(left, ["key"], "no file of the installation is left");
}

#[tokio::test]
async fn an_erasure_that_a_crash_cut_short_is_finished_at_the_next_start() {
    let dir = tempfile::tempdir().expect("a folder");
    drop(open(dir.path(), EmbeddedSettings::default()));
    let half = dir
        .path()
        .join(scope().to_string())
        .join(".erased-key-value");
    fs::create_dir_all(&half).expect("made");
    fs::write(half.join("data.db"), "left over").expect("written");
    open(dir.path(), EmbeddedSettings::default());
    assert!(!half.exists());
    let installation = half.parent().expect("a folder");
    assert!(!installation.exists(), "nothing else was in it");
}

/// Writers that race for the last bytes never get more than there is, and what they delete is
/// there for others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_that_race_never_pass_the_quota() {
    const QUOTA: u64 = 200_000;
    const VALUE: usize = 1000;
    let dir = tempfile::tempdir().expect("a folder");
    let quota = StorageQuota {
        key_value: Quota {
            bytes: QUOTA,
            items: u64::MAX,
        },
        ..StorageQuota::default()
    };
    let parts = parts(dir.path(), quota);
    let storage = EmbeddedStorage::open(parts, EmbeddedSettings::default()).expect("opens");
    let bucket = bucket(&storage, scope()).await;
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
    let parts = parts(dir.path(), StorageQuota::default());
    let second = EmbeddedStorage::open(parts, EmbeddedSettings::default());
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
        match EmbeddedStorage::open(parts(dir.path(), StorageQuota::default()), settings) {
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
    let [damaged, plain, foreign, moved, whole] = [(); 5].map(|()| scope());
    let path = |scope| folder(dir.path(), scope).join("data.db");
    for scope in [damaged, plain, foreign, moved] {
        fs::create_dir_all(folder(dir.path(), scope)).expect("made");
    }
    let keys = parts(dir.path(), StorageQuota::default()).keys;
    let tenant = keys.tenant(foreign.tenant).expect("keys");
    let other = canopy_backend_sqlite::Format {
        application_id: 7,
        migrations: &["CREATE TABLE t (a)"],
    };
    let file_keys = tenant.file_keys(foreign, "key-value");
    drop(canopy_backend_sqlite::open(&path(foreign), &file_keys, &other, 1 << 20).expect("made"));
    rusqlite::Connection::open(path(plain))
        .and_then(|conn| conn.execute_batch("CREATE TABLE t (a)"))
        .expect("made");
    let good = bucket(&storage, whole).await;
    good.set("key", b"value".to_vec()).await.expect("set");
    storage
        .copy(whole, &folder(dir.path(), moved))
        .await
        .expect("copied");
    fs::copy(path(moved), path(damaged)).expect("copied");
    fs::write(path(damaged), [7; 8192]).expect("written");
    for (scope, reason) in [
        (damaged, "a key that is not known here"),
        (plain, "not encrypted"),
        (foreign, "another kind"),
        (moved, "a key that is not known here"),
    ] {
        let bucket = bucket(&storage, scope).await;
        for result in [
            bucket.get("key").await.map(drop),
            bucket.set("key", Vec::new()).await,
        ] {
            match result {
                Err(StorageError::Damaged(text)) => assert!(text.contains(reason), "{text}"),
                other => panic!("{reason}: {other:?}"),
            }
        }
        let found = storage.check(scope).await.expect("checked");
        assert!(
            found.len() == 1 && found[0].what.contains(reason),
            "{found:?}"
        );
    }
    good.set("key", Vec::new()).await.expect("others go on");
    assert_eq!(storage.check(whole).await.expect("checked"), []);
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
    let scopes: Vec<_> = (0..6).map(|_| scope()).collect();
    for round in 0..20_u64 {
        for scope in &scopes {
            let bucket = bucket(&storage, *scope).await;
            let pairs = vec![("a".to_owned(), vec![1]), ("b".to_owned(), vec![1])];
            let wait = Duration::from_micros(round * 50);
            let _ = tokio::time::timeout(wait, bucket.set_many(pairs)).await;
        }
    }
    for scope in scopes {
        let bucket = bucket(&storage, scope).await;
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
    let scope = scope();
    let size = || {
        let path = folder(dir.path(), scope).join("data.db");
        fs::metadata(path).expect("the file").len()
    };
    let storage = open(dir.path(), EmbeddedSettings::default());
    let bucket = bucket(&storage, scope).await;
    let keys: Vec<String> = (0..48).map(|n| format!("k{n}")).collect();
    for key in &keys {
        bucket.set(key, vec![0; 1 << 20]).await.expect("set");
    }
    bucket.delete_many(keys).await.expect("delete_many");
    storage.close().await;
    assert!(size() < 20 << 20, "{} bytes of 48 MiB are left", size());
}

/// Many installations, few open files: each is opened when its turn comes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_installations_share_a_few_open_files() {
    const INSTALLATIONS: usize = 2000;
    const OPEN: usize = 16;
    let dir = tempfile::tempdir().expect("a folder");
    let settings = EmbeddedSettings {
        open_databases: OPEN,
        open_wait: Duration::from_secs(600),
        ..Default::default()
    };
    let storage = open(dir.path(), settings);
    let tenants: Vec<_> = (0..20).map(|_| scope().tenant).collect();
    let scopes: Vec<_> = (0..INSTALLATIONS)
        .map(|n| Scope {
            tenant: tenants[n % tenants.len()],
            ..scope()
        })
        .collect();
    let files = || fs::read_dir("/proc/self/fd").expect("a folder").count();
    let before = files();
    let most = std::sync::atomic::AtomicUsize::new(0);
    // Writing, and then reading some of what was written.
    for reading in [false, true] {
        for some in scopes.chunks(40).step_by(if reading { 10 } else { 1 }) {
            let tasks: Vec<_> = some
                .iter()
                .map(|scope| {
                    let (storage, scope) = (storage.clone(), *scope);
                    tokio::spawn(async move {
                        let bucket = bucket(&storage, scope).await;
                        let value = scope.to_string().into_bytes();
                        if reading {
                            let found = bucket.get("key").await.expect("get");
                            assert_eq!(found, Some(value));
                        } else {
                            bucket.set("key", value).await.expect("set");
                        }
                    })
                })
                .collect();
            for task in tasks {
                task.await.expect("a task ends well");
            }
            most.fetch_max(files(), std::sync::atomic::Ordering::Relaxed);
            assert!(storage.stats().open_databases <= OPEN);
        }
    }
    let most = most.into_inner() - before;
    // A writer and a reader take three files each.
    assert!(most <= OPEN * 6 + 16, "{most} files were open");
}

#[tokio::test]
async fn a_copy_put_back_undoes_what_came_after_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let backup = tempfile::tempdir().expect("a folder");
    let empty = tempfile::tempdir().expect("a folder");
    let storage = open(dir.path(), EmbeddedSettings::default());
    let (one, other) = (scope(), scope());
    let bucket = bucket(&storage, one).await;
    storage
        .copy(one, backup.path())
        .await
        .expect("nothing to copy");
    assert_eq!(names(backup.path()), Vec::<String>::new());
    bucket.set("key", b"first".to_vec()).await.expect("set");
    let usage = storage.usage(one).await.expect("usage");
    storage.copy(one, backup.path()).await.expect("copied");
    assert_eq!(names(backup.path()), ["data.db"]);
    bucket.set("key", b"second".to_vec()).await.expect("set");
    bucket.set("more", vec![0; 100_000]).await.expect("set");
    storage.restore(one, backup.path()).await.expect("restored");
    assert_eq!(
        bucket.get("key").await.expect("get"),
        Some(b"first".to_vec())
    );
    assert!(!bucket.exists("more").await.expect("read"));
    assert_eq!(storage.usage(one).await.expect("usage"), usage);
    assert_eq!(
        names(&folder(dir.path(), one)).first().map(String::as_str),
        Some("data.db")
    );

    let refused = storage.restore(other, backup.path()).await;
    assert!(
        matches!(refused, Err(StorageError::Damaged(_))),
        "{refused:?}"
    );
    let copy = backup.path().join("data.db");
    let mut bytes = fs::read(&copy).expect("read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&copy, bytes).expect("damaged");
    let refused = storage.restore(one, backup.path()).await;
    assert!(
        matches!(refused, Err(StorageError::Damaged(_))),
        "{refused:?}"
    );
    assert_eq!(
        bucket.get("key").await.expect("get"),
        Some(b"first".to_vec())
    );
    storage.restore(one, empty.path()).await.expect("emptied");
    assert_eq!(bucket.get("key").await.expect("get"), None);
    storage.erase(one).await.expect("erased");
    let late = storage.restore(one, empty.path()).await;
    assert!(matches!(late, Err(StorageError::Erased)), "{late:?}");
}

/// Copies, checks and new keys come while guests go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guests_go_on_while_operators_work() {
    let dir = tempfile::tempdir().expect("a folder");
    let parts = parts(dir.path(), StorageQuota::default());
    let keys = parts.keys.clone();
    let storage = EmbeddedStorage::open(parts, EmbeddedSettings::default()).expect("opens");
    let scope = scope();
    let bucket = bucket(&storage, scope).await;
    bucket.set("first", Vec::new()).await.expect("set");
    let ended = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let guests: Vec<_> = (0..4)
        .map(|guest| {
            let (bucket, ended) = (bucket.clone(), ended.clone());
            tokio::spawn(async move {
                let mut n = 0;
                while !ended.load(std::sync::atomic::Ordering::Relaxed) {
                    let half = |half| (format!("{guest}/{half}"), n.to_string().into_bytes());
                    bucket
                        .set_many(vec![half("a"), half("b")])
                        .await
                        .expect("set");
                    let value = bucket.get(&format!("{guest}/a")).await.expect("get");
                    assert_eq!(value, Some(n.to_string().into_bytes()));
                    n += 1;
                }
            })
        })
        .collect();
    for round in 2..7 {
        let backup = tempfile::tempdir().expect("a folder");
        storage.copy(scope, backup.path()).await.expect("copied");
        assert_eq!(storage.check(scope).await.expect("checked"), []);
        assert_eq!(keys.rotate(scope.tenant).expect("rotated"), round);
        storage.rekey(scope).await.expect("rekeyed");
        let file_keys = keys
            .tenant(scope.tenant)
            .expect("keys")
            .file_keys(scope, "key-value");
        let path = folder(dir.path(), scope).join("data.db");
        let version = canopy_backend_sqlite::key_version(&path, &file_keys).expect("read");
        assert_eq!(version, Some(round));
        let conn =
            canopy_backend_sqlite::open_reader(&backup.path().join("data.db"), &file_keys, 1 << 20)
                .expect("opens");
        let sql = "SELECT count(*) FROM canopy_entry a JOIN canopy_entry b
                   ON b.key = replace(a.key, CAST('a' AS BLOB), CAST('b' AS BLOB))
                   WHERE a.value <> b.value";
        let halves: i64 = conn.query_row(sql, [], |row| row.get(0)).expect("counted");
        assert_eq!(halves, 0, "a copy is of one moment");
    }
    ended.store(true, std::sync::atomic::Ordering::Relaxed);
    for guest in guests {
        guest.await.expect("a guest ends well");
    }
    assert_eq!(storage.check(scope).await.expect("checked"), []);
}

#[tokio::test]
async fn erasing_a_tenant_takes_all_its_installations_and_no_other() {
    let dir = tempfile::tempdir().expect("a folder");
    let storage = open(dir.path(), EmbeddedSettings::default());
    let one = scope();
    let two = Scope {
        tenant: one.tenant,
        ..scope()
    };
    let other = scope();
    for scope in [one, two, other] {
        bucket(&storage, scope)
            .await
            .set("key", Vec::new())
            .await
            .expect("set");
    }
    for _ in 0..2 {
        storage.erase_tenant(one.tenant).await.expect("erased");
    }
    let left = names(&dir.path().join(one.tenant.to_string()));
    assert_eq!(left, ["key"], "the keys are the keyring's to destroy");
    let third = Scope {
        tenant: one.tenant,
        ..scope()
    };
    for scope in [one, two, third] {
        let refused = storage.open(scope, "default").await.err();
        assert!(matches!(refused, Some(StorageError::Erased)), "{refused:?}");
    }
    assert!(
        bucket(&storage, other)
            .await
            .exists("key")
            .await
            .expect("read")
    );
}

/// Nothing that a guest stores is in any file of the node as it was given.
#[tokio::test]
async fn what_guests_store_is_in_no_file() {
    let dir = tempfile::tempdir().expect("a folder");
    let storage = open(dir.path(), EmbeddedSettings::default());
    let scope = scope();
    let bucket = storage.open(scope, "bucket-canary").await.expect("opens");
    bucket
        .set("key-canary", b"value-canary".to_vec())
        .await
        .expect("set");
    let look = || {
        let mut looked = 0;
        for name in names(&folder(dir.path(), scope)) {
            let bytes = fs::read(folder(dir.path(), scope).join(&name)).expect("read");
            assert!(
                !bytes.windows(6).any(|window| window == b"canary"),
                "{name}"
            );
            looked += 1;
        }
        looked
    };
    assert_eq!(look(), 3);
    storage.close().await;
    assert_eq!(look(), 1);
}

/// What a tenant stored before a start counts from its first write on.
#[tokio::test]
async fn a_tenants_quota_counts_what_nobody_has_opened() {
    let dir = tempfile::tempdir().expect("a folder");
    let quota = StorageQuota {
        tenant_bytes: 30_000,
        ..StorageQuota::default()
    };
    let (one, two) = {
        let one = scope();
        (
            one,
            Scope {
                installation: scope().installation,
                ..one
            },
        )
    };
    let start = || {
        let parts = parts(dir.path(), quota);
        let ledger = parts.ledger.clone();
        let storage = EmbeddedStorage::open(parts, EmbeddedSettings::default()).expect("opens");
        let storage = Arc::new(storage);
        let storages: [Arc<dyn Maintenance>; 1] = [storage.clone()];
        ledger.measure_with(dir.path().to_owned(), &storages);
        (storage, ledger)
    };
    let (storage, _) = start();
    bucket(&storage, one)
        .await
        .set("key", vec![0; 20_000])
        .await
        .expect("set");
    storage.close().await;
    drop(storage);
    let (storage, ledger) = start();
    let refused = bucket(&storage, two)
        .await
        .set("key", vec![0; 20_000])
        .await;
    assert!(
        matches!(refused, Err(StorageError::QuotaExceeded { .. })),
        "{refused:?}"
    );
    bucket(&storage, two)
        .await
        .set("key", vec![0; 5_000])
        .await
        .expect("fits");
    let mut sum = 0;
    for scope in [one, two] {
        sum += storage.usage(scope).await.expect("usage").bytes;
    }
    assert_eq!(ledger.total(one.tenant), sum);
}

#[tokio::test]
async fn expired_entries_are_removed_from_the_file_by_later_writes() {
    let dir = tempfile::tempdir().expect("a folder");
    let environment = canopy_backend::conformance::Environment::default();
    let parts = EmbeddedParts {
        clock: environment.clock.clone(),
        ..parts(dir.path(), StorageQuota::default())
    };
    let keys: Keyring = parts.keys.clone();
    let storage = EmbeddedStorage::open(parts, EmbeddedSettings::default()).expect("opens");
    let scope = scope();
    let bucket = bucket(&storage, scope).await;
    for n in 0..100 {
        let options = SetOptions {
            ttl: Some(Duration::from_secs(1)),
            condition: Condition::Absent,
        };
        bucket
            .set_with(&n.to_string(), vec![0; 100], options)
            .await
            .expect("set");
    }
    environment.clock.advance(Duration::from_secs(1));
    bucket.set("key", Vec::new()).await.expect("set");
    storage.close().await;
    let file_keys = keys
        .tenant(scope.tenant)
        .expect("keys")
        .file_keys(scope, "key-value");
    let path = folder(dir.path(), scope).join("data.db");
    let conn = canopy_backend_sqlite::open_reader(&path, &file_keys, 1 << 20).expect("opens");
    let sql = "SELECT count(*) FROM canopy_entry";
    let entries: i64 = conn.query_row(sql, [], |row| row.get(0)).expect("counted");
    assert_eq!(entries, 1);
}
