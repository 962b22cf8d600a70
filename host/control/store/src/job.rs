//! Jobs: work that takes long, written down before it begins so that a restart takes it up again.

use std::fmt;
use std::str::FromStr;

use canopy_ids::{JobId, Label};
use rusqlite::{Connection, Row, params};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;

use crate::sql::{Json, Number, RowExt, Text, Time, all, fetch, one, page};
use crate::{PageRequest, Rows, Store, StoreError};

/// How far a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JobState {
    /// It waits for its turn or its time.
    Queued,
    /// It is under way.
    Running,
    /// It took place.
    Done,
    /// It was given up; nothing half-done is left.
    Failed,
    /// It was taken back.
    Cancelled,
}

impl JobState {
    const ALL: [Self; 5] = [
        Self::Queued,
        Self::Running,
        Self::Done,
        Self::Failed,
        Self::Cancelled,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for JobState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that is no state of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be `queued`, `running`, `done`, `failed` or `cancelled`")]
pub struct UnknownJobState;

impl FromStr for JobState {
    type Err = UnknownJobState;

    fn from_str(text: &str) -> Result<Self, UnknownJobState> {
        let found = Self::ALL.into_iter().find(|state| state.as_str() == text);
        found.ok_or(UnknownJobState)
    }
}

/// Bytes and items of a job.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JobProgress {
    /// What is done now.
    pub step: String,
    /// Bytes done.
    pub bytes_done: u64,
    /// Bytes known to be done in all.
    pub bytes_total: u64,
    /// Items done.
    pub items_done: u64,
    /// Items known to be done in all.
    pub items_total: u64,
}

/// Why a job failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobError {
    /// A code that stays the same across versions.
    pub code: String,
    /// What went wrong, and what to do about it.
    pub message: String,
}

/// How a job ended.
#[derive(Debug, Clone, PartialEq)]
pub enum JobOutcome {
    /// It took place; this came of it.
    Done(Value),
    /// It failed.
    Failed(JobError),
    /// It was taken back.
    Cancelled,
}

/// A job.
#[derive(Debug, Clone, PartialEq)]
pub struct JobRow {
    /// Its identifier.
    pub id: JobId,
    /// What kind of work it is.
    pub kind: String,
    /// The tenant that it is about.
    pub tenant: Option<Label>,
    /// What is to be done.
    pub request: Value,
    /// Who asked.
    pub requested_by: String,
    /// How far it is.
    pub state: JobState,
    /// When it may begin.
    pub not_before: OffsetDateTime,
    /// How much of it is done.
    pub progress: JobProgress,
    /// What the work wrote down for itself, to go on after a restart.
    pub scratch: Option<Value>,
    /// What came of it.
    pub result: Option<Value>,
    /// Why it failed.
    pub error: Option<JobError>,
    /// When it was asked for.
    pub created_at: OffsetDateTime,
    /// When it began last.
    pub started_at: Option<OffsetDateTime>,
    /// When it ended.
    pub finished_at: Option<OffsetDateTime>,
}

/// A job that is asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct NewJob {
    /// Its identifier.
    pub id: JobId,
    /// What kind of work it is.
    pub kind: &'static str,
    /// The tenant that it is about.
    pub tenant: Option<Label>,
    /// What is to be done.
    pub request: Value,
    /// Who asked.
    pub requested_by: String,
    /// When it may begin.
    pub not_before: OffsetDateTime,
}

/// Which jobs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JobFilter {
    /// In this state.
    pub state: Option<JobState>,
    /// About this tenant.
    pub tenant: Option<Label>,
}

fn read(row: &Row<'_>) -> rusqlite::Result<JobRow> {
    let json = |column: &str| -> rusqlite::Result<Option<Value>> {
        Ok(row
            .get::<_, Option<Json<Value>>>(column)?
            .map(|value| value.0))
    };
    let moment = |column: &str| -> rusqlite::Result<Option<OffsetDateTime>> {
        Ok(row.get::<_, Option<Time>>(column)?.map(|time| time.0))
    };
    Ok(JobRow {
        id: row.parse("id")?,
        kind: row.get("kind")?,
        tenant: row
            .get::<_, Option<Text<Label>>>("tenant")?
            .map(|text| text.0),
        request: row.json("request")?,
        requested_by: row.get("requested_by")?,
        state: row.parse("state")?,
        not_before: row.time("not_before")?,
        progress: JobProgress {
            step: row.get("step")?,
            bytes_done: row.number("bytes_done")?,
            bytes_total: row.number("bytes_total")?,
            items_done: row.number("items_done")?,
            items_total: row.number("items_total")?,
        },
        scratch: json("scratch")?,
        result: json("result")?,
        error: row
            .get::<_, Option<Json<JobError>>>("error")?
            .map(|error| error.0),
        created_at: row.time("created_at")?,
        started_at: moment("started_at")?,
        finished_at: moment("finished_at")?,
    })
}

fn find(db: &Connection, id: JobId) -> Result<JobRow, StoreError> {
    one(db, "SELECT * FROM job WHERE id = ?1", [Text(id)], read)?.ok_or_else(|| {
        StoreError::NotFound {
            noun: "job",
            name: id.to_string(),
        }
    })
}

/// Writes a job down.
pub(crate) fn insert(tx: &Connection, new: &NewJob) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO job VALUES \
         (?1, ?2, ?3, ?4, ?5, 'queued', ?6, '', 0, 0, 0, 0, NULL, NULL, NULL, ?7, NULL, NULL)",
        params![
            Text(new.id),
            new.kind,
            new.tenant.as_ref().map(Text),
            Json(&new.request),
            new.requested_by,
            Time(new.not_before),
            Time::now(),
        ],
    )?;
    Ok(())
}

