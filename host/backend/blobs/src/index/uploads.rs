//! Uploads in parts.

use std::time::Duration;

use canopy_backend::blob::{
    BlobError, Condition, ObjectId, ObjectInfo, PartInfo, PartPage, PutOptions, UploadInfo,
};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::row::{self, Unsigned, failed};
use super::{Change, Content, add_segment, container_id, objects, release};
use crate::segment::{SegmentId, Written};

/// An upload that is under way.
pub(crate) struct Upload {
    container: String,
    name: String,
    content_type: Option<String>,
    metadata: std::collections::BTreeMap<String, String>,
    condition: Option<Condition>,
}

/// Begins an upload named `upload`, of at most `limit` that are under way.
pub(crate) fn begin_upload(
    conn: &Connection,
    id: ObjectId<'_>,
    upload: &str,
    options: &PutOptions,
    limit: usize,
) -> Result<UploadInfo, BlobError> {
    let container = container_id(conn, id.container)?;
    let metadata = row::metadata(&options.metadata)?;
    let matching = match &options.condition {
        Some(Condition::IfMatch(etag)) => Some(etag),
        _ => None,
    };
    let absent = options.condition == Some(Condition::IfAbsent);
    let now = row::now();
    let insert = || -> rusqlite::Result<u64> {
        conn.prepare_cached(
            "INSERT INTO upload
                (id, container, name, content_type, metadata, absent, match, created, touched)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8)",
        )?
        .execute(params![
            upload,
            container,
            id.name.as_bytes(),
            options.content_type,
            metadata,
            absent,
            matching,
            now
        ])?;
        conn.query_row("SELECT count(*) FROM upload", [], |row| {
            row::unsigned(row, 0)
        })
    };
    if insert().map_err(failed)? > limit as u64 {
        return Err(BlobError::TooMany {
            what: "uploads under way",
            limit: limit as u64,
        });
    }
    Ok(UploadInfo {
        id: upload.to_owned(),
        name: id.name.to_owned(),
        created: row::time(now.0),
    })
}

/// What an upload is to become.
pub(crate) fn find_upload(conn: &Connection, upload: &str) -> Result<Upload, BlobError> {
    let read = |row: &Row<'_>| {
        let metadata: String = row.get(3)?;
        let absent: bool = row.get(4)?;
        let matching: Option<String> = row.get(5)?;
        Ok(Upload {
            container: row::text(row, 0)?,
            name: row::text(row, 1)?,
            content_type: row.get(2)?,
            // Written by this room as JSON.
            metadata: serde_json::from_str(&metadata).unwrap_or_default(),
            condition: match absent {
                true => Some(Condition::IfAbsent),
                false => matching.map(Condition::IfMatch),
            },
        })
    };
    conn.prepare_cached(
        "SELECT container.name, upload.name, content_type, metadata, absent, match
         FROM upload JOIN container ON container.id = upload.container WHERE upload.id = ?",
    )
    .and_then(|mut select| select.query_row([upload], read).optional())
    .map_err(failed)?
    .ok_or(BlobError::NoSuchUpload)
}

/// Puts a part, in place of the one of that number.
pub(crate) fn put_part(
    conn: &Connection,
    upload: &str,
    number: u32,
    segment: &Written,
    change: &mut Change,
) -> Result<PartInfo, BlobError> {
    find_upload(conn, upload)?;
    let etag = hex(&segment.hash);
    let old = conn
        .prepare_cached("SELECT segment, size FROM part WHERE upload = ? AND number = ?")
        .and_then(|mut select| {
            select
                .query_row(params![upload, number], |row| {
                    Ok((SegmentId(row.get(0)?), row::unsigned(row, 1)?))
                })
                .optional()
        })
        .map_err(failed)?;
    let write = || -> rusqlite::Result<()> {
        add_segment(conn, segment)?;
        conn.prepare_cached(
            "INSERT OR REPLACE INTO part (upload, number, segment, size, etag)
             VALUES (?, ?, ?, ?, ?)",
        )?
        .execute(params![
            upload,
            number,
            segment.id.0,
            Unsigned(segment.size),
            etag
        ])?;
        conn.prepare_cached("UPDATE upload SET touched = ? WHERE id = ?")?
            .execute(params![row::now(), upload])?;
        Ok(())
    };
    write().map_err(failed)?;
    change.add(segment.size);
    if let Some((old, size)) = old {
        change.remove(size);
        release(conn, vec![old], change)?;
    }
    Ok(PartInfo {
        number,
        size: segment.size,
        etag,
    })
}

