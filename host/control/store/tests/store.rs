//! The store keeps what it acknowledged, and refuses what must not be.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use canopy_backend_keys::{Keyring, OperatorKey};
use canopy_ids::{Digest, Label, PackageName, TenantId, TokenId};
use canopy_manifest::Kind;
use canopy_store::{
    Components, DriverWrite, Erasure, Idempotency, InstallationWrite, NewToken, NewVersion,
    Outcome, PackageFilter, PageRequest, Precondition, Published, Store, StoreError, TenantWrite,
    TokenScope,
};
use semver::Version;
use time::OffsetDateTime;

#[path = "store/schedules.rs"]
mod schedules;

/// The keys of a node whose operator keeps his in the same folder.
fn keys(directory: &Path) -> Keyring {
    let operator = OperatorKey::from_file(&directory.join("operator.key"), true).expect("a key");
    Keyring::open(operator, directory).expect("a ring")
}

fn label(text: &str) -> Label {
    text.parse().expect(text)
}

fn package(text: &str) -> PackageName {
    text.parse().expect(text)
}

fn page(limit: usize, cursor: Option<String>) -> PageRequest {
    PageRequest { limit, cursor }
}

fn tenant(display_name: &str) -> TenantWrite {
    TenantWrite {
        display_name: display_name.into(),
        plan: "standard".into(),
        region: "local".into(),
        attributes: BTreeMap::new(),
    }
}

fn version(name: &str, version: &str, kind: Kind, bytes: &[u8]) -> NewVersion {
    let serves = match kind {
        Kind::App => Vec::new(),
        Kind::Driver => vec!["acme:payments/charge@1.2.0".parse().expect("an interface")],
    };
    NewVersion {
        package: package(name),
        version: version.parse().expect(version),
        kind,
        title: format!("Title of {version}"),
        summary: "Summary.".into(),
        categories: vec!["office".into()],
        digest: Digest::of(bytes),
        size: bytes.len() as u64,
        manifest: "name = …".into(),
        migrations: BTreeMap::new(),
        imports: Vec::new(),
        exports: serves.clone(),
        serves,
        badge: None,
        schedules: Vec::new(),
    }
}

fn installation() -> InstallationWrite {
    InstallationWrite {
        package: package("acme/notes"),
        version: Version::new(1, 0, 0),
        previous_version: None,
        config: serde_json::Map::new(),
        egress: vec!["api.example.com:443".into()],
        bindings: BTreeMap::new(),
        domains: Vec::new(),
        secrets: BTreeMap::new(),
    }
}

fn driver() -> DriverWrite {
    DriverWrite {
        package: package("acme/pay"),
        version: Version::new(1, 0, 0),
        previous_version: None,
        config: serde_json::Map::new(),
        egress: Vec::new(),
        bindings: BTreeMap::new(),
        secrets: BTreeMap::new(),
    }
}

