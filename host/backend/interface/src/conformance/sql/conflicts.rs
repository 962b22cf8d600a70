//! Transactions that get into each other's way.

use super::{database, done, number, rows, run};
use crate::sql::{SqlError, SqlMode, SqlProvider, SqlStatement};

fn statement(text: &str) -> SqlStatement {
    SqlStatement::new(text, Vec::new())
}

/// A transaction that has read what another has changed since writes nothing over it, and runs
/// when it is begun again.
pub async fn a_transaction_that_read_what_changed_since_is_busy(provider: &dyn SqlProvider) {
    let database = database(provider).await;
    done(&*database, "CREATE TABLE t (n INTEGER)").await;
    done(&*database, "INSERT INTO t VALUES (1)").await;
    let first = database.begin(SqlMode::Deferred).await.expect("begun");
    let read = super::all(first.query(statement("SELECT n FROM t")).await).await;
    assert_eq!(read.expect("read").len(), 1);
    done(&*database, "UPDATE t SET n = n + 10").await;
    let late = first.execute(statement("UPDATE t SET n = 2")).await;
    assert!(matches!(late, Err(SqlError::Busy(_))), "{late:?}");
    // What it read stays what it reads, and it can be given up.
    let read = super::all(first.query(statement("SELECT n FROM t WHERE n = 1")).await).await;
    assert_eq!(read.expect("read").len(), 1, "one state throughout");
    first.rollback().await.expect("rolled back");
    assert_eq!(number(&*database, "SELECT n FROM t").await, 11);
    let again = database.begin(SqlMode::Deferred).await.expect("begun");
    again
        .execute(statement("UPDATE t SET n = n + 1"))
        .await
        .expect("fresh");
    again.commit().await.expect("committed");
    assert_eq!(number(&*database, "SELECT n FROM t").await, 12);
}

/// Whoever waits for the right to write gets it when it is given up, whether it was used or not.
pub async fn a_writer_that_waits_goes_on_afterwards(provider: &dyn SqlProvider) {
    let database = database(provider).await;
    done(&*database, "CREATE TABLE t (n INTEGER)").await;
    for commit in [true, false] {
        let writing = database.begin(SqlMode::Immediate).await.expect("begun");
        writing
            .execute(statement("INSERT INTO t VALUES (1)"))
            .await
            .expect("written");
        let waiting = database.clone();
        let waiting = tokio::spawn(async move { run(&*waiting, "INSERT INTO t VALUES (2)").await });
        let seen = rows(&*database, "SELECT n FROM t WHERE n = 1").await;
        assert_eq!(seen.expect("readers do not wait").len(), 0);
        match commit {
            true => writing.commit().await.expect("committed"),
            false => drop(writing),
        }
        waiting.await.expect("no panic").expect("it had its turn");
        let mut found = rows(&*database, "DELETE FROM t RETURNING n")
            .await
            .expect("rows");
        found.sort_by_key(|row| format!("{row:?}"));
        assert_eq!(found.len(), 1 + usize::from(commit), "{found:?}");
    }
}
