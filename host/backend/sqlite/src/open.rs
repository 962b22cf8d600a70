//! Opening and making files.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use canopy_backend::files::{create_dir, sync_dir};
use canopy_backend_keys::{FileKey, FileKeys};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, TransactionBehavior};
use zeroize::Zeroizing;

use crate::OpenError;
use crate::fault::{die, found_disk_full, is_failed_synchronisation};
use crate::library::connect;

/// Only a checkpoint that waits for readers, and a recovery after a crash, ever hold others up.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes that name the key, where a file that is not encrypted says what it is.
const ID_BYTES: usize = 16;
const PLAIN_HEADER: &[u8; ID_BYTES] = b"SQLite format 3\0";
/// Statements that a connection keeps prepared.
const STATEMENTS: usize = 64;

/// What a kind of file is, so that none is taken for another, and its tables.
#[derive(Debug, Clone, Copy)]
pub struct Format {
    /// `application_id` in its header.
    pub application_id: i32,
    /// What brings its tables from each version to the next; the first makes those of an empty
    /// file. Their number is the version, `user_version` in its header.
    pub migrations: &'static [&'static str],
}

impl Format {
    fn version(&self) -> i32 {
        i32::try_from(self.migrations.len()).unwrap_or(i32::MAX)
    }
}

/// Opens `path` for writing. A file that does not exist is made, with its folders, encrypted with
/// the newest key; one that does is opened with the key that it was encrypted with, and brought to
/// the present version of its tables.
///
/// `cache_bytes` is the memory for pages. The caller makes sure that nobody else makes or migrates
/// the file at the same time.
pub fn open(
    path: &Path,
    keys: &FileKeys,
    format: &Format,
    cache_bytes: u64,
) -> Result<Connection, OpenError> {
    let key = match key_of(path, keys)? {
        Some(key) => key,
        None => {
            create(path)?;
            keys.newest()
        }
    };
    let mut conn = connect(path)?;
    let mut is_new = false;
    let prepared = prepare(&mut conn, path, key, format, cache_bytes, &mut is_new);
    let Err(error) = prepared else {
        return Ok(conn);
    };
    let full = matches!(error, OpenError::Sqlite(_) | OpenError::NoLog) && found_disk_full(&conn);
    drop(conn);
    if is_new {
        // There is nothing in it yet. What its file holds after a failed synchronisation is unknown,
        // and another one would not tell; so the next attempt makes another file.
        remove(path)?;
    } else if let OpenError::Sqlite(error) = &error
        && is_failed_synchronisation(error)
    {
        die(&path.display().to_string(), "opening failed", error);
    }
    Err(if full { OpenError::Full } else { error })
}

/// Opens `path`, which somebody has open for writing or closed in order, for reading.
pub fn open_reader(
    path: &Path,
    keys: &FileKeys,
    cache_bytes: u64,
) -> Result<Connection, OpenError> {
    let key = key_of(path, keys)?.ok_or_else(|| {
        OpenError::Io(io::Error::new(
            io::ErrorKind::NotFound,
            "there is no database",
        ))
    })?;
    let conn = connect(path)?;
    let prepare = || -> rusqlite::Result<()> {
        set_key(&conn, key)?;
        configure(&conn, cache_bytes)?;
        conn.pragma_update(None, "query_only", true)
    };
    match prepare() {
        Ok(()) => Ok(conn),
        Err(_) if found_disk_full(&conn) => Err(OpenError::Full),
        Err(error) => Err(error.into()),
    }
}

/// Which version of its tenant's key `path` is encrypted with; `None` if there is no such file.
pub fn key_version(path: &Path, keys: &FileKeys) -> Result<Option<u32>, OpenError> {
    Ok(key_of(path, keys)?.map(FileKey::version))
}

/// Removes a closed database and the files beside it. No error if there are none.
pub fn remove(path: &Path) -> io::Result<()> {
    for suffix in ["", "-wal", "-shm", "-journal"] {
        match fs::remove_file(beside(path, suffix)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// The value of a pragma.
pub fn pragma<T: rusqlite::types::FromSql>(conn: &Connection, name: &str) -> rusqlite::Result<T> {
    conn.pragma_query_value(None, name, |row| row.get(0))
}

pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// The key that the file was encrypted with; `None`: there is no file, or nothing in it yet.
pub(crate) fn key_of<'k>(
    path: &Path,
    keys: &'k FileKeys,
) -> Result<Option<&'k FileKey>, OpenError> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let mut header = Vec::with_capacity(ID_BYTES);
    file.take(ID_BYTES as u64).read_to_end(&mut header)?;
    if header.is_empty() {
        return Ok(None);
    }
    if header == PLAIN_HEADER {
        return Err(OpenError::NotEncrypted);
    }
    match keys.by_id(&header) {
        Some(key) => Ok(Some(key)),
        None => Err(OpenError::WrongKey(hex(&header).to_string())),
    }
}

/// Makes an empty file for this user alone. SQLite would make it too, and not say why it can't.
pub(crate) fn create(path: &Path) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        create_dir(folder)?;
    }
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600);
    options.open(path).map(drop)
}

