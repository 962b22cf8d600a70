//! The database file of one installation: how it is opened, made and recognised.

use std::io;
use std::path::Path;
use std::time::Duration;

use canopy_backend::files::{create_dir, sync_dir};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

/// `Cnpy`, in the header of every file of ours.
const APPLICATION_ID: i32 = 0x436e_7079;
/// The version of the tables below.
const VERSION: i32 = 1;
/// Only a checkpoint that waits for readers, and a recovery after a crash, ever hold others up.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

pub(crate) const FILE_NAME: &str = "data.db";

const TABLES: &str = "
    CREATE TABLE canopy_bucket (
        id INTEGER PRIMARY KEY,
        name BLOB NOT NULL UNIQUE
    ) STRICT;
    CREATE TABLE canopy_entry (
        id INTEGER PRIMARY KEY,
        bucket INTEGER NOT NULL,
        key BLOB NOT NULL,
        value BLOB NOT NULL,
        UNIQUE (bucket, key)
    ) STRICT;
    CREATE TABLE canopy_usage (
        id INTEGER PRIMARY KEY CHECK (id = 0),
        bytes INTEGER NOT NULL CHECK (bytes >= 0)
    ) STRICT;
    INSERT INTO canopy_usage VALUES (0, 0);
";

/// Why a file could not be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SchemaError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Sqlite(#[from] rusqlite::Error),
    #[error("it is a database of another program (application id {0:#x})")]
    Foreign(i32),
    #[error(
        "it was written by a newer version (tables {0}, this version knows {VERSION}): run that version"
    )]
    Newer(i32),
}

/// Opens the writing connection of the database in `dir`, which is made if it does not exist.
pub(crate) fn open_writer(dir: &Path, cache_bytes: u64) -> Result<Connection, SchemaError> {
    create_dir(dir)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut conn = Connection::open_with_flags(dir.join(FILE_NAME), flags)?;
    configure(&conn, cache_bytes)?;
    let application: i32 = pragma(&conn, "application_id")?;
    let version: i32 = pragma(&conn, "user_version")?;
    match (application, version) {
        (APPLICATION_ID, VERSION) => {}
        (APPLICATION_ID, newer) => return Err(SchemaError::Newer(newer)),
        (0, 0) if is_empty(&conn)? => make(&mut conn, dir)?,
        (other, _) => return Err(SchemaError::Foreign(other)),
    }
    Ok(conn)
}

/// Opens a reading connection of the database in `dir`.
pub(crate) fn open_reader(dir: &Path, cache_bytes: u64) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(dir.join(FILE_NAME), flags)?;
    configure(&conn, cache_bytes)?;
    conn.pragma_update(None, "query_only", true)?;
    Ok(conn)
}

fn configure(conn: &Connection, cache_bytes: u64) -> rusqlite::Result<()> {
    conn.busy_timeout(BUSY_TIMEOUT)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    conn.pragma_update(None, "synchronous", "FULL")?;
    let kib = i64::try_from(cache_bytes / 1024).unwrap_or(i64::MAX);
    conn.pragma_update(None, "cache_size", -kib)?;
    conn.pragma_update(None, "cell_size_check", true)
}

fn make(conn: &mut Connection, dir: &Path) -> Result<(), SchemaError> {
    // Lets deleted space go back to the disk; to be chosen before there is a table.
    conn.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    conn.pragma_update(None, "journal_mode", "WAL")?;
    let transaction = conn.transaction()?;
    transaction.execute_batch(TABLES)?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()?;
    // The file is there after a power failure only if its name is, and so on upwards.
    sync_dir(dir)?;
    if let Some(parent) = dir.parent() {
        sync_dir(parent)?;
    }
    Ok(())
}

fn is_empty(conn: &Connection) -> rusqlite::Result<bool> {
    conn.query_row(
        "SELECT NOT EXISTS (SELECT * FROM sqlite_schema)",
        [],
        |row| row.get(0),
    )
}

pub(crate) fn pragma<T: rusqlite::types::FromSql>(
    conn: &Connection,
    name: &str,
) -> rusqlite::Result<T> {
    conn.pragma_query_value(None, name, |row| row.get(0))
}
