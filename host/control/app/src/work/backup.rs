//! Backups: gathering what is stored into a snapshot, checking repositories, pruning them.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use canopy_backend::{Maintenance, Scope};
use canopy_backend_archive::{
    Access, ArchiveError, BackupScope, Gathering, Keep, Repository, compare, empty_dir, materialise,
};
use canopy_ids::{SnapshotId, TenantId};
use canopy_store::{Holding, Store};
use serde_json::{Value, json};
use tokio::runtime::Handle;

use super::{Job, blocking, result};
use crate::AppError;
use crate::backup::found;
use crate::upkeep::{Folders, UpkeepError};

/// What a snapshot is gathered from.
struct Sources {
    store: Store,
    storages: Vec<Arc<dyn Maintenance>>,
    keyring: canopy_backend_keys::Keyring,
    folders: Folders,
    stage: PathBuf,
}

pub(super) async fn back_up(
    job: &Job<'_>,
    scope: BackupScope,
    repository: PathBuf,
) -> Result<Value, AppError> {
    let id = match &job.row.scratch {
        None => {
            let id = SnapshotId::new();
            job.app.store.note_job(job.row.id, result(&id)?).await?;
            id
        }
        Some(note) => serde_json::from_value(note.clone())
            .map_err(|error| AppError::Internal(format!("a job's note: {error}")))?,
    };
    let holdings = job.app.store.holdings().await?;
    let holdings: Vec<_> = holdings
        .into_iter()
        .filter(|one| scope.covers(one.tenant, Some(one.installation)))
        .collect();
    let sources = Sources {
        store: job.app.store.clone(),
        storages: job.app.storages.clone(),
        keyring: job.app.upkeep.keyring.clone(),
        folders: job.app.upkeep.folders.clone(),
        stage: job.folder.clone(),
    };
    let progress = Arc::clone(job.progress);
    // One blocking thread does it all: cutting and hashing is most of the work, and what is
    // asynchronous in between is waited for there.
    let runtime = Handle::current();
    let snapshot = blocking(move || {
        let repository = Repository::open(&repository, Access::Write)?;
        match repository.snapshot(id) {
            // It was complete when a restart came, and that had not been written down yet.
            Ok(made) => return Ok(made),
            Err(ArchiveError::NoSnapshot(_)) => {}
            Err(error) => return Err(error.into()),
        }
        let mut gathering = Gathering::begin(&repository, id, scope.clone(), &progress)?;
        if scope == BackupScope::Node {
            progress.step("control database");
            sources.control(&mut gathering, &runtime)?;
        }
        sources.data(&mut gathering, &runtime, &holdings, &progress)?;
        if scope == BackupScope::Node {
            // After the database: every component that a row names is there.
            progress.step("components");
            gathering.tree("components/", &sources.folders.components)?;
        }
        progress.step("finishing");
        Ok(gathering.finish(env!("CARGO_PKG_VERSION"))?)
    })
    .await?;
    result(&json!({
        "snapshot": snapshot.id,
        "scope": snapshot.scope.to_string(),
        "files": snapshot.files.len(),
        "bytes": snapshot.bytes,
        "new_bytes": snapshot.new_bytes,
        "shared_bytes": snapshot.shared_bytes,
    }))
}

impl Sources {
    fn control(&self, gathering: &mut Gathering<'_>, runtime: &Handle) -> Result<(), UpkeepError> {
        empty_dir(&self.stage)?;
        let copy = self.stage.join("control.db");
        runtime
            .block_on(self.store.copy(copy.clone()))
            .map_err(|error| {
                let error = canopy_backend::StorageError::Failed(error.to_string());
                UpkeepError::storage("copying the control database")(error)
            })?;
        gathering.file("control/control.db", &copy)?;
        // Keys and whatever else lies beside it, but not the live database and its log.
        for name in plain_files(&self.folders.control)? {
            if !name.starts_with("control.db") {
                let source = self.folders.control.join(&name);
                gathering.file(&format!("control/{name}"), &source)?;
            }
        }
        for name in plain_files(&self.folders.storage)? {
            if name == "lock" {
                continue;
            }
            gathering.file(
                &format!("storage/{name}"),
                &self.folders.storage.join(&name),
            )?;
        }
        Ok(())
    }

