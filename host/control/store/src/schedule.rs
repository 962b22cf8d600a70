//! Scheduled calls: when each comes next, and what became of those that came.
//!
//! What a schedule is stands with the version; here is how far each installation is with it. A call
//! is written down before it is made and crossed out when it was answered, so that one which a
//! restart interrupts is made again.

use std::fmt;
use std::str::FromStr;

use canopy_ids::{InstallationId, Label, PackageName, RequestId, RunId, TenantId};
use rusqlite::{Connection, Row, params};
use semver::Version;
use time::OffsetDateTime;

use crate::sql::{Number, RowExt, Text, Time, all, fetch, next_revision, one, page};
use crate::{PageRequest, Rows, Store, StoreError};

/// A schedule as a version has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduleDefinition {
    /// Its name within the package.
    pub name: Label,
    /// When, as a cron expression.
    pub cron: String,
    /// In which time zone.
    pub timezone: String,
    /// The method of the request.
    pub method: String,
    /// Its path and query.
    pub path: String,
    /// Whether a call may begin while the one before is not done.
    pub overlap: bool,
    /// What it is for.
    pub reason: String,
}

/// A schedule of an installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduleRow {
    /// Whose it is.
    pub tenant: TenantId,
    /// The tenant's name.
    pub tenant_name: Label,
    /// The installation that is called.
    pub installation: InstallationId,
    /// The installation's name.
    pub installation_name: Label,
    /// The package that runs.
    pub package: PackageName,
    /// Its version.
    pub version: Version,
    /// What it is.
    pub definition: ScheduleDefinition,
    /// Whether it was told to make no calls.
    pub paused: bool,
    /// When it comes next; `None` while that has to be worked out, or it is paused.
    pub next_at: Option<OffsetDateTime>,
    /// How often it came while the call before was not done.
    pub skipped: u64,
    /// The last call.
    pub last: Option<RunRow>,
}

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

const SCHEDULES: &str = "SELECT i.tenant, t.name AS tenant_name, i.id AS installation, \
     i.name AS installation_name, i.publisher, i.package, i.version, v.name, v.cron, v.timezone, v.method, v.path, v.overlap, \
     v.reason, s.paused, s.next_at, s.skipped FROM schedule AS s \
     JOIN installation AS i ON i.id = s.installation JOIN tenant AS t ON t.id = i.tenant \
     JOIN version_schedule AS v ON v.publisher = i.publisher AND v.package = i.package \
     AND v.version = i.version AND v.name = s.name";

