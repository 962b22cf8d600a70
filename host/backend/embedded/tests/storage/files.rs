//! The files: how many are open, what is in them, and which are refused.

use std::fs;
use std::time::Duration;

use canopy_backend::{KeyValueProvider, Maintenance, Scope, StorageError, StorageQuota};
use canopy_backend_embedded::{EmbeddedSettings, EmbeddedStorage, OpenError};

use crate::support::{folder, open, parts, scope};
use crate::{bucket, names, until};

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
