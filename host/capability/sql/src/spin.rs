//! `spin:sqlite/sqlite@3.1.0`, and 3.0.0 with it.

use canopy_backend::StorageError;
use canopy_backend::sql::{SqlError, SqlRow, SqlStatement, SqlValue};
use wasmtime::component::{Accessor, FutureReader, Resource, StreamReader};

use crate::bindings::Capability;
use crate::bindings::spin::{
    Error, Host, HostConnection, HostConnectionWithStore, QueryResult, RowResult, Value,
};
use crate::ctx::{Databases, SqlView};
use crate::failure::told;
use crate::session::{Session, seems_to_read};
use crate::stream::RowStream;

impl Host for SqlView<'_> {}

impl SqlView<'_> {
    pub(crate) fn session(&self, handle: &Resource<Session>) -> wasmtime::Result<Session> {
        Ok(self.table.get(handle)?.clone())
    }
}

async fn open(databases: Option<Databases>, name: &str) -> Result<Session, Error> {
    let databases = databases.ok_or(Error::AccessDenied)?;
    Ok(Session::open(&databases, name).await?)
}

impl HostConnection for SqlView<'_> {
    async fn open(&mut self, name: String) -> wasmtime::Result<Result<Resource<Session>, Error>> {
        match open(self.ctx.databases.clone(), &name).await {
            Ok(session) => Ok(Ok(self.table.push(session)?)),
            Err(error) => Ok(Err(error)),
        }
    }

    async fn execute(
        &mut self,
        handle: Resource<Session>,
        statement: String,
        parameters: Vec<Value>,
    ) -> wasmtime::Result<Result<QueryResult, Error>> {
        let session = self.session(&handle)?;
        let listed = session.list(from_guest(statement, parameters)).await;
        Ok(listed.map_err(Error::from).map(|listed| QueryResult {
            columns: listed.columns.into_iter().map(|c| c.name).collect(),
            rows: listed.rows.into_iter().map(to_guest).collect(),
        }))
    }

    async fn last_insert_rowid(&mut self, handle: Resource<Session>) -> wasmtime::Result<i64> {
        Ok(self.session(&handle)?.outcome().await.last_insert_rowid)
    }

    async fn changes(&mut self, handle: Resource<Session>) -> wasmtime::Result<u64> {
        Ok(self.session(&handle)?.outcome().await.changes)
    }

    async fn drop(&mut self, handle: Resource<Session>) -> wasmtime::Result<()> {
        self.table.delete(handle)?;
        Ok(())
    }
}

type Streamed = (
    Vec<String>,
    StreamReader<RowResult>,
    FutureReader<Result<(), Error>>,
);

impl<T: Send + 'static> HostConnectionWithStore<T> for Capability {
    async fn open_async(
        store: &Accessor<T, Self>,
        name: String,
    ) -> wasmtime::Result<Result<Resource<Session>, Error>> {
        let databases = store.with(|mut store| store.get().ctx.databases.clone());
        match open(databases, &name).await {
            Ok(session) => store.with(|mut store| Ok(Ok(store.get().table.push(session)?))),
            Err(error) => Ok(Err(error)),
        }
    }

    async fn execute_async(
        store: &Accessor<T, Self>,
        handle: Resource<Session>,
        statement: String,
        parameters: Vec<Value>,
    ) -> wasmtime::Result<Result<Streamed, Error>> {
        let session = store.with(|mut store| store.get().session(&handle))?;
        let reads = seems_to_read(&statement);
        let statement = from_guest(statement, parameters);
        let bytes = statement.bytes();
        let (statement, held) = match store.with(|mut store| statement.kept_by(store.get().kept)) {
            Ok(kept) => kept,
            Err(full) => return Ok(Err(SqlError::from(full).into())),
        };
        let rows = match session.query(statement).await {
            Ok(rows) => rows,
            Err(error) => return Ok(Err(error.into())),
        };
        held.settle(bytes);
        drop(held);
        let Some(rows) = rows else {
            return store.with(|mut store| {
                let none: Vec<RowResult> = Vec::new();
                let done = async { Ok::<_, wasmtime::Error>(Ok(())) };
                Ok(Ok((
                    Vec::new(),
                    StreamReader::new(&mut store, none)?,
                    FutureReader::new(&mut store, done)?,
                )))
            });
        };
        let columns = rows.columns().iter().map(|c| c.name.clone()).collect();
        let (rows, outcome) = RowStream::new(rows, to_guest);
        let ended = async move {
            let ended = match outcome.await {
                Ok(outcome) => {
                    session.note(reads, outcome).await;
                    Ok(())
                }
                Err(error) => Err(Error::from(error)),
            };
            Ok::<_, wasmtime::Error>(ended)
        };
        store.with(|mut store| {
            Ok(Ok((
                columns,
                StreamReader::new(&mut store, rows)?,
                FutureReader::new(&mut store, ended)?,
            )))
        })
    }

    async fn last_insert_rowid_async(
        store: &Accessor<T, Self>,
        handle: Resource<Session>,
    ) -> wasmtime::Result<i64> {
        let session = store.with(|mut store| store.get().session(&handle))?;
        Ok(session.outcome().await.last_insert_rowid)
    }

    async fn changes_async(
        store: &Accessor<T, Self>,
        handle: Resource<Session>,
    ) -> wasmtime::Result<u64> {
        let session = store.with(|mut store| store.get().session(&handle))?;
        Ok(session.outcome().await.changes)
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

impl From<SqlError> for Error {
    fn from(error: SqlError) -> Self {
        match error {
            SqlError::NoSuchDatabase => Self::NoSuchDatabase,
            SqlError::Storage(StorageError::QuotaExceeded { .. } | StorageError::NoSpace) => {
                Self::DatabaseFull
            }
            other => Self::Io(told(&other)),
        }
    }
}
