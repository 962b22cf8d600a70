//! The index of an installation's objects: which there are, and of which segments each is made.
//!
//! Every function works within the transaction of its caller.

mod containers;
mod listing;
mod objects;
mod row;
mod uploads;

use canopy_backend::blob::BlobError;
use canopy_backend_sqlite::Format;
use rusqlite::{Connection, OptionalExtension, params};

pub(crate) use containers::{
    container, container_id, containers, create_container, delete_container,
};
pub(crate) use listing::{Room as PageRoom, objects as list_objects};
pub(crate) use objects::{
    Content, Piece, check_condition, copy, delete, find, head, pieces, put, rename,
};
use row::Unsigned;
pub(crate) use row::failed;
pub(crate) use uploads::{
    abort, begin_upload, complete, expired, find_upload, hex, parts, put_part, uploads,
};

use crate::segment::{SegmentId, Written};

/// The key of the index's file.
pub(crate) const PURPOSE: &str = "blobs-index";

/// `cnpb`, and the tables.
pub(crate) const FORMAT: Format = Format {
    application_id: 0x636e_7062,
    migrations: &[include_str!("index/schema.sql")],
};

/// What changed with a transaction beside the rows.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    /// Bytes that count against quotas, more (or less, if negative).
    pub(crate) bytes: i64,
    /// Objects and parts.
    pub(crate) items: i64,
    /// Bytes by which single changes became more, without those by which others became less.
    pub(crate) grown: u64,
    /// Segments that nothing refers to any more.
    pub(crate) freed: Vec<SegmentId>,
}

impl Change {
    /// Both.
    pub(crate) fn append(&mut self, mut other: Self) {
        self.bytes += other.bytes;
        self.items += other.items;
        self.grown += u64::try_from(other.bytes).unwrap_or(0);
        self.freed.append(&mut other.freed);
    }

    fn add(&mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_add_unsigned(bytes);
        self.items += 1;
    }

    fn remove(&mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_sub_unsigned(bytes);
        self.items -= 1;
    }
}

/// What the installation stores: bytes, and objects with parts.
pub(crate) fn total(conn: &Connection) -> rusqlite::Result<(u64, u64)> {
    conn.prepare_cached("SELECT bytes, items FROM total")?
        .query_row([], |row| {
            Ok((row::unsigned(row, 0)?, row::unsigned(row, 1)?))
        })
}

/// Notes what a transaction changes in all.
pub(crate) fn count(conn: &Connection, change: &Change) -> rusqlite::Result<()> {
    conn.prepare_cached("UPDATE total SET bytes = bytes + ?1, items = items + ?2")?
        .execute(params![change.bytes, change.items])?;
    Ok(())
}

/// Makes a segment known.
pub(crate) fn add_segment(conn: &Connection, segment: &Written) -> rusqlite::Result<()> {
    conn.prepare_cached("INSERT INTO segment (id, size, hash, key_version) VALUES (?, ?, ?, ?)")?
        .execute(params![
            segment.id.0,
            Unsigned(segment.size),
            segment.hash,
            segment.key_version
        ])?;
    Ok(())
}

/// Every segment that is known.
pub(crate) fn segments(conn: &Connection) -> rusqlite::Result<Vec<Piece>> {
    conn.prepare("SELECT id, size, hash FROM segment ORDER BY id")?
        .query_map([], row::piece)?
        .collect()
}

/// A segment whose key is older than `version`.
pub(crate) fn outdated(conn: &Connection, version: u32) -> rusqlite::Result<Option<Piece>> {
    conn.prepare("SELECT id, size, hash FROM segment WHERE key_version < ? LIMIT 1")?
        .query_row([version], row::piece)
        .optional()
}

/// Has everything that refers to `old` refer to `new`, if `old` is still there.
pub(crate) fn replace_segment(
    conn: &Connection,
    old: SegmentId,
    new: &Written,
) -> rusqlite::Result<bool> {
    let known = conn
        .prepare_cached("SELECT 1 FROM segment WHERE id = ?")?
        .exists([old.0])?;
    if known {
        add_segment(conn, new)?;
        for table in ["object_segment", "part"] {
            conn.execute(
                &format!("UPDATE {table} SET segment = ?1 WHERE segment = ?2"),
                params![new.id.0, old.0],
            )?;
        }
        conn.execute("DELETE FROM segment WHERE id = ?", [old.0])?;
    }
    Ok(known)
}

/// Forgets those of `segments` that nothing refers to.
fn release(
    conn: &Connection,
    segments: Vec<SegmentId>,
    change: &mut Change,
) -> Result<(), BlobError> {
    let mut delete = conn
        .prepare_cached(
            "DELETE FROM segment WHERE id = ?1
                AND NOT EXISTS (SELECT 1 FROM object_segment WHERE segment = ?1)
                AND NOT EXISTS (SELECT 1 FROM part WHERE segment = ?1)",
        )
        .map_err(failed)?;
    for id in segments {
        if delete.execute([id.0]).map_err(failed)? > 0 {
            change.freed.push(id);
        }
    }
    Ok(())
}
