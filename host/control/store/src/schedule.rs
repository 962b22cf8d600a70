//! Scheduled calls: when each comes next, and what became of those that came.
//!
//! What a schedule is stands with the version; here is how far each installation is with it. A call
//! is written down before it is made and crossed out when it was answered, so that one which a
//! restart interrupts is made again.

mod run;

use canopy_ids::{InstallationId, Label, PackageName, RunId, TenantId};
use rusqlite::{Connection, Row, params};
use semver::Version;
use time::OffsetDateTime;

use crate::sql::{RowExt, Text, Time, all, next_revision, one};
use crate::{Store, StoreError};

pub use run::{Attempt, NextRun, RunRow, RunState, UnknownRunState};
use run::{find_run, insert, is_unfinished};

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
    row.last = run::last(db, &row)?;
    Ok(row)
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

    /// When the clock was set back to `now`: has it worked out again when each schedule comes next, and
    /// lets no call wait beyond `latest`.
    pub async fn replan_schedules(
        &self,
        now: OffsetDateTime,
        latest: OffsetDateTime,
    ) -> Result<(), StoreError> {
        self.write(move |tx, _| {
            tx.execute(
                "UPDATE schedule SET next_at = NULL WHERE next_at > ?1",
                [Time(now)],
            )?;
            tx.execute(
                "UPDATE schedule_run SET not_before = ?1 \
                 WHERE state = 'waiting' AND not_before > ?1",
                [Time(latest)],
            )?;
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
