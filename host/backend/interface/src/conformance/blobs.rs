//! What every backend of objects does, as cases that a backend runs in its own tests:
//!
//! ```ignore
//! canopy_backend::blob_conformance!(MyBackend::new());
//! ```

mod bodies;
mod conditions;
mod containers;
mod faults;
mod limits;
mod listing;
mod uploads;

use std::sync::Arc;

use bytes::Bytes;
use futures::stream;

use super::{Environment, Suite, scope};
use crate::blob::{
    BlobBody, BlobError, BlobProvider, Blobs, ByteRange, ObjectId, ObjectInfo, PutOptions, body_of,
    whole_body,
};
use crate::{Quota, StorageKind};

pub use bodies::{
    a_body_comes_back_whole_and_in_ranges, a_body_of_another_length_changes_nothing,
    a_body_that_breaks_off_changes_nothing, a_put_that_is_dropped_changes_nothing,
    a_reading_sees_the_object_as_it_was, bodies_over_a_limit_are_refused, what_is_noted_comes_back,
};
pub use conditions::{
    a_condition_lets_one_of_many_writers_win, conditions_are_looked_at_when_the_body_has_ended,
    copies_and_moves_keep_everything, deleting_says_whether_there_was_one,
    of_writers_without_a_condition_the_last_one_counts,
};
pub use containers::{
    a_container_goes_empty_or_by_force, containers_are_made_and_listed,
    installations_have_objects_of_their_own, names_are_any_text,
};
pub use faults::{
    a_slow_body_holds_up_nobody, closed_objects_take_nothing_and_say_so,
    objects_out_of_reach_are_an_error_and_nobody_elses, what_was_put_is_there_after_a_restart,
};
pub use limits::{
    names_and_metadata_may_be_as_long_as_the_limit,
    the_quota_of_bytes_holds_to_the_byte_as_bodies_arrive,
    the_quota_of_objects_holds_to_the_object,
    the_tenants_quota_holds_for_bodies_that_arrive_at_once,
};
pub use listing::{
    a_listing_goes_on_while_objects_come_and_go, common_beginnings_stand_for_what_is_below_them,
    objects_are_listed_in_pages,
};
pub use uploads::{
    an_aborted_upload_leaves_nothing, parts_become_an_object, parts_must_be_as_they_are_named,
};

/// Makes a test of each case of the suite for `$backend`: an expression that gives a
/// [`Backend`](conformance::Backend) with nothing in it, which takes bodies of 16 MiB.
#[macro_export]
macro_rules! blob_conformance {
    ($backend:expr) => {
        $crate::blob_conformance!($backend;
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
            the_quota_of_bytes_holds_to_the_byte_as_bodies_arrive
            the_quota_of_objects_holds_to_the_object
            the_tenants_quota_holds_for_bodies_that_arrive_at_once
            names_and_metadata_may_be_as_long_as_the_limit
            of_writers_without_a_condition_the_last_one_counts
            a_listing_goes_on_while_objects_come_and_go
            a_slow_body_holds_up_nobody
            what_was_put_is_there_after_a_restart
            closed_objects_take_nothing_and_say_so
            objects_out_of_reach_are_an_error_and_nobody_elses
        );
    };
    ($backend:expr; $($case:ident)+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let environment = $crate::conformance::blobs::environment();
                let mut suite = $crate::conformance::Suite::of(environment, $backend).await;
                $crate::conformance::blobs::$case((&mut suite).into()).await;
            }
        )+
    };
}

/// A backend of objects under test.
pub type BlobSuite = Suite<dyn BlobProvider>;

/// With quotas that a few bodies fill.
pub fn environment() -> Environment {
    let quota = Quota {
        bytes: 40 << 20,
        items: 200,
    };
    Environment::with(StorageKind::Blobs, quota, 50 << 20)
}

/// The objects of an installation that has stored nothing yet.
async fn objects(provider: &dyn BlobProvider) -> Arc<dyn Blobs> {
    provider.open(scope()).await.expect("objects open")
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
