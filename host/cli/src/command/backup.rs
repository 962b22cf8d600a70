//! `canopy backup` and `canopy restore`: snapshots of what is stored, and the way back.

use std::path::PathBuf;

use canopy_api_types::{
    Backup as Noun, BackupCheck, BackupCreate, BackupList, BackupPrune, Job, RestoreCreate,
};
use canopy_ids::{Label, SnapshotId};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::job::{self, Waiting};
use crate::ui::{bytes, fields, moment, table};
use crate::{Context, Error};

/// Make, check and prune backups
#[derive(Debug, clap::Subcommand)]
pub enum Backup {
    /// Back up the node, a tenant or an installation, while everything goes on
    Create {
        /// Only this tenant
        #[arg(long, short)]
        tenant: Option<Label>,
        /// Only this installation of the tenant
        #[arg(long, short, requires = "tenant")]
        installation: Option<Label>,
        #[command(flatten)]
        repository: RepositoryArg,
        #[command(flatten)]
        waiting: Waiting,
    },
    /// List the snapshots, the oldest first
    List {
        #[command(flatten)]
        repository: RepositoryArg,
    },
    /// Show one snapshot
    Show {
        /// Its id
        snapshot: SnapshotId,
        #[command(flatten)]
        repository: RepositoryArg,
    },
    /// Read everything in the repository and compare it with its digests
    Check {
        #[command(flatten)]
        repository: RepositoryArg,
        #[command(flatten)]
        waiting: Waiting,
    },
    /// Restore a snapshot to a temporary folder and compare every file
    Verify {
        /// Its id
        snapshot: SnapshotId,
        #[command(flatten)]
        repository: RepositoryArg,
        #[command(flatten)]
        waiting: Waiting,
    },
    /// Remove snapshots that are not to be kept, and what only they need
    ///
    /// Without any --keep option, the node's settings `backup.keep_…` decide.
    Prune {
        #[command(flatten)]
        repository: RepositoryArg,
        /// Only say what would go
        #[arg(long)]
        dry_run: bool,
        /// Newest snapshots to keep of each scope
        #[arg(long, value_name = "N")]
        keep_last: Option<usize>,
        /// Days of which to keep the newest
        #[arg(long, value_name = "N")]
        keep_daily: Option<usize>,
        /// Weeks of which to keep the newest
        #[arg(long, value_name = "N")]
        keep_weekly: Option<usize>,
        /// Months of which to keep the newest
        #[arg(long, value_name = "N")]
        keep_monthly: Option<usize>,
        #[command(flatten)]
        waiting: Waiting,
    },
}

/// Where the backups are.
#[derive(Debug, Clone, clap::Args)]
pub struct RepositoryArg {
    /// Folder of the repository on the node [default: its setting `backup.dir`]
    #[arg(long, short, value_name = "DIR")]
    repository: Option<String>,
}

impl RepositoryArg {
    fn query(&self) -> Vec<(&'static str, String)> {
        let repository = self.repository.clone();
        repository
            .map(|path| ("repository", path))
            .into_iter()
            .collect()
    }
}

/// Put back what a tenant or an installation stored, or a whole node
///
/// With --tenant, a running node does it: what the installations store now is replaced, whole or
/// not at all. A point in time means the newest snapshot that was taken before: what was written
/// between that snapshot and the point is not in it.
///
/// With --data-dir, a whole node is written to an empty folder, without any node. The operator's
/// key is not in a backup: put it where the new node looks for it.
#[derive(Debug, clap::Args)]
pub struct Restore {
    /// The tenant whose data comes back
    #[arg(long, short, required_unless_present = "data_dir")]
    tenant: Option<Label>,
    /// Only this installation
    #[arg(long, short, requires = "tenant")]
    installation: Option<Label>,
    /// This snapshot [default: the newest that has it]
    #[arg(long, conflicts_with = "before")]
    pub snapshot: Option<SnapshotId>,
    /// The newest snapshot that was taken before this point in time, as in 2026-11-23T18:00:00Z
    #[arg(long, value_name = "TIME", value_parser = point)]
    pub before: Option<OffsetDateTime>,
    #[command(flatten)]
    repository: RepositoryArg,
    /// Folder to restore a whole node to; it must be empty or missing
    #[arg(long, value_name = "DIR", requires = "from", conflicts_with_all = ["tenant", "repository"])]
    pub data_dir: Option<PathBuf>,
    /// The repository to restore a whole node from
    #[arg(long, value_name = "DIR", requires = "data_dir")]
    pub from: Option<PathBuf>,
    /// Do it; without this, only say what would be replaced
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    waiting: Waiting,
}

fn point(text: &str) -> Result<OffsetDateTime, String> {
    OffsetDateTime::parse(text, &Rfc3339)
        .map_err(|_| "write it as 2026-11-23T18:00:00Z, or with an offset as +01:00".into())
}

