//! Copying, restoring, checking, re-encrypting and erasing.

use std::fs;

use canopy_backend::blob::{BlobError, BlobProvider};
use canopy_backend::{Maintenance, StorageError, Usage};
use futures::StreamExt;

use crate::{Storage, id, put, read};

#[tokio::test]
async fn a_copy_is_of_one_moment_and_can_be_put_back() {
    let storage = Storage::new();
    let blobs = storage.objects().await;
    let content = vec![7; 200_000];
    put(&*blobs, "kept", content.clone()).await;
    put(&*blobs, "changed", "before").await;
    let copy = tempfile::tempdir().expect("a folder");
    storage
        .blobs
        .copy(storage.scope, copy.path())
        .await
        .expect("copied");
    assert!(copy.path().join("index.db").exists());
    assert_eq!(fs::read_dir(copy.path()).expect("a folder").count(), 2);

    put(&*blobs, "changed", "after").await;
    put(&*blobs, "new", "new").await;
    blobs.delete(id("kept"), None).await.expect("deleted");
    storage
        .blobs
        .restore(storage.scope, copy.path())
        .await
        .expect("restored");
    let blobs = storage.objects().await;
    assert_eq!(read(&*blobs, "kept").await.expect("there"), content);
    assert_eq!(read(&*blobs, "changed").await.expect("there"), "before");
    let gone = read(&*blobs, "new").await;
    assert!(matches!(gone, Err(BlobError::NoSuchObject)));
    assert_eq!(
        storage.blobs.check(storage.scope).await.expect("checked"),
        []
    );

    // What is restored is not the copy: that stays as it is.
    blobs.delete(id("kept"), None).await.expect("deleted");
    storage
        .blobs
        .restore(storage.scope, copy.path())
        .await
        .expect("restored again");
    let blobs = storage.objects().await;
    assert_eq!(read(&*blobs, "kept").await.expect("there"), content);

    let nothing = tempfile::tempdir().expect("a folder");
    storage
        .blobs
        .restore(storage.scope, nothing.path())
        .await
        .expect("restored to nothing");
    let usage = storage.blobs.usage(storage.scope).await.expect("usage");
    assert_eq!(usage, Usage::default());
    let left = fs::read_dir(storage.path().parent().expect("a folder"));
    assert_eq!(left.expect("a folder").count(), 0);
}

#[tokio::test]
async fn nothing_stored_is_nothing_copied() {
    let storage = Storage::new();
    let copy = tempfile::tempdir().expect("a folder");
    storage
        .blobs
        .copy(storage.scope, copy.path())
        .await
        .expect("copied");
    assert_eq!(fs::read_dir(copy.path()).expect("a folder").count(), 0);
    assert!(!storage.path().exists());
}

#[tokio::test]
async fn everything_is_encrypted_anew_while_it_is_read() {
    let storage = Storage::new();
    let blobs = storage.objects().await;
    let content = vec![7; 400_000];
    put(&*blobs, "it", content.clone()).await;
    blobs
        .copy(id("it"), id("copy"), None)
        .await
        .expect("copied");
    put(&*blobs, "small", "small").await;
    let before = storage.segments();
    let mut reading = blobs.get(id("it"), None).await.expect("a reading");
    let first = reading.body.next().await.expect("bytes").expect("right");

    let version = storage
        .keyring
        .rotate(storage.scope.tenant)
        .expect("rotated");
    put(&*blobs, "new", "new").await;
    storage.blobs.rekey(storage.scope).await.expect("rekeyed");
    let rest = canopy_backend::blob::whole_body(reading.body, u64::MAX).await;
    assert_eq!([first, rest.expect("the rest")].concat(), content);
    let after = storage.segments();
    assert_eq!(after.len(), 3);
    assert!(before.iter().all(|path| !after.contains(path)));
    for path in after {
        let header = fs::read(path).expect("a file");
        assert_eq!(header[8..12], version.to_le_bytes());
    }
    for (name, expected) in [
        ("it", &content[..]),
        ("copy", &content),
        ("small", b"small"),
        ("new", b"new"),
    ] {
        assert_eq!(read(&*blobs, name).await.expect(name), expected);
    }
    let storage = storage.reopened();
    assert_eq!(
        read(&*storage.objects().await, "it").await.expect("there"),
        content
    );
}

#[tokio::test]
async fn what_is_erased_does_not_come_back() {
    let storage = Storage::new();
    let blobs = storage.objects().await;
    put(&*blobs, "it", vec![0; 600_000]).await;
    let mut reading = blobs.get(id("it"), None).await.expect("a reading");
    storage.blobs.erase(storage.scope).await.expect("erased");
    storage
        .blobs
        .erase(storage.scope)
        .await
        .expect("erased already");
    assert!(!storage.path().exists());
    let erased = read(&*blobs, "it").await;
    assert!(matches!(
        erased,
        Err(BlobError::Storage(StorageError::Erased))
    ));
    let anew = BlobProvider::open(&storage.blobs, storage.scope)
        .await
        .expect("a handle");
    let erased = anew.create_container("box").await;
    assert!(matches!(
        erased,
        Err(BlobError::Storage(StorageError::Erased))
    ));
    // Whoever was reading is told, or ends with what he had open.
    while reading.body.next().await.is_some_and(|bytes| bytes.is_ok()) {}
}

#[tokio::test]
async fn erasing_a_tenant_erases_all_its_installations_and_no_other() {
    let storage = Storage::new();
    put(&*storage.objects().await, "it", "x").await;
    let other = Storage::open(
        storage.folder.clone(),
        canopy_backend::Scope {
            tenant: canopy_ids::TenantId::new(),
            installation: canopy_ids::InstallationId::new(),
        },
        canopy_backend::StorageQuota::default(),
        |_| {},
    );
    put(&*other.objects().await, "it", "y").await;
    storage
        .blobs
        .erase_tenant(storage.scope.tenant)
        .await
        .expect("erased");
    assert!(!storage.path().exists());
    assert_eq!(
        read(&*other.objects().await, "it").await.expect("there"),
        "y"
    );
}
