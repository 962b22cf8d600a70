//! Restoring: putting what installations stored back, whole or not at all.
//!
//! Everything is read and compared before anything is replaced, and what is replaced is copied
//! first: if one kind of storage cannot be restored, all get back what they had. What is replaced is
//! written down, so that a restore that a restart interrupts goes on with the same copies.

use std::path::PathBuf;
use std::sync::Arc;

use canopy_backend::{Maintenance, Scope};
use canopy_backend_archive::{
    Access, Named, Repository, Snapshot, empty_dir, materialise, read_file,
};
use canopy_ids::{InstallationId, SnapshotId, TenantId};
use canopy_store::Holding;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Job, blocking, cancelled, result};
use crate::AppError;
use crate::upkeep::UpkeepError;

/// One kind of storage of one installation, on its way back.
struct Part {
    storage: Arc<dyn Maintenance>,
    scope: Scope,
    called: String,
    /// What it is to have.
    new: PathBuf,
    /// What it has now.
    old: PathBuf,
}

/// What a restore writes down before it replaces anything.
#[derive(Serialize, Deserialize)]
struct Note {
    replacing: Vec<InstallationId>,
}

pub(super) async fn run(
    job: &Job<'_>,
    repository: PathBuf,
    snapshot: SnapshotId,
    tenant: Named<TenantId>,
    installation: Option<Named<InstallationId>>,
) -> Result<Value, AppError> {
    let holdings = job.app.store.holdings().await?;
    let wanted = |one: &Holding| {
        one.tenant == tenant.id
            && installation
                .as_ref()
                .is_none_or(|only| only.id == one.installation)
    };
    let here: Vec<_> = holdings.into_iter().filter(wanted).collect();
    let begun = begun(job, &here)?;
    match begun {
        None => restore(job, repository, snapshot, tenant.id, here).await,
        Some(parts) => {
            let restored = restore(job, repository, snapshot, tenant.id, here).await;
            if restored.is_err() {
                put_back(&parts).await;
            }
            restored
        }
    }
}

/// The parts whose replacing was begun before a restart.
fn begun(job: &Job<'_>, here: &[Holding]) -> Result<Option<Vec<Part>>, AppError> {
    let Some(note) = &job.row.scratch else {
        return Ok(None);
    };
    let Note { replacing } = serde_json::from_value(note.clone())
        .map_err(|error| AppError::Internal(format!("a job's note: {error}")))?;
    let concerned = here
        .iter()
        .filter(|one| replacing.contains(&one.installation));
    Ok(Some(parts(job, concerned)))
}

async fn restore(
    job: &Job<'_>,
    repository: PathBuf,
    snapshot: SnapshotId,
    tenant: TenantId,
    here: Vec<Holding>,
) -> Result<Value, AppError> {
    let path = repository.clone();
    let snapshot =
        blocking(move || Ok(Repository::open(&path, Access::Read)?.snapshot(snapshot)?)).await?;
    // What was made later was not there then; to empty it would destroy what no backup has.
    let (restored, later): (Vec<_>, Vec<_>) = here.into_iter().partition(|one| {
        one.created_at <= snapshot.taken_at
            || snapshot
                .below(&format!("storage/{}/{}/", one.tenant, one.installation))
                .next()
                .is_some()
    });
    let gone = gone(&snapshot, tenant, &restored);
    let parts = parts(job, restored.iter());
    prepare(job, repository, snapshot.clone(), tenant, &parts).await?;
    if job.row.scratch.is_none() {
        cancelled(job.progress)?;
        set_aside(job, &parts, &restored).await?;
    }
    replace(job, &parts).await?;
    let names = |holdings: &[Holding]| -> Vec<String> {
        holdings.iter().map(|one| one.name.to_string()).collect()
    };
    result(&json!({
        "snapshot": snapshot.id,
        "taken_at": snapshot
            .taken_at
            .format(&time::format_description::well_known::Rfc3339)
            .unwrap_or_default(),
        "restored": names(&restored),
        "left_alone": names(&later),
        "not_here_any_more": gone,
    }))
}

