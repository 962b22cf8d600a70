//! Tenants, and what they have: installations, drivers, bindings, tokens.

use std::collections::{BTreeMap, HashSet};

use canopy_ids::TokenId;
use canopy_store::{
    DriverWrite, Erasure, Idempotency, NewToken, Outcome, PackageFilter, Precondition, Store,
    StoreError, TokenScope,
};
use time::OffsetDateTime;

use crate::{driver, filled, installation, keys, label, page, tenant};

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
