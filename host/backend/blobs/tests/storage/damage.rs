//! Files that are not as they were written.

use std::fs;

use canopy_backend::Maintenance;
use canopy_backend::blob::{BlobError, ByteRange};
use futures::StreamExt;
use proptest::test_runner::{Config, TestRunner};

use crate::{Storage, id, put, read};

const LENGTH: usize = 300_000;

async fn one() -> (Storage, Vec<u8>) {
    let storage = Storage::new();
    let content: Vec<u8> = (0..LENGTH).map(|n| (n / 251).to_le_bytes()[0]).collect();
    put(&*storage.objects().await, "it", content.clone()).await;
    (storage, content)
}

/// Whatever is read of it is right, and somewhere it ends with an error.
async fn is_found(storage: &Storage, content: &[u8], what: &str) {
    let blobs = storage.objects().await;
    let mut body = match blobs.get(id("it"), None).await {
        Ok(reading) => reading.body,
        Err(error) => panic!("{what}: {error}"),
    };
    let mut read = 0;
    loop {
        match body.next().await {
            Some(Ok(bytes)) => {
                assert_eq!(
                    bytes,
                    content[read..read + bytes.len()],
                    "{what}: wrong bytes"
                );
                read += bytes.len();
            }
            Some(Err(BlobError::Damaged)) => break,
            Some(Err(error)) => panic!("{what}: {error}"),
            None => panic!("{what}: not found"),
        }
    }
    let findings = storage.blobs.check(storage.scope).await.expect("checked");
    assert_eq!(findings.len(), 1, "{what}: {findings:?}");
    assert!(findings[0].place.starts_with("objects/"), "{findings:?}");
}

#[tokio::test]
async fn every_flipped_bit_is_found() {
    let (storage, content) = one().await;
    let file = storage.segments().remove(0);
    let right = fs::read(&file).expect("a file");
    let mut places = vec![0, 8, 12, 47, 48, 48 + 65_536, 48 + 65_552, right.len() - 1];
    let mut runner = TestRunner::new(Config::default());
    for _ in 0..24 {
        use proptest::strategy::{Strategy, ValueTree};
        let place = (0..right.len()).new_tree(&mut runner).expect("a number");
        places.push(place.current());
    }
    for place in places {
        let mut wrong = right.clone();
        wrong[place] ^= 1 << (place % 8);
        fs::write(&file, wrong).expect("written");
        // A damaged version of the key names one that does not exist: it is an error all the same.
        if (8..12).contains(&place) {
            let refused = read(&*storage.objects().await, "it").await;
            assert!(refused.is_err());
            continue;
        }
        is_found(&storage, &content, &format!("bit of byte {place}")).await;
    }
    fs::write(&file, right).expect("written");
    assert_eq!(
        read(&*storage.objects().await, "it").await.expect("right"),
        content
    );
    assert_eq!(
        storage.blobs.check(storage.scope).await.expect("checked"),
        []
    );
}

#[tokio::test]
async fn chunks_cannot_be_cut_off_moved_or_doubled() {
    const FIRST: usize = 48;
    const CHUNK: usize = 65_552;
    let (storage, content) = one().await;
    let file = storage.segments().remove(0);
    let right = fs::read(&file).expect("a file");
    let chunk = |number: usize| right[FIRST + number * CHUNK..][..CHUNK].to_vec();
    let with = |chunks: &[Vec<u8>]| {
        let mut all = right[..FIRST].to_vec();
        all.extend(chunks.concat());
        all.extend(&right[FIRST + chunks.len() * CHUNK..]);
        all
    };
    for (what, wrong) in [
        ("cut off", right[..right.len() - 1].to_vec()),
        ("cut off by a chunk", right[..FIRST + CHUNK].to_vec()),
        ("empty", Vec::new()),
        ("longer", [&right[..], &[0]].concat()),
        ("exchanged", with(&[chunk(1), chunk(0)])),
        ("doubled", with(&[chunk(0), chunk(0)])),
    ] {
        fs::write(&file, wrong).expect("written");
        is_found(&storage, &content, what).await;
    }
    fs::remove_file(&file).expect("removed");
    is_found(&storage, &content, "missing").await;
}

#[tokio::test]
async fn files_cannot_be_exchanged() {
    let (storage, content) = one().await;
    let first = storage.segments().remove(0);
    let other: Vec<u8> = content.iter().map(|byte| byte ^ 1).collect();
    put(&*storage.objects().await, "other", other).await;
    let second = storage
        .segments()
        .into_iter()
        .find(|path| *path != first)
        .expect("a second file");
    fs::copy(second, first).expect("copied");
    is_found(&storage, &content, "another object's file").await;
}

#[tokio::test]
async fn a_range_beside_the_damage_is_read() {
    let (storage, content) = one().await;
    let file = storage.segments().remove(0);
    let mut wrong = fs::read(&file).expect("a file");
    wrong[100] ^= 1;
    fs::write(&file, wrong).expect("written");
    let blobs = storage.objects().await;
    let range = ByteRange::From(70_000);
    let reading = blobs.get(id("it"), Some(range)).await.expect("a reading");
    let rest = canopy_backend::blob::whole_body(reading.body, u64::MAX).await;
    assert_eq!(rest.expect("right"), content[70_000..]);
}

#[tokio::test]
async fn nothing_of_the_content_or_the_names_is_on_the_disk() {
    let storage = Storage::new();
    let blobs = storage.objects().await;
    let canary = b"a canary that nobody else would write";
    put(&*blobs, "the name of a canary", canary.repeat(10_000)).await;
    storage.blobs.close();
    let mut found = Vec::new();
    let mut folders = vec![storage.folder.path().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            // The index's log goes when the index has been closed.
            let Ok(bytes) = fs::read(&path) else { continue };
            if bytes
                .windows(8)
                .any(|window| window == b"a canary" || window == b"canary t")
            {
                found.push(path);
            }
        }
    }
    assert!(found.is_empty(), "{found:?}");
}