/// Installations that the snapshot has and the tenant has no more.
fn gone(snapshot: &Snapshot, tenant: TenantId, here: &[Holding]) -> Vec<String> {
    let mut ids: Vec<String> = snapshot
        .below(&format!("storage/{tenant}/"))
        .filter_map(|(rest, _)| rest.split_once('/').map(|(id, _)| id.to_owned()))
        .filter(|id| !here.iter().any(|one| one.installation.to_string() == *id))
        .collect();
    ids.dedup();
    ids
}

/// Every kind of storage of the installations, and where in the job's folder its files are.
fn parts<'a>(job: &Job<'_>, holdings: impl Iterator<Item = &'a Holding>) -> Vec<Part> {
    let mut parts = Vec::new();
    for holding in holdings {
        let scope = Scope {
            tenant: holding.tenant,
            installation: holding.installation,
        };
        for storage in &job.app.storages {
            let place = |side: &str| {
                let kind = storage.kind().as_str();
                job.folder
                    .join(side)
                    .join(holding.installation.to_string())
                    .join(kind)
            };
            parts.push(Part {
                storage: Arc::clone(storage),
                scope,
                called: format!("{} of {}", storage.kind().as_str(), holding.name),
                new: place("new"),
                old: place("old"),
            });
        }
    }
    parts
}

/// Writes what is to be restored to folders, and reads every key that it needs.
async fn prepare(
    job: &Job<'_>,
    repository: PathBuf,
    snapshot: Snapshot,
    tenant: TenantId,
    parts: &[Part],
) -> Result<(), AppError> {
    let places: Vec<_> = parts
        .iter()
        .map(|part| {
            let kind = part.storage.kind().as_str();
            (format!("storage/{}/{kind}/", part.scope), part.new.clone())
        })
        .collect();
    let progress = Arc::clone(job.progress);
    let keyring = job.app.upkeep.keyring.clone();
    let concerned = !parts.is_empty();
    blocking(move || {
        let repository = Repository::open(&repository, Access::Read)?;
        progress.step("reading the backup");
        for (prefix, into) in places {
            empty_dir(&into)?;
            materialise(&repository, &snapshot, &prefix, &into, &progress)?;
        }
        if concerned {
            // A rotation since then may have left versions behind that these files need.
            let path = format!("storage/{tenant}/key");
            if let Some(wrapped) = read_file(&repository, &snapshot, &path)? {
                keyring.adopt(tenant, &wrapped)?;
            }
        }
        Ok(())
    })
    .await
}

/// Copies what is about to be replaced, and writes down that it is.
async fn set_aside(job: &Job<'_>, parts: &[Part], restored: &[Holding]) -> Result<(), AppError> {
    job.progress.step("copying what is there now");
    for part in parts {
        empty_dir(&part.old).map_err(UpkeepError::from)?;
        part.storage
            .copy(part.scope, &part.old)
            .await
            .map_err(UpkeepError::storage(format!("copying {}", part.called)))?;
    }
    let replacing = restored.iter().map(|one| one.installation).collect();
    let note = result(&Note { replacing })?;
    Ok(job.app.store.note_job(job.row.id, note).await?)
}

/// Replaces what is stored, part by part; on an error, all that was replaced comes back.
async fn replace(job: &Job<'_>, parts: &[Part]) -> Result<(), AppError> {
    for part in parts {
        job.progress.step(format!("restoring {}", part.called));
        let Err(error) = part.storage.restore(part.scope, &part.new).await else {
            continue;
        };
        if job.row.scratch.is_none() {
            put_back(parts).await;
        }
        return Err(UpkeepError::storage(format!("restoring {}", part.called))(error).into());
    }
    Ok(())
}

/// Gives every part what it had, also one whose replacing failed: nobody knows how far it came.
async fn put_back(parts: &[Part]) {
    for part in parts {
        if let Err(error) = part.storage.restore(part.scope, &part.old).await {
            tracing::error!(%error, part = %part.called, "what was there could not be put back");
        }
    }
}
