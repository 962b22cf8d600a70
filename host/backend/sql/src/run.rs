//! One statement on one connection: compiled, watched, its rows handed over as they come.

use std::sync::Arc;
use std::time::{Duration, Instant};

use canopy_backend::sql::{SqlColumn, SqlError, SqlOutcome, SqlRow, SqlStatement, SqlValue};
use canopy_backend_sqlite::memory::{Budget, Pool};
use canopy_backend_sqlite::{die, is_fatal, set_last_insert_rowid};
use rusqlite::fallible_iterator::FallibleIterator;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Batch, CachedStatement, Connection, Error, Row};

use crate::connection::Conn;
use crate::error::{Circumstances, is_full, timeout};
use crate::guard::Cancel;
use crate::settings::SqlSettings;

/// Rows that are handed over together, and bytes from which on no row is added to them.
const BATCH_ROWS: usize = 256;
const BATCH_BYTES: u64 = 64 << 10;
/// What a row and a value in it take beside their bytes.
const ROW_BYTES: u64 = 24;
const VALUE_BYTES: u64 = 16;
/// Memory that a statement has whatever others take.
const OWN_MEMORY: u64 = 1 << 20;
/// rusqlite looks for a second statement by compiling what follows, and then what follows that.
/// With more semicolons than this, it is looked for here first, one after the other.
const SEMICOLONS: usize = 64;

/// Why a statement did not do its work.
#[derive(Debug)]
pub(crate) enum Stop {
    /// It writes, and is not to here.
    Writes,
    /// The file may not grow any more. Nothing was changed.
    Full,
    Error(SqlError),
}

impl From<SqlError> for Stop {
    fn from(error: SqlError) -> Self {
        Self::Error(error)
    }
}

/// Takes the rows of a statement. Each function says whether more is wanted.
pub(crate) trait Sink {
    fn columns(&mut self, columns: Vec<SqlColumn>) -> bool;
    /// May wait; the time does not count as the statement's.
    fn rows(&mut self, rows: Vec<SqlRow>) -> Result<bool, SqlError>;
}

/// How a statement is run.
pub(crate) struct Run<'a> {
    pub(crate) conn: &'a Conn,
    pub(crate) settings: &'a SqlSettings,
    pub(crate) cancel: &'a Cancel,
    /// Memory of the tenant's statements; `None`: it needs none of that.
    pub(crate) memory: Option<&'a Arc<Pool>>,
    /// Whose database it is, for the operator.
    pub(crate) database: &'a str,
    pub(crate) may_write: bool,
    /// The row id that was inserted last on the handle.
    pub(crate) last_insert_rowid: i64,
}

impl Run<'_> {
    /// Runs `statement`. Without a sink its rows are dropped.
    pub(crate) fn run(
        &self,
        statement: &SqlStatement,
        sink: Option<&mut dyn Sink>,
    ) -> Result<SqlOutcome, Stop> {
        let conn = &self.conn.sqlite;
        let most = self.settings.statement_memory_bytes;
        let mut budget = match self.memory {
            Some(pool) => Budget::of_pool(most, OWN_MEMORY, pool),
            None => Budget::new(most),
        };
        let _guest = self.conn.guard.guest(self.cancel);
        let time = Clock::start(self);
        set_last_insert_rowid(conn, self.last_insert_rowid);
        let before = conn.total_changes();

        let mut compiled = budget
            .within(|| prepare(conn, &statement.text))
            .map_err(|error| self.error(&error, &budget))?;
        if !self.may_write && !compiled.readonly() {
            return Err(Stop::Writes);
        }
        bind(&mut compiled, &statement.parameters, |error| {
            self.error(&error, &budget)
        })?;
        match sink {
            Some(sink) => self.hand_over(&mut compiled, sink, time, &mut budget)?,
            None => {
                let mut rows = compiled.raw_query();
                while budget
                    .within(|| rows.next())
                    .map_err(|error| self.error(&error, &budget))?
                    .is_some()
                {}
            }
        }
        let changes = match conn.total_changes() == before {
            // SQLite still has the count of an earlier statement.
            true => 0,
            false => conn.changes(),
        };
        Ok(SqlOutcome {
            changes,
            last_insert_rowid: conn.last_insert_rowid(),
        })
    }

    fn hand_over(
        &self,
        statement: &mut CachedStatement<'_>,
        sink: &mut dyn Sink,
        mut time: Clock<'_>,
        budget: &mut Budget,
    ) -> Result<(), Stop> {
        let columns: Vec<_> = statement.columns().map(|c| column(&c)).collect();
        let width = columns.len();
        let limits = &self.settings.limits;
        let mut wanted = sink.columns(columns);
        let reads = statement.readonly();
        let mut rows = statement.raw_query();
        let (mut count, mut bytes) = (0, 0);
        let (mut batch, mut batch_bytes) = (Vec::new(), 0);
        loop {
            if !wanted && reads {
                return Ok(());
            }
            let next = budget
                .within(|| rows.next())
                .map_err(|error| self.error(&error, budget))?;
            let Some(row) = next else { break };
            if !wanted {
                continue;
            }
            let (row, size) = take(row, width, limits.row_bytes)?;
            count += 1;
            bytes += size;
            if count > limits.result_rows {
                return Err(Stop::Error(SqlError::TooLarge(format!(
                    "a result is over the limit of {} rows",
                    limits.result_rows
                ))));
            }
            if bytes > limits.result_bytes {
                return Err(Stop::Error(SqlError::TooLarge(format!(
                    "a result is over the limit of {} bytes",
                    limits.result_bytes
                ))));
            }
            batch.push(row);
            batch_bytes += size;
            if batch.len() >= BATCH_ROWS || batch_bytes >= BATCH_BYTES {
                batch_bytes = 0;
                wanted = time.pause(|| sink.rows(std::mem::take(&mut batch)))?;
            }
        }
        if wanted && !batch.is_empty() {
            sink.rows(batch)?;
        }
        Ok(())
    }

    fn error(&self, error: &Error, budget: &Budget) -> Stop {
        if is_fatal(error) {
            die(self.database, "a statement failed", error);
        }
        if self.may_write && is_full(error) {
            return Stop::Full;
        }
        let circumstances = Circumstances {
            settings: self.settings,
            guard: &self.conn.guard,
            cancel: self.cancel,
            memory_is_shared_out: budget.pool_was_empty(),
        };
        Stop::Error(circumstances.of(error))
    }
}

