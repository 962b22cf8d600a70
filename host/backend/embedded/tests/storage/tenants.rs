//! What one tenant may have of the places for open databases.

use std::time::Duration;

use canopy_backend::Scope;
use canopy_backend_embedded::EmbeddedSettings;
use canopy_ids::InstallationId;

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