/// A store with a publisher, an app, a driver package and the tenants `one` and `two`.
async fn filled(directory: &Path) -> (Store, TenantId, TenantId) {
    let store = Store::open(directory, &keys(directory)).expect("opens");
    let any = Precondition::Any;
    store
        .put_publisher(label("acme"), "Acme".into(), any)
        .await
        .expect("publisher");
    store
        .publish(version("acme/notes", "1.0.0", Kind::App, b"app"))
        .await
        .expect("app");
    store
        .publish(version("acme/pay", "1.0.0", Kind::Driver, b"driver"))
        .await
        .expect("driver");
    let one = store
        .put_tenant(label("one"), tenant("One"), any)
        .await
        .expect("tenant")
        .row
        .id;
    let two = store
        .put_tenant(label("two"), tenant("Two"), any)
        .await
        .expect("tenant")
        .row
        .id;
    (store, one, two)
}

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_fifty_contents_of_one_version_exactly_one_wins() {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, ..) = filled(folder.path()).await;
    let attempts: Vec<_> = (0_u8..50)
        .map(|byte| {
            let store = store.clone();
            tokio::spawn(async move {
                store
                    .publish(version("acme/notes", "2.0.0", Kind::App, &[byte]))
                    .await
            })
        })
        .collect();
    let mut winners = Vec::new();
    let mut told = HashSet::new();
    for attempt in attempts {
        match attempt.await.expect("no panic") {
            Ok(Published::New(row)) => winners.push(row.digest),
            Err(StoreError::VersionExists { digest, .. }) => {
                told.insert(digest);
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(winners.len(), 1);
    assert_eq!(told, HashSet::from([winners[0]]));
    let stored = store
        .version(package("acme/notes"), Version::new(2, 0, 0))
        .await
        .expect("there");
    assert_eq!(stored.digest, winners[0]);
}

#[tokio::test]
async fn a_version_can_be_published_again_only_with_the_same_content() {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, ..) = filled(folder.path()).await;
    let revision = store.revision().await.expect("revision");
    let same = store
        .publish(version("acme/notes", "1.0.0", Kind::App, b"app"))
        .await;
    assert!(matches!(same, Ok(Published::Identical(_))), "{same:?}");
    let mut manifest = version("acme/notes", "1.0.0", Kind::App, b"app");
    manifest.manifest.push(' ');
    let other = store.publish(manifest).await;
    assert!(
        matches!(other, Err(StoreError::VersionExists { .. })),
        "{other:?}"
    );
    let kind = store
        .publish(version("acme/notes", "3.0.0", Kind::Driver, b"x"))
        .await;
    assert!(
        matches!(kind, Err(StoreError::KindDiffers { .. })),
        "{kind:?}"
    );
    let nobody = store
        .publish(version("nobody/notes", "1.0.0", Kind::App, b"x"))
        .await;
    assert!(
        matches!(
            nobody,
            Err(StoreError::NotFound {
                noun: "publisher",
                ..
            })
        ),
        "{nobody:?}"
    );
    assert_eq!(store.revision().await.expect("revision"), revision);
}

#[tokio::test]
async fn the_latest_version_is_the_greatest_release() {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, ..) = filled(folder.path()).await;
    for (next, latest) in [
        ("2.0.0", "2.0.0"),
        ("1.5.0", "2.0.0"),
        ("3.0.0-rc.1", "2.0.0"),
    ] {
        let new = version("acme/notes", next, Kind::App, next.as_bytes());
        store.publish(new).await.expect("published");
        let row = store.package(package("acme/notes")).await.expect("there");
        assert_eq!(row.latest_version.to_string(), latest);
        assert_eq!(row.title, format!("Title of {latest}"));
    }
    let first = store
        .versions(package("acme/notes"), page(3, None))
        .await
        .expect("versions");
    let listed: Vec<_> = first
        .rows
        .iter()
        .map(|row| row.version.to_string())
        .collect();
    assert_eq!(listed, ["3.0.0-rc.1", "1.5.0", "2.0.0"]);
    let rest = store
        .versions(package("acme/notes"), page(3, first.next))
        .await
        .expect("versions");
    assert_eq!(rest.rows.len(), 1);
    assert_eq!(rest.next, None);
}

#[tokio::test]
async fn conditions_are_checked_with_the_write() {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, ..) = filled(folder.path()).await;
    let name = || label("one");
    let row = store.tenant(name()).await.expect("there");

    let absent = store
        .put_tenant(name(), tenant("X"), Precondition::Absent)
        .await;
    assert!(matches!(
        absent,
        Err(StoreError::PreconditionFailed { current: Some(_) })
    ));
    let missing = store
        .put_tenant(label("new"), tenant("X"), Precondition::Present)
        .await;
    assert!(matches!(
        missing,
        Err(StoreError::PreconditionFailed { current: None })
    ));

    let condition = Precondition::Revision(row.revision);
    let changed = store
        .put_tenant(name(), tenant("X"), condition)
        .await
        .expect("as expected");
    assert!(changed.row.revision > row.revision && !changed.created);
    assert_eq!(changed.row.id, row.id);
    let late = store.put_tenant(name(), tenant("Y"), condition).await;
    assert!(matches!(late, Err(StoreError::PreconditionFailed { .. })));
    let late = store.delete_tenant(name(), condition).await;
    assert!(matches!(late, Err(StoreError::PreconditionFailed { .. })));

    let same = store
        .put_tenant(name(), tenant("X"), Precondition::Any)
        .await
        .expect("no change");
    assert_eq!(
        same.row.revision, changed.row.revision,
        "what changes nothing is no change"
    );
}

