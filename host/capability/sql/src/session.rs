//! A connection as Spin's interfaces have it: one that is in a transaction after `BEGIN`, and knows
//! what the statement before did.

use std::sync::Arc;

use canopy_backend::sql::{
    Sql, SqlColumn, SqlError, SqlMode, SqlOutcome, SqlRow, SqlRows, SqlStatement, SqlTransaction,
    SqlValue,
};
use tokio::sync::Mutex;

use crate::ctx::Databases;

/// What a guest's `connection` handle stands for. Clones are the same connection.
#[derive(Clone)]
#[expect(unreachable_pub, reason = "generated bindings re-export it")]
pub struct Session(Arc<Inner>);

struct Inner {
    sql: Arc<dyn Sql>,
    list_bytes: u64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    transaction: Option<Arc<dyn SqlTransaction>>,
    outcome: SqlOutcome,
}

/// A whole result.
pub(crate) struct Listed {
    pub(crate) columns: Vec<SqlColumn>,
    pub(crate) rows: Vec<SqlRow>,
}

/// A statement that begins or ends a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Control {
    Begin(SqlMode),
    Commit,
    Rollback,
}

impl Session {
    pub(crate) async fn open(databases: &Databases, name: &str) -> Result<Self, SqlError> {
        Ok(Self(Arc::new(Inner {
            sql: databases.open(name).await?,
            list_bytes: databases.list_bytes(),
            state: Mutex::default(),
        })))
    }

    /// Runs a statement and reads all its rows.
    pub(crate) async fn list(&self, statement: SqlStatement) -> Result<Listed, SqlError> {
        let mut state = self.0.state.lock().await;
        let reads = seems_to_read(&statement.text);
        let Some(mut rows) = self.rows(&mut state, statement).await? else {
            return Ok(Listed {
                columns: Vec::new(),
                rows: Vec::new(),
            });
        };
        let columns = rows.columns().to_vec();
        let (mut all, mut bytes) = (Vec::new(), 0);
        while let Some(batch) = rows.next().await? {
            bytes += batch.iter().map(size).sum::<u64>();
            let limit = self.0.list_bytes;
            if bytes > limit {
                return Err(SqlError::TooLarge(format!(
                    "a result that is one list is over the limit of {limit} bytes: read less, or \
                     by an interface with streams"
                )));
            }
            all.extend(batch);
        }
        state.note(reads, rows.outcome());
        Ok(Listed { columns, rows: all })
    }

    /// Runs a statement whose rows the guest reads itself. `None`: it has none.
    pub(crate) async fn query(
        &self,
        statement: SqlStatement,
    ) -> Result<Option<Box<dyn SqlRows>>, SqlError> {
        let mut state = self.0.state.lock().await;
        self.rows(&mut state, statement).await
    }

    async fn rows(
        &self,
        state: &mut State,
        statement: SqlStatement,
    ) -> Result<Option<Box<dyn SqlRows>>, SqlError> {
        match (control(&statement.text), state.transaction.clone()) {
            (Some(Control::Begin(mode)), None) => {
                state.transaction = Some(Arc::from(self.0.sql.begin(mode).await?));
                Ok(None)
            }
            (Some(Control::Begin(_)), Some(_)) => Err(SqlError::Invalid(
                "cannot start a transaction within a transaction".into(),
            )),
            (Some(_), None) => Err(SqlError::Invalid("no transaction is active".into())),
            (Some(control), Some(transaction)) => {
                state.transaction = None;
                match control {
                    Control::Commit => transaction.commit().await?,
                    _ => transaction.rollback().await?,
                }
                Ok(None)
            }
            (None, Some(transaction)) => {
                let rows = transaction.query(statement).await;
                if let Err(SqlError::TransactionOver(_)) = rows {
                    state.transaction = None;
                }
                rows.map(Some)
            }
            (None, None) => self.0.sql.query(statement).await.map(Some),
        }
    }

    /// What the last statement that wrote did.
    pub(crate) async fn outcome(&self) -> SqlOutcome {
        self.0.state.lock().await.outcome
    }

    /// Notes what a statement did whose rows the guest has read itself.
    pub(crate) async fn note(&self, reads: bool, outcome: SqlOutcome) {
        self.0.state.lock().await.note(reads, outcome);
    }
}

