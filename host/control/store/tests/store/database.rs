//! The database itself: what is there after a start, and what is refused.

use canopy_ids::TenantId;
use canopy_store::{Precondition, Store, StoreError};

use crate::{driver, filled, installation, keys, label};

#[tokio::test]
async fn everything_is_there_after_reopening() {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, one, _) = filled(folder.path()).await;
    let any = Precondition::Any;
    let bound = store
        .put_driver(one, label("pay"), driver(), any)
        .await
        .expect("driver")
        .row;
    let mut write = installation();
    write.config.insert("language".into(), "en".into());
    write
        .bindings
        .insert("acme:payments".parse().expect("a key"), Some(bound.id));
    write.domains.push("notes.example.com".into());
    write
        .secrets
        .insert("key".into(), Some("canary-4711".into()));
    let before = store
        .put_installation(one, label("notes"), write, any)
        .await
        .expect("put")
        .row;
    let world = store.world().await.expect("world");
    store.close().await;
    assert!(matches!(store.revision().await, Err(StoreError::Closed)));
    drop(store);

    for entry in std::fs::read_dir(folder.path()).expect("a folder") {
        let bytes = std::fs::read(entry.expect("an entry").path()).expect("a file");
        assert!(
            !bytes.windows(11).any(|window| window == b"canary-4711"),
            "a secret is readable"
        );
    }

    let store = Store::open(folder.path(), &keys(folder.path())).expect("reopens");
    assert_eq!(
        store
            .installation(one, label("notes"))
            .await
            .expect("still there"),
        before
    );
    assert_eq!(before.secrets, ["key"]);
    let secrets = store
        .installation_secrets(before.id)
        .await
        .expect("secrets");
    assert_eq!(secrets["key"], "canary-4711");
    let again = store.world().await.expect("world");
    assert_eq!(again.revision, world.revision);
    assert_eq!(again.installations, world.installations);
    assert_eq!(again.installations[0].domains, ["notes.example.com"]);
    assert_eq!(again.versions.len(), 2);
}

#[tokio::test]
async fn bindings_of_an_older_database_are_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("control.db");
    let node = keys(folder.path()).node_key("control database");
    let format = canopy_backend_sqlite::Format {
        application_id: 0x434e_5059,
        migrations: &[
            include_str!("../../src/schema.sql"),
            include_str!("../../src/jobs.sql"),
        ],
    };
    let old = canopy_backend_sqlite::open(&path, &node.into(), &format, 1 << 20);
    let old = old.expect("the format before");
    let (tenant, driver, installation) = (
        TenantId::new(),
        canopy_ids::DriverInstanceId::new(),
        canopy_ids::InstallationId::new(),
    );
    old.execute_batch(&format!(
        "PRAGMA foreign_keys = off;
         INSERT INTO tenant VALUES ('{tenant}', 'one', 'One', 'standard', 'eu', '{{}}', 0, 0, 1);
         INSERT INTO driver VALUES ('{driver}', '{tenant}', 'pay', 'acme', 'pay', '1.0.0', '{{}}',
             '[]', 0, 0, 2);
         INSERT INTO installation VALUES ('{installation}', '{tenant}', 'notes', 'acme', 'notes',
             '1.0.0', NULL, '{{}}', '[]', 0, 0, 3);
         INSERT INTO binding VALUES ('{installation}', 'acme:payments', '{driver}');"
    ))
    .expect("rows");
    drop(old);
    let store = Store::open(folder.path(), &keys(folder.path())).expect("brought up to date");
    let row = store.installation(tenant, label("notes")).await;
    let bound = row.expect("still there").bindings;
    let bound: Vec<_> = bound
        .into_iter()
        .map(|(key, by)| (key.to_string(), by.expect("a driver").id))
        .collect();
    assert_eq!(bound, [("acme:payments".to_owned(), driver)]);
    let row = store
        .driver(tenant, label("pay"))
        .await
        .expect("still there");
    assert_eq!((row.previous_version, row.bindings.len()), (None, 0));
}

#[tokio::test]
async fn a_foreign_or_newer_database_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("control.db");
    let other = rusqlite::Connection::open(&path).expect("opens");
    other
        .execute_batch("CREATE TABLE something (x)")
        .expect("a table");
    drop(other);
    assert!(matches!(
        Store::open(folder.path(), &keys(folder.path())).err(),
        Some(StoreError::Foreign(_))
    ));

    std::fs::remove_file(&path).expect("removed");
    drop(Store::open(folder.path(), &keys(folder.path())).expect("a new one"));
    let node = keys(folder.path()).node_key("control database");
    let format = canopy_backend_sqlite::Format {
        application_id: 0x434e_5059,
        migrations: &["SELECT 1"; 999],
    };
    drop(canopy_backend_sqlite::open(&path, &node.into(), &format, 1 << 20).expect("made newer"));
    let refused = Store::open(folder.path(), &keys(folder.path())).err();
    assert!(
        matches!(refused, Some(StoreError::TooNew { found: 999, .. })),
        "{refused:?}"
    );
}

#[tokio::test]
async fn another_nodes_key_opens_nothing_and_nothing_is_readable_without_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, one, _) = filled(folder.path()).await;
    let mut write = installation();
    write.secrets.insert("key".into(), Some("canary".into()));
    store
        .put_installation(one, label("notes"), write, Precondition::Any)
        .await
        .expect("put");
    store.close().await;
    drop(store);
    let path = folder.path().join("control.db");
    let before = std::fs::read(&path).expect("the database");
    for plain in [&b"acme"[..], b"canary", b"CREATE TABLE"] {
        assert!(!before.windows(plain.len()).any(|window| window == plain));
    }
    let elsewhere = tempfile::tempdir().expect("a folder");
    let refused = Store::open(folder.path(), &keys(elsewhere.path())).err();
    assert!(
        matches!(refused, Some(StoreError::Corrupt(_))),
        "{refused:?}"
    );
    assert_eq!(std::fs::read(&path).expect("the database"), before);
}