#[tokio::test]
async fn pages_hold_every_row_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, ..) = filled(folder.path()).await;
    for index in 0..23 {
        let name = label(&format!("t{index}"));
        store
            .put_tenant(name, tenant("T"), Precondition::Any)
            .await
            .expect("tenant");
    }
    let mut names = Vec::new();
    let mut cursor = None;
    loop {
        let rows = store.tenants(page(10, cursor)).await.expect("a page");
        assert!(rows.rows.len() <= 10);
        names.extend(rows.rows.into_iter().map(|row| row.name));
        cursor = rows.next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(names.len(), 25);
    assert!(names.is_sorted());
    let bad = store
        .packages(PackageFilter::default(), page(10, Some("nonsense".into())))
        .await;
    assert!(matches!(bad, Err(StoreError::InvalidCursor)));
}

#[tokio::test]
async fn a_driver_that_serves_someone_cannot_be_deleted() {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, one, two) = filled(folder.path()).await;
    let any = Precondition::Any;
    let bound = store
        .put_driver(one, label("pay"), driver(), any)
        .await
        .expect("driver")
        .row;
    let mut write = installation();
    write
        .bindings
        .insert("acme:payments".parse().expect("a key"), Some(bound.id));
    let foreign = store
        .put_installation(two, label("notes"), write.clone(), any)
        .await;
    assert!(
        matches!(foreign, Err(StoreError::NotFound { noun: "driver", .. })),
        "another tenant's driver does not exist: {foreign:?}"
    );
    store
        .put_installation(one, label("notes"), write, any)
        .await
        .expect("bound");

    let refused = store.delete_driver(one, label("pay"), any).await;
    let Err(StoreError::DriverInUse { installations, .. }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(installations, [label("notes")]);
    store
        .put_installation(one, label("notes"), installation(), any)
        .await
        .expect("unbound");
    store
        .delete_driver(one, label("pay"), any)
        .await
        .expect("free now");
}

#[tokio::test]
async fn a_domain_has_one_installation() {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, one, two) = filled(folder.path()).await;
    let mut write = installation();
    write.domains.push("notes.example.com".into());
    let any = Precondition::Any;
    store
        .put_installation(one, label("notes"), write.clone(), any)
        .await
        .expect("first");
    let taken = store
        .put_installation(two, label("notes"), write, any)
        .await;
    assert!(
        matches!(taken, Err(StoreError::DomainTaken { .. })),
        "{taken:?}"
    );
    let nothing = store.installation(two, label("notes")).await;
    assert!(
        matches!(nothing, Err(StoreError::NotFound { .. })),
        "nothing half done is left"
    );
}

#[tokio::test]
async fn a_deleted_tenant_leaves_a_note_of_what_must_be_erased() {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, one, _) = filled(folder.path()).await;
    let any = Precondition::Any;
    let mut write = installation();
    write.secrets.insert("key".into(), Some("v".into()));
    let row = store
        .put_installation(one, label("notes"), write, any)
        .await
        .expect("put")
        .row;
    store
        .put_driver(one, label("pay"), driver(), any)
        .await
        .expect("driver");
    let owners = store
        .delete_tenant(label("one"), any)
        .await
        .expect("deleted");
    assert_eq!(owners.len(), 3, "an installation, a driver, and the tenant");
    assert!(owners.contains(&Erasure::Tenant(one)));
    assert!(
        store
            .installation_secrets(row.id)
            .await
            .expect("read")
            .is_empty()
    );
    store.close().await;
    drop(store);

    let store = Store::open(folder.path(), &keys(folder.path())).expect("reopens");
    let pending = store.erasures().await.expect("erasures");
    let pending: Vec<_> = pending.into_iter().map(|(owner, _)| owner).collect();
    assert_eq!(
        HashSet::<_>::from_iter(&pending),
        HashSet::from_iter(&owners)
    );
    for owner in pending {
        store.erased(owner).await.expect("crossed out");
    }
    assert!(store.erasures().await.expect("erasures").is_empty());
    let again = store
        .put_tenant(label("one"), tenant("One"), any)
        .await
        .expect("again")
        .row;
    assert_ne!(again.id, one, "an identifier is never used again");
    assert!(store.world().await.expect("world").installations.is_empty());
}

