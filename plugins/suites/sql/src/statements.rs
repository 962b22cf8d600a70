//! Statements as they are asked for.

use canopy_sdk::stream::block_on;
use probe::{Asked, Fault, Outcome, hex};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::interface::canopy::storage::sql::{
    Constraint, Database, Error, Mode, Rows, Statement, Transaction, Value as Cell,
};
use crate::{all, fault, patiently};

/// A statement and its parameters: numbers, texts, `null`, or bytes as `{"bytes": digits}`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct One {
    text: String,
    #[serde(default)]
    parameters: Vec<Parameter>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Parameter {
    Integer(i64),
    Real(f64),
    Text(String),
    Bytes { bytes: probe::Bytes },
    Null,
}

/// How a transaction ends.
#[derive(Deserialize, PartialEq)]
#[serde(rename_all = "kebab-case")]
enum End {
    Commit,
    Rollback,
    /// Its handle is dropped.
    Drop,
    /// It is committed, and then used once more.
    Beyond,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Whole {
    statements: Vec<One>,
    end: End,
}

impl One {
    fn cells(&self) -> Vec<Cell> {
        let cell = |parameter: &Parameter| match parameter {
            Parameter::Integer(number) => Cell::Integer(*number),
            Parameter::Real(number) => Cell::Real(*number),
            Parameter::Text(text) => Cell::Text(text.clone()),
            Parameter::Bytes { bytes } => Cell::Blob(bytes.0.clone()),
            Parameter::Null => Cell::Null,
        };
        self.parameters.iter().map(cell).collect()
    }
}

pub(crate) fn perform(database: &Database, asked: &Asked) -> Outcome {
    Some(match asked.op.as_str() {
        "query" => asked.with(|one: One| query(database, &one)),
        "columns" => asked.with(|one: One| columns(database, &one)),
        "execute" => asked.with(|one: One| execute(database, &one)),
        "batch" => asked.with(|statements: Vec<One>| batch(database, &statements)),
        "transaction" => asked.with(|whole: Whole| transaction(database, &whole)),
        "first-rows" => asked.with(|one: One| first_rows(database, &one, asked.count)),
        "violation" => asked.with(|one: One| violation(database, &one)),
        _ => return None,
    })
}

fn json_of(cell: Cell) -> Value {
    match cell {
        Cell::Null => Value::Null,
        Cell::Integer(number) => json!(number),
        Cell::Real(number) => json!(number),
        Cell::Text(text) => json!(text),
        Cell::Blob(bytes) => json!({"bytes": hex::encode(&bytes)}),
    }
}

fn table(rows: Vec<Vec<Cell>>) -> Value {
    let row = |row: Vec<Cell>| row.into_iter().map(json_of).collect::<Value>();
    rows.into_iter().map(row).collect()
}

fn query(database: &Database, one: &One) -> Result<Value, Fault> {
    let ask = || {
        let rows = block_on(database.query(one.text.clone(), one.cells()))?;
        all(rows)
    };
    patiently(ask).map(table)
}

fn columns(database: &Database, one: &One) -> Result<Value, Fault> {
    let ask = || block_on(database.query(one.text.clone(), one.cells()));
    let Rows { columns, .. } = patiently(ask)?;
    Ok(columns.into_iter().map(|column| column.name).collect())
}

fn execute(database: &Database, one: &One) -> Result<Value, Fault> {
    let ask = || block_on(database.execute(one.text.clone(), one.cells()));
    patiently(ask).map(|done| json!(done.changes))
}

/// Which constraint a statement violates.
fn violation(database: &Database, one: &One) -> Result<Value, Fault> {
    match block_on(database.execute(one.text.clone(), one.cells())) {
        Err(Error::Constraint(violation)) => Ok(json!(match violation.constraint {
            Constraint::Unique => "unique",
            Constraint::ForeignKey => "foreign-key",
            Constraint::NotNull => "not-null",
            Constraint::Check => "check",
            Constraint::Other => "other",
        })),
        Err(error) => Err(fault(error)),
        Ok(_) => Ok(json!("none")),
    }
}

/// The changes of each statement; or the index of that which failed, and why.
fn batch(database: &Database, statements: &[One]) -> Result<Value, Fault> {
    let statement = |one: &One| Statement {
        text: one.text.clone(),
        parameters: one.cells(),
    };
    let run = || block_on(database.batch(statements.iter().map(statement).collect()));
    match run() {
        Ok(done) => Ok(done.into_iter().map(|done| done.changes).collect()),
        Err((index, error)) => Ok(json!({"failed": index, "kind": fault(error).kind})),
    }
}

/// The rows of the last statement.
fn transaction(database: &Database, whole: &Whole) -> Result<Value, Fault> {
    let transaction = patiently(|| block_on(database.begin(Mode::Immediate)))?;
    let run = |transaction: &Transaction, one: &One| {
        let rows = block_on(transaction.query(one.text.clone(), one.cells()));
        rows.and_then(all).map_err(fault)
    };
    let mut rows = Vec::new();
    for one in &whole.statements {
        rows = run(&transaction, one)?;
    }
    match whole.end {
        End::Commit => block_on(transaction.commit()).map_err(fault)?,
        End::Beyond => {
            block_on(transaction.commit()).map_err(fault)?;
            return run(&transaction, &whole.statements[0]).map(table);
        }
        End::Rollback => block_on(transaction.rollback()).map_err(fault)?,
        End::Drop => drop(transaction),
    }
    Ok(table(rows))
}

/// The first rows of a statement that has more, of which no more are read.
fn first_rows(database: &Database, one: &One, count: usize) -> Result<Value, Fault> {
    let ask = || block_on(database.query(one.text.clone(), one.cells()));
    let mut stream = patiently(ask)?.rows;
    let mut rows = Vec::new();
    while rows.len() < count
        && let Some(row) = block_on(stream.next())
    {
        rows.push(row);
    }
    Ok(table(rows))
}
