//! The work of jobs, and the task that does it: one job after the other, each written down before
//! it begins and crossed out when it has ended.
//!
//! A job that a restart interrupts begins again. So each kind of work can be begun any number of
//! times, and what it has written down for itself tells it what an earlier beginning left behind.

mod backup;
mod check;
pub(crate) mod erase;
mod export;
mod import;
mod planned;
mod restore;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use canopy_backend::Portable;
use canopy_backend_archive::{ArchiveError, BackupScope, Named, Progress};
use canopy_backend_keys::Keyring;
use canopy_ids::{
    ErasureId, ExportId, ImportId, InstallationId, JobId, Label, SnapshotId, TenantId,
};
use canopy_store::{JobError, JobOutcome, JobProgress, JobRow, NewJob, StoreError};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::app::Inner;
use crate::upkeep::{Folders, UpkeepError, UpkeepSettings};
use crate::{App, AppError};
use planned::Planned;

/// How often archives and jobs that have expired are removed, at least.
const TIDY: Duration = Duration::from_secs(60);

/// What a job is to do.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub(crate) enum Work {
    Backup {
        scope: BackupScope,
        repository: PathBuf,
    },
    BackupCheck {
        repository: PathBuf,
        snapshot: Option<SnapshotId>,
    },
    BackupPrune {
        repository: PathBuf,
        last: usize,
        daily: usize,
        weekly: usize,
        monthly: usize,
        dry_run: bool,
    },
    Restore {
        repository: PathBuf,
        snapshot: SnapshotId,
        tenant: Named<TenantId>,
        installation: Option<Named<InstallationId>>,
    },
    Export {
        tenant: Named<TenantId>,
        export: ExportId,
    },
    Import {
        import: ImportId,
        name: Option<Label>,
    },
    Erase {
        tenant: Named<TenantId>,
        erasure: ErasureId,
        requested_by: String,
        #[serde(with = "time::serde::rfc3339")]
        requested_at: OffsetDateTime,
    },
    RotateKey {
        tenant: Named<TenantId>,
    },
    Check {
        tenant: Named<TenantId>,
    },
}

impl Work {
    /// This as a job that nobody has begun.
    pub(crate) fn job(
        &self,
        requested_by: String,
        tenant: Option<Label>,
        not_before: OffsetDateTime,
    ) -> Result<NewJob, AppError> {
        let request = serde_json::to_value(self)
            .map_err(|error| AppError::Internal(format!("a job as JSON: {error}")))?;
        Ok(NewJob {
            id: JobId::new(),
            kind: self.kind(),
            tenant,
            request,
            requested_by,
            not_before,
        })
    }

    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Backup { .. } => "backup",
            Self::BackupCheck { .. } => "backup-check",
            Self::BackupPrune { .. } => "backup-prune",
            Self::Restore { .. } => "restore",
            Self::Export { .. } => "export",
            Self::Import { .. } => "import",
            Self::Erase { .. } => "erase",
            Self::RotateKey { .. } => "rotate-key",
            Self::Check { .. } => "check",
        }
    }
}

/// What upkeep works with, and the job that is under way.
pub(crate) struct Upkeep {
    keyring: Keyring,
    portables: Vec<Arc<dyn Portable>>,
    folders: Folders,
    wake: Notify,
    running: Mutex<Option<(JobId, Arc<Progress>)>>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Upkeep {
    pub(crate) fn new(
        keyring: Keyring,
        portables: Vec<Arc<dyn Portable>>,
        folders: Folders,
    ) -> Self {
        Self {
            keyring,
            portables,
            folders,
            wake: Notify::new(),
            running: Mutex::default(),
            task: Mutex::default(),
        }
    }

    pub(crate) fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    pub(crate) fn folders(&self) -> &Folders {
        &self.folders
    }

    /// How far the job `id` is, if it is under way.
    pub(crate) fn progress(&self, id: JobId) -> Option<Arc<Progress>> {
        let running = self.running.lock();
        running
            .as_ref()
            .filter(|(running, _)| *running == id)
            .map(|(_, progress)| Arc::clone(progress))
    }

    /// Tells the task that there is something to do.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Ends the task. The job that is under way begins again at the next start.
    pub(crate) async fn close(&self) {
        let task = self.task.lock().take();
        if let Some(task) = task {
            task.abort();
            if let Some((_, progress)) = self.running.lock().as_ref() {
                progress.cancel();
            }
            // It ends as cancelled, as it should.
            let _ = task.await;
        }
    }
}

impl Drop for Upkeep {
    fn drop(&mut self) {
        if let Some(task) = self.task.get_mut() {
            task.abort();
        }
    }
}

impl App {
    pub(crate) fn upkeep_settings(&self) -> &UpkeepSettings {
        &self.settings.upkeep
    }

