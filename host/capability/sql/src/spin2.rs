//! `fermyon:spin/sqlite@2.0.0`: the same as Spin's version 3, with fewer functions.

use canopy_backend::sql::{SqlRow, SqlStatement, SqlValue};
use wasmtime::component::Resource;

use crate::bindings::spin;
use crate::bindings::spin2::{Error, Host, HostConnection, QueryResult, RowResult, Value};
use crate::ctx::SqlView;
use crate::session::Session;

impl Host for SqlView<'_> {}

impl HostConnection for SqlView<'_> {
    async fn open(&mut self, name: String) -> wasmtime::Result<Result<Resource<Session>, Error>> {
        let opened = spin::HostConnection::open(self, name).await?;
        Ok(opened.map_err(Error::from))
    }

    async fn execute(
        &mut self,
        handle: Resource<Session>,
        statement: String,
        parameters: Vec<Value>,
    ) -> wasmtime::Result<Result<QueryResult, Error>> {
        let session = self.session(&handle)?;
        let listed = session.list(from_guest(statement, parameters)).await;
        let listed = listed.map_err(|error| Error::from(spin::Error::from(error)));
        Ok(listed.map(|listed| QueryResult {
            columns: listed.columns.into_iter().map(|c| c.name).collect(),
            rows: listed.rows.into_iter().map(to_guest).collect(),
        }))
    }

    async fn drop(&mut self, handle: Resource<Session>) -> wasmtime::Result<()> {
        spin::HostConnection::drop(self, handle).await
    }
}

fn from_guest(text: String, parameters: Vec<Value>) -> SqlStatement {
    let parameters = parameters.into_iter().map(|value| match value {
        Value::Null => SqlValue::Null,
        Value::Integer(value) => SqlValue::Integer(value),
        Value::Real(value) => SqlValue::Real(value),
        Value::Text(value) => SqlValue::Text(value),
        Value::Blob(value) => SqlValue::Blob(value),
    });
    SqlStatement::new(text, parameters.collect())
}

fn to_guest(row: SqlRow) -> RowResult {
    let values = row.into_iter().map(|value| match value {
        SqlValue::Null => Value::Null,
        SqlValue::Integer(value) => Value::Integer(value),
        SqlValue::Real(value) => Value::Real(value),
        SqlValue::Text(value) => Value::Text(value),
        SqlValue::Blob(value) => Value::Blob(value),
    });
    RowResult {
        values: values.collect(),
    }
}

impl From<spin::Error> for Error {
    fn from(error: spin::Error) -> Self {
        match error {
            spin::Error::NoSuchDatabase => Self::NoSuchDatabase,
            spin::Error::AccessDenied => Self::AccessDenied,
            spin::Error::InvalidConnection => Self::InvalidConnection,
            spin::Error::DatabaseFull => Self::DatabaseFull,
            spin::Error::Io(text) => Self::Io(text),
        }
    }
}
