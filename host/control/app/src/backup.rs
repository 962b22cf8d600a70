//! Backups: making, listing, checking and pruning them, and restoring from them.

use canopy_api_types::{
    Backup, BackupCheck, BackupCreate, BackupList, BackupPrune, Found, Job, RestoreCreate,
};
use canopy_backend_archive::{Access, BackupScope, Keep, Named, Repository, Snapshot};
use canopy_ids::{Label, SnapshotId};
use time::OffsetDateTime;

use crate::upkeep::{self, UpkeepError};
use crate::work::{self, Work};
use crate::{Action, App, AppError, Context, Resource};

impl App {
    /// Begins a backup.
    pub async fn create_backup(
        &self,
        context: &Context,
        create: BackupCreate,
    ) -> Result<Job, AppError> {
        context.authorize(Action::Write, Resource::Platform)?;
        let scope = match (create.tenant.clone(), create.installation) {
            (None, None) => BackupScope::Node,
            (None, Some(_)) => {
                let message = "needs the tenant that it belongs to";
                return Err(AppError::field("installation", message));
            }
            (Some(tenant), installation) => {
                let tenant = self.named_tenant(tenant).await?;
                match installation {
                    None => BackupScope::Tenant { tenant },
                    Some(name) => {
                        let row = self.store.installation(tenant.id, name).await?;
                        BackupScope::Installation {
                            tenant,
                            installation: Named {
                                id: row.id,
                                name: row.name,
                            },
                        }
                    }
                }
            }
        };
        let repository = upkeep::repository(create.repository.as_deref(), self.upkeep_settings())?;
        let work = Work::Backup { scope, repository };
        self.begin_work(context, create.tenant, &work).await
    }

    /// The snapshots of a repository.
    pub async fn backups(
        &self,
        context: &Context,
        repository: Option<&str>,
    ) -> Result<BackupList, AppError> {
        context.authorize(Action::Read, Resource::Platform)?;
        let path = upkeep::repository(repository, self.upkeep_settings())?;
        let shown = path.display().to_string();
        let (snapshots, damaged) =
            work::blocking(move || Ok(Repository::open(&path, Access::Read)?.snapshots()?)).await?;
        Ok(BackupList {
            repository: shown,
            items: snapshots.iter().map(backup).collect(),
            damaged: damaged.into_iter().map(found).collect(),
        })
    }

    /// One snapshot.
    pub async fn backup(
        &self,
        context: &Context,
        id: SnapshotId,
        repository: Option<&str>,
    ) -> Result<Backup, AppError> {
        context.authorize(Action::Read, Resource::Platform)?;
        let path = upkeep::repository(repository, self.upkeep_settings())?;
        let snapshot =
            work::blocking(move || Ok(Repository::open(&path, Access::Read)?.snapshot(id)?))
                .await?;
        Ok(backup(&snapshot))
    }

    /// Begins a check of a repository, or the restoring of a snapshot to a temporary folder.
    pub async fn check_backups(
        &self,
        context: &Context,
        check: BackupCheck,
    ) -> Result<Job, AppError> {
        context.authorize(Action::Write, Resource::Platform)?;
        let repository = upkeep::repository(check.repository.as_deref(), self.upkeep_settings())?;
        let work = Work::BackupCheck {
            repository,
            snapshot: check.snapshot,
        };
        self.begin_work(context, None, &work).await
    }

    /// Begins the removal of snapshots that are not to be kept.
    pub async fn prune_backups(
        &self,
        context: &Context,
        prune: BackupPrune,
    ) -> Result<Job, AppError> {
        context.authorize(Action::Delete, Resource::Platform)?;
        let settings = self.upkeep_settings();
        let repository = upkeep::repository(prune.repository.as_deref(), settings)?;
        let asked = [
            prune.keep_last,
            prune.keep_daily,
            prune.keep_weekly,
            prune.keep_monthly,
        ];
        // Who names one count means his own policy, not a mixture with the node's.
        let keep = if asked.iter().any(Option::is_some) {
            Keep {
                last: prune.keep_last.unwrap_or(0),
                daily: prune.keep_daily.unwrap_or(0),
                weekly: prune.keep_weekly.unwrap_or(0),
                monthly: prune.keep_monthly.unwrap_or(0),
            }
        } else {
            settings.keep
        };
        if keep.is_nothing() {
            return Err(UpkeepError::KeepsNothing.into());
        }
        let work = Work::BackupPrune {
            repository,
            last: keep.last,
            daily: keep.daily,
            weekly: keep.weekly,
            monthly: keep.monthly,
            dry_run: prune.dry_run,
        };
        self.begin_work(context, None, &work).await
    }

    /// Begins to put back what a tenant or an installation stored.
    pub async fn restore(
        &self,
        context: &Context,
        restore: RestoreCreate,
    ) -> Result<Job, AppError> {
        context.authorize(Action::Write, Resource::Platform)?;
        let repository = upkeep::repository(restore.repository.as_deref(), self.upkeep_settings())?;
        let tenant = self.named_tenant(restore.tenant.clone()).await?;
        let installation = match restore.installation {
            None => None,
            Some(name) => {
                let row = self.store.installation(tenant.id, name).await?;
                Some(Named {
                    id: row.id,
                    name: row.name,
                })
            }
        };
        let (path, wanted) = (
            repository.clone(),
            (tenant.id, installation.as_ref().map(|i| i.id)),
        );
        let (snapshot, before) = (restore.snapshot, restore.before);
        let snapshot = work::blocking(move || {
            let repository = Repository::open(&path, Access::Read)?;
            Ok(match snapshot {
                Some(id) => Some(repository.snapshot(id)?),
                None => {
                    let before = before.unwrap_or_else(OffsetDateTime::now_utc);
                    repository.newest(wanted.0, wanted.1, before)?
                }
            })
        })
        .await?;
        let what = match &installation {
            Some(installation) => format!("installation `{}`", installation.name),
            None => format!("tenant `{}`", tenant.name),
        };
        let has_it = |snapshot: &Snapshot| snapshot.scope.covers(wanted.0, wanted.1);
        let snapshot = snapshot
            .filter(has_it)
            .ok_or(UpkeepError::NothingToRestore { what })?;
        let work = Work::Restore {
            repository,
            snapshot: snapshot.id,
            tenant,
            installation,
        };
        self.begin_work(context, Some(restore.tenant), &work).await
    }

    pub(crate) async fn named_tenant(
        &self,
        name: Label,
    ) -> Result<Named<canopy_ids::TenantId>, AppError> {
        let row = self.store.tenant(name).await?;
        Ok(Named {
            id: row.id,
            name: row.name,
        })
    }
}

fn backup(snapshot: &Snapshot) -> Backup {
    let (scope, tenant, installation) = match &snapshot.scope {
        BackupScope::Node => ("node", None, None),
        BackupScope::Tenant { tenant } => ("tenant", Some(tenant.name.clone()), None),
        BackupScope::Installation {
            tenant,
            installation,
        } => (
            "installation",
            Some(tenant.name.clone()),
            Some(installation.name.clone()),
        ),
    };
    Backup {
        id: snapshot.id,
        scope: scope.into(),
        tenant,
        installation,
        taken_at: snapshot.taken_at,
        finished_at: snapshot.finished_at,
        made_by: snapshot.made_by.clone(),
        files: snapshot.files.len() as u64,
        bytes: snapshot.bytes,
        new_bytes: snapshot.new_bytes,
        shared_bytes: snapshot.shared_bytes,
    }
}

pub(crate) fn found(finding: canopy_backend::Finding) -> Found {
    Found {
        place: finding.place,
        what: finding.what,
    }
}
