//! What every SQL backend does:
//!
//! ```ignore
//! canopy_backend::sql_conformance!(MyBackend::new());
//! ```
//!
//! The statements are those that every dialect has. Each case gets a provider with nothing in it.

mod conflicts;
mod faults;
mod limits;
mod migrations;

use std::sync::Arc;

use super::{Environment, Suite};
use crate::sql::{
    Constraint, DEFAULT_DATABASE, Sql, SqlError, SqlMode, SqlOutcome, SqlProvider, SqlRow, SqlRows,
    SqlStatement, SqlTransaction, SqlValue,
};
use crate::{Quota, Scope, StorageKind};

pub use super::scope;
pub use conflicts::{
    a_transaction_that_read_what_changed_since_is_busy, a_writer_that_waits_goes_on_afterwards,
};
pub use faults::{
    a_statement_whose_caller_goes_away_is_whole_or_nothing,
    closed_databases_take_nothing_and_say_so, databases_out_of_reach_are_an_error_and_nobody_elses,
    rows_that_nobody_takes_hold_up_nobody, what_was_committed_is_there_after_a_restart,
};
pub use limits::{
    databases_may_be_as_many_as_the_quota, results_may_be_as_long_as_the_limit,
    statements_may_be_as_long_as_the_limit, the_quota_of_bytes_holds_and_deleting_frees_it,
    the_tenants_quota_holds_over_its_databases,
};
pub use migrations::{
    a_changed_migration_is_refused, a_failed_migration_leaves_nothing,
    an_older_version_leaves_newer_migrations, migrations, migrations_run_once_and_in_order,
};

/// Makes a test of each case of the suite for `$backend`: an expression that gives a
/// [`Backend`](conformance::Backend) with nothing in it.
#[macro_export]
macro_rules! sql_conformance {
    ($backend:expr) => {
        $crate::sql_conformance!($backend;
            values_come_back_as_they_were
            rows_come_in_batches_to_the_end
            a_statement_tells_what_it_did
            a_broken_rule_is_named
            parameters_must_fit
            one_statement_at_a_time
            a_batch_is_whole_or_nothing
            a_transaction_is_seen_when_committed
            a_transaction_goes_with_its_handle
            a_transaction_is_over_when_it_is_over
            a_reading_sees_one_state
            writers_wait_for_each_other
            databases_and_installations_are_apart
            names_are_checked
            looking_does_not_write
            migrations_run_once_and_in_order
            a_failed_migration_leaves_nothing
            a_changed_migration_is_refused
            an_older_version_leaves_newer_migrations
            a_transaction_that_read_what_changed_since_is_busy
            a_writer_that_waits_goes_on_afterwards
            statements_may_be_as_long_as_the_limit
            results_may_be_as_long_as_the_limit
            the_quota_of_bytes_holds_and_deleting_frees_it
            databases_may_be_as_many_as_the_quota
            the_tenants_quota_holds_over_its_databases
            what_was_committed_is_there_after_a_restart
            closed_databases_take_nothing_and_say_so
            databases_out_of_reach_are_an_error_and_nobody_elses
            a_statement_whose_caller_goes_away_is_whole_or_nothing
            rows_that_nobody_takes_hold_up_nobody
        );
    };
    ($backend:expr; $($case:ident)+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let environment = $crate::conformance::sql::environment();
                let mut suite = $crate::conformance::Suite::of(environment, $backend).await;
                $crate::conformance::sql::$case((&mut suite).into()).await;
            }
        )+
    };
}

/// A backend of databases under test.
pub type SqlSuite = Suite<dyn SqlProvider>;

/// With quotas that a few rows fill.
pub fn environment() -> Environment {
    let quota = Quota {
        bytes: 3 << 20,
        items: 4,
    };
    Environment::with(StorageKind::Sql, quota, 5 << 20)
}

/// The default database of an installation that has stored nothing yet.
pub async fn database(provider: &dyn SqlProvider) -> Arc<dyn Sql> {
    let database = provider.open(scope(), DEFAULT_DATABASE).await;
    database.expect("a database opens")
}

/// Runs a statement without parameters.
pub async fn run(database: &dyn Sql, sql: &str) -> Result<SqlOutcome, SqlError> {
    database.execute(SqlStatement::new(sql, Vec::new())).await
}