impl State {
    /// A statement that reads leaves the count of the one before that wrote.
    fn note(&mut self, reads: bool, outcome: SqlOutcome) {
        if !reads || outcome.changes > 0 {
            self.outcome = outcome;
        }
    }
}

/// What a row takes in the memory of its guest, about.
fn size(row: &SqlRow) -> u64 {
    let bytes = row.iter().map(|value| match value {
        SqlValue::Text(text) => 24 + text.len() as u64,
        SqlValue::Blob(blob) => 24 + blob.len() as u64,
        _ => 24,
    });
    8 + bytes.sum::<u64>()
}

/// Whether a statement that begins so reads, unless it says that it has changed something.
pub(crate) fn seems_to_read(sql: &str) -> bool {
    let sql = uncommented(sql);
    let word = sql.split(|c: char| !c.is_ascii_alphabetic()).next();
    let word = word.unwrap_or_default();
    ["SELECT", "VALUES", "WITH", "EXPLAIN", "PRAGMA"]
        .iter()
        .any(|name| word.eq_ignore_ascii_case(name))
}

/// A statement without the comments before it (<https://sqlite.org/lang_comment.html>).
fn uncommented(sql: &str) -> &str {
    let mut rest = sql.trim_ascii_start();
    loop {
        let after = if let Some(line) = rest.strip_prefix("--") {
            line.split_once('\n').map(|(_, after)| after)
        } else if let Some(comment) = rest.strip_prefix("/*") {
            comment.split_once("*/").map(|(_, after)| after)
        } else {
            return rest;
        };
        rest = after.unwrap_or_default().trim_ascii_start();
    }
}

fn control(sql: &str) -> Option<Control> {
    let words = uncommented(sql).trim().trim_end_matches([';', ' ', '\n']);
    let words: Vec<_> = words
        .split_ascii_whitespace()
        .take(4)
        .map(str::to_ascii_uppercase)
        .collect();
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["BEGIN"]
        | ["BEGIN", "TRANSACTION" | "DEFERRED"]
        | ["BEGIN", "DEFERRED", "TRANSACTION"] => Some(Control::Begin(SqlMode::Deferred)),
        ["BEGIN", "IMMEDIATE" | "EXCLUSIVE"]
        | ["BEGIN", "IMMEDIATE" | "EXCLUSIVE", "TRANSACTION"] => {
            Some(Control::Begin(SqlMode::Immediate))
        }
        ["COMMIT" | "END"] | ["COMMIT" | "END", "TRANSACTION"] => Some(Control::Commit),
        ["ROLLBACK"] | ["ROLLBACK", "TRANSACTION"] => Some(Control::Rollback),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transactions_are_begun_and_ended_in_words() {
        for (sql, expected) in [
            ("begin", Some(Control::Begin(SqlMode::Deferred))),
            (
                " BEGIN Transaction ;\n",
                Some(Control::Begin(SqlMode::Deferred)),
            ),
            ("BEGIN IMMEDIATE", Some(Control::Begin(SqlMode::Immediate))),
            (
                "BEGIN EXCLUSIVE TRANSACTION;",
                Some(Control::Begin(SqlMode::Immediate)),
            ),
            ("COMMIT;", Some(Control::Commit)),
            ("-- all is well\nCOMMIT", Some(Control::Commit)),
            ("end transaction", Some(Control::Commit)),
            ("ROLLBACK", Some(Control::Rollback)),
            ("ROLLBACK TO here", None),
            ("SELECT 'BEGIN'", None),
            ("", None),
        ] {
            assert_eq!(control(sql), expected, "{sql:?}");
        }
    }

    #[test]
    fn a_statement_that_reads_is_known_behind_comments() {
        for sql in [
            "select 1",
            "\n-- one\n--two\nSELECT 1",
            "/* SELECT */ /**/WITH x AS (SELECT 1) SELECT * FROM x",
            "VALUES(1)",
        ] {
            assert!(seems_to_read(sql), "{sql:?}");
        }
        for sql in [
            "INSERT INTO t SELECT 1",
            "/* SELECT */ DELETE FROM t",
            "-- SELECT",
            "/* SELECT",
            "SELECTED",
            "",
        ] {
            assert!(!seems_to_read(sql), "{sql:?}");
        }
    }
}