/// The time that a statement has left.
struct Clock<'a> {
    run: &'a Run<'a>,
    left: Duration,
    since: Instant,
}

impl<'a> Clock<'a> {
    fn start(run: &'a Run<'a>) -> Self {
        let (left, since) = (run.settings.statement_time, Instant::now());
        run.conn.guard.until(since.checked_add(left));
        Self { run, left, since }
    }

    /// Waits for something else than the statement.
    fn pause<T>(&mut self, wait: impl FnOnce() -> Result<T, SqlError>) -> Result<T, SqlError> {
        self.left = self.left.saturating_sub(self.since.elapsed());
        if self.left.is_zero() {
            return Err(timeout(self.run.settings));
        }
        let waited = wait();
        self.since = Instant::now();
        self.run.conn.guard.until(self.since.checked_add(self.left));
        waited
    }
}

fn prepare<'c>(conn: &'c Connection, sql: &str) -> rusqlite::Result<CachedStatement<'c>> {
    if sql.bytes().filter(|byte| *byte == b';').count() > SEMICOLONS {
        let mut statements = Batch::new(conn, sql);
        statements.next()?;
        if statements.next()?.is_some() {
            return Err(Error::MultipleStatement);
        }
    }
    conn.prepare_cached(sql)
}

fn bind(
    statement: &mut CachedStatement<'_>,
    parameters: &[SqlValue],
    wrong: impl Fn(Error) -> Stop,
) -> Result<(), Stop> {
    let expected = statement.parameter_count();
    if parameters.len() != expected {
        return Err(Stop::Error(SqlError::Invalid(format!(
            "the statement has {expected} parameters, and {} values were given",
            parameters.len()
        ))));
    }
    for (index, value) in parameters.iter().enumerate() {
        let value = match value {
            SqlValue::Null => ValueRef::Null,
            SqlValue::Integer(value) => ValueRef::Integer(*value),
            SqlValue::Real(value) => ValueRef::Real(*value),
            SqlValue::Text(value) => ValueRef::Text(value.as_bytes()),
            SqlValue::Blob(value) => ValueRef::Blob(value),
        };
        statement
            .raw_bind_parameter(index + 1, ToSqlOutput::Borrowed(value))
            .map_err(&wrong)?;
    }
    Ok(())
}

fn column(column: &rusqlite::Column<'_>) -> SqlColumn {
    SqlColumn {
        name: column.name().to_owned(),
        declared_type: column.decl_type().map(str::to_owned),
    }
}

fn take(row: &Row<'_>, width: usize, limit: u64) -> Result<(SqlRow, u64), SqlError> {
    let mut values = Vec::with_capacity(width);
    let mut bytes = ROW_BYTES;
    for index in 0..width {
        let value = row
            .get_ref(index)
            .map_err(|error| SqlError::Invalid(error.to_string()))?;
        let value = match value {
            ValueRef::Null => SqlValue::Null,
            ValueRef::Integer(value) => SqlValue::Integer(value),
            ValueRef::Real(value) => SqlValue::Real(value),
            ValueRef::Blob(value) => SqlValue::Blob(value.to_vec()),
            ValueRef::Text(value) => match std::str::from_utf8(value) {
                Ok(text) => SqlValue::Text(text.to_owned()),
                Err(_) => {
                    return Err(SqlError::Invalid(format!(
                        "column {} has text that is not UTF-8: read it as CAST(… AS BLOB)",
                        index + 1
                    )));
                }
            },
        };
        bytes += VALUE_BYTES
            + match &value {
                SqlValue::Text(text) => text.len() as u64,
                SqlValue::Blob(blob) => blob.len() as u64,
                _ => 0,
            };
        // Before the next one is copied.
        if bytes > limit {
            return Err(SqlError::TooLarge(format!(
                "a row of a result is over the limit of {limit} bytes"
            )));
        }
        values.push(value);
    }
    Ok((values, bytes))
}
