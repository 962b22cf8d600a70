//! Listing objects.

use super::{put, with_box};
use crate::blob::{BlobError, BlobProvider, Blobs, Listing};

/// All entries: names, and common beginnings with a `*`, read in pages of `limit`.
async fn all(
    blobs: &dyn Blobs,
    prefix: &str,
    delimiter: Option<&str>,
    limit: usize,
) -> Vec<String> {
    let mut entries = Vec::new();
    let mut after = None;
    loop {
        let listing = Listing {
            prefix: prefix.to_owned(),
            delimiter: delimiter.map(str::to_owned),
            after: after.take(),
            limit,
        };
        let page = blobs.list("box", listing).await.expect("a page");
        assert!(page.objects.len() + page.prefixes.len() <= limit);
        entries.extend(page.objects.into_iter().map(|object| object.name));
        entries.extend(page.prefixes.into_iter().map(|prefix| prefix + "*"));
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    entries.sort();
    entries
}

/// In the order of bytes, by a prefix that is taken literally.
pub async fn objects_are_listed_in_pages(provider: &dyn BlobProvider) {
    let blobs = with_box(provider).await;
    let names = ["", "-", "/1", "/2", "_", "a", "ä", "%", "*"].map(|end| format!("n{end}"));
    for name in &names {
        put(&*blobs, name, "x").await;
    }
    put(&*blobs, "m", "x").await;
    put(&*blobs, "o", "x").await;
    let mut sorted = names.to_vec();
    sorted.sort();
    for limit in [1, 2, 3, 100] {
        assert_eq!(all(&*blobs, "n", None, limit).await, sorted);
    }
    assert_eq!(all(&*blobs, "n%", None, 10).await, ["n%"]);
    assert_eq!(all(&*blobs, "none", None, 10).await, [""; 0]);
    assert_eq!(all(&*blobs, "", None, 4).await.len(), names.len() + 2);
    let absent = blobs.list("none", Listing::default()).await;
    assert!(matches!(absent, Err(BlobError::NoSuchContainer)));
}

/// As folders are listed.
pub async fn common_beginnings_stand_for_what_is_below_them(provider: &dyn BlobProvider) {
    let blobs = with_box(provider).await;
    for name in ["a", "b/1", "b/2", "b/c/3", "b-", "c/", "d//4", "e"] {
        put(&*blobs, name, "x").await;
    }
    for limit in [1, 2, 100] {
        let top = all(&*blobs, "", Some("/"), limit).await;
        assert_eq!(top, ["a", "b-", "b/*", "c/*", "d/*", "e"]);
        let below = all(&*blobs, "b/", Some("/"), limit).await;
        assert_eq!(below, ["b/1", "b/2", "b/c/*"]);
        let begun = all(&*blobs, "b", Some("/"), limit).await;
        assert_eq!(begun, ["b-", "b/*"]);
        assert_eq!(all(&*blobs, "d/", Some("/"), limit).await, ["d//*"]);
        assert_eq!(all(&*blobs, "c/", Some("/"), limit).await, ["c/"]);
    }
    assert_eq!(all(&*blobs, "", Some("//"), 100).await.len(), 8);
}

/// What is there throughout is listed once and in its order, whatever comes and goes meanwhile.
pub async fn a_listing_goes_on_while_objects_come_and_go(provider: &dyn BlobProvider) {
    let blobs = with_box(provider).await;
    let name = |number: usize| format!("k{number:02}");
    for number in 0..30 {
        put(&*blobs, &name(number), "x").await;
    }
    let (mut listed, mut after) = (Vec::new(), None);
    for round in 0.. {
        let listing = Listing {
            after: after.take(),
            limit: 3,
            ..Listing::default()
        };
        let page = blobs.list("box", listing).await.expect("a page");
        listed.extend(page.objects.into_iter().map(|object| object.name));
        // One goes that was listed and one that is to come; one comes before and one behind.
        for gone in [3 * round + 1, 29 - 2 * round] {
            if gone % 3 != 0 {
                let gone = vec![name(gone)];
                blobs.delete_many("box", gone).await.expect("deleted");
            }
        }
        put(&*blobs, &format!("j{round}"), "x").await;
        put(&*blobs, &format!("l{round:02}"), "x").await;
        match page.next {
            Some(next) if round < 20 => after = Some(next),
            _ => break,
        }
    }
    assert!(listed.is_sorted_by(|one, next| one < next), "{listed:?}");
    for number in (0..30).step_by(3) {
        assert!(listed.contains(&name(number)), "{number}: {listed:?}");
    }
}
