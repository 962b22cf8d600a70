//! Containers and names.

use super::{objects, put, read, with_box};
use crate::blob::{BlobError, BlobProvider, PutOptions};

/// Containers are made once, listed in order and in pages, and count what is in them.
pub async fn containers_are_made_and_listed(provider: &dyn BlobProvider) {
    let blobs = objects(provider).await;
    for name in ["b", "a", "ab", "c"] {
        assert!(blobs.create_container(name).await.expect("made"));
        assert!(!blobs.create_container(name).await.expect("there already"));
    }
    let page = blobs.containers("", None, 3).await.expect("a page");
    let names: Vec<_> = page.containers.iter().map(|one| &*one.name).collect();
    assert_eq!(names, ["a", "ab", "b"]);
    let next = page.next.expect("there are more");
    let page = blobs.containers("", Some(&next), 3).await.expect("a page");
    assert_eq!(page.containers.len(), 1);
    assert_eq!(page.next, None);
    let page = blobs.containers("a", None, 3).await.expect("a page");
    assert_eq!(page.containers.len(), 2);

    let blobs = with_box(provider).await;
    put(&*blobs, "one", "1234").await;
    put(&*blobs, "two", "56").await;
    put(&*blobs, "one", "1").await;
    let info = blobs.container("box").await.expect("a container");
    assert_eq!((info.objects, info.bytes), (2, 3));
    let absent = blobs.container("none").await;
    assert!(matches!(absent, Err(BlobError::NoSuchContainer)));
}

/// A container with something in it is only removed with it.
pub async fn a_container_goes_empty_or_by_force(provider: &dyn BlobProvider) {
    let blobs = with_box(provider).await;
    put(&*blobs, "one", "1").await;
    let kept = blobs.delete_container("box", false).await;
    assert!(matches!(kept, Err(BlobError::ContainerNotEmpty)));
    assert_eq!(read(&*blobs, "one", None).await.expect("still there"), "1");
    blobs.delete_container("box", true).await.expect("removed");
    let gone = read(&*blobs, "one", None).await;
    assert!(matches!(gone, Err(BlobError::NoSuchContainer)));
    blobs.create_container("box").await.expect("made anew");
    let gone = read(&*blobs, "one", None).await;
    assert!(matches!(gone, Err(BlobError::NoSuchObject)));
    blobs
        .delete_container("box", false)
        .await
        .expect("it is empty");
    let gone = blobs.delete_container("box", false).await;
    assert!(matches!(gone, Err(BlobError::NoSuchContainer)));
}

/// Nobody sees another installation's objects.
pub async fn installations_have_objects_of_their_own(provider: &dyn BlobProvider) {
    let (one, other) = (with_box(provider).await, with_box(provider).await);
    put(&*one, "name", "one").await;
    let absent = read(&*other, "name", None).await;
    assert!(matches!(absent, Err(BlobError::NoSuchObject)));
    put(&*other, "name", "other").await;
    assert_eq!(read(&*one, "name", None).await.expect("its own"), "one");
}

/// Names may be any text up to the limit, also one that would be a path elsewhere.
pub async fn names_are_any_text(provider: &dyn BlobProvider) {
    let blobs = with_box(provider).await;
    let longest = "n".repeat(provider.limits().name_bytes);
    let names = ["../../etc/passwd", "/", ".", "a\0b", "ü😀", "%2e", &longest];
    for name in names {
        put(&*blobs, name, name.to_owned()).await;
    }
    for name in names {
        assert_eq!(read(&*blobs, name, None).await.expect(name), name);
    }
    let longer = format!("{longest}n");
    for (name, what) in [("", "an empty name"), (&*longer, "a name over the limit")] {
        let options = PutOptions::default();
        let refused = blobs
            .put(super::boxed(name), options, super::body_of("x"))
            .await;
        assert!(
            matches!(
                refused,
                Err(BlobError::Invalid { .. } | BlobError::TooLarge { .. })
            ),
            "{what}"
        );
    }
}