/// Reads all rows.
pub async fn all(rows: Result<Box<dyn SqlRows>, SqlError>) -> Result<Vec<SqlRow>, SqlError> {
    let mut rows = rows?;
    let mut found = Vec::new();
    while let Some(batch) = rows.next().await? {
        assert!(!batch.is_empty(), "a batch has rows in it");
        found.extend(batch);
    }
    assert!(rows.next().await?.is_none(), "the end stays the end");
    Ok(found)
}

/// Reads all rows of a query without parameters.
pub async fn rows(database: &dyn Sql, sql: &str) -> Result<Vec<SqlRow>, SqlError> {
    all(database.query(SqlStatement::new(sql, Vec::new())).await).await
}

/// The one number that a query gives.
pub async fn number(database: &dyn Sql, sql: &str) -> i64 {
    let rows = rows(database, sql).await;
    match rows.as_deref() {
        Ok([row]) => match row.as_slice() {
            [SqlValue::Integer(number)] => *number,
            other => panic!("{sql}: {other:?}"),
        },
        other => panic!("{sql}: {other:?}"),
    }
}

async fn done(database: &dyn Sql, sql: &str) -> SqlOutcome {
    let outcome = run(database, sql).await;
    outcome.unwrap_or_else(|error| panic!("{sql}: {error}"))
}

/// A value of each kind, at the edges too.
pub async fn values_come_back_as_they_were(provider: &dyn SqlProvider) {
    let database = database(provider).await;
    done(
        &*database,
        "CREATE TABLE v (id INTEGER PRIMARY KEY, a BLOB)",
    )
    .await;
    let values = [
        SqlValue::Null,
        SqlValue::Integer(i64::MIN),
        SqlValue::Integer(i64::MAX),
        SqlValue::Real(-0.5),
        SqlValue::Real(f64::MAX),
        SqlValue::Text(String::new()),
        SqlValue::Text("grüße \u{1f333}".into()),
        SqlValue::Blob(Vec::new()),
        SqlValue::Blob(vec![0, 255, 39, 34]),
    ];
    for value in &values {
        let insert = SqlStatement::new("INSERT INTO v (a) VALUES (?1)", vec![value.clone()]);
        let outcome = database.execute(insert).await.expect("inserted");
        assert_eq!(outcome.changes, 1);
    }
    let found = rows(&*database, "SELECT a FROM v ORDER BY id").await;
    let found: Vec<_> = found.expect("read").into_iter().flatten().collect();
    assert_eq!(found, values);
}

/// Many rows, few at a time.
pub async fn rows_come_in_batches_to_the_end(provider: &dyn SqlProvider) {
    let database = database(provider).await;
    let sql = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)
               SELECT i AS number FROM n";
    let statement = SqlStatement::new(sql, Vec::new());
    let mut rows = database.query(statement).await.expect("a result");
    assert_eq!(rows.columns().len(), 1);
    assert_eq!(rows.columns()[0].name, "number");
    let (mut expected, mut batches) = (1, 0);
    while let Some(batch) = rows.next().await.expect("rows") {
        batches += 1;
        for row in batch {
            assert_eq!(row, [SqlValue::Integer(expected)]);
            expected += 1;
        }
    }
    assert_eq!(expected, 5001);
    assert!(batches > 1, "a large result comes in parts");
    let none = self::rows(&*database, "SELECT 1 WHERE 1 = 0").await;
    assert_eq!(none.expect("no rows"), Vec::<SqlRow>::new());
}

