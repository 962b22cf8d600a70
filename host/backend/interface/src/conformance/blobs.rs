//! What every backend of objects does, as cases that a backend runs in its own tests:
//!
//! ```ignore
//! canopy_backend::blob_conformance!(|| async { MyProvider::open().await });
//! ```

mod bodies;
mod conditions;
mod containers;
mod listing;
mod uploads;

use std::sync::Arc;

use bytes::Bytes;
use canopy_ids::{InstallationId, TenantId};
use futures::stream;

use crate::Scope;
use crate::blob::{
    BlobBody, BlobError, BlobProvider, Blobs, ByteRange, ObjectId, ObjectInfo, PutOptions, body_of,
    whole_body,
};

pub use bodies::{
    a_body_comes_back_whole_and_in_ranges, a_body_of_another_length_changes_nothing,
    a_body_that_breaks_off_changes_nothing, a_put_that_is_dropped_changes_nothing,
    a_reading_sees_the_object_as_it_was, bodies_over_a_limit_are_refused, what_is_noted_comes_back,
};
pub use conditions::{
    a_condition_lets_one_of_many_writers_win, conditions_are_looked_at_when_the_body_has_ended,
    copies_and_moves_keep_everything, deleting_says_whether_there_was_one,
};
pub use containers::{
    a_container_goes_empty_or_by_force, containers_are_made_and_listed,
    installations_have_objects_of_their_own, names_are_any_text,
};
pub use listing::{common_beginnings_stand_for_what_is_below_them, objects_are_listed_in_pages};
pub use uploads::{
    an_aborted_upload_leaves_nothing, parts_become_an_object, parts_must_be_as_they_are_named,
};

/// Makes a test of each case of the suite for the provider that `$open` gives: a closure whose
/// future gives an `impl BlobProvider` with nothing in it, which takes bodies of 16 MiB.
#[macro_export]
macro_rules! blob_conformance {
    ($open:expr) => {
        $crate::blob_conformance!($open;
            containers_are_made_and_listed
            a_container_goes_empty_or_by_force
            installations_have_objects_of_their_own
            names_are_any_text
            a_body_comes_back_whole_and_in_ranges
            what_is_noted_comes_back
            a_reading_sees_the_object_as_it_was
            a_body_that_breaks_off_changes_nothing
            a_body_of_another_length_changes_nothing
            a_put_that_is_dropped_changes_nothing
            bodies_over_a_limit_are_refused
            objects_are_listed_in_pages
            common_beginnings_stand_for_what_is_below_them
            conditions_are_looked_at_when_the_body_has_ended
            a_condition_lets_one_of_many_writers_win
            copies_and_moves_keep_everything
            deleting_says_whether_there_was_one
            parts_become_an_object
            parts_must_be_as_they_are_named
            an_aborted_upload_leaves_nothing
        );
    };
    ($open:expr; $($case:ident)+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let open = $open;
                let provider = open().await;
                $crate::conformance::blobs::$case(&provider).await;
            }
        )+
    };
}

/// The objects of an installation that has stored nothing yet.
async fn objects(provider: &dyn BlobProvider) -> Arc<dyn Blobs> {
    let scope = Scope {
        tenant: TenantId::new(),
        installation: InstallationId::new(),
    };
    provider.open(scope).await.expect("objects open")
}

/// The same with a container `box`.
async fn with_box(provider: &dyn BlobProvider) -> Arc<dyn Blobs> {
    let blobs = objects(provider).await;
    let new = blobs.create_container("box").await.expect("a container");
    assert!(new, "a container is new when it is made first");
    blobs
}

fn boxed(name: &str) -> ObjectId<'_> {
    ObjectId::new("box", name)
}

async fn put(blobs: &dyn Blobs, name: &str, content: impl Into<Bytes>) -> ObjectInfo {
    blobs
        .put(boxed(name), PutOptions::default(), body_of(content))
        .await
        .unwrap_or_else(|error| panic!("put {name:?}: {error}"))
}

async fn read(blobs: &dyn Blobs, name: &str, range: Option<ByteRange>) -> Result<Bytes, BlobError> {
    let reading = blobs.get(boxed(name), range).await?;
    let length = reading.length;
    let body = whole_body(reading.body, u64::MAX).await?;
    assert_eq!(body.len() as u64, length, "the body is as long as was said");
    Ok(body)
}

/// Bytes that repeat nowhere near.
fn content(length: usize) -> Bytes {
    let mut state = 0x9e37_79b9_u32;
    let bytes = (0..length).map(|_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    });
    bytes.collect()
}

/// A body in pieces, and what ends it.
fn pieces(pieces: Vec<Bytes>, end: Option<BlobError>) -> BlobBody {
    let pieces = pieces.into_iter().map(Ok).chain(end.map(Err));
    Box::pin(stream::iter(pieces.collect::<Vec<_>>()))
}
