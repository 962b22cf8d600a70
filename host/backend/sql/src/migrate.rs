//! What a package does to its databases before one of its versions runs for the first time.
//!
//! Everything that a version brings takes place together or not at all: a transaction is begun in
//! each database, all statements run, and only then is any of them committed.

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use canopy_backend::Scope;
use canopy_backend::sql::{
    DatabaseMigrations, MigrateError, Migrated, Migration, SqlError, SqlStatement,
};
use rusqlite::params;

use crate::database::Lease;
use crate::error::{failed, timeout};
use crate::handle::thread_ended;
use crate::node::Node;
use crate::run::{Run, Stop};
use crate::settings::SqlSettings;
use crate::storage::is_name;
use crate::text::{excerpt, screen, statements};

pub(crate) async fn migrate(
    node: &Arc<Node>,
    scope: Scope,
    databases: &[DatabaseMigrations],
) -> Result<Vec<Migrated>, MigrateError> {
    let of = |database: &str| {
        let database = database.to_owned();
        move |error: SqlError| MigrateError::Database { database, error }
    };
    // In one order, so that two who migrate never wait for each other.
    let mut databases = databases.to_vec();
    databases.sort_by(|a, b| a.database.cmp(&b.database));
    let mut work = Vec::new();
    for wanted in databases {
        let name = wanted.database.clone();
        if !is_name(&name) {
            return Err(of(&name)(SqlError::NoSuchDatabase));
        }
        let database = node.database(scope, &name);
        let lease = database.writer(node).await.map_err(of(&name))?;
        work.push((wanted, lease));
    }
    let Some((first, _)) = work.first() else {
        return Ok(Vec::new());
    };
    let first = first.database.clone();
    let thread = node.thread(scope.tenant).await.map_err(of(&first))?;
    let settings = SqlSettings {
        statement_memory_bytes: node.settings.migration_memory_bytes,
        ..node.settings.clone()
    };
    let all = move || {
        let _running = thread.begin();
        apply(work, settings)
    };
    tokio::task::spawn_blocking(all)
        .await
        .map_err(|_| of(&first)(thread_ended()))?
}

fn apply(
    mut work: Vec<(DatabaseMigrations, Lease)>,
    settings: SqlSettings,
) -> Result<Vec<Migrated>, MigrateError> {
    let started = Instant::now();
    let mut done = Vec::new();
    for (wanted, lease) in &mut work {
        let of = |error| MigrateError::Database {
            database: wanted.database.clone(),
            error,
        };
        lease.begin_writing().map_err(of)?;
        let applied = applied(lease).map_err(of)?;
        check_unchanged(wanted, &applied)?;
        let known = wanted.migrations.len();
        let pending = wanted.migrations.get(applied.len()..).unwrap_or_default();
        for (position, migration) in (applied.len()..).zip(pending) {
            let left = settings.migration_time.saturating_sub(started.elapsed());
            let settings = SqlSettings {
                statement_time: left,
                ..settings.clone()
            };
            run(lease, migration, &settings)?;
            record(lease, position, migration).map_err(of)?;
        }
        done.push(Migrated {
            database: wanted.database.clone(),
            applied: pending.iter().map(|m| m.name.clone()).collect(),
            newer: applied
                .into_iter()
                .skip(known)
                .map(|(name, _)| name)
                .collect(),
        });
    }
    for (wanted, lease) in &mut work {
        lease.commit().map_err(|error| MigrateError::Database {
            database: wanted.database.clone(),
            error,
        })?;
    }
    Ok(done)
}

/// Names and digests of what has been applied, in order.
fn applied(lease: &mut Lease) -> Result<Vec<(String, Vec<u8>)>, SqlError> {
    let conn = lease.open()?;
    let read = || {
        conn.sqlite
            .prepare("SELECT name, digest FROM canopy_migration ORDER BY position")?
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<rusqlite::Result<_>>()
    };
    read().map_err(|error| failed(&error))
}

fn check_unchanged(
    wanted: &DatabaseMigrations,
    applied: &[(String, Vec<u8>)],
) -> Result<(), MigrateError> {
    for (migration, (_, digest)) in wanted.migrations.iter().zip(applied) {
        if blake3::hash(migration.text.as_bytes())
            .as_bytes()
            .as_slice()
            != digest
        {
            return Err(MigrateError::Changed {
                database: wanted.database.clone(),
                migration: migration.name.clone(),
            });
        }
    }
    Ok(())
}

fn run(
    lease: &mut Lease,
    migration: &Migration,
    settings: &SqlSettings,
) -> Result<(), MigrateError> {
    let cancel = lease.database.ending();
    let started = Instant::now();
    for (index, text) in (1..).zip(statements(&migration.text)) {
        let of = |error| MigrateError::Statement {
            migration: migration.name.clone(),
            index,
            statement: excerpt(text),
            error,
        };
        screen(text, &settings.limits, true).map_err(of)?;
        let left = settings.statement_time.saturating_sub(started.elapsed());
        if left.is_zero() {
            return Err(of(timeout(settings)));
        }
        let settings = SqlSettings {
            statement_time: left,
            ..settings.clone()
        };
        let title = lease.database.title.clone();
        let full = lease.full();
        let run = Run {
            conn: lease.open().map_err(of)?,
            settings: &settings,
            cancel: &cancel,
            memory: None,
            database: &title,
            may_write: true,
            last_insert_rowid: 0,
        };
        let statement = SqlStatement::new(text, Vec::new());
        run.run(&statement, None).map_err(|stop| {
            of(match stop {
                Stop::Full => full,
                stop => stop.into_error(),
            })
        })?;
    }
    Ok(())
}

fn record(lease: &mut Lease, position: usize, migration: &Migration) -> Result<(), SqlError> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = i64::try_from(now.unwrap_or_default().as_millis()).unwrap_or(i64::MAX);
    let digest = blake3::hash(migration.text.as_bytes());
    let position = i64::try_from(position).unwrap_or(i64::MAX);
    let row = params![position, migration.name, digest.as_bytes().as_slice(), now];
    lease
        .open()?
        .sqlite
        .execute("INSERT INTO canopy_migration VALUES (?1, ?2, ?3, ?4)", row)
        .map(drop)
        .map_err(|error| failed(&error))
}