/// Counts, row ids, columns with their types.
pub async fn a_statement_tells_what_it_did(provider: &dyn SqlProvider) {
    let database = database(provider).await;
    done(
        &*database,
        "CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER)",
    )
    .await;
    let outcome = done(
        &*database,
        "INSERT INTO t (id, n) VALUES (7, 1), (8, 2), (9, 3)",
    )
    .await;
    assert_eq!((outcome.changes, outcome.last_insert_rowid), (3, 9));
    assert_eq!(
        done(&*database, "UPDATE t SET n = 0 WHERE id > 7")
            .await
            .changes,
        2
    );
    assert_eq!(
        done(&*database, "DELETE FROM t WHERE id = 100")
            .await
            .changes,
        0
    );
    assert_eq!(
        done(&*database, "CREATE INDEX t_n ON t (n)").await.changes,
        0
    );
    let statement = SqlStatement::new("SELECT id, n, id + n FROM t", Vec::new());
    let rows = database.query(statement).await.expect("a result");
    let types: Vec<_> = rows
        .columns()
        .iter()
        .map(|c| c.declared_type.as_deref())
        .collect();
    assert_eq!(types, [Some("INTEGER"), Some("INTEGER"), None]);
}

/// Each constraint has a name of its own.
pub async fn a_broken_rule_is_named(provider: &dyn SqlProvider) {
    let database = database(provider).await;
    done(&*database, "CREATE TABLE p (id INTEGER PRIMARY KEY)").await;
    done(
        &*database,
        "CREATE TABLE c (id INTEGER PRIMARY KEY, u TEXT UNIQUE, n TEXT NOT NULL,
         k INTEGER CHECK (k > 0), p INTEGER REFERENCES p (id))",
    )
    .await;
    done(&*database, "INSERT INTO c VALUES (1, 'a', '', 1, NULL)").await;
    for (values, expected) in [
        ("(1, 'b', '', 1, NULL)", Constraint::Unique),
        ("(2, 'a', '', 1, NULL)", Constraint::Unique),
        ("(2, 'b', NULL, 1, NULL)", Constraint::NotNull),
        ("(2, 'b', '', 0, NULL)", Constraint::Check),
        ("(2, 'b', '', 1, 5)", Constraint::ForeignKey),
    ] {
        match run(&*database, &format!("INSERT INTO c VALUES {values}")).await {
            Err(SqlError::Constraint { constraint, .. }) => assert_eq!(constraint, expected),
            other => panic!("{values}: {other:?}"),
        }
    }
    assert_eq!(number(&*database, "SELECT count(*) FROM c").await, 1);
}

/// Neither too few nor too many.
pub async fn parameters_must_fit(provider: &dyn SqlProvider) {
    let database = database(provider).await;
    for count in [0, 1, 3] {
        let statement = SqlStatement::new("SELECT ?1, ?2", vec![SqlValue::Null; count]);
        let result = database
            .query(statement)
            .await
            .map(|rows| rows.columns().len());
        assert!(
            matches!(result, Err(SqlError::Invalid(_))),
            "{count}: {result:?}"
        );
    }
}

/// What is no statement, or more than one, is refused.
pub async fn one_statement_at_a_time(provider: &dyn SqlProvider) {
    let database = database(provider).await;
    let many = "SELECT 1;".repeat(10_000);
    for sql in [
        "",
        " -- nothing",
        "SELECT 1; SELECT 2",
        "SELEC 1",
        "SELECT 1\0",
        &many,
    ] {
        let result = run(&*database, sql).await;
        assert!(matches!(result, Err(SqlError::Invalid(_))), "{result:?}");
    }
    done(&*database, "SELECT 1; -- and no more").await;
}

/// All statements, or none and the index of the one that failed.
pub async fn a_batch_is_whole_or_nothing(provider: &dyn SqlProvider) {
    let database = database(provider).await;
    done(&*database, "CREATE TABLE t (id INTEGER PRIMARY KEY)").await;
    let insert = |id| SqlStatement::new("INSERT INTO t VALUES (?1)", vec![SqlValue::Integer(id)]);
    let outcomes = database
        .batch(vec![insert(1), insert(2)])
        .await
        .expect("both");
    assert_eq!(outcomes.len(), 2);
    let (index, error) = database
        .batch(vec![insert(3), insert(1), insert(4)])
        .await
        .expect_err("1 is there");
    assert_eq!(index, 1);
    assert!(matches!(error, SqlError::Constraint { .. }), "{error:?}");
    assert_eq!(number(&*database, "SELECT sum(id) FROM t").await, 3);
    assert!(
        database
            .batch(Vec::new())
            .await
            .expect("nothing")
            .is_empty()
    );
}

