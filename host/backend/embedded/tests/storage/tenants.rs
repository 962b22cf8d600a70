//! What one tenant may have of the places for open databases, and what it pays for.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use canopy_backend::{KeyValueProvider, Scope};
use canopy_backend_embedded::{EmbeddedSettings, EmbeddedStorage};
use canopy_ids::{InstallationId, TenantId};

use crate::bucket;
use crate::support::{open, scope};

fn settings() -> EmbeddedSettings {
    EmbeddedSettings {
        open_databases: 4,
        tenant_databases: 3,
        open_wait: Duration::from_secs(60),
        ..Default::default()
    }
}

/// One that writes to many installations closes its own databases, and not its neighbour's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_with_many_installations_closes_its_own_databases() {
    let dir = tempfile::tempdir().expect("a folder");
    let storage = open(dir.path(), settings());
    let (tenant, neighbour) = (scope().tenant, bucket(&storage, scope()).await);
    neighbour.increment("n", 1).await.expect("increment");
    let writers: Vec<_> = (0..12)
        .map(|_| {
            let storage = storage.clone();
            let scope = Scope {
                tenant,
                installation: InstallationId::new(),
            };
            tokio::spawn(async move {
                let bucket = bucket(&storage, scope).await;
                for round in 1..=3 {
                    assert_eq!(bucket.increment("n", 1).await.expect("increment"), round);
                    // The neighbour's is one of them.
                    assert!(storage.stats().open_databases <= 4);
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.expect("it ends well");
    }
    let opened = storage.stats().opened;
    neighbour.increment("n", 1).await.expect("increment");
    assert_eq!(storage.stats().opened, opened, "it was open all the time");
}

/// Writes are committed by a thread of the storage, and listings read by one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_processor_time_of_other_threads_is_the_tenants() {
    const LEAST: Duration = Duration::from_millis(1);
    let dir = tempfile::tempdir().expect("a folder");
    let scope = scope();
    let storage = open(dir.path(), EmbeddedSettings::default());
    let charges = charged(&storage);
    let store = bucket(&storage, scope).await;
    let since = Instant::now();
    for number in 0..64 {
        let key = format!("key {number}");
        let set = store.set(&key, vec![7; 64 << 10]).await;
        set.expect("written");
    }
    storage.close().await;
    let passed = since.elapsed();
    let charges = std::mem::take(&mut *charges.lock().expect("lock"));
    assert!(charges.iter().all(|(tenant, _)| *tenant == scope.tenant));
    let sum: Duration = charges.iter().map(|(_, time)| *time).sum();
    assert!((LEAST..=passed).contains(&sum), "{sum:?} of {passed:?}");

    // One that has written nothing.
    let storage = open(dir.path(), EmbeddedSettings::default());
    let charges = charged(&storage);
    assert_eq!(storage.buckets(scope).await.expect("one").len(), 1);
    let charges = std::mem::take(&mut *charges.lock().expect("lock"));
    assert!(!charges.is_empty());
    assert!(charges.iter().all(|(tenant, _)| *tenant == scope.tenant));
}

/// Whom `storage` charges from now on, and with what.
fn charged(storage: &EmbeddedStorage) -> Arc<Mutex<Vec<(TenantId, Duration)>>> {
    let charges: Arc<Mutex<Vec<_>>> = Arc::default();
    let told = charges.clone();
    storage.paid_by(Arc::new(move |tenant, time| {
        told.lock().expect("lock").push((tenant, time));
    }));
    charges
}
