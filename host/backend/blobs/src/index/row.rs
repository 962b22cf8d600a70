//! From rows to what they stand for.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use canopy_backend::StorageError;
use canopy_backend::blob::{BlobError, ContainerInfo, ObjectInfo};
use rusqlite::types::{FromSql, FromSqlResult, ToSql, ToSqlOutput, Type, ValueRef};
use rusqlite::{Error, ErrorCode, Row};

use super::Piece;
use crate::segment::SegmentId;

/// The columns that [`object`] reads.
pub(super) const OBJECT: &str = "name, size, etag, content_type, metadata, created, modified";
/// The columns that [`container`] reads.
pub(super) const CONTAINER: &str = "name, created, objects, bytes";

/// What an error of SQLite is to the caller.
pub(crate) fn failed(error: Error) -> BlobError {
    BlobError::Storage(match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => StorageError::NoSpace,
        _ => StorageError::Failed(error.to_string()),
    })
}

pub(super) fn object(row: &Row<'_>) -> rusqlite::Result<ObjectInfo> {
    let metadata: String = row.get(4)?;
    Ok(ObjectInfo {
        name: text(row, 0)?,
        size: unsigned(row, 1)?,
        etag: row.get(2)?,
        content_type: row.get(3)?,
        metadata: serde_json::from_str(&metadata).map_err(|error| unreadable(4, error))?,
        created: time(unsigned(row, 5)?),
        modified: time(unsigned(row, 6)?),
    })
}

pub(super) fn container(row: &Row<'_>) -> rusqlite::Result<ContainerInfo> {
    Ok(ContainerInfo {
        name: text(row, 0)?,
        created: time(unsigned(row, 1)?),
        objects: unsigned(row, 2)?,
        bytes: unsigned(row, 3)?,
    })
}

pub(super) fn piece(row: &Row<'_>) -> rusqlite::Result<Piece> {
    Ok(Piece {
        id: SegmentId(row.get(0)?),
        size: unsigned(row, 1)?,
        hash: row.get(2)?,
    })
}

pub(super) fn text(row: &Row<'_>, column: usize) -> rusqlite::Result<String> {
    String::from_utf8(row.get(column)?).map_err(|error| unreadable(column, error))
}

fn unreadable(column: usize, error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::FromSqlConversionFailure(column, Type::Blob, Box::new(error))
}

pub(super) fn metadata(metadata: &BTreeMap<String, String>) -> Result<String, BlobError> {
    serde_json::to_string(metadata).map_err(BlobError::failed)
}

/// A number without a sign, which SQLite has not: the same bits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Unsigned(pub(super) u64);

impl ToSql for Unsigned {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.0.cast_signed().into())
    }
}

impl FromSql for Unsigned {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        value.as_i64().map(|value| Self(value.cast_unsigned()))
    }
}

pub(super) fn unsigned(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    row.get::<_, Unsigned>(column).map(|value| value.0)
}

pub(super) fn time(milliseconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(milliseconds)
}

/// Milliseconds since 1970, now.
pub(super) fn now() -> Unsigned {
    Unsigned(milliseconds(SystemTime::now()))
}

/// The first bytes after all that begin with `prefix`: no byte of UTF-8 is 0xff.
pub(super) fn end_of(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    match end.last_mut() {
        Some(last) => *last += 1,
        None => end.push(0xff),
    }
    end
}

pub(super) fn milliseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}