    fn data(
        &self,
        gathering: &mut Gathering<'_>,
        runtime: &Handle,
        holdings: &[Holding],
        progress: &canopy_backend_archive::Progress,
    ) -> Result<(), UpkeepError> {
        let mut tenants: BTreeMap<TenantId, Vec<&Holding>> = BTreeMap::new();
        for holding in holdings {
            tenants.entry(holding.tenant).or_default().push(holding);
        }
        for (tenant, holdings) in tenants {
            for holding in holdings {
                let scope = Scope {
                    tenant,
                    installation: holding.installation,
                };
                let called = format!("{}/{}", holding.tenant_name, holding.name);
                progress.step(called.as_str());
                for storage in &self.storages {
                    progress.check()?;
                    empty_dir(&self.stage)?;
                    let kind = storage.kind().as_str();
                    runtime
                        .block_on(storage.copy(scope, &self.stage))
                        .map_err(UpkeepError::storage(format!("copying {kind} of {called}")))?;
                    gathering.tree(&format!("storage/{scope}/{kind}/"), &self.stage)?;
                }
            }
            // After the data, so that a rotation meanwhile leaves no file without its key.
            if let Some(wrapped) = self.keyring.wrapped(tenant)? {
                empty_dir(&self.stage)?;
                let copy = self.stage.join("key");
                fs::write(&copy, wrapped)
                    .map_err(|error| ArchiveError::io("writing", &copy, error))?;
                gathering.file(&format!("storage/{tenant}/key"), &copy)?;
            }
        }
        Ok(())
    }
}

/// The names of the regular files in a folder.
fn plain_files(folder: &std::path::Path) -> Result<Vec<String>, ArchiveError> {
    let failed = |error| ArchiveError::io("reading", folder, error);
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry.file_type().map_err(failed)?.is_file()
            && let Ok(name) = entry.file_name().into_string()
        {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Compares everything in a repository with its digests; of one snapshot, by restoring it to a
/// folder and reading that.
pub(super) async fn check(
    job: &Job<'_>,
    repository: PathBuf,
    snapshot: Option<SnapshotId>,
) -> Result<Value, AppError> {
    let (progress, folder) = (Arc::clone(job.progress), job.folder.join("restored"));
    let (report, differences) = blocking(move || {
        let repository = Repository::open(&repository, Access::Read)?;
        let Some(id) = snapshot else {
            progress.step("reading chunks");
            return Ok((repository.check(&progress)?, Vec::new()));
        };
        let snapshot = repository.snapshot(id)?;
        progress.step("restoring to a temporary folder");
        empty_dir(&folder)?;
        materialise(&repository, &snapshot, "", &folder, &progress)?;
        progress.step("comparing");
        let report = canopy_backend_archive::CheckReport {
            snapshots: 1,
            chunks: snapshot
                .files
                .iter()
                .map(|file| file.chunks.len() as u64)
                .sum(),
            bytes: snapshot.bytes,
            findings: Vec::new(),
        };
        Ok((report, compare(&snapshot, &folder)?))
    })
    .await?;
    let findings: Vec<_> = report
        .findings
        .into_iter()
        .map(found)
        .chain(differences.into_iter().map(|one| canopy_api_types::Found {
            place: one.path,
            what: one.what,
        }))
        .collect();
    result(&json!({
        "snapshots": report.snapshots,
        "chunks": report.chunks,
        "bytes": report.bytes,
        "findings": findings,
    }))
}

pub(super) async fn prune(
    repository: PathBuf,
    keep: Keep,
    dry_run: bool,
) -> Result<Value, AppError> {
    let pruned =
        blocking(move || Ok(Repository::open(&repository, Access::Write)?.prune(&keep, dry_run)?))
            .await?;
    result(&json!({
        "kept": pruned.kept,
        "removed": pruned.removed,
        "chunks": pruned.swept.chunks,
        "bytes": pruned.swept.bytes,
        "dry_run": dry_run,
    }))
}
