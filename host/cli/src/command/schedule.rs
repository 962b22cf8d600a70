//! `canopy schedule`: calls that applications get at certain times.

use std::time::Duration;

use canopy_api_types::{RunState, Schedule as Noun, ScheduleRun};
use canopy_ids::Label;

use super::{AppArg, TenantArg};
use crate::ui::{moment, table};
use crate::{Context, Error};

/// How often a call is looked at that is waited for.
const INTERVAL: Duration = Duration::from_millis(200);

/// Look at the scheduled calls of a tenant's applications, pause them, or make one now
#[derive(Debug, clap::Subcommand)]
pub enum Schedule {
    /// List schedules, with their next time and what came of their last call
    List {
        /// Of this installation alone
        app: Option<Label>,
        #[command(flatten)]
        tenant: TenantArg,
    },
    /// List the calls of a schedule, the last first
    Runs(Which),
    /// Have a call made now, whether the schedule is paused or not
    Run {
        #[command(flatten)]
        which: Which,
        /// Wait until the call is done or given up
        #[arg(long)]
        wait: bool,
    },
    /// Have a schedule make no calls until it is resumed
    Pause(Which),
    /// Have a paused schedule make calls again, from its next time on
    Resume(Which),
}

/// A schedule of an installation.
#[derive(Debug, clap::Args)]
pub struct Which {
    #[command(flatten)]
    app: AppArg,
    /// The schedule
    schedule: Label,
}

impl Which {
    fn path<'a>(&'a self, rest: &[&'a str]) -> Vec<&'a str> {
        let mut path = self.app.path(&["schedules", self.schedule.as_str()]);
        path.extend(rest);
        path
    }
}

impl Schedule {
    pub(super) async fn run(self, context: &Context) -> Result<(), Error> {
        let client = context.client()?;
        match self {
            Self::List { app, tenant } => {
                let mut path = vec!["tenants", tenant.as_str()];
                if let Some(app) = &app {
                    path.extend(["installations", app.as_str()]);
                }
                path.push("schedules");
                let schedules: Vec<Noun> = client.list(&path, &[]).await?;
                context.ui.result(&schedules, |schedules| {
                    let rows = schedules.iter().map(|schedule| {
                        [
                            schedule.installation.to_string(),
                            schedule.name.to_string(),
                            format!("{} {}", schedule.cron, schedule.timezone),
                            next(schedule),
                            schedule.last_run.as_ref().map(came).unwrap_or_default(),
                        ]
                    });
                    table(
                        "No schedules. A package asks for them by [[schedules]] in its manifest.",
                        ["app", "schedule", "when", "next", "last"],
                        rows,
                    )
                });
            }
            Self::Runs(which) => {
                let runs: Vec<ScheduleRun> = client.list(&which.path(&["runs"]), &[]).await?;
                context.ui.result(&runs, |runs| {
                    let rows = runs.iter().map(|run| {
                        [
                            run.id.to_string(),
                            moment(run.scheduled_at),
                            run.attempts.to_string(),
                            came(run),
                            run.error.clone().unwrap_or_default(),
                        ]
                    });
                    table(
                        "No calls yet.",
                        ["id", "scheduled", "attempts", "outcome", "error"],
                        rows,
                    )
                });
            }
            Self::Run { which, wait } => {
                let path = which.path(&["runs"]);
                let mut run: ScheduleRun = client.post(&path, &serde_json::json!({})).await?;
                while wait && !run.state.is_final() {
                    tokio::time::sleep(INTERVAL).await;
                    let runs: Vec<ScheduleRun> = client.list(&path, &[]).await?;
                    match runs.into_iter().find(|other| other.id == run.id) {
                        Some(now) => run = now,
                        None => break,
                    }
                }
                context
                    .ui
                    .result(&run, |run| format!("Call {}: {}.", run.id, came(run)));
            }
            Self::Pause(which) => {
                let path = which.path(&["pause"]);
                let schedule: Noun = client.post(&path, &serde_json::json!({})).await?;
                context.ui.result(&schedule, |schedule| {
                    format!("Schedule {} is paused.", schedule.name)
                });
            }
            Self::Resume(which) => {
                let path = which.path(&["resume"]);
                let schedule: Noun = client.post(&path, &serde_json::json!({})).await?;
                context.ui.result(&schedule, |schedule| {
                    format!("Schedule {} makes calls again.", schedule.name)
                });
            }
        }
        Ok(())
    }
}

fn next(schedule: &Noun) -> String {
    match (schedule.paused, schedule.next_at) {
        (true, _) => "paused".into(),
        (false, Some(at)) => moment(at),
        (false, None) => "soon".into(),
    }
}

/// What came of a call, in a few words.
fn came(run: &ScheduleRun) -> String {
    match (run.state, run.finished_at, run.next_attempt_at) {
        (RunState::Done, Some(at), _) => format!("done {}", moment(at)),
        (RunState::Failed, Some(at), _) => format!("failed {}", moment(at)),
        (RunState::Waiting, _, Some(at)) if run.attempts > 0 => {
            format!("failed, again {}", moment(at))
        }
        (RunState::Running, ..) => "under way".into(),
        _ => "waiting".into(),
    }
}
