//! `canopy job`: work of a node that takes long.
//!
//! Commands that begin a job wait for it and show how far it is. The job belongs to the node: an
//! interrupted command does not stop it, and a restart of the node begins it again.

use std::time::{Duration, Instant};

use canopy_api_types::{Job as Noun, JobFailure, JobState, PROBLEM_TYPE_PREFIX, Problem};
use canopy_ids::{JobId, Label};

use crate::client::Client;
use crate::ui::{Progress, bytes, fields, moment, table};
use crate::{Context, Error};

/// How often a job is looked at.
const INTERVAL: Duration = Duration::from_millis(300);
/// How long a node may be away, as while it restarts, before waiting for its job is given up.
const PATIENCE: Duration = Duration::from_secs(60);

/// Look at long work of the node, wait for it, or take it back
#[derive(Debug, clap::Subcommand)]
pub enum Job {
    /// List jobs, the newest first
    List {
        /// Those about this tenant
        #[arg(long, short)]
        tenant: Option<Label>,
        /// Those in this state
        #[arg(long, value_parser = ["queued", "running", "done", "failed", "cancelled"])]
        state: Option<String>,
    },
    /// Show one job
    Show {
        /// Its id
        id: JobId,
    },
    /// Wait until a job has ended
    Wait {
        /// Its id
        id: JobId,
    },
    /// Take a job back; nothing half-done remains
    Cancel {
        /// Its id
        id: JobId,
    },
}

/// Whether to wait for a job.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Waiting {
    /// Wait until the job has ended; the default
    #[arg(long, overrides_with = "no_wait")]
    wait: bool,
    /// Begin the job and do not wait for it
    #[arg(long)]
    no_wait: bool,
}

impl Waiting {
    /// Whether not to wait.
    pub(super) fn is_declined(self) -> bool {
        self.no_wait && !self.wait
    }
}

impl Job {
    pub(super) async fn run(self, context: &Context) -> Result<(), Error> {
        let client = context.client()?;
        match self {
            Self::List { tenant, state } => {
                let mut query = Vec::new();
                query.extend(tenant.map(|tenant| ("tenant", tenant.to_string())));
                query.extend(state.map(|state| ("state", state)));
                let jobs: Vec<Noun> = client.list(&["jobs"], &query).await?;
                context.ui.result(&jobs, |jobs| {
                    let rows = jobs.iter().map(|job| {
                        let tenant = job.tenant.as_ref();
                        [
                            job.id.to_string(),
                            job.kind.clone(),
                            tenant.map(ToString::to_string).unwrap_or_default(),
                            state_of(job).into(),
                            moment(job.created_at),
                        ]
                    });
                    table(
                        "No jobs.",
                        ["id", "kind", "tenant", "state", "created"],
                        rows,
                    )
                });
            }
            Self::Show { id } => {
                let job: Noun = client.get(&["jobs", &id.to_string()]).await?;
                context.ui.result(&job, describe);
            }
            Self::Wait { id } => {
                let job: Noun = client.get(&["jobs", &id.to_string()]).await?;
                let job = follow(context, &client, job).await?;
                context.ui.result(&job, describe);
            }
            Self::Cancel { id } => {
                let path = ["jobs", &id.to_string(), "cancel"];
                let job: Noun = client.post(&path, &serde_json::json!({})).await?;
                context.ui.result(&job, |job| match job.state {
                    JobState::Running => format!("Job {id} will end soon."),
                    _ => format!("Job {id} is {}.", state_of(job)),
                });
            }
        }
        Ok(())
    }
}

/// Waits for `job` if that is wanted, and prints what came of it.
pub(super) async fn finish(
    context: &Context,
    client: &Client,
    job: Noun,
    waiting: Waiting,
    done: impl FnOnce(&Noun) -> String,
) -> Result<(), Error> {
    if waiting.is_declined() {
        context.ui.result(&job, |job| {
            format!("Job {0} has begun.\nNext: canopy job wait {0}", job.id)
        });
        return Ok(());
    }
    let job = follow(context, client, job).await?;
    context.ui.result(&job, done);
    Ok(())
}

