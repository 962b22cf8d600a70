//! Containers.

use canopy_backend::blob::{BlobError, ContainerInfo, ContainerPage};
use rusqlite::{Connection, OptionalExtension, params};

use super::row::{self, CONTAINER, Unsigned, failed};
use super::{Change, release};
use crate::segment::SegmentId;

/// The row of a container.
pub(crate) fn container_id(conn: &Connection, name: &str) -> Result<i64, BlobError> {
    conn.prepare_cached("SELECT id FROM container WHERE name = ?")
        .and_then(|mut select| {
            select
                .query_row([name.as_bytes()], |row| row.get(0))
                .optional()
        })
        .map_err(failed)?
        .ok_or(BlobError::NoSuchContainer)
}

pub(crate) fn create_container(
    conn: &Connection,
    name: &str,
    limit: usize,
) -> Result<bool, BlobError> {
    let made = conn
        .prepare_cached(
            "INSERT INTO container (name, created) VALUES (?, ?) ON CONFLICT DO NOTHING",
        )
        .and_then(|mut insert| insert.execute(params![name.as_bytes(), row::now()]))
        .map_err(failed)?;
    let Unsigned(count) = conn
        .prepare_cached("SELECT count(*) FROM container")
        .and_then(|mut select| select.query_row([], |row| row.get::<_, Unsigned>(0)))
        .map_err(failed)?;
    if made > 0 && count > limit as u64 {
        return Err(BlobError::TooMany {
            what: "containers",
            limit: limit as u64,
        });
    }
    Ok(made > 0)
}

pub(crate) fn container(conn: &Connection, name: &str) -> Result<ContainerInfo, BlobError> {
    conn.prepare_cached(&format!("SELECT {CONTAINER} FROM container WHERE name = ?"))
        .and_then(|mut select| {
            select
                .query_row([name.as_bytes()], row::container)
                .optional()
        })
        .map_err(failed)?
        .ok_or(BlobError::NoSuchContainer)
}

pub(crate) fn containers(
    conn: &Connection,
    prefix: &str,
    after: Option<&str>,
    limit: usize,
) -> Result<ContainerPage, BlobError> {
    let mut containers: Vec<_> = conn
        .prepare_cached(&format!(
            "SELECT {CONTAINER} FROM container
             WHERE name >= ?1 AND name < ?2 AND (?3 IS NULL OR name > ?3) ORDER BY name LIMIT ?4"
        ))
        .and_then(|mut select| {
            let rows = select.query_map(
                params![
                    prefix.as_bytes(),
                    row::end_of(prefix),
                    after.map(str::as_bytes),
                    Unsigned(limit as u64 + 1)
                ],
                row::container,
            )?;
            rows.collect()
        })
        .map_err(failed)?;
    let more = containers.len() > limit;
    containers.truncate(limit);
    Ok(ContainerPage {
        next: more
            .then(|| {
                containers
                    .last()
                    .map(|last: &ContainerInfo| last.name.clone())
            })
            .flatten(),
        containers,
    })
}

pub(crate) fn delete_container(
    conn: &Connection,
    name: &str,
    force: bool,
) -> Result<Change, BlobError> {
    let id = container_id(conn, name)?;
    let parts = "part JOIN upload ON upload.id = part.upload WHERE upload.container = ?1";
    let number = |sql: &str| -> rusqlite::Result<(u64, u64)> {
        conn.query_row(sql, [id], |row| {
            Ok((row::unsigned(row, 0)?, row::unsigned(row, 1)?))
        })
    };
    let read = || -> rusqlite::Result<_> {
        let objects =
            number("SELECT count(*), coalesce(sum(size), 0) FROM object WHERE container = ?1")?;
        let uploads = number("SELECT count(*), 0 FROM upload WHERE container = ?1")?;
        let parts = number(&format!(
            "SELECT count(*), coalesce(sum(part.size), 0) FROM {parts}"
        ))?;
        Ok((objects, uploads.0, parts))
    };
    let (objects, uploads, in_parts) = read().map_err(failed)?;
    if !force && objects.0 + uploads > 0 {
        return Err(BlobError::ContainerNotEmpty);
    }
    let mut change = Change {
        bytes: 0i64.saturating_sub_unsigned(objects.1 + in_parts.1),
        items: 0i64.saturating_sub_unsigned(objects.0 + in_parts.0),
        ..Change::default()
    };
    let remove = || -> rusqlite::Result<Vec<SegmentId>> {
        let segments = conn
            .prepare(&format!(
                "SELECT segment FROM object_segment JOIN object ON object.id = object_segment.object
                 WHERE object.container = ?1 UNION SELECT segment FROM {parts}"
            ))?
            .query_map([id], |row| Ok(SegmentId(row.get(0)?)))?
            .collect::<rusqlite::Result<_>>()?;
        for sql in [
            "DELETE FROM part WHERE upload IN (SELECT id FROM upload WHERE container = ?1)",
            "DELETE FROM upload WHERE container = ?1",
            "DELETE FROM object_segment WHERE object IN
                (SELECT id FROM object WHERE container = ?1)",
            "DELETE FROM object WHERE container = ?1",
            "DELETE FROM container WHERE id = ?1",
        ] {
            conn.execute(sql, [id])?;
        }
        Ok(segments)
    };
    release(conn, remove().map_err(failed)?, &mut change)?;
    Ok(change)
}