    /// Takes up what an earlier process left unfinished, and starts the task.
    pub(crate) async fn start_upkeep(&self) -> Result<(), AppError> {
        let folders = self.upkeep.folders();
        canopy_backend::files::create_dir(&folders.archives)
            .map_err(|error| ArchiveError::io("making", &folders.archives, error))
            .map_err(UpkeepError::from)?;
        let again = self.store.requeue_jobs().await?;
        let going_on = self.store.noted_jobs().await?;
        clear_work(&folders.work, &going_on).map_err(UpkeepError::from)?;
        if again > 0 {
            tracing::info!(jobs = again, "jobs that were interrupted begin again");
        }
        let task = tokio::spawn(run(self.downgrade()));
        *self.upkeep.task.lock() = Some(task);
        Ok(())
    }
}

/// Removes what jobs left in their folders, except those that go on.
fn clear_work(work: &Path, going_on: &[JobId]) -> Result<(), ArchiveError> {
    canopy_backend::files::create_dir(work)
        .map_err(|error| ArchiveError::io("making", work, error))?;
    let cleared = || -> std::io::Result<()> {
        for entry in std::fs::read_dir(work)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            if going_on.iter().any(|id| name == Some(&id.to_string())) {
                continue;
            }
            match path.is_dir() {
                true => std::fs::remove_dir_all(&path)?,
                false => std::fs::remove_file(&path)?,
            }
        }
        Ok(())
    };
    cleared().map_err(|error| ArchiveError::io("clearing", work, error))
}

/// Does jobs until the control plane is gone.
async fn run(app: Weak<Inner>) {
    let mut planned = match App::upgrade(&app) {
        Some(strong) => Planned::of(&strong).await,
        None => return,
    };
    loop {
        let Some(strong) = App::upgrade(&app) else {
            return;
        };
        if let Err(error) = tidy(&strong).await {
            tracing::warn!(%error, "what has expired could not be removed");
        }
        if let Err(error) = planned.begin_if_due(&strong).await {
            tracing::error!(%error, "a backup whose time has come could not be begun");
        }
        let wait = match strong.store.begin_job().await {
            Ok(Ok(row)) => {
                perform(&strong, row).await;
                continue;
            }
            Ok(Err(None)) => TIDY,
            Ok(Err(Some(at))) => until(at).min(TIDY),
            Err(StoreError::Closed) => return,
            Err(error) => {
                tracing::error!(%error, "the next job could not be begun");
                TIDY
            }
        };
        let wait = planned.next().map_or(wait, |at| wait.min(until(at)));
        let woken = strong.upkeep.wake.notified();
        // Timed out or woken, it looks again.
        let _ = tokio::time::timeout(wait, woken).await;
    }
}

fn until(at: OffsetDateTime) -> Duration {
    Duration::try_from(at - OffsetDateTime::now_utc()).unwrap_or_default()
}

/// Removes archives that nobody fetched or finished, and jobs that ended long ago.
async fn tidy(app: &App) -> Result<(), AppError> {
    let now = OffsetDateTime::now_utc();
    for archive in app.store.archives().await? {
        if archive.expires_at < now {
            app.drop_archive(&archive.id).await?;
        }
    }
    let before = now - app.upkeep_settings().jobs_kept;
    app.store.forget_jobs(before).await?;
    Ok(())
}

