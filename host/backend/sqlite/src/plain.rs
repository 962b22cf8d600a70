//! Databases without encryption, as others can read them: written for an export, read for an
//! import.

use std::fs::File;
use std::path::Path;

use canopy_backend_keys::FileKeys;
use rusqlite::Connection;
use rusqlite::config::DbConfig;

use crate::OpenError;
use crate::library::connect;
use crate::open::{Format, begin_log, create, key_of, pragma, remove, set_key};

/// Writes all that is in the encrypted database `path`, which nobody writes to, to the plain
/// database `into`, which is made.
pub fn export_plain(path: &Path, keys: &FileKeys, into: &Path) -> Result<(), OpenError> {
    create(into)?;
    let key = key_of(path, keys)?.unwrap_or(keys.newest());
    let conn = connect(path)?;
    set_key(&conn, key)?;
    prepare(&conn)?;
    attach(&conn, into)?;
    let (application, version): (i32, i32) = (
        pragma(&conn, "application_id")?,
        pragma(&conn, "user_version")?,
    );
    conn.query_row("SELECT sqlcipher_export('plain')", [], |_| Ok(()))?;
    conn.execute_batch(&format!(
        "PRAGMA plain.application_id = {application}; PRAGMA plain.user_version = {version}; \
         DETACH plain"
    ))?;
    conn.close().map_err(|(_, error)| error)?;
    File::open(into)?.sync_all()?;
    Ok(())
}

/// Writes all that is in the plain database `from`, which somebody sent, to the encrypted database
/// `path`, which is made. A file that is damaged or of another kind is refused.
pub fn import_plain(
    from: &Path,
    path: &Path,
    keys: &FileKeys,
    format: &Format,
) -> Result<(), OpenError> {
    remove(path)?;
    create(path)?;
    let imported = import(from, path, keys, format);
    if imported.is_err() {
        // The error is what counts; whoever asked removes the folder.
        let _ = remove(path);
    }
    imported
}

fn import(from: &Path, path: &Path, keys: &FileKeys, format: &Format) -> Result<(), OpenError> {
    let conn = connect(path)?;
    set_key(&conn, keys.newest())?;
    prepare(&conn)?;
    attach(&conn, from)?;
    let of_plain = |name: &str| -> rusqlite::Result<i32> {
        conn.query_row(&format!("PRAGMA plain.{name}"), [], |row| row.get(0))
    };
    let (found, version) = (of_plain("application_id")?, of_plain("user_version")?);
    let expected = format.application_id;
    if found != expected {
        return Err(OpenError::Foreign { found, expected });
    }
    let known = i32::try_from(format.migrations.len()).unwrap_or(i32::MAX);
    if version > known {
        let found = version;
        return Err(OpenError::Newer { found, known });
    }
    let whole: String = conn.query_row("PRAGMA plain.integrity_check(1)", [], |row| row.get(0))?;
    if whole != "ok" {
        return Err(OpenError::Damaged(whole));
    }
    // To be chosen before there is a table, as for every database that is made here.
    conn.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    conn.query_row("SELECT sqlcipher_export('main', 'plain')", [], |_| Ok(()))?;
    conn.execute_batch("DETACH plain")?;
    conn.pragma_update(None, "application_id", expected)?;
    conn.pragma_update(None, "user_version", version)?;
    begin_log(&conn)?;
    conn.close().map_err(|(_, error)| error)?;
    File::open(path)?.sync_all()?;
    Ok(())
}

/// Not defensive: what copies a schema must write it.
fn prepare(conn: &Connection) -> rusqlite::Result<()> {
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    conn.pragma_update(None, "cell_size_check", true)
}

fn attach(conn: &Connection, plain: &Path) -> Result<(), OpenError> {
    let path = plain.to_str().ok_or_else(|| {
        OpenError::Io(std::io::Error::other("the path of a database is not UTF-8"))
    })?;
    conn.execute("ATTACH ?1 AS plain KEY ''", [path])?;
    Ok(())
}
