//! The readings, each one statement or one transaction, so each sees one moment of the database.
//!
//! An entry is there until its time comes, `now` being milliseconds since 1970.

use canopy_backend::{Entry, EntryPage, KeyPage, StorageError};
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::fault::Fault;

/// The condition that a row is the entry of a key.
macro_rules! of_key {
    ($columns:literal) => {
        concat!(
            "SELECT ",
            $columns,
            " FROM canopy_entry WHERE key = ?2 AND (expires_at IS NULL OR expires_at > ?3)
             AND bucket = (SELECT id FROM canopy_bucket WHERE name = ?1)"
        )
    };
}

/// The statement of a listing's first page, and that of the following, which begin after a key.
struct Page {
    first: &'static str,
    rest: &'static str,
}

macro_rules! page {
    ($columns:literal) => {
        Page {
            first: page!(@ $columns, "?3 IS NULL"),
            rest: page!(@ $columns, "key > ?3"),
        }
    };
    (@ $columns:literal, $after:literal) => {
        concat!(
            "SELECT ", $columns, " FROM canopy_entry WHERE key >= ?2 AND ", $after,
            " AND key < ?4 AND (expires_at IS NULL OR expires_at > ?5)
             AND bucket = (SELECT id FROM canopy_bucket WHERE name = ?1) ORDER BY key LIMIT ?6"
        )
    };
}

const KEYS: Page = page!("key");
const ENTRIES: Page = page!("key, value, version, expires_at");

/// Greater than every key: no byte of UTF-8 is 0xff.
const BEYOND: &[u8] = &[0xff];

/// The value of a key.
pub(crate) fn get(
    conn: &Connection,
    bucket: &str,
    key: &str,
    now: i64,
) -> rusqlite::Result<Option<Vec<u8>>> {
    conn.prepare_cached(of_key!("value"))?
        .query_row(params![bucket.as_bytes(), key.as_bytes(), now], |row| {
            row.get(0)
        })
        .optional()
}

/// The entry of a key.
pub(crate) fn get_entry(
    conn: &Connection,
    bucket: &str,
    key: &str,
    now: i64,
) -> rusqlite::Result<Option<Entry>> {
    conn.prepare_cached(of_key!("value, version, expires_at"))?
        .query_row(params![bucket.as_bytes(), key.as_bytes(), now], |row| {
            entry(row, 0)
        })
        .optional()
}

/// Whether a key has a value.
pub(crate) fn exists(
    conn: &Connection,
    bucket: &str,
    key: &str,
    now: i64,
) -> rusqlite::Result<bool> {
    conn.prepare_cached(of_key!("1"))?
        .exists(params![bucket.as_bytes(), key.as_bytes(), now])
}

/// The values of `keys` at one moment, at most `limit` bytes of them.
pub(crate) fn get_many(
    conn: &Connection,
    bucket: &str,
    keys: &[String],
    now: i64,
    limit: usize,
) -> Result<Vec<Option<Vec<u8>>>, StorageError> {
    let read = || -> rusqlite::Result<Result<_, StorageError>> {
        let moment = conn.unchecked_transaction()?;
        let mut values = Vec::with_capacity(keys.len());
        let mut bytes = 0;
        for key in keys {
            let value = get(&moment, bucket, key, now)?;
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

/// Where a page of a listing is.
#[derive(Debug)]
pub(crate) struct Range {
    pub(crate) prefix: String,
    pub(crate) after: Option<String>,
    pub(crate) limit: usize,
    pub(crate) now: i64,
}

/// One page of keys.
pub(crate) fn list(
    conn: &Connection,
    bucket: &str,
    range: &Range,
) -> Result<KeyPage, StorageError> {
    let mut keys = Vec::new();
    rows(conn, KEYS, bucket, range, |row| {
        keys.push(row.get(0)?);
        Ok(true)
    })?;
    let more = keys.len() > range.limit;
    keys.truncate(range.limit);
    let keys: Vec<String> = keys.into_iter().map(text).collect::<Result<_, _>>()?;
    let next = if more { keys.last().cloned() } else { None };
    Ok(KeyPage { keys, next })
}

/// One page of entries, of at most `bytes` of keys and values, and at least one entry.
pub(crate) fn list_entries(
    conn: &Connection,
    bucket: &str,
    range: &Range,
    bytes: usize,
) -> Result<EntryPage, StorageError> {
    let (mut found, mut size, mut more) = (Vec::new(), 0, false);
    rows(conn, ENTRIES, bucket, range, |row| {
        let (key, entry): (Vec<u8>, _) = (row.get(0)?, entry(row, 1)?);
        size += key.len() + entry.value.len();
        more = found.len() == range.limit || (size > bytes && !found.is_empty());
        if !more {
            found.push((key, entry));
        }
        Ok(!more)
    })?;
    let named = |(key, entry)| Ok::<_, StorageError>((text(key)?, entry));
    let entries: Vec<_> = found.into_iter().map(named).collect::<Result<_, _>>()?;
    let last = entries.last().map(|(key, _)| key.clone());
    let next = if more { last } else { None };
    Ok(EntryPage { entries, next })
}

/// The buckets that something was stored in.
pub(crate) fn buckets(conn: &Connection) -> Result<Vec<String>, StorageError> {
    let read = || -> rusqlite::Result<Vec<Vec<u8>>> {
        conn.prepare_cached("SELECT name FROM canopy_bucket ORDER BY name")?
            .query_map([], |row| row.get(0))?
            .collect()
    };
    let names = read().map_err(|error| Fault::of(&error))?;
    names.into_iter().map(text).collect()
}

/// The columns `value, version, expires_at` from `first` on.
pub(crate) fn entry(row: &Row<'_>, first: usize) -> rusqlite::Result<Entry> {
    let (version, expires_at): (i64, Option<i64>) = (row.get(first + 1)?, row.get(first + 2)?);
    Ok(Entry {
        value: row.get(first)?,
        version: version.unsigned_abs(),
        expires_at: expires_at.map(i64::unsigned_abs),
    })
}

/// Shows `each` the rows of a page, and one more if there is one, until it has had enough.
fn rows(
    conn: &Connection,
    page: Page,
    bucket: &str,
    range: &Range,
    mut each: impl FnMut(&Row<'_>) -> rusqlite::Result<bool>,
) -> Result<(), StorageError> {
    // One more than asked for tells whether there are more.
    let limit = i64::try_from(range.limit)
        .unwrap_or(i64::MAX)
        .saturating_add(1);
    let (sql, after) = match &range.after {
        Some(after) => (page.rest, Some(after.as_bytes())),
        None => (page.first, None),
    };
    let (prefix, end) = (range.prefix.as_bytes(), end_of(&range.prefix));
    let mut read = || -> rusqlite::Result<()> {
        let mut statement = conn.prepare_cached(sql)?;
        let bounds = params![bucket.as_bytes(), prefix, after, end, range.now, limit];
        let mut rows = statement.query(bounds)?;
        while let Some(row) = rows.next()?
            && each(row)?
        {}
        Ok(())
    };
    read().map_err(|error| Fault::of(&error).into())
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

fn text(bytes: Vec<u8>) -> Result<String, StorageError> {
    String::from_utf8(bytes).map_err(|error| StorageError::Damaged(format!("a key: {error}")))
}
