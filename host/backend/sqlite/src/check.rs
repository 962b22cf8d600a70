//! Reading a file whole and comparing it with its checksums.

use rusqlite::Connection;

use crate::fault::{die, is_fatal};

/// How often the pages are read before what is wrong with them is believed: somebody may be writing
/// one at that moment.
const READINGS: usize = 3;

/// What is wrong with the database that `conn` has open, one sentence each; empty if nothing is.
/// The code of every page in the file is verified, then the tables and their indexes, then
/// references between tables. Does not return if the disk fails.
pub fn check(conn: &Connection) -> Vec<String> {
    let mut found = Vec::new();
    for _ in 0..READINGS {
        // A page that was being copied from the log when the process ended is torn in the file and
        // whole in the log, which counts: it is copied once more.
        copy_log(conn);
        found = rows(conn, "PRAGMA cipher_integrity_check", |row| row.get(0));
        if found.is_empty() {
            break;
        }
    }
    if found.is_empty() {
        found = rows(conn, "PRAGMA integrity_check", |row| row.get(0));
        found.retain(|finding| finding != "ok");
    }
    if found.is_empty() {
        found = rows(conn, "PRAGMA foreign_key_check", |row| {
            let (table, parent): (String, String) = (row.get(0)?, row.get(2)?);
            Ok(format!("a row of {table} refers to none of {parent}"))
        });
    }
    found
}

/// Copies the log into the file as far as no reading needs it as it is.
fn copy_log(conn: &Connection) {
    match conn.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())) {
        Err(error) if is_fatal(&error) => die(
            conn.path().unwrap_or_default(),
            "a checkpoint failed",
            &error,
        ),
        // What cannot be copied is found below.
        _ => {}
    }
}

fn rows(
    conn: &Connection,
    sql: &str,
    read: impl Fn(&rusqlite::Row<'_>) -> rusqlite::Result<String>,
) -> Vec<String> {
    let all = || -> rusqlite::Result<Vec<String>> {
        conn.prepare(sql)?.query_map([], |row| read(row))?.collect()
    };
    all().unwrap_or_else(|error| vec![format!("it can't be read: {error}")])
}