impl Backup {
    pub(super) async fn run(self, context: &Context) -> Result<(), Error> {
        let client = context.client()?;
        match self {
            Self::Create {
                tenant,
                installation,
                repository,
                waiting,
            } => {
                let body = BackupCreate {
                    tenant,
                    installation,
                    repository: repository.repository,
                };
                let job: Job = client.post(&["backups"], &body).await?;
                job::finish(context, &client, job, waiting, |job| {
                    format!(
                        "Snapshot {} of the {}: {} files, {} ({} new, {} shared).",
                        job::outcome(job, "snapshot"),
                        job::outcome(job, "scope"),
                        job::number(job, "files"),
                        bytes(job::number(job, "bytes")),
                        bytes(job::number(job, "new_bytes")),
                        bytes(job::number(job, "shared_bytes")),
                    )
                })
                .await?;
            }
            Self::List { repository } => {
                let list: BackupList = client.query(&["backups"], &repository.query()).await?;
                for damaged in &list.damaged {
                    let (place, what) = (&damaged.place, &damaged.what);
                    context.ui.warn(format_args!("{place} is damaged: {what}"));
                }
                context.ui.result(&list, |list| {
                    let none = "No snapshots. Make one with `canopy backup create`.";
                    let rows = list.items.iter().map(|one| {
                        [
                            one.id.to_string(),
                            scope(one),
                            moment(one.taken_at),
                            bytes(one.bytes),
                            bytes(one.new_bytes),
                        ]
                    });
                    table(none, ["id", "of", "taken", "size", "new"], rows)
                });
            }
            Self::Show {
                snapshot,
                repository,
            } => {
                let path = ["backups", &snapshot.to_string()];
                let backup: Noun = client.query(&path, &repository.query()).await?;
                context.ui.result(&backup, describe);
            }
            Self::Check {
                repository,
                waiting,
            } => {
                let body = BackupCheck {
                    repository: repository.repository,
                    snapshot: None,
                };
                check(context, &client, body, waiting).await?;
            }
            Self::Verify {
                snapshot,
                repository,
                waiting,
            } => {
                let body = BackupCheck {
                    repository: repository.repository,
                    snapshot: Some(snapshot),
                };
                check(context, &client, body, waiting).await?;
            }
            Self::Prune {
                repository,
                dry_run,
                keep_last,
                keep_daily,
                keep_weekly,
                keep_monthly,
                waiting,
            } => {
                let body = BackupPrune {
                    repository: repository.repository,
                    dry_run,
                    keep_last,
                    keep_daily,
                    keep_weekly,
                    keep_monthly,
                };
                let job: Job = client.post(&["backups", "prune"], &body).await?;
                job::finish(context, &client, job, waiting, |job| {
                    let count = |member: &str| {
                        let list = job.result.as_ref().and_then(|result| result.get(member));
                        list.and_then(|list| list.as_array()).map_or(0, Vec::len)
                    };
                    format!(
                        "{} {} snapshots and {} ({} chunks); {} stay.",
                        if dry_run { "Would remove" } else { "Removed" },
                        count("removed"),
                        bytes(job::number(job, "bytes")),
                        job::number(job, "chunks"),
                        count("kept"),
                    )
                })
                .await?;
            }
        }
        Ok(())
    }
}

async fn check(
    context: &Context,
    client: &crate::client::Client,
    body: BackupCheck,
    waiting: Waiting,
) -> Result<(), Error> {
    let job: Job = client.post(&["backups", "check"], &body).await?;
    let mut outcome = Ok(());
    job::finish(context, client, job, waiting, |job| {
        outcome = job::findings(job);
        format!(
            "Read {} in {} chunks of {} snapshots.",
            bytes(job::number(job, "bytes")),
            job::number(job, "chunks"),
            job::number(job, "snapshots"),
        )
    })
    .await?;
    outcome
}

impl Restore {
    /// Whether a whole node is to be written to a folder, which needs none.
    pub fn is_offline(&self) -> bool {
        self.data_dir.is_some()
    }

    pub(super) async fn run(self, context: &Context) -> Result<(), Error> {
        let Some(tenant) = self.tenant else {
            return Err(Error::Usage("name the tenant with --tenant".into()));
        };
        let what = match &self.installation {
            Some(installation) => format!("installation {installation} of {tenant}"),
            None => format!("every installation of {tenant}"),
        };
        if !self.yes {
            return Err(Error::Usage(format!(
                "restoring replaces what {what} stores now; repeat with --yes to do it"
            )));
        }
        let client = context.client()?;
        let body = RestoreCreate {
            tenant,
            installation: self.installation,
            snapshot: self.snapshot,
            before: self.before,
            repository: self.repository.repository,
        };
        let job: Job = client.post(&["restores"], &body).await?;
        job::finish(context, &client, job, self.waiting, |job| {
            format!(
                "Restored {what} to {} of {}. What was written since then is gone.",
                job::outcome(job, "snapshot"),
                job::outcome(job, "taken_at"),
            )
        })
        .await
    }
}

fn scope(backup: &Noun) -> String {
    match (&backup.tenant, &backup.installation) {
        (Some(tenant), Some(installation)) => format!("{tenant}/{installation}"),
        (Some(tenant), None) => tenant.to_string(),
        _ => "node".into(),
    }
}

fn describe(backup: &Noun) -> String {
    fields([
        ("id", backup.id.to_string()),
        ("of", scope(backup)),
        ("taken", moment(backup.taken_at)),
        ("complete", moment(backup.finished_at)),
        ("made by", format!("canopy {}", backup.made_by)),
        ("files", backup.files.to_string()),
        ("size", bytes(backup.bytes)),
        ("new", bytes(backup.new_bytes)),
        ("shared", bytes(backup.shared_bytes)),
    ])
}
