//! Limits: the limit itself is allowed, one more is not, and the database goes on.

use std::sync::Arc;

use super::{SqlSuite, database, done, number, rows, run, scope};
use crate::sql::{DEFAULT_DATABASE, Sql, SqlError, SqlStatement, SqlValue};
use crate::{QuotaOf, Scope, StorageError};

fn too_large<T: std::fmt::Debug>(what: &str, result: Result<T, SqlError>) {
    assert!(
        matches!(result, Err(SqlError::TooLarge(_))),
        "{what}: {result:?}"
    );
}

async fn goes_on(database: &dyn Sql) {
    assert_eq!(number(database, "SELECT 1").await, 1);
}

/// Their text, their parameters, how many there are of a batch, and their values.
pub async fn statements_may_be_as_long_as_the_limit(suite: &mut SqlSuite) {
    let limits = suite.limits();
    let database = database(&**suite).await;
    done(&*database, "CREATE TABLE t (v BLOB)").await;

    let padded = |length: usize| format!("SELECT 1{}", " ".repeat(length - "SELECT 1".len()));
    let most = rows(&*database, &padded(limits.statement_bytes)).await;
    assert_eq!(most.expect("the limit itself").len(), 1);
    too_large(
        "text",
        rows(&*database, &padded(limits.statement_bytes + 1)).await,
    );
    goes_on(&*database).await;

    let insert = |length: usize| {
        let value = SqlValue::Blob(vec![7; length]);
        SqlStatement::new("INSERT INTO t VALUES (?)", vec![value])
    };
    too_large(
        "value",
        database.execute(insert(limits.value_bytes + 1)).await,
    );
    // A row is a little longer than its value.
    let stored = database.execute(insert(limits.value_bytes - 100)).await;
    stored.expect("a value below the limit");
    assert_eq!(number(&*database, "SELECT count(*) FROM t").await, 1);

    let insert = || SqlStatement::new("INSERT INTO t VALUES (1)", Vec::new());
    let batch = |count: usize| vec![insert(); count];
    let most = database.batch(batch(limits.batch_statements)).await;
    assert_eq!(
        most.expect("the limit itself").len(),
        limits.batch_statements
    );
    let over = database.batch(batch(limits.batch_statements + 1)).await;
    let (_, error) = over.expect_err("one more");
    assert!(matches!(error, SqlError::TooLarge(_)), "{error:?}");
    let stored = number(&*database, "SELECT count(*) FROM t").await;
    assert_eq!(usize::try_from(stored), Ok(1 + limits.batch_statements));

    let with = |count: usize| {
        let marks = vec!["?"; count].join(", ");
        let sql = format!("SELECT 1 WHERE 1 IN ({marks})");
        let ones = vec![SqlValue::Integer(1); count];
        database.query(SqlStatement::new(sql, ones))
    };
    let most = super::all(with(limits.parameters).await).await;
    assert_eq!(most.expect("the limit itself").len(), 1);
    let over = with(limits.parameters + 1).await;
    assert!(over.is_err(), "one parameter more");
    goes_on(&*database).await;
}

/// Their rows and their bytes: what is over the limit is an error, not a shorter result.
pub async fn results_may_be_as_long_as_the_limit(suite: &mut SqlSuite) {
    let limits = suite.limits();
    let database = database(&**suite).await;
    let series = |count: u64| {
        format!(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT {count})
             SELECT i FROM n"
        )
    };
    let count = async |sql: &str| {
        let mut rows = database.query(SqlStatement::new(sql, Vec::new())).await?;
        let mut count = 0;
        while let Some(batch) = rows.next().await? {
            count += batch.len() as u64;
        }
        Ok::<_, SqlError>(count)
    };
    let most = count(&series(limits.result_rows)).await;
    assert_eq!(most.expect("the limit itself"), limits.result_rows);
    too_large("rows", count(&series(limits.result_rows + 1)).await);
    // Each row has as many bytes as a value may have, or half of the whole.
    let bytes = (limits.value_bytes as u64).min(limits.result_bytes / 2) - 100;
    let enough = limits.result_bytes / bytes + 2;
    let long = series(enough).replace(
        "SELECT i FROM n",
        &format!("SELECT zeroblob({bytes}) FROM n"),
    );
    too_large("bytes", count(&long).await);
    goes_on(&*database).await;
}

