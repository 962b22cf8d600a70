//! What every key-value backend does, as cases that a backend runs in its own tests:
//!
//! ```ignore
//! canopy_backend::keyvalue_conformance!(|| async { MyProvider::open().await });
//! ```
//!
//! Each case gets a provider of its own with nothing in it. A failed expectation panics and says
//! what was expected.

mod batch;
mod concurrency;
mod isolation;
mod limits;
mod listing;
mod values;

use std::sync::Arc;

use canopy_ids::InstallationId;

use crate::{KeyValue, KeyValueProvider};

pub use batch::{
    a_batch_over_a_limit_changes_nothing, a_batch_reads_and_removes_in_order,
    the_last_pair_of_a_key_counts,
};
pub use concurrency::{
    a_batch_is_never_seen_half, compare_and_set_lets_one_win, increments_lose_nothing,
};
pub use isolation::{
    buckets_are_apart, erased_storage_does_not_come_back, erasing_again_is_no_error,
    installations_are_apart,
};
pub use limits::{
    keys_and_values_may_be_as_long_as_the_limit, longer_keys_and_values_are_refused,
    the_quota_holds_and_deleting_frees_it,
};
pub use listing::{
    keys_come_in_the_order_of_their_bytes, pages_go_on_where_they_ended,
    prefixes_are_taken_literally,
};
pub use values::{
    a_value_is_what_was_set_last, an_absent_key_is_none, any_key_and_value_comes_back,
    compare_and_set_tells_what_it_found, deleting_is_idempotent, increments_count_in_decimal_text,
    increments_refuse_what_is_no_number,
};

/// Makes a test of each case of the suite for the provider that `$open` gives: a closure whose
/// future gives an `impl KeyValueProvider` with nothing in it.
#[macro_export]
macro_rules! keyvalue_conformance {
    ($open:expr) => {
        $crate::keyvalue_conformance!($open;
            a_value_is_what_was_set_last
            an_absent_key_is_none
            any_key_and_value_comes_back
            deleting_is_idempotent
            increments_count_in_decimal_text
            increments_refuse_what_is_no_number
            compare_and_set_tells_what_it_found
            keys_come_in_the_order_of_their_bytes
            prefixes_are_taken_literally
            pages_go_on_where_they_ended
            a_batch_reads_and_removes_in_order
            the_last_pair_of_a_key_counts
            a_batch_over_a_limit_changes_nothing
            keys_and_values_may_be_as_long_as_the_limit
            longer_keys_and_values_are_refused
            the_quota_holds_and_deleting_frees_it
            buckets_are_apart
            installations_are_apart
            erased_storage_does_not_come_back
            erasing_again_is_no_error
            increments_lose_nothing
            compare_and_set_lets_one_win
            a_batch_is_never_seen_half
        );
    };
    ($open:expr; $($case:ident)+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let open = $open;
                let provider = open().await;
                $crate::conformance::$case(&provider).await;
            }
        )+
    };
}

/// A bucket of an installation that has stored nothing yet.
async fn bucket(provider: &dyn KeyValueProvider) -> Arc<dyn KeyValue> {
    provider
        .open(InstallationId::new(), "default")
        .await
        .expect("a bucket opens")
}

async fn get(bucket: &dyn KeyValue, key: &str) -> Option<Vec<u8>> {
    bucket
        .get(key)
        .await
        .unwrap_or_else(|error| panic!("get {key:?}: {error}"))
}

async fn set(bucket: &dyn KeyValue, key: &str, value: impl Into<Vec<u8>>) {
    bucket
        .set(key, value.into())
        .await
        .unwrap_or_else(|error| panic!("set {key:?}: {error}"));
}

/// All keys with `prefix`, read in pages of `limit`.
async fn keys(bucket: &dyn KeyValue, prefix: &str, limit: usize) -> Vec<String> {
    let mut keys = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = bucket
            .list(prefix, after.as_deref(), limit)
            .await
            .expect("a page is listed");
        assert!(
            page.keys.len() <= limit.max(1),
            "a page holds at most what was asked for"
        );
        keys.extend(page.keys);
        match page.next {
            Some(next) => {
                assert!(after.as_ref() < Some(&next), "a listing goes on");
                after = Some(next);
            }
            None => return keys,
        }
    }
}
