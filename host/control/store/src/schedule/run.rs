//! Calls of schedules: those that wait, are under way, or have ended.

use std::fmt;
use std::str::FromStr;

use canopy_ids::{Label, RequestId, RunId, TenantId};
use rusqlite::{Connection, Row, params};
use time::OffsetDateTime;

use super::{SCHEDULES, ScheduleRow, find, read};
use crate::sql::{Number, RowExt, Text, Time, all, fetch, one, page};
use crate::{PageRequest, Rows, Store, StoreError};

/// How far a scheduled call is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RunState {
    /// It waits for its turn, or for the time of its next attempt.
    Waiting,
    /// It is under way.
    Running,
    /// The application has answered that it is done.
    Done,
    /// It was given up.
    Failed,
}

impl RunState {
    const ALL: [Self; 4] = [Self::Waiting, Self::Running, Self::Done, Self::Failed];

    fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }
}

impl fmt::Display for RunState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that is no state of a scheduled call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be `waiting`, `running`, `done` or `failed`")]
pub struct UnknownRunState;

impl FromStr for RunState {
    type Err = UnknownRunState;

    fn from_str(text: &str) -> Result<Self, UnknownRunState> {
        let found = Self::ALL.into_iter().find(|state| state.as_str() == text);
        found.ok_or(UnknownRunState)
    }
}

/// A scheduled call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunRow {
    /// Its identifier, the same for all attempts.
    pub id: RunId,
    /// The time for which it was scheduled, or at which it was asked for.
    pub scheduled_at: OffsetDateTime,
    /// Whether somebody asked for it, rather than its time having come.
    pub manual: bool,
    /// How far it is.
    pub state: RunState,
    /// How often it was begun.
    pub attempts: u64,
    /// When the next attempt may begin.
    pub not_before: OffsetDateTime,
    /// When the last attempt began.
    pub started_at: Option<OffsetDateTime>,
    /// When it was done or given up.
    pub finished_at: Option<OffsetDateTime>,
    /// The request of the last attempt.
    pub request_id: Option<RequestId>,
    /// What the application answered to it.
    pub status: Option<u64>,
    /// Why the last attempt failed.
    pub error: Option<String>,
}

/// How an attempt ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attempt {
    /// The request, if there was one.
    pub request_id: Option<RequestId>,
    /// What was answered.
    pub status: Option<u16>,
    /// Why it failed; `None`: it did not.
    pub error: Option<String>,
}

/// What there is to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NextRun {
    /// This call begins; it has been written down as under way.
    Begun(Box<(ScheduleRow, RunRow)>),
    /// Nothing, until then.
    At(OffsetDateTime),
    /// Nothing.
    Nothing,
}

fn read_run(row: &Row<'_>) -> rusqlite::Result<RunRow> {
    let moment = |column: &str| -> rusqlite::Result<Option<OffsetDateTime>> {
        Ok(row.get::<_, Option<Time>>(column)?.map(|time| time.0))
    };
    Ok(RunRow {
        id: row.parse("id")?,
        scheduled_at: row.time("scheduled_at")?,
        manual: row.get("manual")?,
        state: row.parse("state")?,
        attempts: row.number("attempts")?,
        not_before: row.time("not_before")?,
        started_at: moment("started_at")?,
        finished_at: moment("finished_at")?,
        request_id: row
            .get::<_, Option<Text<RequestId>>>("request_id")?
            .map(|id| id.0),
        status: row
            .get::<_, Option<Number>>("status")?
            .map(|status| status.0),
        error: row.get("error")?,
    })
}

/// The last call of a schedule.
pub(super) fn last(db: &Connection, row: &ScheduleRow) -> Result<Option<RunRow>, StoreError> {
    let sql = "SELECT * FROM schedule_run WHERE installation = ?1 AND schedule = ?2 \
               ORDER BY id DESC LIMIT 1";
    let key = params![Text(row.installation), Text(&row.definition.name)];
    one(db, sql, key, read_run)
}

