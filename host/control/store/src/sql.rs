//! Values of the database and values of Rust.

use std::fmt::Display;
use std::str::FromStr;

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, Value, ValueRef};
use rusqlite::{Connection, OptionalExtension, Row};
use serde::Serialize;
use serde::de::DeserializeOwned;
use time::OffsetDateTime;

use crate::{PageRequest, Rows, StoreError};

/// A value kept as the text that it displays.
pub(crate) struct Text<T>(pub(crate) T);

impl<T> FromSql for Text<T>
where
    T: FromStr<Err: std::error::Error + Send + Sync + 'static>,
{
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        value
            .as_str()?
            .parse()
            .map(Text)
            .map_err(FromSqlError::other)
    }
}

impl<T: Display> ToSql for Text<T> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Owned(Value::Text(self.0.to_string())))
    }
}

/// A value kept as JSON.
pub(crate) struct Json<T>(pub(crate) T);

impl<T: DeserializeOwned> FromSql for Json<T> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        serde_json::from_str(value.as_str()?)
            .map(Json)
            .map_err(FromSqlError::other)
    }
}

impl<T: Serialize> ToSql for Json<T> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let text = serde_json::to_string(&self.0)
            .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
        Ok(ToSqlOutput::Owned(Value::Text(text)))
    }
}

/// A time kept as microseconds since 1970.
pub(crate) struct Time(pub(crate) OffsetDateTime);

impl Time {
    /// The present time in the precision in which it is kept.
    pub(crate) fn now() -> Self {
        let micros = OffsetDateTime::now_utc().unix_timestamp_nanos() / 1000;
        Self(
            OffsetDateTime::from_unix_timestamp_nanos(micros * 1000)
                .unwrap_or(OffsetDateTime::UNIX_EPOCH),
        )
    }

    pub(crate) fn micros(&self) -> i64 {
        i64::try_from(self.0.unix_timestamp_nanos() / 1000).unwrap_or(i64::MAX)
    }
}

impl FromSql for Time {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(value.as_i64()?) * 1000)
            .map(Time)
            .map_err(FromSqlError::other)
    }
}

impl ToSql for Time {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Owned(Value::Integer(self.micros())))
    }
}

/// A number without a sign. SQLite's numbers have one, so what does not fit is an error.
pub(crate) struct Number(pub(crate) u64);

impl FromSql for Number {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let number = value.as_i64()?;
        u64::try_from(number)
            .map(Number)
            .map_err(|_| FromSqlError::OutOfRange(number))
    }
}

impl ToSql for Number {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let number = i64::try_from(self.0)
            .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
        Ok(ToSqlOutput::Owned(Value::Integer(number)))
    }
}

/// Shorter ways to the columns of a row.
pub(crate) trait RowExt {
    fn parse<T>(&self, column: &str) -> rusqlite::Result<T>
    where
        T: FromStr<Err: std::error::Error + Send + Sync + 'static>;
    fn json<T: DeserializeOwned>(&self, column: &str) -> rusqlite::Result<T>;
    fn time(&self, column: &str) -> rusqlite::Result<OffsetDateTime>;
    fn number(&self, column: impl rusqlite::RowIndex) -> rusqlite::Result<u64>;
}

impl RowExt for Row<'_> {
    fn parse<T>(&self, column: &str) -> rusqlite::Result<T>
    where
        T: FromStr<Err: std::error::Error + Send + Sync + 'static>,
    {
        Ok(self.get::<_, Text<T>>(column)?.0)
    }

    fn json<T: DeserializeOwned>(&self, column: &str) -> rusqlite::Result<T> {
        Ok(self.get::<_, Json<T>>(column)?.0)
    }

    fn time(&self, column: &str) -> rusqlite::Result<OffsetDateTime> {
        Ok(self.get::<_, Time>(column)?.0)
    }

    fn number(&self, column: impl rusqlite::RowIndex) -> rusqlite::Result<u64> {
        Ok(self.get::<_, Number>(column)?.0)
    }
}

/// Takes the next revision.
pub(crate) fn next_revision(tx: &Connection) -> Result<u64, StoreError> {
    Ok(tx.query_row(
        "UPDATE counter SET revision = revision + 1 RETURNING revision",
        [],
        |row| row.number(0),
    )?)
}

/// The single row of a query, or `None`.
pub(crate) fn one<T>(
    connection: &Connection,
    sql: &str,
    parameters: impl rusqlite::Params,
    read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Option<T>, StoreError> {
    Ok(connection
        .prepare_cached(sql)?
        .query_row(parameters, read)
        .optional()?)
}

/// All rows of a query.
pub(crate) fn all<T>(
    connection: &Connection,
    sql: &str,
    parameters: impl rusqlite::Params,
    mut read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<T>, StoreError> {
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map(parameters, |row| read(row))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Rows to ask for, so that one more than the page shows whether there is a next.
pub(crate) fn fetch(page: &PageRequest) -> i64 {
    i64::try_from(page.limit.saturating_add(1)).unwrap_or(i64::MAX)
}

/// Cuts the surplus row off and says where the next page begins.
pub(crate) fn page<T>(
    mut rows: Vec<T>,
    request: &PageRequest,
    cursor: impl FnOnce(&T) -> String,
) -> Rows<T> {
    let more = rows.len() > request.limit;
    rows.truncate(request.limit);
    let next = if more { rows.last().map(cursor) } else { None };
    Rows { rows, next }
}