/// Does one job and writes down how it ended.
async fn perform(app: &App, row: JobRow) {
    let progress = Arc::new(Progress::default());
    *app.upkeep.running.lock() = Some((row.id, Arc::clone(&progress)));
    tracing::info!(job = %row.id, kind = row.kind, "a job begins");
    let (id, kind) = (row.id, row.kind.clone());
    let ended = dispatch(app, row, &progress).await;
    let folder = app.upkeep.folders.work.join(id.to_string());
    if let Err(error) = std::fs::remove_dir_all(&folder)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(%error, folder = %folder.display(), "a job's folder could not be removed");
    }
    let outcome = match ended {
        Ok(result) => {
            tracing::info!(job = %id, kind, "a job is done");
            JobOutcome::Done(result)
        }
        Err(AppError::Upkeep(error)) if error.is_cancelled() && progress.is_cancelled() => {
            tracing::info!(job = %id, kind, "a job was taken back");
            JobOutcome::Cancelled
        }
        Err(error) => {
            tracing::error!(job = %id, kind, %error, "a job failed");
            JobOutcome::Failed(failure(&error))
        }
    };
    if let Err(error) = app.store.finish_job(id, counted(&progress), outcome).await {
        tracing::error!(job = %id, %error, "that a job has ended could not be written down");
    }
    *app.upkeep.running.lock() = None;
}

async fn dispatch(app: &App, row: JobRow, progress: &Arc<Progress>) -> Result<Value, AppError> {
    let work: Work = serde_json::from_value(row.request.clone())
        .map_err(|error| AppError::Internal(format!("job {}: {error}", row.id)))?;
    let job = Job {
        app,
        row: &row,
        progress,
        folder: app.upkeep.folders.work.join(row.id.to_string()),
    };
    match work {
        Work::Backup { scope, repository } => backup::back_up(&job, scope, repository).await,
        Work::BackupCheck {
            repository,
            snapshot,
        } => backup::check(&job, repository, snapshot).await,
        Work::BackupPrune {
            repository,
            last,
            daily,
            weekly,
            monthly,
            dry_run,
        } => {
            let keep = canopy_backend_archive::Keep {
                last,
                daily,
                weekly,
                monthly,
            };
            backup::prune(repository, keep, dry_run).await
        }
        Work::Restore {
            repository,
            snapshot,
            tenant,
            installation,
        } => restore::run(&job, repository, snapshot, tenant, installation).await,
        Work::Export { tenant, export } => export::run(&job, tenant, export).await,
        Work::Import { import, name } => import::run(&job, import, name).await,
        Work::Erase {
            tenant,
            erasure,
            requested_by,
            requested_at,
        } => erase::run(&job, tenant, erasure, requested_by, requested_at).await,
        Work::RotateKey { tenant } => check::rotate(&job, tenant).await,
        Work::Check { tenant } => check::run(&job, tenant).await,
    }
}

/// A job, as the work sees it.
struct Job<'a> {
    app: &'a App,
    row: &'a JobRow,
    progress: &'a Arc<Progress>,
    /// For what is needed meanwhile; removed at the end.
    folder: PathBuf,
}

/// How far it is, to be written down.
pub(crate) fn counted(progress: &Progress) -> JobProgress {
    let (bytes_done, bytes_total) = progress.byte_counts();
    let (items_done, items_total) = progress.item_counts();
    JobProgress {
        step: progress.current_step(),
        bytes_done,
        bytes_total,
        items_done,
        items_total,
    }
}

fn failure(error: &AppError) -> JobError {
    let code = match error {
        AppError::Upkeep(error) => error.code(),
        AppError::Store(StoreError::NotFound { .. }) => "not-found",
        AppError::Store(StoreError::Full) => "disk-full",
        AppError::Store(StoreError::UnknownPlan { .. }) => "unknown-plan",
        AppError::InvalidField { .. } => "invalid-field",
        _ => "internal",
    };
    JobError {
        code: code.into(),
        message: error.to_string(),
    }
}

/// Runs what waits for the disk.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, UpkeepError> + Send + 'static,
) -> Result<T, AppError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => Ok(outcome?),
        Err(error) => Err(AppError::Internal(format!("work on files ended: {error}"))),
    }
}

/// What came of a job, as JSON.
fn result(value: &impl Serialize) -> Result<Value, AppError> {
    serde_json::to_value(value)
        .map_err(|error| AppError::Internal(format!("a job's result as JSON: {error}")))
}

fn cancelled(progress: &Progress) -> Result<(), AppError> {
    progress
        .check()
        .map_err(|error: ArchiveError| UpkeepError::from(error).into())
}