/// Whether a call of the schedule waits or is under way.
pub(super) fn is_unfinished(db: &Connection, row: &ScheduleRow) -> Result<bool, StoreError> {
    let sql = "SELECT 1 FROM schedule_run WHERE installation = ?1 AND schedule = ?2 \
               AND state IN ('waiting', 'running') LIMIT 1";
    let key = params![Text(row.installation), Text(&row.definition.name)];
    Ok(one(db, sql, key, |_| Ok(()))?.is_some())
}

/// Writes down a call of the schedule.
pub(super) fn insert(
    tx: &Connection,
    row: &ScheduleRow,
    scheduled_at: OffsetDateTime,
    manual: bool,
) -> Result<RunId, StoreError> {
    let id = RunId::new();
    tx.execute(
        "INSERT INTO schedule_run VALUES \
         (?1, ?2, ?3, ?4, ?5, ?6, 'waiting', 0, ?7, NULL, NULL, NULL, NULL, NULL)",
        params![
            Text(id),
            Text(row.installation),
            Text(&row.definition.name),
            Text(row.tenant),
            Time(scheduled_at),
            manual,
            Time::now(),
        ],
    )?;
    Ok(id)
}

impl Store {
    /// The calls of a schedule that are remembered, the last first.
    pub async fn schedule_runs(
        &self,
        tenant: TenantId,
        installation: Label,
        name: Label,
        request: PageRequest,
    ) -> Result<Rows<RunRow>, StoreError> {
        self.read(move |db, _| {
            let before = match &request.cursor {
                Some(cursor) => cursor
                    .parse::<RunId>()
                    .map_err(|_| StoreError::InvalidCursor)?
                    .to_string(),
                // Greater than every identifier.
                None => "s".into(),
            };
            let row = find(db, tenant, &installation, &name)?;
            let sql = "SELECT * FROM schedule_run WHERE installation = ?1 AND schedule = ?2 \
                       AND id < ?3 ORDER BY id DESC LIMIT ?4";
            let key = params![
                Text(row.installation),
                Text(&row.definition.name),
                before,
                fetch(&request)
            ];
            let rows = all(db, sql, key, read_run)?;
            Ok(page(rows, &request, |row| row.id.to_string()))
        })
        .await
    }

    /// Begins the call that has waited longest and may be made: its schedule is not paused, its
    /// tenant has fewer than `per_tenant` under way, and no other of its schedule is under way
    /// unless they may overlap.
    pub async fn begin_run(
        &self,
        now: OffsetDateTime,
        per_tenant: u64,
    ) -> Result<NextRun, StoreError> {
        const READY: &str = "SELECT r.id FROM schedule_run AS r \
             JOIN schedule AS s ON s.installation = r.installation AND s.name = r.schedule \
             JOIN installation AS i ON i.id = r.installation \
             JOIN version_schedule AS v ON v.publisher = i.publisher AND v.package = i.package \
             AND v.version = i.version AND v.name = r.schedule \
             WHERE r.state = 'waiting' AND r.not_before <= ?1 AND (s.paused = 0 OR r.manual) \
             AND r.tenant NOT IN (SELECT tenant FROM tombstone) \
             AND (SELECT count(*) FROM schedule_run AS x \
                  WHERE x.state = 'running' AND x.tenant = r.tenant) < ?2 \
             AND (v.overlap OR NOT EXISTS (SELECT 1 FROM schedule_run AS x \
                  WHERE x.state = 'running' AND x.installation = r.installation \
                  AND x.schedule = r.schedule)) \
             ORDER BY r.not_before, r.id LIMIT 1";
        let ready = self
            .read(move |db, _| {
                let key = params![Time(now), Number(per_tenant)];
                if let Some(id) = one(db, READY, key, |row| row.parse::<RunId>("id"))? {
                    return Ok(Ok(id));
                }
                let sql = "SELECT min(not_before) AS at FROM schedule_run \
                           WHERE state = 'waiting' AND not_before > ?1";
                let next = one(db, sql, [Time(now)], |row| row.get::<_, Option<Time>>("at"))?;
                Ok(Err(next.flatten().map(|time| time.0)))
            })
            .await?;
        let id = match ready {
            Ok(id) => id,
            Err(next) => return Ok(next.map_or(NextRun::Nothing, NextRun::At)),
        };
        self.write(move |tx, _| {
            let begun = tx.execute(
                "UPDATE schedule_run SET state = 'running', attempts = attempts + 1, \
                 started_at = ?2 WHERE id = ?1 AND state = 'waiting'",
                params![Text(id), Time(now)],
            )?;
            if begun == 0 {
                // It went meanwhile, with its schedule; look again at once.
                return Ok(NextRun::At(now));
            }
            let run = find_run(tx, id)?;
            let sql = format!(
                "{SCHEDULES} WHERE (s.installation, s.name) = \
                 (SELECT installation, schedule FROM schedule_run WHERE id = ?1)"
            );
            match one(tx, &sql, [Text(id)], read)? {
                Some(schedule) => Ok(NextRun::Begun(Box::new((schedule, run)))),
                None => Err(StoreError::Corrupt(format!(
                    "the scheduled call {id} has no schedule"
                ))),
            }
        })
        .await
    }