fn full(result: &Result<impl std::fmt::Debug, SqlError>, expected: QuotaOf) -> bool {
    matches!(
        result,
        Err(SqlError::Storage(StorageError::QuotaExceeded { quota, .. })) if *quota == expected
    )
}

const INSERT: &str = "INSERT INTO t VALUES (zeroblob(50000))";

/// Inserts until it is refused; gives how many were stored, and why no more.
async fn fill(database: &dyn Sql) -> (i64, Result<(), SqlError>) {
    done(database, "CREATE TABLE IF NOT EXISTS t (v BLOB)").await;
    for stored in 0.. {
        if let Err(error) = run(database, INSERT).await {
            return (stored, Err(error));
        }
        assert!(stored < 1000, "a quota holds");
    }
    unreachable!("it ends by being refused");
}

/// A full database refuses whatever makes it larger, whole, and takes it when something was
/// deleted.
pub async fn the_quota_of_bytes_holds_and_deleting_frees_it(suite: &mut SqlSuite) {
    let quota = suite.quota().sql.bytes;
    let scope = scope();
    let database = suite.open(scope, DEFAULT_DATABASE).await.expect("opened");
    let (stored, refused) = fill(&*database).await;
    assert!(full(&refused, QuotaOf::InstallationBytes), "{refused:?}");
    let used = suite.usage(scope).await.bytes;
    assert!(used <= quota && used > quota - 100_000, "{used} of {quota}");
    assert_eq!(number(&*database, "SELECT count(*) FROM t").await, stored);

    let both = [INSERT, INSERT].map(|sql| SqlStatement::new(sql, Vec::new()));
    done(&*database, "DELETE FROM t WHERE rowid = 1").await;
    let batch = database
        .batch(both.to_vec())
        .await
        .map_err(|(index, error)| {
            assert_eq!(index, 1, "one of both fits");
            error
        });
    assert!(full(&batch, QuotaOf::InstallationBytes), "{batch:?}");
    assert_eq!(
        number(&*database, "SELECT count(*) FROM t").await,
        stored - 1
    );
    run(&*database, INSERT).await.expect("one fits");
    let again = run(&*database, INSERT).await;
    assert!(full(&again, QuotaOf::InstallationBytes), "{again:?}");
    done(&*database, "DELETE FROM t").await;
    assert!(suite.usage(scope).await.bytes < 100_000, "deleting frees");
    run(&*database, INSERT).await.expect("there is room");
}

/// As many as the quota says, and not one more.
pub async fn databases_may_be_as_many_as_the_quota(suite: &mut SqlSuite) {
    let quota = suite.quota().sql.items;
    let scope = scope();
    let make = async |number: u64| {
        let name = format!("d{number}");
        let database = suite.open(scope, &name).await?;
        run(&*database, "CREATE TABLE IF NOT EXISTS t (n)").await
    };
    for number in 0..quota {
        make(number).await.expect("within the quota");
    }
    assert_eq!(suite.usage(scope).await.items, quota);
    let over = make(quota).await;
    assert!(full(&over, QuotaOf::InstallationItems), "{over:?}");
    make(0).await.expect("one that is there");
    assert_eq!(
        suite.databases(scope).await.expect("names").len() as u64,
        quota
    );
}

/// Installations of a tenant share its quota, and erasing one frees what it stored.
pub async fn the_tenants_quota_holds_over_its_databases(suite: &mut SqlSuite) {
    let quota = suite.quota().tenant_bytes;
    let one = scope();
    let two = Scope {
        installation: scope().installation,
        ..one
    };
    {
        let first = suite.open(one, DEFAULT_DATABASE).await.expect("opened");
        let (_, refused) = fill(&*first).await;
        assert!(full(&refused, QuotaOf::InstallationBytes), "{refused:?}");
    }
    let second: Arc<dyn Sql> = suite.open(two, DEFAULT_DATABASE).await.expect("opened");
    let (_, refused) = fill(&*second).await;
    assert!(full(&refused, QuotaOf::TenantBytes), "{refused:?}");
    let used = suite.usage(one).await.bytes + suite.usage(two).await.bytes;
    assert!(used <= quota && used > quota - 100_000, "{used} of {quota}");
    let elsewhere = database(&**suite).await;
    done(&*elsewhere, "CREATE TABLE t (v BLOB)").await;
    run(&*elsewhere, INSERT).await.expect("another tenant's");
    suite.erase(one).await.expect("erased");
    run(&*second, INSERT).await.expect("there is room again");
}
