//! The suite of `canopy:storage/sql@0.1.0`: a row is a value under its primary key. Statements are such
//! as every dialect has.

mod statements;

use canopy_sdk::stream::block_on;
use interface::canopy::storage::sql::{
    Database, Error, Mode, Outcome as Done, Rows, Statement, Transaction, Value as Cell,
};
use probe::exchange::{self, Changed};
use probe::{Asked, Fault, KeyValue, Outcome};

canopy_sdk::import!(
    interface: "canopy:storage/sql@0.1.0",
    wit = ["../../../wit/storage/0.1.0"]
);

probe::suite! { probe::perform::<Table>, Error {
    Error::NoSuchDatabase => "no-such-database";
    Error::AccessDenied(text) => "access-denied", text;
    Error::InvalidStatement(text) => "invalid-statement", text;
    Error::Constraint(violation) => "constraint", violation.message;
    Error::QuotaExceeded(text) => "quota-exceeded", text;
    Error::TooLarge(text) => "too-large", text;
    Error::Timeout(text) => "timeout", text;
    Error::Busy => "busy";
    Error::TransactionOver(text) => "transaction-over", text;
    Error::Other(text) => "other", text;
}}

/// The table `probe` of a database.
struct Table(Database);

/// Asks again while others are in the way.
fn patiently<T>(ask: impl Fn() -> Result<T, Error>) -> Result<T, Fault> {
    probe::patiently(|error| matches!(error, Error::Busy), ask).map_err(fault)
}

/// All rows, if they are all.
fn all(rows: Rows) -> Result<Vec<Vec<Cell>>, Error> {
    block_on(async {
        let all = rows.rows.collect().await;
        rows.outcome.await?;
        Ok(all)
    })
}

/// The bytes of the first cell of the first row.
fn value(rows: Vec<Vec<Cell>>) -> Result<Option<Vec<u8>>, Fault> {
    match rows.into_iter().next().map(Vec::into_iter) {
        None => Ok(None),
        Some(mut row) => match row.next() {
            Some(Cell::Blob(bytes)) => Ok(Some(bytes)),
            other => Err(Fault::said(
                "broken-promise",
                format!("not bytes: {other:?}"),
            )),
        },
    }
}

const CREATE: &str =
    "CREATE TABLE IF NOT EXISTS probe (name TEXT PRIMARY KEY, value BYTEA NOT NULL)";
const SET: &str = "INSERT INTO probe (name, value) VALUES (?, ?) \
     ON CONFLICT (name) DO UPDATE SET value = excluded.value";
const GET: &str = "SELECT value FROM probe WHERE name = ?";
const DELETE: &str = "DELETE FROM probe WHERE name = ?";

fn text(text: &str) -> Cell {
    Cell::Text(text.to_owned())
}

impl Table {
    fn execute(&self, statement: &str, parameters: &[Cell]) -> Result<Done, Fault> {
        patiently(|| block_on(self.0.execute(statement.to_owned(), parameters.to_vec())))
    }

    fn query(&self, statement: &str, parameters: &[Cell]) -> Result<Vec<Vec<Cell>>, Fault> {
        patiently(|| {
            all(block_on(
                self.0.query(statement.to_owned(), parameters.to_vec()),
            )?)
        })
    }

    fn batch(&self, statements: &[Statement]) -> Result<Vec<Done>, Fault> {
        let run = || block_on(self.0.batch(statements.to_vec())).map_err(|(_, error)| error);
        patiently(run)
    }

    /// Reads a value and writes what `change` makes of it, as long as nobody else may write.
    fn exchange<T>(
        &self,
        key: &str,
        change: impl FnOnce(Option<Vec<u8>>) -> Changed<T>,
    ) -> Result<T, Fault> {
        let transaction = patiently(|| block_on(self.0.begin(Mode::Immediate)))?;
        let run = |transaction: &Transaction, statement: &str, parameters| {
            let rows = block_on(transaction.query(statement.to_owned(), parameters));
            rows.and_then(all).map_err(fault)
        };
        let stored = value(run(&transaction, GET, vec![text(key)])?)?;
        let (changed, answer) = change(stored)?;
        if let Some(changed) = changed {
            run(&transaction, SET, vec![text(key), Cell::Blob(changed)])?;
        }
        block_on(transaction.commit()).map_err(fault)?;
        Ok(answer)
    }
}

impl KeyValue for Table {
    fn open(name: &str) -> Result<Self, Fault> {
        let table = Self(block_on(Database::open(name.to_owned())).map_err(fault)?);
        table.execute(CREATE, &[])?;
        Ok(table)
    }

    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Fault> {
        value(self.query(GET, &[text(key)])?)
    }

    fn set(&self, key: &str, value: &[u8]) -> Result<(), Fault> {
        self.execute(SET, &[text(key), Cell::Blob(value.to_vec())])
            .map(drop)
    }

    fn delete(&self, key: &str) -> Result<(), Fault> {
        self.execute(DELETE, &[text(key)]).map(drop)
    }

    fn exists(&self, key: &str) -> Result<bool, Fault> {
        let rows = self.query("SELECT 1 FROM probe WHERE name = ?", &[text(key)])?;
        Ok(!rows.is_empty())
    }

    fn keys(&self) -> Result<Vec<String>, Fault> {
        let rows = self.query("SELECT name FROM probe", &[])?;
        let name = |row: Vec<Cell>| match row.into_iter().next() {
            Some(Cell::Text(name)) => Ok(name),
            other => Err(Fault::said(
                "broken-promise",
                format!("not a text: {other:?}"),
            )),
        };
        rows.into_iter().map(name).collect()
    }

    fn set_many(&self, pairs: &[(String, Vec<u8>)]) -> Result<(), Fault> {
        let set = |(key, value): &(String, Vec<u8>)| Statement {
            text: SET.to_owned(),
            parameters: vec![text(key), Cell::Blob(value.clone())],
        };
        self.batch(&pairs.iter().map(set).collect::<Vec<_>>())
            .map(drop)
    }

    fn delete_many(&self, keys: &[String]) -> Result<(), Fault> {
        let delete = |key: &String| Statement {
            text: DELETE.to_owned(),
            parameters: vec![text(key)],
        };
        self.batch(&keys.iter().map(delete).collect::<Vec<_>>())
            .map(drop)
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
        let transaction = patiently(|| block_on(self.0.begin(Mode::Deferred)))?;
        let rows = block_on(transaction.query("SELECT name FROM probe".to_owned(), Vec::new()));
        rows.map(drop).map_err(fault)
    }

    fn own(&self, asked: &Asked) -> Outcome {
        statements::perform(&self.0, asked)
    }
}
