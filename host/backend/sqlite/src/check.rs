//! Reading a file whole and comparing it with its checksums.

use rusqlite::Connection;

/// What is wrong with the database that `conn` has open, one sentence each; empty if nothing is.
/// The code of every page in the file is verified, then the tables and their indexes, then
/// references between tables.
pub fn check(conn: &Connection) -> Vec<String> {
    let mut found = rows(conn, "PRAGMA cipher_integrity_check", |row| row.get(0));
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