#[tokio::test]
async fn a_repeated_request_is_answered_as_the_first_time() {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, one, _) = filled(folder.path()).await;
    let token = |subject: &str| NewToken {
        id: TokenId::new(),
        scope: TokenScope::Tenant(one),
        subject: subject.into(),
        display_name: subject.into(),
        roles: vec!["admin".into()],
        access: None,
        hash: [7; 32],
        created_at: OffsetDateTime::UNIX_EPOCH,
    };
    let request = |fingerprint, answer: &str| {
        let answer = answer.as_bytes().to_vec();
        Some(Idempotency {
            key: [1; 32],
            fingerprint: [fingerprint; 32],
            answer,
        })
    };
    let first = store
        .create_token(token("a"), request(1, "first"))
        .await
        .expect("created");
    assert_eq!(first, Outcome::Done);
    let again = store
        .create_token(token("a"), request(1, "second"))
        .await
        .expect("replayed");
    assert_eq!(again, Outcome::Before(b"first".to_vec()));
    let other = store.create_token(token("b"), request(2, "third")).await;
    assert!(matches!(other, Err(StoreError::KeyReused)), "{other:?}");
    assert_eq!(
        store
            .tokens(one, page(10, None))
            .await
            .expect("tokens")
            .rows
            .len(),
        1
    );
}

#[tokio::test]
async fn drivers_build_on_drivers_and_the_platform_and_keep_what_they_build_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, one, two) = filled(folder.path()).await;
    let any = Precondition::Any;
    let put = async |name: &str, write| store.put_driver(one, label(name), write, any).await;
    let below = put("pay", driver()).await.expect("driver").row;
    let key = |text: &str| text.parse().expect("a key");
    let mut write = driver();
    write.bindings = BTreeMap::from([
        (key("acme:payments/charge"), Some(below.id)),
        (key("wasi:keyvalue=main"), None),
    ]);
    let above = put("front", write.clone()).await.expect("bound").row;
    assert_eq!(DriverWrite::from(&above), write);
    let foreign = store.put_driver(two, label("front"), write, any).await;
    assert!(
        matches!(foreign, Err(StoreError::NotFound { noun: "driver", .. })),
        "another tenant's driver does not exist: {foreign:?}"
    );
    let world = store.world().await.expect("world");
    let known = world.drivers.iter().find(|row| row.id == above.id);
    assert_eq!(known.expect("there").bindings, above.bindings);

    let refused = store.delete_driver(one, label("pay"), any).await;
    let Err(StoreError::DriverInUse { drivers, .. }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(drivers, [label("front")]);
    for name in ["front", "pay"] {
        let deleted = store.delete_driver(one, label(name), any).await;
        deleted.expect("nobody builds on it");
    }
}

#[tokio::test]
async fn bindings_of_an_older_database_are_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("control.db");
    let node = keys(folder.path()).node_key("control database");
    let format = canopy_backend_sqlite::Format {
        application_id: 0x434e_5059,
        migrations: &[
            include_str!("../src/schema.sql"),
            include_str!("../src/jobs.sql"),
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

#[tokio::test]
async fn components_are_stored_whole_or_not_at_all() {
    let folder = tempfile::tempdir().expect("a folder");
    let files = || std::fs::read_dir(folder.path()).expect("a folder").count();
    let components = Components::open(folder.path(), 8).expect("opens");
    let mut upload = components.upload().await.expect("begun");
    upload.write(b"abc").await.expect("written");
    upload.write(b"def").await.expect("written");
    let uploaded = upload.finish().await.expect("finished");
    let digest = uploaded.digest();
    assert_eq!(digest, Digest::of(b"abcdef"));
    uploaded.store().await.expect("stored");
    assert_eq!(components.read(digest).await.expect("read"), b"abcdef");

    let mut large = components.upload().await.expect("begun");
    large.write(b"12345678").await.expect("at the limit");
    assert!(large.write(b"9").await.is_err(), "over the limit");
    drop(large);
    assert_eq!(files(), 1, "an upload given up leaves nothing");

    std::fs::write(folder.path().join(".upload-x"), b"torn").expect("written");
    Components::open(folder.path(), 8).expect("reopens");
    assert_eq!(files(), 1, "what a crash left is removed");

    std::fs::write(components.path(&digest), b"abcdeX").expect("damaged");
    assert!(components.read(digest).await.is_err(), "damage is noticed");
    assert_eq!(components.retain(&HashSet::new()).expect("cleaned"), 1);
}
