//! `canopy:storage/sql@0.1.0`.

use std::sync::Arc;

use canopy_backend::sql::{
    Sql, SqlError, SqlMode, SqlOutcome, SqlRow, SqlRows, SqlStatement, SqlTransaction, SqlValue,
};
use canopy_backend::{Held, KeptFull};
use wasmtime::component::{Accessor, FutureReader, Resource, StreamReader};

use crate::bindings::Capability;
use crate::bindings::storage::{
    Column, Error, Host, HostDatabase, HostDatabaseWithStore, HostTransaction,
    HostTransactionWithStore, Mode, Outcome, Rows, Statement, Value,
};
use crate::ctx::SqlView;
use crate::failure::Failure;
use crate::stream::RowStream;

/// An open database; what a guest's `database` handle stands for.
#[expect(unreachable_pub, reason = "generated bindings re-export it")]
pub struct Database(Arc<dyn Sql>);

/// What a guest's `transaction` handle stands for; it goes with it.
#[expect(unreachable_pub, reason = "generated bindings re-export it")]
pub struct Transaction(Arc<dyn SqlTransaction>);

type Result<T> = std::result::Result<T, Failure>;

fn database<T>(
    store: &Accessor<T, Capability>,
    database: &Resource<Database>,
) -> Result<Arc<dyn Sql>> {
    store.with(|mut store| Ok(store.get().table.get(database)?.0.clone()))
}

fn transaction<T>(
    store: &Accessor<T, Capability>,
    transaction: &Resource<Transaction>,
) -> Result<Arc<dyn SqlTransaction>> {
    store.with(|mut store| Ok(store.get().table.get(transaction)?.0.clone()))
}

/// Counts what a call has been handed until it has ended.
fn hold<T>(store: &Accessor<T, Capability>, bytes: usize) -> std::result::Result<Held, KeptFull> {
    store.with(|mut store| store.get().kept.hold(bytes))
}

/// The same for a statement that gives rows, which is kept until they are read.
fn keep<T>(
    store: &Accessor<T, Capability>,
    statement: SqlStatement,
) -> std::result::Result<(SqlStatement, Arc<Held>), KeptFull> {
    store.with(|mut store| statement.kept_by(store.get().kept))
}

fn streamed<T: 'static>(store: &Accessor<T, Capability>, rows: Box<dyn SqlRows>) -> Result<Rows> {
    let columns = rows.columns().iter().map(|column| Column {
        name: column.name.clone(),
        declared_type: column.declared_type.clone(),
    });
    let columns = columns.collect();
    let (rows, outcome) = RowStream::new(rows, to_guest);
    let outcome = async {
        let outcome = outcome.await;
        Ok::<_, wasmtime::Error>(outcome.map(Outcome::from).map_err(Error::from))
    };
    store.with(|mut store| {
        Ok(Rows {
            columns,
            rows: StreamReader::new(&mut store, rows)?,
            outcome: FutureReader::new(&mut store, outcome)?,
        })
    })
}

impl Host for SqlView<'_> {
    fn convert_error(&mut self, failure: Failure) -> wasmtime::Result<Error> {
        match failure {
            Failure::Error(error) => Ok(error),
            Failure::Trap(error) => Err(error),
        }
    }
}

impl HostDatabase for SqlView<'_> {
    async fn drop(&mut self, database: Resource<Database>) -> wasmtime::Result<()> {
        self.table.delete(database)?;
        Ok(())
    }
}