fn read(row: &Row<'_>) -> rusqlite::Result<ScheduleRow> {
    Ok(ScheduleRow {
        tenant: row.parse("tenant")?,
        tenant_name: row.parse("tenant_name")?,
        installation: row.parse("installation")?,
        installation_name: row.parse("installation_name")?,
        package: PackageName {
            publisher: row.parse("publisher")?,
            name: row.parse("package")?,
        },
        version: row.parse("version")?,
        definition: ScheduleDefinition {
            name: row.parse("name")?,
            cron: row.get("cron")?,
            timezone: row.get("timezone")?,
            method: row.get("method")?,
            path: row.get("path")?,
            overlap: row.get("overlap")?,
            reason: row.get("reason")?,
        },
        paused: row.get("paused")?,
        next_at: row.get::<_, Option<Time>>("next_at")?.map(|time| time.0),
        skipped: row.number("skipped")?,
        last: None,
    })
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

fn find(
    db: &Connection,
    tenant: TenantId,
    installation: &Label,
    name: &Label,
) -> Result<ScheduleRow, StoreError> {
    let sql = format!("{SCHEDULES} WHERE i.tenant = ?1 AND i.name = ?2 AND s.name = ?3");
    let key = params![Text(tenant), Text(installation), Text(name)];
    let row = one(db, &sql, key, read)?.ok_or_else(|| StoreError::NotFound {
        noun: "schedule",
        name: name.to_string(),
    })?;
    with_last(db, row)
}

fn with_last(db: &Connection, mut row: ScheduleRow) -> Result<ScheduleRow, StoreError> {
    let sql = "SELECT * FROM schedule_run WHERE installation = ?1 AND schedule = ?2 \
               ORDER BY id DESC LIMIT 1";
    let key = params![Text(row.installation), Text(&row.definition.name)];
    row.last = one(db, sql, key, read_run)?;
    Ok(row)
}

fn is_unfinished(db: &Connection, row: &ScheduleRow) -> Result<bool, StoreError> {
    let sql = "SELECT 1 FROM schedule_run WHERE installation = ?1 AND schedule = ?2 \
               AND state IN ('waiting', 'running') LIMIT 1";
    let key = params![Text(row.installation), Text(&row.definition.name)];
    Ok(one(db, sql, key, |_| Ok(()))?.is_some())
}

fn insert(
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

/// Writes down the schedules of a version that is published.
pub(crate) fn publish(
    tx: &Connection,
    package: &PackageName,
    version: &Version,
    schedules: &[ScheduleDefinition],
) -> Result<(), StoreError> {
    for schedule in schedules {
        tx.execute(
            "INSERT INTO version_schedule VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            params![
                Text(&package.publisher),
                Text(&package.name),
                Text(version),
                Text(&schedule.name),
                schedule.cron,
                schedule.timezone,
                schedule.method,
                schedule.path,
                schedule.overlap,
                schedule.reason,
            ],
        )?;
    }
    Ok(())
}

/// Gives an installation the schedules of the version that it runs now. One that comes at the same
/// times as before goes on as it was.
pub(crate) fn follow(
    tx: &Connection,
    installation: InstallationId,
    package: &PackageName,
    version: &Version,
    before: Option<&Version>,
) -> Result<(), StoreError> {
    if before == Some(version) {
        return Ok(());
    }
    let of = |version: &Version| {
        let sql = "SELECT name, cron, timezone FROM version_schedule \
                   WHERE publisher = ?1 AND package = ?2 AND version = ?3";
        let key = params![Text(&package.publisher), Text(&package.name), Text(version)];
        all(tx, sql, key, |row| {
            Ok((
                row.get::<_, String>(0)?,
                row.get::<_, String>(1)?,
                row.get::<_, String>(2)?,
            ))
        })
    };
    let (now, then) = (
        of(version)?,
        before.map(of).transpose()?.unwrap_or_default(),
    );
    for (name, ..) in &then {
        if !now.iter().any(|(other, ..)| other == name) {
            tx.execute(
                "DELETE FROM schedule WHERE installation = ?1 AND name = ?2",
                params![Text(installation), name],
            )?;
        }
    }
    for schedule in now {
        if !then.contains(&schedule) {
            tx.execute(
                "INSERT INTO schedule VALUES (?1, ?2, 0, NULL, 0) \
                 ON CONFLICT DO UPDATE SET next_at = NULL",
                params![Text(installation), schedule.0],
            )?;
        }
    }
    Ok(())
}

impl Store {
    /// The schedules of a tenant, or of one of its installations.
    pub async fn schedules(
        &self,
        tenant: TenantId,
        installation: Option<Label>,
    ) -> Result<Vec<ScheduleRow>, StoreError> {
        self.read(move |db, _| {
            let sql = format!(
                "{SCHEDULES} WHERE i.tenant = ?1 AND (?2 IS NULL OR i.name = ?2) \
                 ORDER BY i.name, s.name"
            );
            let rows = all(
                db,
                &sql,
                params![Text(tenant), installation.map(Text)],
                read,
            )?;
            rows.into_iter().map(|row| with_last(db, row)).collect()
        })
        .await
    }

    /// One schedule.
    pub async fn schedule(
        &self,
        tenant: TenantId,
        installation: Label,
        name: Label,
    ) -> Result<ScheduleRow, StoreError> {
        self.read(move |db, _| find(db, tenant, &installation, &name))
            .await
    }

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

    /// Has a schedule make no calls, or make them again from the next time on.
    pub async fn pause_schedule(
        &self,
        tenant: TenantId,
        installation: Label,
        name: Label,
        paused: bool,
    ) -> Result<ScheduleRow, StoreError> {
        self.write(move |tx, _| {
            let row = find(tx, tenant, &installation, &name)?;
            if row.paused != paused {
                tx.execute(
                    "UPDATE schedule SET paused = ?3, next_at = NULL \
                     WHERE installation = ?1 AND name = ?2",
                    params![Text(row.installation), Text(&name), paused],
                )?;
                next_revision(tx)?;
            }
            find(tx, tenant, &installation, &name)
        })
        .await
    }

    /// Writes down a call that somebody asks for now.
    pub async fn run_schedule(
        &self,
        tenant: TenantId,
        installation: Label,
        name: Label,
    ) -> Result<RunRow, StoreError> {
        self.write(move |tx, _| {
            let row = find(tx, tenant, &installation, &name)?;
            if !row.definition.overlap && is_unfinished(tx, &row)? {
                return Err(StoreError::ScheduleUnderWay { name });
            }
            let id = insert(tx, &row, Time::now().0, true)?;
            find_run(tx, id)
        })
        .await
    }

    /// Schedules of which it has to be worked out when they come next.
    pub async fn unplanned_schedules(&self) -> Result<Vec<ScheduleRow>, StoreError> {
        self.read(|db, _| {
            let sql = format!("{SCHEDULES} WHERE s.paused = 0 AND s.next_at IS NULL");
            all(db, &sql, [], read)
        })
        .await
    }

    /// Writes down when a schedule comes next, unless it has changed meanwhile.
    pub async fn plan_schedule(
        &self,
        planned: ScheduleRow,
        next_at: OffsetDateTime,
    ) -> Result<(), StoreError> {
        self.write(move |tx, _| {
            let (tenant, name) = (planned.tenant, &planned.definition.name);
            let now = find(tx, tenant, &planned.installation_name, name).optional()?;
            let is_same = now.is_some_and(|now| {
                now.definition == planned.definition && !now.paused && now.next_at.is_none()
            });
            if is_same {
                tx.execute(
                    "UPDATE schedule SET next_at = ?3 WHERE installation = ?1 AND name = ?2",
                    params![Text(planned.installation), Text(name), Time(next_at)],
                )?;
            }
            Ok(())
        })
        .await
    }

    /// Schedules whose time has come, or else the next time at which one comes.
    pub async fn due_schedules(
        &self,
        now: OffsetDateTime,
    ) -> Result<Result<Vec<ScheduleRow>, Option<OffsetDateTime>>, StoreError> {
        self.read(move |db, _| {
            let sql = format!(
                "{SCHEDULES} WHERE s.paused = 0 AND s.next_at <= ?1 \
                 AND i.tenant NOT IN (SELECT tenant FROM tombstone) ORDER BY s.next_at LIMIT 256"
            );
            let due = all(db, &sql, [Time(now)], read)?;
            if !due.is_empty() {
                return Ok(Ok(due));
            }
            let sql = "SELECT min(next_at) AS at FROM schedule WHERE paused = 0 AND next_at > ?1";
            let next = one(db, sql, [Time(now)], |row| row.get::<_, Option<Time>>("at"))?;
            Ok(Err(next.flatten().map(|time| time.0)))
        })
        .await
    }

    /// Writes down the call of a schedule that is due: for `scheduled_at`, whatever number of times
    /// has passed, and when it comes next. If a call before it is not done and calls may not
    /// overlap, the time is passed over. Nothing happens if the schedule has changed meanwhile.
    pub async fn take_schedule(
        &self,
        due: ScheduleRow,
        scheduled_at: OffsetDateTime,
        next_at: OffsetDateTime,
    ) -> Result<Option<RunId>, StoreError> {
        self.write(move |tx, _| {
            let (tenant, name) = (due.tenant, &due.definition.name);
            let Some(now) = find(tx, tenant, &due.installation_name, name).optional()? else {
                return Ok(None);
            };
            if now.installation != due.installation || now.next_at != due.next_at || now.paused {
                return Ok(None);
            }
            let pass = !now.definition.overlap && is_unfinished(tx, &now)?;
            tx.execute(
                "UPDATE schedule SET next_at = ?3, skipped = skipped + ?4 \
                 WHERE installation = ?1 AND name = ?2",
                params![Text(now.installation), Text(name), Time(next_at), pass],
            )?;
            if pass {
                return Ok(None);
            }
            insert(tx, &now, scheduled_at, false).map(Some)
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

fn find_run(db: &Connection, id: RunId) -> Result<RunRow, StoreError> {
    let sql = "SELECT * FROM schedule_run WHERE id = ?1";
    one(db, sql, [Text(id)], read_run)?.ok_or_else(|| StoreError::NotFound {
        noun: "scheduled call",
        name: id.to_string(),
    })
}

/// Turns what is not there into `None`.
trait Optional<T> {
    fn optional(self) -> Result<Option<T>, StoreError>;
}

impl<T> Optional<T> for Result<T, StoreError> {
    fn optional(self) -> Result<Option<T>, StoreError> {
        match self {
            Ok(value) => Ok(Some(value)),
            Err(StoreError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
