//! What every key-value backend does, as cases that a backend runs in its own tests:
//!
//! ```ignore
//! canopy_backend::keyvalue_conformance!(MyBackend::new());
//! ```
//!
//! Each case gets a backend of its own with nothing in it. A failed expectation panics and says
//! what was expected.

mod backend;
mod batch;
pub mod blobs;
mod concurrency;
mod expiry;
mod faults;
mod isolation;
mod limits;
mod listing;
pub mod queue;
pub mod sql;
mod transactions;
mod values;
mod versions;

use std::sync::Arc;

use canopy_ids::{InstallationId, TenantId};

use crate::{
    KeyValue, KeyValueProvider, Operation, Scope, StorageError, StorageLimits, Transaction,
};

pub use backend::{Backend, Environment, ManualClock, Running, Suite, in_place_of};
pub use batch::{
    a_batch_over_a_limit_changes_nothing, a_batch_reads_and_removes_in_order,
    the_last_pair_of_a_key_counts,
};
pub use concurrency::{
    a_batch_is_never_seen_half, compare_and_set_lets_one_win, increments_lose_nothing,
};
pub use expiry::{
    an_expired_entry_is_as_if_removed, expired_entries_free_the_quota,
    setting_anew_ends_a_time_to_live, what_expires_is_listed_until_then,
};
pub use faults::{
    a_caller_that_goes_away_leaves_nothing_half, a_closed_backend_takes_nothing_and_says_so,
    what_is_out_of_reach_is_an_error_and_nobody_elses, what_was_stored_is_there_after_a_restart,
};
pub use isolation::{
    buckets_are_apart, erased_storage_does_not_come_back, erasing_again_is_no_error,
    installations_are_apart,
};
pub use limits::{
    keys_and_values_may_be_as_long_as_the_limit, longer_keys_and_values_are_refused,
    the_quota_holds_and_deleting_frees_it, the_quota_of_keys_holds_to_the_key,
    the_tenants_quota_holds_over_its_installations,
};
pub use listing::{
    entries_are_listed_with_their_values, keys_come_in_the_order_of_their_bytes,
    pages_go_on_where_they_ended, pages_of_entries_are_bounded_in_bytes,
    prefixes_are_taken_literally,
};
pub use transactions::{
    a_transaction_of_another_installation_sees_nothing, a_transaction_over_a_limit_changes_nothing,
    a_transaction_that_fails_changes_nothing, a_transaction_that_meets_a_conflict_changes_nothing,
    steps_see_what_those_before_did, transactions_move_between_buckets_without_loss,
};
pub use values::{
    a_value_is_what_was_set_last, an_absent_key_is_none, any_key_and_value_comes_back,
    compare_and_set_tells_what_it_found, deleting_is_idempotent, increments_count_in_decimal_text,
    increments_refuse_what_is_no_number,
};
pub use versions::{
    a_version_never_comes_back, conditions_hold_or_tell_what_they_found,
    of_writers_with_one_version_one_wins,
};

/// Makes a test of each case of the suite for `$backend`: an expression that gives a
/// [`Backend`](conformance::Backend) with nothing in it.
#[macro_export]
macro_rules! keyvalue_conformance {
    ($backend:expr) => {
        $crate::keyvalue_conformance!($backend;
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
            conditions_hold_or_tell_what_they_found
            a_version_never_comes_back
            of_writers_with_one_version_one_wins
            an_expired_entry_is_as_if_removed
            what_expires_is_listed_until_then
            setting_anew_ends_a_time_to_live
            expired_entries_free_the_quota
            entries_are_listed_with_their_values
            pages_of_entries_are_bounded_in_bytes
            steps_see_what_those_before_did
            a_transaction_that_meets_a_conflict_changes_nothing
            a_transaction_that_fails_changes_nothing
            a_transaction_over_a_limit_changes_nothing
            a_transaction_of_another_installation_sees_nothing
            transactions_move_between_buckets_without_loss
            the_quota_of_keys_holds_to_the_key
            the_tenants_quota_holds_over_its_installations
            what_was_stored_is_there_after_a_restart
            a_closed_backend_takes_nothing_and_says_so
            what_is_out_of_reach_is_an_error_and_nobody_elses
            a_caller_that_goes_away_leaves_nothing_half
        );
    };
    ($backend:expr; $($case:ident)+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let environment = $crate::conformance::Environment::default();
                let mut suite = $crate::conformance::Suite::of(environment, $backend).await;
                $crate::conformance::$case(&mut suite).await;
            }
        )+
    };
}

impl Suite<dyn KeyValueProvider> {
    fn limits(&self) -> StorageLimits {
        self.provider().limits()
    }

    /// A bucket of `scope`.
    pub async fn open(&self, scope: Scope, name: &str) -> Result<Arc<dyn KeyValue>, StorageError> {
        self.provider().open(scope, name).await
    }

    async fn transact(
        &self,
        scope: Scope,
        operations: Vec<Operation>,
    ) -> Result<Transaction, StorageError> {
        self.provider().transact(scope, operations).await
    }
}

/// An installation of a tenant of its own that has stored nothing yet.
pub fn scope() -> Scope {
    Scope {
        tenant: TenantId::new(),
        installation: InstallationId::new(),
    }
}

/// A bucket of an installation that has stored nothing yet.
async fn bucket(provider: &Suite) -> Arc<dyn KeyValue> {
    provider
        .open(scope(), "default")
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