impl<T: Send + 'static> HostDatabaseWithStore<T> for Capability {
    async fn open(store: &Accessor<T, Self>, name: String) -> Result<Resource<Database>> {
        let databases = store.with(|mut store| store.get().ctx.databases.clone());
        let Some(databases) = databases else {
            let text = "the component has no databases".to_owned();
            return Err(Failure::Error(Error::AccessDenied(text)));
        };
        let database = Database(databases.open(&name).await?);
        store.with(|mut store| Ok(store.get().table.push(database)?))
    }

    async fn execute(
        store: &Accessor<T, Self>,
        handle: Resource<Database>,
        statement: String,
        parameters: Vec<Value>,
    ) -> Result<Outcome> {
        let database = database(store, &handle)?;
        let statement = from_guest(statement, parameters);
        let _held = hold(store, statement.bytes())?;
        Ok(database.execute(statement).await?.into())
    }

    async fn query(
        store: &Accessor<T, Self>,
        handle: Resource<Database>,
        statement: String,
        parameters: Vec<Value>,
    ) -> Result<Rows> {
        let database = database(store, &handle)?;
        let (statement, held) = keep(store, from_guest(statement, parameters))?;
        let bytes = statement.bytes();
        let rows = database.query(statement).await?;
        held.settle(bytes);
        drop(held);
        streamed(store, rows)
    }

    async fn batch(
        store: &Accessor<T, Self>,
        handle: Resource<Database>,
        statements: Vec<Statement>,
    ) -> wasmtime::Result<std::result::Result<Vec<Outcome>, (u32, Error)>> {
        let database = match database(store, &handle) {
            Ok(database) => database,
            Err(Failure::Trap(error)) => return Err(error),
            Err(Failure::Error(error)) => return Ok(Err((0, error))),
        };
        let statements: Vec<_> = statements
            .into_iter()
            .map(|statement| from_guest(statement.text, statement.parameters))
            .collect();
        let bytes = statements.iter().map(SqlStatement::bytes).sum();
        let _held = match hold(store, bytes) {
            Ok(held) => held,
            Err(error) => return Ok(Err((0, SqlError::from(error).into()))),
        };
        let outcomes = database.batch(statements).await;
        Ok(match outcomes {
            Ok(outcomes) => Ok(outcomes.into_iter().map(Outcome::from).collect()),
            Err((index, error)) => {
                Err((u32::try_from(index).unwrap_or(u32::MAX), Error::from(error)))
            }
        })
    }

    async fn begin(
        store: &Accessor<T, Self>,
        handle: Resource<Database>,
        mode: Mode,
    ) -> Result<Resource<Transaction>> {
        let database = database(store, &handle)?;
        let mode = match mode {
            Mode::Deferred => SqlMode::Deferred,
            Mode::Immediate => SqlMode::Immediate,
        };
        let transaction = Transaction(Arc::from(database.begin(mode).await?));
        store.with(|mut store| Ok(store.get().table.push(transaction)?))
    }
}

impl HostTransaction for SqlView<'_> {
    async fn drop(&mut self, transaction: Resource<Transaction>) -> wasmtime::Result<()> {
        self.table.delete(transaction)?;
        Ok(())
    }
}

impl<T: Send + 'static> HostTransactionWithStore<T> for Capability {
    async fn execute(
        store: &Accessor<T, Self>,
        handle: Resource<Transaction>,
        statement: String,
        parameters: Vec<Value>,
    ) -> Result<Outcome> {
        let transaction = transaction(store, &handle)?;
        let statement = from_guest(statement, parameters);
        let _held = hold(store, statement.bytes())?;
        Ok(transaction.execute(statement).await?.into())
    }

    async fn query(
        store: &Accessor<T, Self>,
        handle: Resource<Transaction>,
        statement: String,
        parameters: Vec<Value>,
    ) -> Result<Rows> {
        let transaction = transaction(store, &handle)?;
        let (statement, held) = keep(store, from_guest(statement, parameters))?;
        let bytes = statement.bytes();
        let rows = transaction.query(statement).await?;
        held.settle(bytes);
        drop(held);
        streamed(store, rows)
    }

    async fn commit(store: &Accessor<T, Self>, handle: Resource<Transaction>) -> Result<()> {
        Ok(transaction(store, &handle)?.commit().await?)
    }

    async fn rollback(store: &Accessor<T, Self>, handle: Resource<Transaction>) -> Result<()> {
        Ok(transaction(store, &handle)?.rollback().await?)
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

fn to_guest(row: SqlRow) -> Vec<Value> {
    let values = row.into_iter().map(|value| match value {
        SqlValue::Null => Value::Null,
        SqlValue::Integer(value) => Value::Integer(value),
        SqlValue::Real(value) => Value::Real(value),
        SqlValue::Text(value) => Value::Text(value),
        SqlValue::Blob(value) => Value::Blob(value),
    });
    values.collect()
}

impl From<SqlOutcome> for Outcome {
    fn from(outcome: SqlOutcome) -> Self {
        Self {
            changes: outcome.changes,
            last_insert_rowid: outcome.last_insert_rowid,
        }
    }
}
