//! The suite of `spin:postgres@4.2.0`: a row is a value under its primary key, and what is asked for
//! together is a transaction of statements on one connection.

use canopy_sdk::stream::block_on;
use interface::spin::postgres::postgres::{Connection, DbValue, Error, ParameterValue, QueryError};
use probe::exchange::{self, Changed};
use probe::{Asked, Fault, KeyValue};

canopy_sdk::import!(
    interface: "spin:postgres/postgres@4.2.0",
    wit = ["../../../wit/deps/spin-postgres-4.2.0"]
);

probe::suite! { probe::perform::<Table>, Error {
    Error::ConnectionFailed(text) => "connection-failed", text;
    Error::BadParameter(text) => "bad-parameter", text;
    Error::QueryFailed(QueryError::Text(text)) => "query-failed", text;
    Error::QueryFailed(QueryError::DbError(error)) => "query-failed", error.as_text;
    Error::ValueConversionFailed(text) => "value-conversion-failed", text;
    Error::Other(text) => "other", text;
}}

/// The table `probe` of a database.
struct Table {
    database: String,
    connection: Connection,
}

/// Whether a statement did nothing because of others: a lock, a circle, or a table that another makes.
fn is_passing(error: &Error) -> bool {
    match error {
        Error::QueryFailed(QueryError::DbError(error)) => {
            matches!(
                &*error.code,
                "55P03" | "40P01" | "40001" | "23505" | "XX000"
            )
        }
        _ => false,
    }
}

/// Asks again while others are in the way.
fn patiently<T>(ask: impl Fn() -> Result<T, Error>) -> Result<T, Fault> {
    probe::patiently(is_passing, ask).map_err(fault)
}

const CREATE: &str =
    "CREATE TABLE IF NOT EXISTS probe (name TEXT PRIMARY KEY, value BYTEA NOT NULL)";
const LOCK: &str = "LOCK TABLE probe IN SHARE ROW EXCLUSIVE MODE";
const SET: &str = "INSERT INTO probe (name, value) VALUES ($1, $2) \
     ON CONFLICT (name) DO UPDATE SET value = excluded.value";
const GET: &str = "SELECT value FROM probe WHERE name = $1";
const DELETE: &str = "DELETE FROM probe WHERE name = $1";

fn text(text: &str) -> ParameterValue {
    ParameterValue::Str(text.to_owned())
}

fn bytes(bytes: &[u8]) -> ParameterValue {
    ParameterValue::Binary(bytes.to_vec())
}

fn broken<T>(what: &str, cell: Option<DbValue>) -> Result<T, Fault> {
    Err(Fault::said(
        "broken-promise",
        format!("not {what}: {cell:?}"),
    ))
}

impl Table {
    fn execute(&self, statement: &str, parameters: &[ParameterValue]) -> Result<u64, Fault> {
        patiently(|| self.connection.execute(statement, parameters))
    }

    /// All rows, as they follow.
    fn rows(
        &self,
        statement: &str,
        parameters: &[ParameterValue],
    ) -> Result<Vec<Vec<DbValue>>, Fault> {
        patiently(|| {
            block_on(async {
                let (statement, parameters) = (statement.to_owned(), parameters.to_vec());
                let (_, rows, ended) = self.connection.query_async(statement, parameters).await?;
                let rows = rows.collect().await;
                ended.await?;
                Ok(rows)
            })
        })
    }

    /// Does all of it while nobody else may write, or nothing.
    fn together<T>(&self, work: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
        let run = |statement: &str| self.connection.execute(statement, &[]);
        patiently(|| {
            run("BEGIN")?;
            run(LOCK).map(drop).or_else(|error| {
                run("ROLLBACK")?;
                Err(error)
            })
        })?;
        let done = work();
        let end = if done.is_ok() { "COMMIT" } else { "ROLLBACK" };
        let ended = run(end).map_err(fault);
        let done = done?;
        ended.map(|_| done)
    }

    /// Reads a value and writes what `change` makes of it.
    fn exchange<T>(
        &self,
        key: &str,
        change: impl FnOnce(Option<Vec<u8>>) -> Changed<T>,
    ) -> Result<T, Fault> {
        self.together(|| {
            let (changed, answer) = change(self.get(key)?)?;
            if let Some(changed) = changed {
                self.set(key, &changed)?;
            }
            Ok(answer)
        })
    }
}

impl KeyValue for Table {
    fn open(name: &str) -> Result<Self, Fault> {
        let table = Self {
            database: name.to_owned(),
            connection: Connection::open(name).map_err(fault)?,
        };
        table.execute(CREATE, &[])?;
        Ok(table)
    }

    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Fault> {
        let rows = self.rows(GET, &[text(key)])?;
        let cell = rows.into_iter().next().map(|row| row.into_iter().next());
        match cell {
            None => Ok(None),
            Some(Some(DbValue::Binary(bytes))) => Ok(Some(bytes)),
            Some(other) => broken("bytes", other),
        }
    }

    fn set(&self, key: &str, value: &[u8]) -> Result<(), Fault> {
        self.execute(SET, &[text(key), bytes(value)]).map(drop)
    }

    fn delete(&self, key: &str) -> Result<(), Fault> {
        let run = || {
            let (statement, parameters) = (DELETE.to_owned(), vec![text(key)]);
            block_on(self.connection.execute_async(statement, parameters))
        };
        patiently(run).map(drop)
    }

    fn exists(&self, key: &str) -> Result<bool, Fault> {
        let found = "SELECT 1 FROM probe WHERE name = $1";
        let rows = patiently(|| self.connection.query(found, &[text(key)]))?;
        Ok(!rows.rows.is_empty())
    }

    fn keys(&self) -> Result<Vec<String>, Fault> {
        let rows = self.rows("SELECT name FROM probe", &[])?;
        let name = |row: Vec<DbValue>| match row.into_iter().next() {
            Some(DbValue::Str(name)) => Ok(name),
            other => broken("a text", other),
        };
        rows.into_iter().map(name).collect()
    }

    fn set_many(&self, pairs: &[(String, Vec<u8>)]) -> Result<(), Fault> {
        let set = |(key, value): &(String, Vec<u8>)| self.set(key, value);
        self.together(|| pairs.iter().try_for_each(set))
    }

    fn delete_many(&self, keys: &[String]) -> Result<(), Fault> {
        self.together(|| keys.iter().try_for_each(|key| self.delete(key)))
    }

    fn increment(&self, key: &str, delta: i64) -> Option<Result<i64, Fault>> {
        Some(self.exchange(key, |stored| exchange::increment(stored, delta)))
    }

    fn swap(
        &self,
        key: &str,
        expected: Option<&[u8]>,
        value: &[u8],
    ) -> Option<Result<bool, Fault>> {
        Some(self.exchange(key, |stored| exchange::swap(stored, expected, value)))
    }

    /// A transaction that nobody ends, with rows that nobody reads.
    fn abandon(&self, _asked: &Asked) -> Result<(), Fault> {
        let other = Connection::open(&self.database).map_err(fault)?;
        other.execute("BEGIN", &[]).map_err(fault)?;
        let rows = block_on(other.query_async("SELECT name FROM probe".to_owned(), Vec::new()));
        rows.map(drop).map_err(fault)
    }
}