    /// Ends an attempt: the call is done, or waits for `retry`, or is given up. Of the schedule's
    /// calls that have ended the last `kept` are remembered.
    pub async fn finish_run(
        &self,
        id: RunId,
        attempt: Attempt,
        retry: Option<OffsetDateTime>,
        kept: u64,
    ) -> Result<(), StoreError> {
        self.write(move |tx, _| {
            let (state, finished) = match (&attempt.error, retry) {
                (None, _) => (RunState::Done, Some(Time::now())),
                (Some(_), Some(_)) => (RunState::Waiting, None),
                (Some(_), None) => (RunState::Failed, Some(Time::now())),
            };
            tx.execute(
                "UPDATE schedule_run SET state = ?2, not_before = coalesce(?3, not_before), \
                 finished_at = ?4, request_id = ?5, status = ?6, error = ?7 \
                 WHERE id = ?1 AND state = 'running'",
                params![
                    Text(id),
                    Text(state),
                    retry.map(Time),
                    finished,
                    attempt.request_id.map(Text),
                    attempt.status,
                    attempt.error,
                ],
            )?;
            tx.execute(
                "DELETE FROM schedule_run WHERE (installation, schedule) = \
                 (SELECT installation, schedule FROM schedule_run WHERE id = ?1) \
                 AND finished_at IS NOT NULL AND id NOT IN (SELECT o.id FROM schedule_run AS o \
                 WHERE (o.installation, o.schedule) = \
                 (SELECT installation, schedule FROM schedule_run WHERE id = ?1) \
                 AND o.finished_at IS NOT NULL ORDER BY o.id DESC LIMIT ?2)",
                params![Text(id), Number(kept)],
            )?;
            Ok(())
        })
        .await
    }

    /// Lets calls that a process before this one did not finish be made again. Returns how many.
    pub async fn requeue_runs(&self) -> Result<usize, StoreError> {
        self.write(|tx, _| {
            let sql = "UPDATE schedule_run SET state = 'waiting' WHERE state = 'running'";
            Ok(tx.execute(sql, [])?)
        })
        .await
    }
}

/// The call of that identifier.
pub(super) fn find_run(db: &Connection, id: RunId) -> Result<RunRow, StoreError> {
    let sql = "SELECT * FROM schedule_run WHERE id = ?1";
    one(db, sql, [Text(id)], read_run)?.ok_or_else(|| StoreError::NotFound {
        noun: "scheduled call",
        name: id.to_string(),
    })
}