/// Others see it whole, and not before.
pub async fn a_transaction_is_seen_when_committed(provider: &dyn SqlProvider) {
    let database = database(provider).await;
    done(&*database, "CREATE TABLE t (n INTEGER)").await;
    for mode in [SqlMode::Immediate, SqlMode::Deferred] {
        let before = number(&*database, "SELECT count(*) FROM t").await;
        let transaction = database.begin(mode).await.expect("a transaction");
        for _ in 0..2 {
            let insert = SqlStatement::new("INSERT INTO t VALUES (1)", Vec::new());
            transaction.execute(insert).await.expect("inserted");
        }
        let count = || SqlStatement::new("SELECT count(*) FROM t", Vec::new());
        let own = all(transaction.query(count()).await).await.expect("read");
        assert_eq!(own, [[SqlValue::Integer(before + 2)]]);
        assert_eq!(number(&*database, "SELECT count(*) FROM t").await, before);
        transaction.commit().await.expect("committed");
        assert_eq!(
            number(&*database, "SELECT count(*) FROM t").await,
            before + 2
        );
    }
}

/// Dropped and rolled back, nothing of it is there, and the next one may write.
pub async fn a_transaction_goes_with_its_handle(provider: &dyn SqlProvider) {
    let database = database(provider).await;
    done(&*database, "CREATE TABLE t (n INTEGER)").await;
    let insert = || SqlStatement::new("INSERT INTO t VALUES (1)", Vec::new());
    for mode in [SqlMode::Immediate, SqlMode::Deferred] {
        let transaction = database.begin(mode).await.expect("a transaction");
        transaction.execute(insert()).await.expect("inserted");
        drop(transaction);
        let transaction = database.begin(mode).await.expect("a transaction");
        transaction.execute(insert()).await.expect("inserted");
        transaction.rollback().await.expect("rolled back");
    }
    let transaction = database
        .begin(SqlMode::Immediate)
        .await
        .expect("a transaction");
    transaction.execute(insert()).await.expect("inserted");
    let rows = transaction
        .query(SqlStatement::new("SELECT n FROM t", Vec::new()))
        .await;
    drop(transaction);
    drop(rows);
    done(&*database, "INSERT INTO t VALUES (2)").await;
    assert_eq!(number(&*database, "SELECT sum(n) FROM t").await, 2);
}

/// After its end every call says so.
pub async fn a_transaction_is_over_when_it_is_over(provider: &dyn SqlProvider) {
    let database = database(provider).await;
    let transaction: Box<dyn SqlTransaction> = database
        .begin(SqlMode::Immediate)
        .await
        .expect("a transaction");
    transaction.commit().await.expect("committed");
    let select = SqlStatement::new("SELECT 1", Vec::new());
    for (case, result) in [
        (
            "execute",
            transaction.execute(select.clone()).await.map(drop),
        ),
        ("query", transaction.query(select).await.map(drop)),
        ("commit", transaction.commit().await),
        ("rollback", transaction.rollback().await),
    ] {
        assert!(
            matches!(result, Err(SqlError::TransactionOver(_))),
            "{case}: {result:?}"
        );
    }
}

/// What is written while rows are read is not among them.
pub async fn a_reading_sees_one_state(provider: &dyn SqlProvider) {
    let database = database(provider).await;
    done(&*database, "CREATE TABLE t (n INTEGER)").await;
    let fill = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)
                INSERT INTO t SELECT i FROM n";
    assert_eq!(done(&*database, fill).await.changes, 2000);
    let statement = SqlStatement::new("SELECT n FROM t", Vec::new());
    let mut reading = database.query(statement).await.expect("a result");
    let first = reading.next().await.expect("rows").expect("some");
    done(&*database, "DELETE FROM t").await;
    let mut count = first.len();
    while let Some(batch) = reading.next().await.expect("rows") {
        count += batch.len();
    }
    assert_eq!(count, 2000);
    assert_eq!(number(&*database, "SELECT count(*) FROM t").await, 0);
}