fn prepare(
    conn: &mut Connection,
    path: &Path,
    key: &FileKey,
    format: &Format,
    cache_bytes: u64,
    is_new: &mut bool,
) -> Result<(), OpenError> {
    set_key(conn, key)?;
    configure(conn, cache_bytes)?;
    let application: i32 = pragma(conn, "application_id")?;
    let version: i32 = pragma(conn, "user_version")?;
    let (known, expected) = (format.version(), format.application_id);
    *is_new = application == 0 && version == 0 && is_empty(conn)?;
    if *is_new {
        // Lets deleted space go back to the disk; to be chosen before there is a table.
        conn.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    } else if application != expected {
        return Err(OpenError::Foreign {
            found: application,
            expected,
        });
    } else if version > known {
        return Err(OpenError::Newer {
            found: version,
            known,
        });
    }
    begin_log(conn)?;
    if *is_new {
        // The file is there after a power failure only if its name is, and so on upwards to the
        // folder of all storage. Before it stops being new, as a later opening would not do it.
        for folder in path.ancestors().skip(1).take(4) {
            if !folder.as_os_str().is_empty() {
                sync_dir(folder)?;
            }
        }
    }
    Ok(migrate(conn, format, version)?)
}

/// Has changes written to a log beside the file, from now on for good. SQLite answers with the new mode
/// first and then writes that down, so it is run to its end: an answer alone has no meaning.
pub(crate) fn begin_log(conn: &Connection) -> Result<(), OpenError> {
    let mut statement = conn.prepare("PRAGMA journal_mode = WAL")?;
    let mut rows = statement.query([])?;
    let mut mode = String::new();
    while let Some(row) = rows.next()? {
        mode = row.get(0)?;
    }
    if mode == "wal" {
        Ok(())
    } else {
        Err(OpenError::NoLog)
    }
}

fn migrate(conn: &mut Connection, format: &Format, version: i32) -> rusqlite::Result<()> {
    let done = usize::try_from(version).unwrap_or(0);
    for (migration, version) in format.migrations.iter().zip(1_i32..).skip(done) {
        let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        tx.execute_batch(migration)?;
        tx.pragma_update(None, "application_id", format.application_id)?;
        tx.pragma_update(None, "user_version", version)?;
        tx.commit()?;
    }
    Ok(())
}

/// Must be the first that is said to a connection.
pub(crate) fn set_key(conn: &Connection, key: &FileKey) -> rusqlite::Result<()> {
    let (secret, id) = (hex(key.bytes()), hex(&key.id()));
    // Its log would go to standard error in a form of its own; what it says comes as an error too.
    let sql = format!(
        "PRAGMA cipher_log_level = NONE; PRAGMA key = \"x'{}{}'\"",
        *secret, *id
    );
    conn.execute_batch(&Zeroizing::new(sql))
}

pub(crate) fn configure(conn: &Connection, cache_bytes: u64) -> rusqlite::Result<()> {
    conn.busy_timeout(BUSY_TIMEOUT)?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS);
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    conn.pragma_update(None, "synchronous", "FULL")?;
    let kib = i64::try_from(cache_bytes / 1024).unwrap_or(i64::MAX);
    conn.pragma_update(None, "cache_size", -kib)?;
    conn.pragma_update(None, "cell_size_check", true)
}

fn is_empty(conn: &Connection) -> rusqlite::Result<bool> {
    conn.query_row(
        "SELECT NOT EXISTS (SELECT * FROM sqlite_schema)",
        [],
        |row| row.get(0),
    )
}

fn hex(bytes: &[u8]) -> Zeroizing<String> {
    const DIGITS: [u8; 16] = *b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    let mut text = Zeroizing::new(String::with_capacity(2 * bytes.len()));
    text.extend(digits.map(|digit| char::from(DIGITS[usize::from(digit)])));
    text
}
