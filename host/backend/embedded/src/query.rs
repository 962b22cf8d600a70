//! The readings, each one statement, so each sees one moment of the database.

use canopy_backend::{KeyPage, StorageError};
use rusqlite::{Connection, OptionalExtension, params};

use crate::fault::Fault;

const GET: &str = "SELECT value FROM canopy_entry WHERE key = ?2
    AND bucket = (SELECT id FROM canopy_bucket WHERE name = ?1)";
const SIZE: &str = "SELECT length(value) FROM canopy_entry WHERE key = ?2
    AND bucket = (SELECT id FROM canopy_bucket WHERE name = ?1)";
/// Between two keys, the first inclusive or not; without an end for the empty prefix.
const LIST: &str = "SELECT key FROM canopy_entry WHERE key >= ?2 AND key > ?3 AND key < ?4
    AND bucket = (SELECT id FROM canopy_bucket WHERE name = ?1) ORDER BY key LIMIT ?5";
const LIST_FROM_START: &str = "SELECT key FROM canopy_entry WHERE key >= ?2 AND key < ?3
    AND bucket = (SELECT id FROM canopy_bucket WHERE name = ?1) ORDER BY key LIMIT ?4";

/// Greater than every key: no byte of UTF-8 is 0xff.
const BEYOND: &[u8] = &[0xff];

/// The value of a key.
pub(crate) fn get(conn: &Connection, bucket: &str, key: &str) -> rusqlite::Result<Option<Vec<u8>>> {
    conn.prepare_cached(GET)?
        .query_row(params![bucket.as_bytes(), key.as_bytes()], |row| row.get(0))
        .optional()
}

/// Whether a key has a value.
pub(crate) fn exists(conn: &Connection, bucket: &str, key: &str) -> rusqlite::Result<bool> {
    conn.prepare_cached(SIZE)?
        .exists(params![bucket.as_bytes(), key.as_bytes()])
}

/// The values of `keys` at one moment, at most `limit` bytes of them.
pub(crate) fn get_many(
    conn: &Connection,
    bucket: &str,
    keys: &[String],
    limit: usize,
) -> Result<Vec<Option<Vec<u8>>>, StorageError> {
    let read = || -> rusqlite::Result<Result<_, StorageError>> {
        let moment = conn.unchecked_transaction()?;
        let mut values = Vec::with_capacity(keys.len());
        let mut bytes = 0;
        for key in keys {
            let value = get(&moment, bucket, key)?;
            bytes += key.len() + value.as_ref().map_or(0, Vec::len);
            if bytes > limit {
                return Ok(Err(StorageError::TooLarge {
                    what: "batch",
                    actual: bytes,
                    limit,
                }));
            }
            values.push(value);
        }
        Ok(Ok(values))
    };
    read().map_err(|error| Fault::of(&error))?
}

/// Up to `limit` keys.
pub(crate) fn list(
    conn: &Connection,
    bucket: &str,
    prefix: &str,
    after: Option<&str>,
    limit: usize,
) -> Result<KeyPage, StorageError> {
    // One more than asked for tells whether there are more.
    let rows = i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1);
    let end = end_of(prefix);
    let (bucket, prefix) = (bucket.as_bytes(), prefix.as_bytes());
    let read = || -> rusqlite::Result<Vec<Vec<u8>>> {
        match after {
            Some(after) => conn
                .prepare_cached(LIST)?
                .query_map(
                    params![bucket, prefix, after.as_bytes(), end, rows],
                    |row| row.get(0),
                )?
                .collect(),
            None => conn
                .prepare_cached(LIST_FROM_START)?
                .query_map(params![bucket, prefix, end, rows], |row| row.get(0))?
                .collect(),
        }
    };
    let keys = read().map_err(|error| Fault::of(&error))?;
    let keys = keys
        .into_iter()
        .map(String::from_utf8)
        .collect::<Result<Vec<_>, _>>();
    let mut keys =
        keys.map_err(|error| StorageError::Failed(format!("a key is damaged: {error}")))?;
    let more = keys.len() > limit;
    keys.truncate(limit);
    let next = if more { keys.last().cloned() } else { None };
    Ok(KeyPage { keys, next })
}

/// The first bytes after all that begin with `prefix`.
fn end_of(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    match end.last_mut() {
        Some(last) => *last += 1,
        None => end.extend(BEYOND),
    }
    end
}
