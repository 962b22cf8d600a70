//! SQL databases of the installation; with the feature `storage`.
//!
//! The dialect is SQLite's, unless the tenant has bound a driver: [`Database::dialect`] says so. Parameters are written `?` and given by [`params!`](crate::params);
//! rows come as whatever `serde` makes of them: structs by the names of the columns, tuples by
//! their order, single values of the first column. Tables are made by the migrations that the
//! manifest names, before the application first runs.
//!
//! ```no_run
//! use canopy_sdk::params;
//! use canopy_sdk::sql::{self, Database, Statements};
//! use serde::Deserialize;
//!
//! #[derive(Deserialize)]
//! struct Order {
//!     id: i64,
//!     customer: String,
//!     note: Option<String>,
//! }
//!
//! fn open_orders(customer: &str) -> Result<Vec<Order>, sql::Error> {
//!     let database = Database::open("default")?;
//!     database.rows("SELECT id, customer, note FROM orders WHERE customer = ?", params![customer])
//! }
//!
//! fn place(customer: &str, items: &[(String, i64)]) -> Result<i64, sql::Error> {
//!     Database::open("default")?.transaction(|order| {
//!         let made = order.execute("INSERT INTO orders (customer) VALUES (?)", params![customer])?;
//!         for (item, count) in items {
//!             let statement = "INSERT INTO lines (order_id, item, count) VALUES (?, ?, ?)";
//!             order.execute(statement, params![made.last_insert_rowid, item, count])?;
//!         }
//!         Ok(made.last_insert_rowid)
//!     })
//! }
//! ```

mod dialect;
mod error;
mod row;
mod value;

use std::collections::VecDeque;
use std::marker::PhantomData;
use std::rc::Rc;
use std::time::{Duration, Instant};

use canopy_sdk_core::stream::block_on;
use serde::de::DeserializeOwned;
use wit_bindgen::rt::async_support::{FutureReader, StreamReader, StreamResult};

use crate::bindings::storage::sql as wit;

pub use dialect::Dialect;
pub use error::{Constraint, Error};
pub use value::Value;

/// How many rows are asked for at once.
const ROWS: usize = 64;

/// How long what is `busy`, and did nothing, is tried again.
const PATIENCE: Duration = Duration::from_secs(5);

/// The first pause before that, and the longest.
const PAUSES: [Duration; 2] = [Duration::from_millis(5), Duration::from_millis(100)];

/// Calls until somebody else is not in the way any more. The platform's own databases wait by
/// themselves; a driver's may have to say at once that others are at work.
fn patiently<T>(call: impl Fn() -> Result<T, wit::Error>) -> Result<T, wit::Error> {
    let begun = Instant::now();
    let mut pause = PAUSES[0];
    loop {
        match call() {
            Err(wit::Error::Busy) if begun.elapsed() + pause < PATIENCE => {
                std::thread::sleep(pause);
                pause = (pause * 2).min(PAUSES[1]);
            }
            done => return done,
        }
    }
}

/// An open database.
#[derive(Debug)]
pub struct Database {
    inner: wit::Database,
    name: String,
}

/// What a statement did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// Rows inserted, updated or deleted by the statement itself.
    pub changes: u64,
    /// The row id of the last row that was inserted on this handle; 0 before the first.
    pub last_insert_rowid: i64,
}

/// What runs statements: a [`Database`], each for itself, or a [`Transaction`].
pub trait Statements {
    /// Runs a statement and drops the rows that it may give.
    ///
    /// # Errors
    /// The database's.
    fn execute(&self, statement: &str, parameters: Vec<Value>) -> Result<Outcome, Error>;

    /// Runs a statement and reads its rows as they are asked for. Dropping what is returned ends
    /// the statement.
    ///
    /// # Errors
    /// The database's.
    fn query<T: DeserializeOwned>(
        &self,
        statement: &str,
        parameters: Vec<Value>,
    ) -> Result<Rows<T>, Error>;

    /// All rows of a statement.
    ///
    /// # Errors
    /// The database's, and [`Error::Mismatch`] for a row that is no `T`.
    fn rows<T: DeserializeOwned>(
        &self,
        statement: &str,
        parameters: Vec<Value>,
    ) -> Result<Vec<T>, Error> {
        self.query(statement, parameters)?.collect()
    }

    /// The first row of a statement, if it gives any. The statement runs to its end, so that what
    /// it writes is on disk; one that would give many rows has a `LIMIT`.
    ///
    /// # Errors
    /// As [`Statements::rows`].
    fn row<T: DeserializeOwned>(
        &self,
        statement: &str,
        parameters: Vec<Value>,
    ) -> Result<Option<T>, Error> {
        let mut rows = self.query(statement, parameters)?;
        let first = rows.next().transpose()?;
        rows.finish()?;
        Ok(first)
    }
}

impl Database {
    /// The database `name` of this installation, which the manifest declares; `default` is always
    /// there.
    ///
    /// # Errors
    /// [`Error::NoSuchDatabase`] if the manifest does not declare it.
    pub fn open(name: &str) -> Result<Self, Error> {
        Ok(Self {
            inner: block_on(wit::Database::open(name.to_owned()))?,
            name: name.to_owned(),
        })
    }

    /// Runs several statements in one transaction, in their order, or none of them.
    ///
    /// # Errors
    /// That of the first statement that failed, with its index.
    pub fn batch(
        &self,
        statements: impl IntoIterator<Item = (String, Vec<Value>)>,
    ) -> Result<Vec<Outcome>, (usize, Error)> {
        let statements = statements
            .into_iter()
            .map(|(text, parameters)| wit::Statement {
                text,
                parameters: value::wire(parameters),
            });
        let outcomes =
            block_on(self.inner.batch(statements.collect())).map_err(|(index, error)| {
                (usize::try_from(index).unwrap_or(usize::MAX), error.into())
            })?;
        Ok(outcomes.into_iter().map(Into::into).collect())
    }

