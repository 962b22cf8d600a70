//! One connection to the file of a database, closed to everything that applications may not do.

use std::ffi::c_int;
use std::path::Path;
use std::time::{Duration, Instant};

use canopy_backend::StorageError;
use canopy_backend::sql::SqlError;
use canopy_backend_keys::FileKeys;
use canopy_backend_sqlite::{Format, Log};
use rusqlite::Connection;
use rusqlite::limits::Limit;

use crate::error::failed;
use crate::guard::Guard;
use crate::settings::SqlSettings;

/// `Cnps`, in the header of every file.
const APPLICATION_ID: i32 = 0x436e_7073;

/// How files of databases are made and recognised.
pub(crate) const FORMAT: Format = Format {
    application_id: APPLICATION_ID,
    migrations: &["CREATE TABLE canopy_migration (
        position INTEGER PRIMARY KEY,
        name TEXT NOT NULL,
        digest BLOB NOT NULL,
        applied_at INTEGER NOT NULL
    ) STRICT;"],
};

/// Writers wait for each other before they come to SQLite; only a checkpoint that waits for
/// readers, and a recovery after a crash, ever hold others up there.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// The one that writes, and makes the file if there is none.
    Writer,
    /// Reads, and writes only in a transaction that has taken the right to.
    Reader,
}

#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) sqlite: Connection,
    pub(crate) guard: Guard,
    pub(crate) role: Role,
    pub(crate) used_at: Instant,
    page_bytes: u64,
    page_limit: u64,
}

impl Conn {
    /// Opens the file at `path`. A writer's commits are counted in `log`.
    pub(crate) fn open(
        path: &Path,
        keys: &FileKeys,
        role: Role,
        settings: &SqlSettings,
        log: &Log,
    ) -> Result<Self, SqlError> {
        let opened = match role {
            Role::Writer => canopy_backend_sqlite::open(path, keys, &FORMAT, settings.cache_bytes),
            Role::Reader => canopy_backend_sqlite::open_reader(path, keys, settings.cache_bytes),
        };
        let mut sqlite = opened.map_err(|error| SqlError::from(StorageError::from(error)))?;
        let guard = Guard::default();
        let page_bytes =
            configure(&mut sqlite, &guard, settings, log).map_err(|error| failed(&error))?;
        Ok(Self {
            sqlite,
            guard,
            role,
            used_at: Instant::now(),
            page_bytes,
            page_limit: 0,
        })
    }

    /// Bytes of the database that hold something.
    pub(crate) fn used_bytes(&self) -> rusqlite::Result<u64> {
        let pages: i64 = self.number("PRAGMA page_count")?;
        let free: i64 = self.number("PRAGMA freelist_count")?;
        Ok(u64::try_from(pages - free).unwrap_or(0) * self.page_bytes)
    }

    /// Lets the file grow to `bytes`; what it has it keeps.
    pub(crate) fn limit_bytes(&mut self, bytes: u64) -> rusqlite::Result<()> {
        let pages = (bytes / self.page_bytes).clamp(1, u32::MAX.into());
        if pages != self.page_limit {
            self.sqlite
                .query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(()))?;
            self.page_limit = pages;
        }
        Ok(())
    }

    /// Gives back up to `most` bytes of free pages to the disk. Within a transaction.
    pub(crate) fn give_space_back(&self, most: u64) -> rusqlite::Result<()> {
        let free: i64 = self.number("PRAGMA freelist_count")?;
        let most = i64::try_from(most / self.page_bytes).unwrap_or(i64::MAX);
        if free > 0 {
            let sql = format!("PRAGMA incremental_vacuum({})", free.min(most));
            let mut vacuum = self.sqlite.prepare(&sql)?;
            let mut rows = vacuum.query([])?;
            while rows.next()?.is_some() {}
        }
        Ok(())
    }

    /// Lets a reading connection write, or ends that.
    pub(crate) fn set_query_only(&self, on: bool) -> rusqlite::Result<()> {
        self.sqlite.pragma_update(None, "query_only", on)
    }

    /// Not for what applications may not say: what is compiled here stays compiled.
    fn number(&self, sql: &str) -> rusqlite::Result<i64> {
        self.sqlite
            .prepare_cached(sql)?
            .query_row([], |row| row.get(0))
    }
}

fn configure(
    conn: &mut Connection,
    guard: &Guard,
    settings: &SqlSettings,
    log: &Log,
) -> rusqlite::Result<u64> {
    conn.busy_timeout(BUSY_TIMEOUT)?;
    conn.pragma_update(None, "foreign_keys", true)?;
    // What would be in a temporary file is in memory, where it is counted and not left in the clear.
    conn.pragma_update(None, "temp_store", "MEMORY")?;
    conn.set_prepared_statement_cache_capacity(settings.cached_statements);
    for (limit, value) in limits(settings) {
        conn.set_limit(limit, value)?;
    }
    log.watch(conn)?;
    guard.watch(conn)?;
    // A text: it is SQLCipher that answers.
    let page: String = conn.query_row("PRAGMA cipher_page_size", [], |row| row.get(0))?;
    Ok(page.parse().unwrap_or(4096))
}

fn limits(settings: &SqlSettings) -> [(Limit, c_int); 12] {
    let int = |value: usize| c_int::try_from(value).unwrap_or(c_int::MAX);
    let number = |value: u32| c_int::try_from(value).unwrap_or(c_int::MAX);
    [
        (
            Limit::SQLITE_LIMIT_LENGTH,
            int(settings
                .limits
                .value_bytes
                .max(settings.limits.statement_bytes)),
        ),
        (
            Limit::SQLITE_LIMIT_SQL_LENGTH,
            int(settings.limits.statement_bytes),
        ),
        (Limit::SQLITE_LIMIT_COLUMN, number(settings.columns)),
        (
            Limit::SQLITE_LIMIT_EXPR_DEPTH,
            number(settings.expression_depth),
        ),
        (
            Limit::SQLITE_LIMIT_COMPOUND_SELECT,
            number(settings.compound_selects),
        ),
        (
            Limit::SQLITE_LIMIT_VDBE_OP,
            number(settings.program_instructions),
        ),
        (
            Limit::SQLITE_LIMIT_FUNCTION_ARG,
            number(settings.function_arguments),
        ),
        (
            Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH,
            number(settings.pattern_bytes),
        ),
        (
            Limit::SQLITE_LIMIT_VARIABLE_NUMBER,
            int(settings.limits.parameters),
        ),
        (
            Limit::SQLITE_LIMIT_TRIGGER_DEPTH,
            number(settings.trigger_depth),
        ),
        (Limit::SQLITE_LIMIT_ATTACHED, 0),
        (Limit::SQLITE_LIMIT_WORKER_THREADS, 0),
    ]
}
