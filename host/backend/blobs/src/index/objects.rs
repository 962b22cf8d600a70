//! Objects, and the segments that they are made of.

use std::collections::BTreeMap;

use canopy_backend::blob::{BlobError, Condition, ObjectId, ObjectInfo};
use rusqlite::{Connection, OptionalExtension, params};

use super::row::{self, OBJECT, Unsigned, failed};
use super::{Change, container_id, release};
use crate::segment::SegmentId;

/// A segment as the index knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) id: SegmentId,
    pub(crate) size: u64,
    pub(crate) hash: [u8; 32],
}

/// What an object is to be.
#[derive(Debug, Clone)]
pub(crate) struct Content {
    pub(crate) size: u64,
    pub(crate) etag: String,
    pub(crate) content_type: Option<String>,
    pub(crate) metadata: BTreeMap<String, String>,
    /// In order, each known to the index.
    pub(crate) segments: Vec<SegmentId>,
}

/// The row and the description of an object in a container that may not exist.
pub(crate) fn find(
    conn: &Connection,
    container: i64,
    name: &str,
) -> Result<Option<(i64, ObjectInfo)>, BlobError> {
    conn.prepare_cached(&format!(
        "SELECT {OBJECT}, id FROM object WHERE container = ? AND name = ?"
    ))
    .and_then(|mut select| {
        select
            .query_row(params![container, name.as_bytes()], |row| {
                Ok((row.get(7)?, row::object(row)?))
            })
            .optional()
    })
    .map_err(failed)
}

/// The row and the description of an object.
pub(crate) fn head(conn: &Connection, id: ObjectId<'_>) -> Result<(i64, ObjectInfo), BlobError> {
    let container = container_id(conn, id.container)?;
    find(conn, container, id.name)?.ok_or(BlobError::NoSuchObject)
}

/// The segments of an object, in order.
pub(crate) fn pieces(conn: &Connection, object: i64) -> Result<Vec<Piece>, BlobError> {
    conn.prepare_cached(
        "SELECT segment.id, segment.size, segment.hash FROM object_segment
         JOIN segment ON segment.id = object_segment.segment
         WHERE object = ? ORDER BY ordinal",
    )
    .and_then(|mut select| select.query_map([object], row::piece)?.collect())
    .map_err(failed)
}

/// Whether `condition` holds of what was found.
pub(crate) fn check_condition(
    condition: Option<&Condition>,
    found: Option<&ObjectInfo>,
) -> Result<(), BlobError> {
    let holds = match condition {
        None => true,
        Some(Condition::IfAbsent) => found.is_none(),
        Some(Condition::IfMatch(etag)) => found.is_some_and(|found| found.etag == *etag),
    };
    match holds {
        true => Ok(()),
        false => Err(BlobError::Condition {
            etag: found.map(|found| found.etag.clone()),
        }),
    }
}

/// Puts an object, in place of the one there.
pub(crate) fn put(
    conn: &Connection,
    id: ObjectId<'_>,
    content: Content,
    condition: Option<&Condition>,
    change: &mut Change,
) -> Result<ObjectInfo, BlobError> {
    let container = container_id(conn, id.container)?;
    let found = find(conn, container, id.name)?;
    check_condition(condition, found.as_ref().map(|(_, info)| info))?;
    let now = row::now();
    let metadata = row::metadata(&content.metadata)?;
    let mut released = Vec::new();
    let created = match found {
        Some((object, info)) => {
            released = remove(conn, container, object, &info, change)?;
            info.created
        }
        None => row::time(now.0),
    };
    let insert = || -> rusqlite::Result<()> {
        conn.prepare_cached(
            "INSERT INTO object (container, name, size, etag, content_type, metadata, created, modified)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        )?
        .execute(params![
            container,
            id.name.as_bytes(),
            Unsigned(content.size),
            content.etag,
            content.content_type,
            metadata,
            Unsigned(row::milliseconds(created)),
            now
        ])?;
        let object = conn.last_insert_rowid();
        let mut insert = conn.prepare_cached(
            "INSERT INTO object_segment (object, ordinal, segment) VALUES (?, ?, ?)",
        )?;
        for (ordinal, segment) in content.segments.iter().enumerate() {
            insert.execute(params![object, Unsigned(ordinal as u64), segment.0])?;
        }
        count_in_container(conn, container, 1, content.size.cast_signed())
    };
    insert().map_err(failed)?;
    change.add(content.size);
    release(conn, released, change)?;
    Ok(ObjectInfo {
        name: id.name.to_owned(),
        size: content.size,
        etag: content.etag,
        content_type: content.content_type,
        metadata: content.metadata,
        created,
        modified: row::time(now.0),
    })
}

/// Removes an object; whether there was one.
pub(crate) fn delete(
    conn: &Connection,
    id: ObjectId<'_>,
    condition: Option<&Condition>,
    change: &mut Change,
) -> Result<bool, BlobError> {
    let container = container_id(conn, id.container)?;
    let found = find(conn, container, id.name)?;
    check_condition(condition, found.as_ref().map(|(_, info)| info))?;
    let Some((object, info)) = found else {
        return Ok(false);
    };
    let released = remove(conn, container, object, &info, change)?;
    release(conn, released, change)?;
    Ok(true)
}

/// Removes an object's rows and gives its segments, which are still known.
fn remove(
    conn: &Connection,
    container: i64,
    object: i64,
    info: &ObjectInfo,
    change: &mut Change,
) -> Result<Vec<SegmentId>, BlobError> {
    let segments = pieces(conn, object)?;
    let delete = || -> rusqlite::Result<()> {
        conn.prepare_cached("DELETE FROM object_segment WHERE object = ?")?
            .execute([object])?;
        conn.prepare_cached("DELETE FROM object WHERE id = ?")?
            .execute([object])?;
        count_in_container(conn, container, -1, -info.size.cast_signed())
    };
    delete().map_err(failed)?;
    change.remove(info.size);
    Ok(segments.into_iter().map(|piece| piece.id).collect())
}

fn count_in_container(
    conn: &Connection,
    container: i64,
    objects: i64,
    bytes: i64,
) -> rusqlite::Result<()> {
    conn.prepare_cached(
        "UPDATE container SET objects = objects + ?, bytes = bytes + ? WHERE id = ?",
    )?
    .execute(params![objects, bytes, container])?;
    Ok(())
}

/// Copies an object: the copy is made of the same segments.
pub(crate) fn copy(
    conn: &Connection,
    source: ObjectId<'_>,
    target: ObjectId<'_>,
    condition: Option<&Condition>,
    change: &mut Change,
) -> Result<ObjectInfo, BlobError> {
    let (object, info) = head(conn, source)?;
    let segments = pieces(conn, object)?;
    let content = Content {
        size: info.size,
        etag: info.etag,
        content_type: info.content_type,
        metadata: info.metadata,
        segments: segments.into_iter().map(|piece| piece.id).collect(),
    };
    put(conn, target, content, condition, change)
}

/// Moves an object.
pub(crate) fn rename(
    conn: &Connection,
    source: ObjectId<'_>,
    target: ObjectId<'_>,
    condition: Option<&Condition>,
    change: &mut Change,
) -> Result<ObjectInfo, BlobError> {
    let info = copy(conn, source, target, condition, change)?;
    if source != target {
        delete(conn, source, None, change)?;
    }
    Ok(info)
}