impl Store {
    /// Writes a job down, to be begun when its turn comes.
    pub async fn create_job(&self, new: NewJob) -> Result<JobRow, StoreError> {
        self.write(move |tx, _| {
            insert(tx, &new)?;
            find(tx, new.id)
        })
        .await
    }

    /// One job.
    pub async fn job(&self, id: JobId) -> Result<JobRow, StoreError> {
        self.read(move |db, _| find(db, id)).await
    }

    /// Jobs, the newest first.
    pub async fn jobs(
        &self,
        filter: JobFilter,
        request: PageRequest,
    ) -> Result<Rows<JobRow>, StoreError> {
        self.read(move |db, _| {
            let before = match &request.cursor {
                Some(cursor) => cursor
                    .parse::<JobId>()
                    .map_err(|_| StoreError::InvalidCursor)?
                    .to_string(),
                // Greater than every identifier.
                None => "k".into(),
            };
            let sql = "SELECT * FROM job WHERE id < ?1 AND (?2 IS NULL OR state = ?2) \
                       AND (?3 IS NULL OR tenant = ?3) ORDER BY id DESC LIMIT ?4";
            let parameters = params![
                before,
                filter.state.map(Text),
                filter.tenant.map(Text),
                fetch(&request)
            ];
            let rows = all(db, sql, parameters, read)?;
            Ok(page(rows, &request, |row| row.id.to_string()))
        })
        .await
    }

    /// Begins the job that has waited longest and whose time has come. Without one, says when the
    /// next may begin.
    pub async fn begin_job(&self) -> Result<Result<JobRow, Option<OffsetDateTime>>, StoreError> {
        let now = Time::now().0;
        let due = self
            .read(move |db, _| {
                let sql = "SELECT id, not_before FROM job WHERE state = 'queued' \
                           ORDER BY not_before, id LIMIT 1";
                one(db, sql, [], |row| {
                    Ok((row.parse::<JobId>("id")?, row.time("not_before")?))
                })
            })
            .await?;
        let id = match due {
            None => return Ok(Err(None)),
            Some((_, at)) if at > now => return Ok(Err(Some(at))),
            Some((id, _)) => id,
        };
        self.write(move |tx, _| {
            tx.execute(
                "UPDATE job SET state = 'running', started_at = ?2 \
                 WHERE id = ?1 AND state = 'queued'",
                params![Text(id), Time::now()],
            )?;
            find(tx, id).map(Ok)
        })
        .await
    }

    /// Lets jobs that a process before this one did not finish begin again. Returns how many.
    pub async fn requeue_jobs(&self) -> Result<usize, StoreError> {
        self.write(|tx, _| {
            Ok(tx.execute(
                "UPDATE job SET state = 'queued' WHERE state = 'running'",
                [],
            )?)
        })
        .await
    }

    /// The jobs that wait and have written something down, so that they go on where they were.
    pub async fn noted_jobs(&self) -> Result<Vec<JobId>, StoreError> {
        self.read(|db, _| {
            let sql = "SELECT id FROM job WHERE state = 'queued' AND scratch IS NOT NULL";
            all(db, sql, [], |row| row.parse("id"))
        })
        .await
    }

    /// Writes down what the work needs to go on after a restart. From then on it cannot be taken
    /// back any more while it waits to go on.
    pub async fn note_job(&self, id: JobId, scratch: Value) -> Result<(), StoreError> {
        self.write(move |tx, _| {
            tx.execute(
                "UPDATE job SET scratch = ?2 WHERE id = ?1",
                params![Text(id), Json(scratch)],
            )?;
            Ok(())
        })
        .await
    }

    /// Ends a running job.
    pub async fn finish_job(
        &self,
        id: JobId,
        progress: JobProgress,
        outcome: JobOutcome,
    ) -> Result<(), StoreError> {
        self.write(move |tx, _| {
            let (state, result, error) = match outcome {
                JobOutcome::Done(result) => (JobState::Done, Some(Json(result)), None),
                JobOutcome::Failed(error) => (JobState::Failed, None, Some(Json(error))),
                JobOutcome::Cancelled => (JobState::Cancelled, None, None),
            };
            tx.execute(
                "UPDATE job SET state = ?2, result = ?3, error = ?4, finished_at = ?5, step = ?6, \
                 bytes_done = ?7, bytes_total = ?8, items_done = ?9, items_total = ?10 \
                 WHERE id = ?1 AND state = 'running'",
                params![
                    Text(id),
                    Text(state),
                    result,
                    error,
                    Time::now(),
                    progress.step,
                    Number(progress.bytes_done),
                    Number(progress.bytes_total),
                    Number(progress.items_done),
                    Number(progress.items_total),
                ],
            )?;
            Ok(())
        })
        .await
    }

    /// Takes a job back that has not begun, and the tombstone that waits for it. One that is under
    /// way, before a restart or now, or has ended stays as it is.
    pub async fn cancel_queued_job(&self, id: JobId) -> Result<JobRow, StoreError> {
        self.write(move |tx, _| {
            let cancelled = tx.execute(
                "UPDATE job SET state = 'cancelled', finished_at = ?2 \
                 WHERE id = ?1 AND state = 'queued' AND scratch IS NULL",
                params![Text(id), Time::now()],
            )?;
            if cancelled > 0 {
                crate::tombstone::lift(tx, id)?;
            }
            find(tx, id)
        })
        .await
    }

    /// Removes jobs that ended before `before`.
    pub async fn forget_jobs(&self, before: OffsetDateTime) -> Result<usize, StoreError> {
        self.write(move |tx, _| {
            Ok(tx.execute("DELETE FROM job WHERE finished_at < ?1", [Time(before)])?)
        })
        .await
    }
}
