//! What follows from a change of the database: a new snapshot, and the erasure of what was deleted.
//!
//! One task does both whenever the database says that something was committed. So it happens for
//! every change, also for one whose requester went away in the middle; changes that come close
//! together are taken together; and whoever waits learns when his own has taken effect.

use std::sync::Arc;
use std::time::Duration;

use canopy_backend::{Maintenance, Scope};
use canopy_backend_keys::Keyring;
use canopy_backend_logs::LogStore;
use canopy_runtime::Subscriptions;
use canopy_store::{Erasure, Store};
use canopy_tenant::Routes;
use time::OffsetDateTime;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::catalog::Catalog;
use crate::snapshot::Builder;
use crate::upkeep::Folders;
use crate::{AppError, AppSettings, PlanQuotas, work};

/// How long after a failure it is tried again.
const RETRY: Duration = Duration::from_secs(5);

/// How long beyond the longest call a deleted owner is erased once more: a guest that ran when its
/// installation was deleted may have stored something since.
const LAST_PASS: Duration = Duration::from_secs(10);

pub(crate) struct Parts {
    pub(crate) store: Store,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) storages: Vec<Arc<dyn Maintenance>>,
    pub(crate) quotas: PlanQuotas,
    pub(crate) keyring: Keyring,
    pub(crate) folders: Folders,
    pub(crate) logs: LogStore,
    pub(crate) routes: Routes,
    pub(crate) subscriptions: Subscriptions,
    pub(crate) settings: AppSettings,
}

/// Up to which revision changes have taken effect.
#[derive(Clone)]
pub(crate) struct Settled {
    store: Store,
    published: watch::Receiver<u64>,
    erased: watch::Receiver<u64>,
}

impl Settled {
    /// Waits until requests are routed by the database's present state.
    pub(crate) async fn published(&self) -> Result<(), AppError> {
        self.reached(self.published.clone()).await
    }

    /// Waits until what was deleted so far is erased too, or erasing it has failed once.
    pub(crate) async fn erased(&self) -> Result<(), AppError> {
        self.reached(self.erased.clone()).await
    }

    async fn reached(&self, mut receiver: watch::Receiver<u64>) -> Result<(), AppError> {
        let revision = self.store.revision().await?;
        match receiver.wait_for(|reached| *reached >= revision).await {
            Ok(_) => Ok(()),
            Err(_) => Err(AppError::Store(canopy_store::StoreError::Closed)),
        }
    }
}

struct Task {
    parts: Parts,
    builder: Builder,
    published: watch::Sender<u64>,
    erased: watch::Sender<u64>,
}

/// Publishes the first snapshot, and starts the task that publishes the following.
pub(crate) async fn start(parts: Parts) -> Result<(Settled, JoinHandle<()>), AppError> {
    let mut commits = parts.store.commits();
    commits.mark_unchanged();
    let (published, published_receiver) = watch::channel(0);
    let (erased, erased_receiver) = watch::channel(0);
    let settled = Settled {
        store: parts.store.clone(),
        published: published_receiver,
        erased: erased_receiver,
    };
    let builder = Builder::new(parts.settings.clone());
    let mut task = Task {
        parts,
        builder,
        published,
        erased,
    };
    task.publish().await?;
    Ok((settled, tokio::spawn(task.run(commits))))
}

impl Task {
    async fn run(mut self, mut commits: watch::Receiver<u64>) {
        loop {
            commits.mark_unchanged();
            let wait = self.settle().await;
            tokio::select! {
                changed = commits.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
                () = sleep(wait) => {}
            }
        }
    }

    /// Brings everything up to date. Returns when there is something to do even if nothing changes.
    async fn settle(&mut self) -> Option<Duration> {
        let revision = match self.publish().await {
            Ok(revision) => revision,
            Err(error) => {
                tracing::error!(%error, "the routing snapshot could not be renewed");
                return Some(RETRY);
            }
        };
        let wait = match self.erase().await {
            Ok(wait) => wait,
            Err(error) => {
                tracing::error!(%error, "data of something deleted could not be erased");
                Some(RETRY)
            }
        };
        self.erased.send_replace(revision);
        wait
    }

    async fn publish(&mut self) -> Result<u64, AppError> {
        let revision = self.parts.store.revision().await?;
        if revision > 0 && *self.published.borrow() == revision {
            return Ok(revision);
        }
        let world = self.parts.store.world().await?;
        let revision = world.revision;
        let snapshot = self.builder.build(&self.parts.catalog, world);
        tracing::debug!(
            revision,
            installations = snapshot.installations(),
            "snapshot published"
        );
        self.parts.quotas.publish(self.builder.quotas());
        self.parts.routes.publish(snapshot);
        self.parts
            .subscriptions
            .publish(self.builder.subscriptions());
        self.published.send_replace(revision);
        Ok(revision)
    }

    async fn erase(&self) -> Result<Option<Duration>, AppError> {
        let most = &self.parts.settings.max_limits;
        let last_pass = most.wall.max(most.stream) + LAST_PASS;
        let mut wait = None;
        for (owner, since) in self.parts.store.erasures().await? {
            match owner {
                Erasure::Installation {
                    tenant,
                    installation,
                } => {
                    let scope = Scope {
                        tenant,
                        installation,
                    };
                    for storage in &self.parts.storages {
                        storage.erase(scope).await.map_err(|error| {
                            AppError::Internal(format!("erasing the storage of {scope}: {error}"))
                        })?;
                    }
                    self.parts.logs.erase(installation).await?;
                }
                Erasure::Driver(id) => self.parts.logs.erase(id).await?,
                Erasure::Tenant(id) => {
                    let Parts {
                        storages,
                        keyring,
                        folders,
                        ..
                    } = &self.parts;
                    work::erase::stored(storages, keyring, folders, id).await?;
                }
            }
            let age = OffsetDateTime::now_utc() - since;
            let age = Duration::try_from(age).unwrap_or_default();
            if age >= last_pass {
                self.parts.store.erased(owner).await?;
                tracing::info!(%owner, "erased for good");
            } else {
                wait = Some(last_pass - age);
            }
        }
        Ok(wait)
    }
}

async fn sleep(wait: Option<Duration>) {
    match wait {
        Some(wait) => tokio::time::sleep(wait).await,
        None => std::future::pending().await,
    }
}
