//! What databases do that are closed, opened again, out of reach, or whose callers go away.

use std::task::{Context, Poll, Waker};

use super::{SqlSuite, database, done, number, rows, run, scope};
use crate::StorageError;
use crate::sql::{DEFAULT_DATABASE, SqlError, SqlMode, SqlStatement, SqlValue};

/// By statements, batches and transactions; what was not committed is not.
pub async fn what_was_committed_is_there_after_a_restart(suite: &mut SqlSuite) {
    let scope = scope();
    {
        let database = suite.open(scope, DEFAULT_DATABASE).await.expect("opened");
        done(&*database, "CREATE TABLE t (n INTEGER PRIMARY KEY)").await;
        done(&*database, "INSERT INTO t VALUES (1)").await;
        let two = SqlStatement::new("INSERT INTO t VALUES (2)", Vec::new());
        database.batch(vec![two]).await.expect("a batch");
        let transaction = database.begin(SqlMode::Immediate).await.expect("begun");
        let three = SqlStatement::new("INSERT INTO t VALUES (3)", Vec::new());
        transaction.execute(three).await.expect("written");
        transaction.commit().await.expect("committed");
        let never = database.begin(SqlMode::Immediate).await.expect("begun");
        let four = SqlStatement::new("INSERT INTO t VALUES (4)", Vec::new());
        never.execute(four).await.expect("written");
    }
    suite.restart().await;
    let database = suite.open(scope, DEFAULT_DATABASE).await.expect("opened");
    assert_eq!(number(&*database, "SELECT count(*) FROM t").await, 3);
    assert_eq!(number(&*database, "SELECT max(n) FROM t").await, 3);
    assert_eq!(
        suite.databases(scope).await.expect("names"),
        [DEFAULT_DATABASE]
    );
}

/// No statement is answered whose writes are not there, and nothing waits for ever.
pub async fn closed_databases_take_nothing_and_say_so(suite: &mut SqlSuite) {
    let scope = scope();
    {
        let database = suite.open(scope, DEFAULT_DATABASE).await.expect("opened");
        done(&*database, "CREATE TABLE t (n INTEGER)").await;
        suite.close().await;
        run(&*database, "INSERT INTO t VALUES (1)")
            .await
            .expect_err("a write");
        rows(&*database, "SELECT 1").await.expect_err("a query");
        assert!(database.begin(SqlMode::Immediate).await.is_err());
        let batch = vec![SqlStatement::new("INSERT INTO t VALUES (1)", Vec::new())];
        database.batch(batch).await.expect_err("a batch");
    }
    suite.restart().await;
    let database = suite.open(scope, DEFAULT_DATABASE).await.expect("opened");
    assert_eq!(number(&*database, "SELECT count(*) FROM t").await, 0);
}

/// What can't be read is not taken for empty, and is whole again when it is in reach again.
pub async fn databases_out_of_reach_are_an_error_and_nobody_elses(suite: &mut SqlSuite) {
    let (lost, other) = (scope(), scope());
    for scope in [lost, other] {
        let database = suite.open(scope, DEFAULT_DATABASE).await.expect("opened");
        done(&*database, "CREATE TABLE t (n INTEGER)").await;
        done(&*database, "INSERT INTO t VALUES (1)").await;
    }
    suite.lose(lost).await;
    let failed = |case: &str, result: Result<(), SqlError>| match result {
        Err(SqlError::Storage(StorageError::Failed(_) | StorageError::Damaged(_))) => {}
        other => panic!("{case} of what is out of reach: {other:?}"),
    };
    for _ in 0..2 {
        // It may be told when the database is opened, or by whatever is done with it.
        match suite.open(lost, DEFAULT_DATABASE).await {
            Err(error) => failed("open", Err(error)),
            Ok(database) => {
                let sql = "INSERT INTO t VALUES (2)";
                failed("execute", run(&*database, sql).await.map(drop));
                failed("query", rows(&*database, "SELECT 1").await.map(drop));
                failed("begin", database.begin(SqlMode::Immediate).await.map(drop));
                let batch = vec![SqlStatement::new(sql, Vec::new())];
                let batch = database.batch(batch).await;
                failed("batch", batch.map(drop).map_err(|(_, error)| error));
            }
        }
        let database = suite.open(other, DEFAULT_DATABASE).await.expect("opened");
        done(&*database, "INSERT INTO t VALUES (2)").await;
    }
    suite.find(lost).await;
    for (scope, expected) in [(lost, 1), (other, 3)] {
        let database = suite.open(scope, DEFAULT_DATABASE).await.expect("opened");
        assert_eq!(number(&*database, "SELECT count(*) FROM t").await, expected);
        done(&*database, "INSERT INTO t VALUES (3)").await;
    }
}

/// A statement that nobody waits for takes place whole or not at all, and nothing that comes later
/// waits for it for ever.
pub async fn a_statement_whose_caller_goes_away_is_whole_or_nothing(suite: &mut SqlSuite) {
    let database = database(&**suite).await;
    done(&*database, "CREATE TABLE t (n INTEGER)").await;
    let mut before = 0;
    for _ in 0..30 {
        let sql = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 1000)
                   INSERT INTO t SELECT i FROM n";
        let mut statement = database.execute(SqlStatement::new(sql, Vec::new()));
        let mut context = Context::from_waker(Waker::noop());
        let _begun: Poll<_> = statement.as_mut().poll(&mut context);
        drop(statement);
        let now = number(&*database, "SELECT count(*) FROM t").await;
        assert!(now % 1000 == 0 && now >= before, "{now} after {before}");
        before = now;
        if before >= 10_000 {
            done(&*database, "DELETE FROM t").await;
            before = 0;
        }
    }
    done(&*database, "INSERT INTO t VALUES (1)").await;
}

/// A result that is not read keeps nobody from reading and writing, and stays as it was.
pub async fn rows_that_nobody_takes_hold_up_nobody(suite: &mut SqlSuite) {
    let database = database(&**suite).await;
    done(&*database, "CREATE TABLE t (n INTEGER)").await;
    let fill = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 20000)
                INSERT INTO t SELECT i FROM n";
    done(&*database, fill).await;
    let all = SqlStatement::new("SELECT n FROM t ORDER BY n", Vec::new());
    let mut slow = database.query(all).await.expect("a result");
    let first = slow.next().await.expect("rows").expect("some").len();
    let mut taken = i64::try_from(first).expect("a batch");
    done(&*database, "DELETE FROM t").await;
    done(&*database, "INSERT INTO t VALUES (-1)").await;
    assert_eq!(number(&*database, "SELECT count(*) FROM t").await, 1);
    while let Some(batch) = slow.next().await.expect("rows") {
        for row in batch {
            taken += 1;
            assert_eq!(row, [SqlValue::Integer(taken)]);
        }
    }
    assert_eq!(taken, 20_000);
}