    /// Runs `work` in a transaction that has the right to write from its beginning. It is committed
    /// if `work` succeeds and rolled back if not.
    ///
    /// # Errors
    /// That of `work`, or the database's.
    pub fn transaction<T, E: From<Error>>(
        &self,
        work: impl FnOnce(&Transaction) -> Result<T, E>,
    ) -> Result<T, E> {
        self.within(wit::Mode::Immediate, work)
    }

    /// Runs `work` in a transaction that sees one state of the database throughout. It takes the
    /// right to write with its first write, which fails if somebody else has written meanwhile.
    ///
    /// # Errors
    /// That of `work`, or the database's.
    pub fn snapshot<T, E: From<Error>>(
        &self,
        work: impl FnOnce(&Transaction) -> Result<T, E>,
    ) -> Result<T, E> {
        self.within(wit::Mode::Deferred, work)
    }

    fn within<T, E: From<Error>>(
        &self,
        mode: wit::Mode,
        work: impl FnOnce(&Transaction) -> Result<T, E>,
    ) -> Result<T, E> {
        let transaction = patiently(|| block_on(self.inner.begin(mode))).map_err(Error::from)?;
        let transaction = Transaction(transaction);
        match work(&transaction) {
            Ok(value) => {
                block_on(transaction.0.commit()).map_err(Error::from)?;
                Ok(value)
            }
            Err(error) => {
                // Dropping the handle rolls back as well; what failed first is what is told.
                let _ = block_on(transaction.0.rollback());
                Err(error)
            }
        }
    }
}

/// A transaction; made by [`Database::transaction`].
///
/// One statement runs at a time: rows of a query are to be read or dropped before the next one.
#[derive(Debug)]
pub struct Transaction(wit::Transaction);

impl Statements for Database {
    fn execute(&self, statement: &str, parameters: Vec<Value>) -> Result<Outcome, Error> {
        let parameters = value::wire(parameters);
        let run = || block_on(self.inner.execute(statement.to_owned(), parameters.clone()));
        Ok(patiently(run)?.into())
    }

    fn query<T: DeserializeOwned>(
        &self,
        statement: &str,
        parameters: Vec<Value>,
    ) -> Result<Rows<T>, Error> {
        let parameters = value::wire(parameters);
        let run = || block_on(self.inner.query(statement.to_owned(), parameters.clone()));
        Ok(Rows::new(patiently(run)?))
    }
}

impl Statements for Transaction {
    fn execute(&self, statement: &str, parameters: Vec<Value>) -> Result<Outcome, Error> {
        let parameters = value::wire(parameters);
        Ok(block_on(self.0.execute(statement.to_owned(), parameters))?.into())
    }

    fn query<T: DeserializeOwned>(
        &self,
        statement: &str,
        parameters: Vec<Value>,
    ) -> Result<Rows<T>, Error> {
        let parameters = value::wire(parameters);
        Ok(Rows::new(block_on(
            self.0.query(statement.to_owned(), parameters),
        )?))
    }
}

/// The rows of a query, read as they are asked for; made by [`Statements::query`].
#[derive(Debug)]
pub struct Rows<T> {
    columns: Rc<[String]>,
    // First the stream goes, so that the statement ends, and then what waits for its end.
    stream: StreamReader<Vec<wit::Value>>,
    outcome: Option<FutureReader<Result<wit::Outcome, wit::Error>>>,
    ready: VecDeque<Vec<wit::Value>>,
    row: PhantomData<fn() -> T>,
}

impl<T> Rows<T> {
    fn new(rows: wit::Rows) -> Self {
        Self {
            columns: rows.columns.into_iter().map(|column| column.name).collect(),
            stream: rows.rows,
            outcome: Some(rows.outcome),
            ready: VecDeque::new(),
            row: PhantomData,
        }
    }

    /// The names of the columns.
    #[must_use]
    pub fn columns(&self) -> &[String] {
        &self.columns
    }
}

impl<T> Rows<T> {
    /// Runs the statement to its end without looking at the rows that are left. Dropping the rows
    /// ends it where it is, and does not wait until what it wrote is on disk.
    ///
    /// # Errors
    /// The database's.
    pub fn finish(mut self) -> Result<(), Error> {
        while self.outcome.is_some() {
            self.fetch()?;
            self.ready.clear();
        }
        Ok(())
    }

    /// Reads some rows more; or how the statement ended, if there are no more.
    fn fetch(&mut self) -> Result<(), Error> {
        let (result, rows) = block_on(self.stream.read(Vec::with_capacity(ROWS)));
        let ended = matches!(result, StreamResult::Dropped) && rows.is_empty();
        self.ready.extend(rows);
        if ended && let Some(outcome) = self.outcome.take() {
            // An error means that rows are missing.
            block_on(outcome.into_future())?;
        }
        Ok(())
    }
}

impl<T: DeserializeOwned> Iterator for Rows<T> {
    type Item = Result<T, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(values) = self.ready.pop_front() {
                return Some(row::decode(&self.columns, values));
            }
            self.outcome.as_ref()?;
            if let Err(error) = self.fetch() {
                return Some(Err(error));
            }
        }
    }
}

impl From<wit::Outcome> for Outcome {
    fn from(outcome: wit::Outcome) -> Self {
        Self {
            changes: outcome.changes,
            last_insert_rowid: outcome.last_insert_rowid,
        }
    }
}