/// Up to `limit` parts after a number.
pub(crate) fn parts(
    conn: &Connection,
    upload: &str,
    after: Option<u32>,
    limit: usize,
) -> Result<PartPage, BlobError> {
    find_upload(conn, upload)?;
    let mut parts: Vec<PartInfo> = conn
        .prepare_cached(
            "SELECT number, size, etag FROM part WHERE upload = ? AND number > ?
             ORDER BY number LIMIT ?",
        )
        .and_then(|mut select| {
            let rows = select.query_map(
                params![upload, after.unwrap_or(0), Unsigned(limit as u64 + 1)],
                |row| {
                    Ok(PartInfo {
                        number: row.get(0)?,
                        size: row::unsigned(row, 1)?,
                        etag: row.get(2)?,
                    })
                },
            )?;
            rows.collect()
        })
        .map_err(failed)?;
    let more = parts.len() > limit;
    parts.truncate(limit);
    let last = parts.last().map(|last| last.number);
    Ok(PartPage {
        parts,
        next: last.filter(|_| more),
    })
}

/// Makes the object, of at most `limit` bytes, and forgets the upload.
pub(crate) fn complete(
    conn: &Connection,
    upload: &str,
    wanted: &[(u32, String)],
    change: &mut Change,
) -> Result<ObjectInfo, BlobError> {
    let Upload {
        container,
        name,
        content_type,
        metadata,
        condition,
    } = find_upload(conn, upload)?;
    if wanted.is_empty() {
        return Err(BlobError::Invalid {
            what: "the list of parts",
            why: "is empty",
        });
    }
    let mut segments = Vec::with_capacity(wanted.len());
    let mut size: u64 = 0;
    let mut hash = blake3::Hasher::new();
    let mut before = 0;
    for (number, etag) in wanted {
        let wrong = |why| BlobError::Part {
            number: *number,
            why,
        };
        if *number <= before {
            return Err(wrong("does not come after the one before it"));
        }
        before = *number;
        let (segment, length, found) = conn
            .prepare_cached("SELECT segment, size, etag FROM part WHERE upload = ? AND number = ?")
            .and_then(|mut select| {
                select
                    .query_row(params![upload, number], |row| {
                        let found: String = row.get(2)?;
                        Ok((SegmentId(row.get(0)?), row::unsigned(row, 1)?, found))
                    })
                    .optional()
            })
            .map_err(failed)?
            .ok_or_else(|| wrong("was not put"))?;
        if found != *etag {
            return Err(wrong("has another etag"));
        }
        hash.update(found.as_bytes());
        size += length;
        segments.push(segment);
    }
    let content = Content {
        size,
        etag: format!("{}-{}", hash.finalize().to_hex(), wanted.len()),
        content_type,
        metadata,
        segments,
    };
    let id = ObjectId::new(&container, &name);
    let info = objects::put(conn, id, content, condition.as_ref(), change)?;
    forget(conn, upload, change)?;
    Ok(info)
}

/// Forgets an upload and its parts.
pub(crate) fn abort(conn: &Connection, upload: &str, change: &mut Change) -> Result<(), BlobError> {
    find_upload(conn, upload)?;
    forget(conn, upload, change)
}

fn forget(conn: &Connection, upload: &str, change: &mut Change) -> Result<(), BlobError> {
    let remove = || -> rusqlite::Result<Vec<(SegmentId, u64)>> {
        let parts = conn
            .prepare_cached("SELECT segment, size FROM part WHERE upload = ?")?
            .query_map([upload], |row| {
                Ok((SegmentId(row.get(0)?), row::unsigned(row, 1)?))
            })?
            .collect::<rusqlite::Result<_>>()?;
        conn.prepare_cached("DELETE FROM part WHERE upload = ?")?
            .execute([upload])?;
        conn.prepare_cached("DELETE FROM upload WHERE id = ?")?
            .execute([upload])?;
        Ok(parts)
    };
    let parts = remove().map_err(failed)?;
    for (_, size) in &parts {
        change.remove(*size);
    }
    release(conn, parts.into_iter().map(|part| part.0).collect(), change)
}

/// The uploads of a container, oldest first.
pub(crate) fn uploads(conn: &Connection, container: &str) -> Result<Vec<UploadInfo>, BlobError> {
    let container = container_id(conn, container)?;
    conn.prepare_cached(
        "SELECT id, name, created FROM upload WHERE container = ? ORDER BY created, id",
    )
    .and_then(|mut select| {
        let rows = select.query_map([container], |row| {
            Ok(UploadInfo {
                id: row.get(0)?,
                name: row::text(row, 1)?,
                created: row::time(row::unsigned(row, 2)?),
            })
        })?;
        rows.collect()
    })
    .map_err(failed)
}

/// Uploads to which nothing was added for `age`.
pub(crate) fn expired(conn: &Connection, age: Duration) -> rusqlite::Result<Vec<String>> {
    let age = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
    conn.prepare("SELECT id FROM upload WHERE touched < ?")?
        .query_map([Unsigned(row::now().0.saturating_sub(age))], |row| {
            row.get(0)
        })?
        .collect()
}

pub(crate) fn hex(hash: &[u8; 32]) -> String {
    blake3::Hash::from(*hash).to_hex().to_string()
}
