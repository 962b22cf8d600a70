//! Packages, their versions, and their components.

use std::collections::HashSet;

use canopy_ids::Digest;
use canopy_manifest::Kind;
use canopy_store::{Components, Published, StoreError};
use semver::Version;

use crate::{filled, package, page, version};

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
