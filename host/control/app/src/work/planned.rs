//! Backups of the node that nobody asks for: they come by the timetable of the settings.

use std::path::Path;

use canopy_backend_archive::{Access, BackupScope, Keep, Repository};
use canopy_store::NewJob;
use time::OffsetDateTime;

use super::{Work, blocking};
use crate::upkeep::{PlannedBackups, UpkeepError};
use crate::{App, AppError};

/// Who asked for such a backup, in the list of jobs.
const REQUESTED_BY: &str = "backup.schedule";

/// When the next one is due.
pub(super) struct Planned {
    backups: Option<PlannedBackups>,
    /// The next one comes first after this, in seconds since 1970.
    since: i64,
}

impl Planned {
    /// Goes on after the last snapshot of the node: a time that came while the node was not there is
    /// made up for.
    pub(super) async fn of(app: &App) -> Self {
        let backups = app.upkeep_settings().planned_backups.clone();
        let mut since = now();
        if let Some(PlannedBackups { repository, .. }) = backups.clone() {
            match blocking(move || last(&repository)).await {
                Ok(last) => since = last.unwrap_or(since),
                Err(error) => tracing::error!(%error, "the last backup is not known"),
            }
        }
        Self { backups, since }
    }

    /// When the next one comes.
    pub(super) fn next(&self) -> Option<OffsetDateTime> {
        let next = self.backups.as_ref()?.timetable.next_after(self.since)?;
        OffsetDateTime::from_unix_timestamp(next).ok()
    }

    /// Begins the one whose time has come: one for however many times have passed. One that fails is
    /// made at the next time.
    pub(super) async fn begin_if_due(&mut self, app: &App) -> Result<(), AppError> {
        let due = self
            .next()
            .is_some_and(|next| next.unix_timestamp() <= now());
        let Some(backups) = self.backups.as_ref().filter(|_| due) else {
            return Ok(());
        };
        let repository = backups.repository.clone();
        let backup = Work::Backup {
            scope: BackupScope::Node,
            repository: repository.clone(),
        };
        app.store.create_job(planned(&backup)?).await?;
        self.since = now();
        let keep = app.upkeep_settings().keep;
        if backups.prune && !keep.is_nothing() {
            let Keep {
                last,
                daily,
                weekly,
                monthly,
            } = keep;
            let prune = Work::BackupPrune {
                repository,
                last,
                daily,
                weekly,
                monthly,
                dry_run: false,
            };
            app.store.create_job(planned(&prune)?).await?;
        }
        Ok(())
    }
}

fn planned(work: &Work) -> Result<NewJob, AppError> {
    work.job(REQUESTED_BY.into(), None, OffsetDateTime::now_utc())
}

fn now() -> i64 {
    OffsetDateTime::now_utc().unix_timestamp()
}

/// When the newest snapshot of the node was taken, in seconds since 1970.
fn last(repository: &Path) -> Result<Option<i64>, UpkeepError> {
    if !repository.join("repository.json").exists() {
        return Ok(None);
    }
    let (snapshots, _) = Repository::open(repository, Access::Read)?.snapshots()?;
    let mut of_the_node = snapshots
        .iter()
        .rev()
        .filter(|one| one.scope == BackupScope::Node);
    Ok(of_the_node.next().map(|one| one.taken_at.unix_timestamp()))
}

#[cfg(test)]
mod tests {
    use canopy_backend_archive::{Gathering, Named, Progress};
    use canopy_ids::{SnapshotId, TenantId};

    use super::*;

    #[test]
    fn it_goes_on_after_the_nodes_own_last_snapshot() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("backups");
        assert_eq!(last(&path).expect("no repository"), None);
        let snapshot = |scope| {
            let repository = Repository::open(&path, Access::Write).expect("opened");
            let progress = Progress::default();
            let begun = Gathering::begin(&repository, SnapshotId::new(), scope, &progress);
            begun.expect("begun").finish("test").expect("made").taken_at
        };
        let tenant = || BackupScope::Tenant {
            tenant: Named {
                id: TenantId::new(),
                name: "acme".parse().expect("a name"),
            },
        };
        snapshot(tenant());
        assert_eq!(last(&path).expect("a tenant's alone"), None);
        let taken = snapshot(BackupScope::Node).unix_timestamp();
        snapshot(tenant());
        assert_eq!(last(&path).expect("read"), Some(taken));
    }

    #[test]
    fn a_time_that_passed_since_is_due_and_one_to_come_is_not() {
        let planned = |since| Planned {
            backups: Some(PlannedBackups {
                timetable: canopy_manifest::Timetable::new("0 3 * * *", "UTC").expect("nightly"),
                repository: "backups".into(),
                prune: true,
            }),
            since,
        };
        // At three in the morning of the second day of 1970, whether it is asked before or after.
        let next = planned(4 * 3600).next().expect("it comes again");
        assert_eq!(next.unix_timestamp(), 27 * 3600);
        assert!(planned(0).next().expect("long ago") < OffsetDateTime::now_utc());
        assert!(planned(now()).next().expect("it comes") > OffsetDateTime::now_utc());
        let none = Planned {
            backups: None,
            since: 0,
        };
        assert_eq!(none.next(), None);
    }
}
