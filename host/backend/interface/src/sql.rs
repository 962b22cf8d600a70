//! SQL databases.
//!
//! The traits say what a statement may do and how its rows come; they do not say which SQL it is.
//! That is the backend's [`SqlProvider::dialect`], and part of what a package is written for.

use std::sync::Arc;

use async_trait::async_trait;

use crate::{CpuPayer, Held, Kept, KeptFull, Scope, StorageError};

/// The name of the database that every installation has without asking for it.
pub const DEFAULT_DATABASE: &str = "default";

/// Which SQL a backend speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Dialect {
    /// SQLite's, with its values: a column holds what each row has put there.
    Sqlite,
}

/// A value, as a parameter or in a row.
#[derive(Debug, Clone, PartialEq)]
pub enum SqlValue {
    /// No value.
    Null,
    /// A signed 64-bit number.
    Integer(i64),
    /// A floating-point number.
    Real(f64),
    /// Text.
    Text(String),
    /// Bytes.
    Blob(Vec<u8>),
}

/// The values of one row, in the order of the columns.
pub type SqlRow = Vec<SqlValue>;

/// A column of a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqlColumn {
    /// Its name in the result.
    pub name: String,
    /// The type that its table declares, in the words of the declaration.
    pub declared_type: Option<String>,
}

/// A statement with its parameters, in the order of their numbers.
#[derive(Debug, Clone)]
pub struct SqlStatement {
    /// One statement.
    pub text: String,
    /// The values of its parameters.
    pub parameters: Vec<SqlValue>,
    kept: Option<(Kept, Arc<Held>)>,
}

impl SqlStatement {
    /// Bytes that it takes.
    pub fn bytes(&self) -> usize {
        let of = |value: &SqlValue| match value {
            SqlValue::Text(text) => text.len(),
            SqlValue::Blob(bytes) => bytes.len(),
            SqlValue::Null | SqlValue::Integer(_) | SqlValue::Real(_) => 0,
        };
        let values = self.parameters.len() * size_of::<SqlValue>();
        self.text.len() + values + self.parameters.iter().map(of).sum::<usize>()
    }

    /// The statement `text` with `parameters`.
    pub fn new(text: impl Into<String>, parameters: Vec<SqlValue>) -> Self {
        Self {
            text: text.into(),
            parameters,
            kept: None,
        }
    }

    /// Has it count as a call in this account until that is [settled](Held::settle), and what of it, and
    /// of its rows, the host keeps after that.
    pub fn kept_by(mut self, kept: &Kept) -> Result<(Self, Arc<Held>), KeptFull> {
        let held = Arc::new(kept.hold(self.bytes())?);
        self.kept = Some((kept.clone(), held.clone()));
        Ok((self, held))
    }

    /// In which account its rows count that are read ahead.
    pub fn kept(&self) -> Option<&Kept> {
        self.kept.as_ref().map(|(kept, _)| kept)
    }
}

/// What a statement did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SqlOutcome {
    /// Rows that it inserted, updated or deleted itself.
    pub changes: u64,
    /// The row id of the row inserted last by this statement, or 0.
    pub last_insert_rowid: i64,
}

/// When a transaction takes the right to write, which one at a time has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SqlMode {
    /// With its first write.
    Deferred,
    /// At once.
    Immediate,
}

/// Which rule of the schema a statement would have broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Constraint {
    /// `UNIQUE` or `PRIMARY KEY`.
    Unique,
    /// `REFERENCES`.
    ForeignKey,
    /// `NOT NULL`.
    NotNull,
    /// `CHECK`.
    Check,
    /// Any other.
    Other,
}

/// Why an operation did not take place. But for [`SqlError::Storage`] every text is for whoever
/// wrote the statement.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SqlError {
    /// There is no database of this name, or there can be none.
    #[error("there is no database of this name")]
    NoSuchDatabase,
    /// The statement uses what is closed to applications.
    #[error("{0}")]
    Denied(String),
    /// The database does not understand the statement, or its parameters do not fit it.
    #[error("{0}")]
    Invalid(String),
    /// The statement would break a rule of the schema.
    #[error("{message}")]
    Constraint {
        /// Which kind of rule.
        constraint: Constraint,
        /// Which rule, in the database's words.
        message: String,
    },
    /// Something is over a limit; the text names both.
    #[error("{0}")]
    TooLarge(String),
    /// It took too long; the text says how long it may take.
    #[error("{0}")]
    Timeout(String),
    /// Others are at it. Nothing was done, and it may be tried again.
    #[error("{0}")]
    Busy(String),
    /// The transaction has ended before.
    #[error("the transaction is over: {0}")]
    TransactionOver(String),
    /// What every kind of storage may answer.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl From<KeptFull> for SqlError {
    fn from(full: KeptFull) -> Self {
        Self::Busy(full.to_string())
    }
}

/// How much of a database one statement may use. Over a limit: [`SqlError::TooLarge`] or
/// [`SqlError::Timeout`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SqlLimits {
    /// Bytes of a statement's text.
    pub statement_bytes: usize,
    /// Bytes of a value, and of a row as it is stored.
    pub value_bytes: usize,
    /// Parameters of a statement.
    pub parameters: usize,
    /// Statements of a batch.
    pub batch_statements: usize,
    /// Bytes of a row of a result.
    pub row_bytes: u64,
    /// Rows of a result.
    pub result_rows: u64,
    /// Bytes of a result.
    pub result_bytes: u64,
    /// Bytes of a result that is handed over as one list, where an interface has no streams.
    pub list_bytes: u64,
}

