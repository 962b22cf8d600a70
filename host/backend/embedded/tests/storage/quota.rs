//! Space: what counts, and what is given back.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use canopy_backend::{
    Condition, Maintenance, Quota, Scope, SetOptions, StorageError, StorageQuota,
};
use canopy_backend_embedded::{EmbeddedParts, EmbeddedSettings, EmbeddedStorage};
use canopy_backend_keys::Keyring;

use crate::bucket;
use crate::support::{folder, open, parts, scope};

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