/// Waits until `job` is done, and shows how far it is. A job that did not take place is an error.
pub(super) async fn follow(
    context: &Context,
    client: &Client,
    mut job: Noun,
) -> Result<Noun, Error> {
    let progress = context.ui.transfer(format!("{} {}", job.kind, job.id), 0);
    let id = job.id.to_string();
    let mut seen = Instant::now();
    while !job.state.is_final() {
        show(&progress, &job);
        if job.state == JobState::Queued && job.not_before > time::OffsetDateTime::now_utc() {
            return Ok(job);
        }
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            _ = tokio::signal::ctrl_c() => {
                context.ui.note(format_args!(
                    "The job goes on. Take it up with `canopy job wait {id}`, or take it back with \
                     `canopy job cancel {id}`."
                ));
                return Err(Error::Interrupted);
            }
        }
        match client.get(&["jobs", &id]).await {
            Ok(now) => {
                job = now;
                seen = Instant::now();
            }
            // A node that restarts takes its jobs up again.
            Err(Error::Unreachable { .. }) if seen.elapsed() < PATIENCE => {
                progress.step(format!("{} {id}: the node is away", job.kind));
            }
            Err(error) if error.status() == Some(503) && seen.elapsed() < PATIENCE => {}
            Err(error) => return Err(error),
        }
    }
    drop(progress);
    match (&job.state, &job.error) {
        (JobState::Done, _) => Ok(job),
        (JobState::Failed, Some(error)) => Err(failed(&job, error)),
        _ => Err(failed(
            &job,
            &JobFailure {
                code: "cancelled".into(),
                message: "the job was taken back".into(),
            },
        )),
    }
}

fn show(progress: &Progress, job: &Noun) {
    progress.step(format!("{}: {}", job.kind, job.step));
    progress.bar().set_length(job.bytes_total);
    progress.bar().set_position(job.bytes_done);
}

fn failed(job: &Noun, error: &JobFailure) -> Error {
    let status = match error.code.as_str() {
        "internal" => 500,
        "disk-full" => 507,
        "not-found" => 404,
        _ => 409,
    };
    Error::Problem {
        problem: Box::new(Problem {
            kind: format!("{PROBLEM_TYPE_PREFIX}{}", error.code),
            title: format!("{} {} did not take place", job.kind, job.id),
            status,
            detail: error.message.clone(),
            request_id: None,
            members: serde_json::Map::new(),
        }),
        advice: None,
    }
}

fn state_of(job: &Noun) -> &'static str {
    match job.state {
        JobState::Queued => "queued",
        JobState::Running => "running",
        JobState::Done => "done",
        JobState::Failed => "failed",
        JobState::Cancelled => "cancelled",
    }
}

pub(super) fn describe(job: &Noun) -> String {
    let amount = |done: u64, total: u64| {
        if total == 0 {
            String::new()
        } else {
            format!("{done} of {total}")
        }
    };
    let size = if job.bytes_total == 0 {
        String::new()
    } else {
        format!("{} of {}", bytes(job.bytes_done), bytes(job.bytes_total))
    };
    let error = job.error.as_ref();
    let result = job.result.as_ref().map(|result| match result.as_object() {
        Some(members) => members
            .iter()
            .map(|(name, value)| format!("{name} {value}"))
            .collect::<Vec<_>>()
            .join("\n"),
        None => result.to_string(),
    });
    fields([
        ("id", job.id.to_string()),
        ("kind", job.kind.clone()),
        (
            "tenant",
            job.tenant
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default(),
        ),
        ("state", state_of(job).into()),
        ("step", job.step.clone()),
        ("bytes", size),
        ("items", amount(job.items_done, job.items_total)),
        ("requested by", job.requested_by.clone()),
        ("created", moment(job.created_at)),
        ("begins", moment(job.not_before)),
        ("ended", job.finished_at.map(moment).unwrap_or_default()),
        (
            "error",
            error
                .map(|error| format!("{} ({})", error.message, error.code))
                .unwrap_or_default(),
        ),
        ("result", result.unwrap_or_default()),
    ])
}

/// A member of a job's result as text.
pub(super) fn outcome(job: &Noun, member: &str) -> String {
    match job.result.as_ref().and_then(|result| result.get(member)) {
        Some(serde_json::Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
        None => "?".into(),
    }
}

/// A member of a job's result as a number.
pub(super) fn number(job: &Noun, member: &str) -> u64 {
    let result = job.result.as_ref().and_then(|result| result.get(member));
    result.and_then(serde_json::Value::as_u64).unwrap_or(0)
}

/// What a check found, and an error if that is anything.
pub(super) fn findings(job: &Noun) -> Result<(), Error> {
    let found = job
        .result
        .as_ref()
        .and_then(|result| result.get("findings"))
        .and_then(serde_json::Value::as_array);
    let Some(found) = found.filter(|found| !found.is_empty()) else {
        return Ok(());
    };
    let text = |value: &serde_json::Value, member: &str| {
        value[member].as_str().unwrap_or_default().to_owned()
    };
    let lines: Vec<_> = found
        .iter()
        .map(|one| format!("{}: {}", text(one, "place"), text(one, "what")))
        .collect();
    Err(Error::advised(
        format!("{} found:\n{}", found.len(), lines.join("\n")),
        "restore what is damaged from a backup with `canopy restore`",
    ))
}
