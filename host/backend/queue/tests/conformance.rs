//! The suite of all queues, over the embedded storage; and what the storage under them bounds.

use std::sync::Arc;

use canopy_backend::conformance::queue::{LIMITS, QueueSuite};
use canopy_backend::queue::{NewMessage, Queue, QueueError, QueueLimits};
use canopy_backend::{
    KeyValueProvider as _, Ledger, Quota, Scope, StorageError, StorageQuota, SystemClock,
};
use canopy_backend_embedded::{EmbeddedParts, EmbeddedSettings, EmbeddedStorage};
use canopy_backend_keys::{Keyring, OperatorKey};
use canopy_backend_queue::{BUCKET, KeyValueQueue};
use canopy_ids::{InstallationId, TenantId};

fn storage(folder: &std::path::Path, quota: StorageQuota) -> Arc<EmbeddedStorage> {
    let operator = OperatorKey::from_file(&folder.join("operator.key"), true).expect("a key");
    let parts = EmbeddedParts {
        dir: folder.join("storage"),
        keys: Keyring::open(operator, &folder.join("storage")).expect("keys"),
        ledger: Ledger::new(Arc::new(quota)),
        clock: Arc::new(SystemClock),
    };
    Arc::new(EmbeddedStorage::open(parts, EmbeddedSettings::default()).expect("opens"))
}

async fn open(limits: QueueLimits) -> QueueSuite {
    let folder = tempfile::tempdir().expect("a folder");
    let storage = storage(folder.path(), StorageQuota::default());
    QueueSuite::new(KeyValueQueue::new(storage, limits), folder)
}

canopy_backend::queue_conformance!(open);

fn scope() -> Scope {
    Scope {
        tenant: TenantId::new(),
        installation: InstallationId::new(),
    }
}

fn message(body: Vec<u8>) -> NewMessage {
    NewMessage {
        topic: "a".into(),
        sender: "shop".into(),
        content_type: None,
        reply_to: Some("b".into()),
        body,
        published_at: 1,
        not_before: 2,
    }
}

#[tokio::test]
async fn messages_are_there_after_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let scope = scope();
    let first = storage(folder.path(), StorageQuota::default());
    let id = KeyValueQueue::new(first.clone(), LIMITS)
        .put(scope, message(vec![0, 255]))
        .await
        .expect("put");
    first.close().await;
    drop(first);
    let again = KeyValueQueue::new(storage(folder.path(), StorageQuota::default()), LIMITS);
    let waiting = again.waiting(scope, "a", None, 9).await.expect("read");
    assert_eq!(
        (waiting[0].id, &waiting[0].message),
        (id, &message(vec![0, 255]))
    );
}

#[tokio::test]
async fn what_waits_counts_against_the_quota_of_who_waits_for_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let quota = StorageQuota {
        key_value: Quota {
            bytes: 3_000,
            items: 100,
        },
        ..StorageQuota::default()
    };
    let queue = KeyValueQueue::new(storage(folder.path(), quota), LIMITS);
    let scope = scope();
    let mut put = 0;
    let refused = loop {
        match queue.put(scope, message(vec![0; 900])).await {
            Ok(_) => put += 1,
            Err(error) => break error,
        }
    };
    let full = matches!(
        refused,
        QueueError::Storage(StorageError::QuotaExceeded { .. })
    );
    assert!(full && (1..=3).contains(&put), "{put}: {refused}");
}

#[tokio::test]
async fn a_damaged_message_is_said_to_be_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let storage = storage(folder.path(), StorageQuota::default());
    let scope = scope();
    let bucket = storage.open(scope, BUCKET).await.expect("opens");
    for value in [vec![], vec![9, 0, 0, 0, b'{'], vec![2, 0, 0, 0, b'{', b'}']] {
        bucket.set("q/a/0-x", value.clone()).await.expect("set");
        let queue = KeyValueQueue::new(storage.clone(), LIMITS);
        let error = queue
            .waiting(scope, "a", None, 9)
            .await
            .expect_err("damaged");
        let damaged = matches!(error, QueueError::Storage(StorageError::Damaged(_)));
        assert!(damaged, "{value:?}: {error}");
    }
}
