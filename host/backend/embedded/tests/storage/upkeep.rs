//! What operators do: erasing, copies, putting back, new keys.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use canopy_backend::{KeyValueProvider, Maintenance, Scope, StorageError, StorageQuota};
use canopy_backend_embedded::{EmbeddedSettings, EmbeddedStorage};

use crate::support::{folder, open, parts, scope};
use crate::{bucket, names};

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