/// Nobody's write is lost.
pub async fn writers_wait_for_each_other(provider: &dyn SqlProvider) {
    let database = database(provider).await;
    done(&*database, "CREATE TABLE t (n INTEGER)").await;
    done(&*database, "INSERT INTO t VALUES (0)").await;
    let mut tasks = Vec::new();
    for _ in 0..4 {
        let database = database.clone();
        tasks.push(tokio::spawn(async move {
            for _ in 0..10 {
                let transaction = database.begin(SqlMode::Immediate).await.expect("its turn");
                let select = SqlStatement::new("SELECT n FROM t", Vec::new());
                let found = all(transaction.query(select).await).await.expect("read");
                let [SqlValue::Integer(n)] = found[0][..] else {
                    panic!("{found:?}");
                };
                let n = vec![SqlValue::Integer(n + 1)];
                let update = SqlStatement::new("UPDATE t SET n = ?1", n);
                transaction.execute(update).await.expect("written");
                transaction.commit().await.expect("committed");
            }
        }));
    }
    for task in tasks {
        task.await.expect("a writer");
    }
    assert_eq!(number(&*database, "SELECT n FROM t").await, 40);
}

/// The same name elsewhere is another database.
pub async fn databases_and_installations_are_apart(provider: &dyn SqlProvider) {
    let (one, two) = (scope(), scope());
    let sibling = Scope {
        tenant: one.tenant,
        installation: scope().installation,
    };
    let places = [
        (one, "default"),
        (one, "second"),
        (two, "default"),
        (sibling, "default"),
    ];
    for (number, (scope, name)) in (0_i64..).zip(places) {
        let database = provider.open(scope, name).await.expect("opened");
        done(&*database, "CREATE TABLE t (n INTEGER)").await;
        done(&*database, &format!("INSERT INTO t VALUES ({number})")).await;
    }
    for (expected, (scope, name)) in (0_i64..).zip(places) {
        let database = provider.open(scope, name).await.expect("opened");
        assert_eq!(number(&*database, "SELECT n FROM t").await, expected);
    }
    let mut names = provider.databases(one).await.expect("names");
    names.sort();
    assert_eq!(names, ["default", "second"]);
}

/// Nothing that could be a path.
pub async fn names_are_checked(provider: &dyn SqlProvider) {
    for name in [
        "",
        "..",
        "../default",
        "a/b",
        "A",
        "a\0b",
        "ü",
        &"n".repeat(1000),
    ] {
        let result = provider.open(scope(), name).await.map(drop);
        assert!(
            matches!(result, Err(SqlError::NoSuchDatabase)),
            "{name:?}: {result:?}"
        );
    }
}

/// A reader's database is not made and not changed.
pub async fn looking_does_not_write(provider: &dyn SqlProvider) {
    let scope = scope();
    let absent = provider.open_read_only(scope, "default").await.map(drop);
    assert!(
        matches!(absent, Err(SqlError::NoSuchDatabase)),
        "{absent:?}"
    );
    let database = provider.open(scope, "default").await.expect("opened");
    done(&*database, "CREATE TABLE t (n INTEGER)").await;
    let looking = provider
        .open_read_only(scope, "default")
        .await
        .expect("there");
    assert_eq!(number(&*looking, "SELECT count(*) FROM t").await, 0);
    for sql in [
        "INSERT INTO t VALUES (1)",
        "WITH x (a) AS (SELECT 1) INSERT INTO t SELECT a FROM x",
        "INSERT INTO t VALUES (1) RETURNING n",
        "DROP TABLE t",
        "CREATE TABLE u (n)",
    ] {
        let executed = run(&*looking, sql).await;
        assert!(
            matches!(executed, Err(SqlError::Denied(_))),
            "{sql}: {executed:?}"
        );
        let queried = rows(&*looking, sql).await;
        assert!(
            matches!(queried, Err(SqlError::Denied(_))),
            "{sql}: {queried:?}"
        );
    }
    let statement = SqlStatement::new("INSERT INTO t VALUES (1)", Vec::new());
    assert!(looking.batch(vec![statement.clone()]).await.is_err());
    assert!(looking.begin(SqlMode::Immediate).await.is_err());
    let transaction = looking.begin(SqlMode::Deferred).await.expect("to read");
    let result = transaction.execute(statement).await;
    assert!(matches!(result, Err(SqlError::Denied(_))), "{result:?}");
    assert_eq!(number(&*database, "SELECT count(*) FROM t").await, 0);
}