/// The rows of one query, as they are read.
#[async_trait]
pub trait SqlRows: Send + 'static {
    /// The columns.
    fn columns(&self) -> &[SqlColumn];
    /// Some further rows, never none; or `None` after the last one. The next ones are read when
    /// they are asked for, give or take one batch. With this those before are no longer kept.
    async fn next(&mut self) -> Result<Option<Vec<SqlRow>>, SqlError>;
    /// What the statement did: known when [`SqlRows::next`] has given `None`.
    fn outcome(&self) -> SqlOutcome;
}

/// One database of one installation.
///
/// A write that has returned is durable. A statement whose future, or whose rows, are dropped ends
/// soon; if it writes, it takes place whole or not at all.
#[async_trait]
pub trait Sql: Send + Sync + 'static {
    /// Runs a statement to its end and drops its rows.
    async fn execute(&self, statement: SqlStatement) -> Result<SqlOutcome, SqlError>;
    /// Runs a statement that gives rows. All are of one state of the database.
    async fn query(&self, statement: SqlStatement) -> Result<Box<dyn SqlRows>, SqlError>;
    /// Runs all statements in one transaction, or none: then the error has the index of the first
    /// that failed.
    async fn batch(
        &self,
        statements: Vec<SqlStatement>,
    ) -> Result<Vec<SqlOutcome>, (usize, SqlError)>;
    /// Begins a transaction.
    async fn begin(&self, mode: SqlMode) -> Result<Box<dyn SqlTransaction>, SqlError>;
}

/// A transaction. It is rolled back when it is dropped, and when it has been open for too long.
#[async_trait]
pub trait SqlTransaction: Send + Sync + 'static {
    /// As [`Sql::execute`].
    async fn execute(&self, statement: SqlStatement) -> Result<SqlOutcome, SqlError>;
    /// As [`Sql::query`]. The rows are to be read to their end, or dropped, before the next call.
    async fn query(&self, statement: SqlStatement) -> Result<Box<dyn SqlRows>, SqlError>;
    /// Puts all on the disk, or nothing.
    async fn commit(&self) -> Result<(), SqlError>;
    /// Forgets all writes.
    async fn rollback(&self) -> Result<(), SqlError>;
}

/// What a package does to a database before one of its versions runs for the first time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migration {
    /// The file that it is in.
    pub name: String,
    /// Its statements.
    pub text: Arc<str>,
}

/// The migrations of one database, in their order. A version has all those of the versions before
/// it, unchanged, and may add to their end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseMigrations {
    /// The database.
    pub database: String,
    /// Its migrations.
    pub migrations: Vec<Migration>,
}

/// What migrating did to one database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migrated {
    /// The database.
    pub database: String,
    /// The migrations that were applied now.
    pub applied: Vec<String>,
    /// Migrations applied by a newer version that this one does not have. They stay.
    pub newer: Vec<String>,
}

/// Why nothing was migrated. No database was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MigrateError {
    /// A statement failed.
    #[error("{migration}, statement {index} ({statement}): {error}")]
    Statement {
        /// The file.
        migration: String,
        /// Which statement of it, from 1.
        index: usize,
        /// How the statement begins.
        statement: String,
        /// Why.
        #[source]
        error: SqlError,
    },
    /// What was applied once has another text now.
    #[error(
        "{migration} has been applied to the database {database:?} with another text: leave it as \
         it was and add a further migration"
    )]
    Changed {
        /// The database.
        database: String,
        /// The file.
        migration: String,
    },
    /// The database can't be used.
    #[error("the database {database:?}: {error}")]
    Database {
        /// The database.
        database: String,
        /// Why.
        #[source]
        error: SqlError,
    },
}

/// The SQL databases of installations.
#[async_trait]
pub trait SqlProvider: Send + Sync + 'static {
    /// Which SQL it is.
    fn dialect(&self) -> Dialect;
    /// Has `payer` told, from now on, of the processor time that statements use on threads of this
    /// node. A backend whose statements run elsewhere has nothing to tell.
    fn paid_by(&self, _payer: CpuPayer) {}
    /// How much one statement may use.
    fn limits(&self) -> SqlLimits;
    /// The database `name` of `scope`. Its first use makes it.
    async fn open(&self, scope: Scope, name: &str) -> Result<Arc<dyn Sql>, SqlError>;
    /// The same database for somebody who only looks: a statement that writes is
    /// [`SqlError::Denied`], and a database that is not there is [`SqlError::NoSuchDatabase`].
    async fn open_read_only(&self, scope: Scope, name: &str) -> Result<Arc<dyn Sql>, SqlError>;
    /// The names of the databases of `scope` that exist.
    async fn databases(&self, scope: Scope) -> Result<Vec<String>, SqlError>;
    /// Applies the migrations that have not been applied yet, of all databases together or none.
    async fn migrate(
        &self,
        scope: Scope,
        databases: &[DatabaseMigrations],
    ) -> Result<Vec<Migrated>, MigrateError>;
}
