//! Statements that reach for more than their share. Each names how it ends.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use canopy_backend::Kept;
use canopy_backend::conformance::sql::{database, number, rows, scope};
use canopy_backend::sql::{SqlError, SqlMode, SqlProvider as _, SqlStatement};
use canopy_backend_sql::SqlSettings;

use crate::attack::{End, ends, victim};
use crate::support;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bombs_end_at_their_limits() {
    let settings = SqlSettings {
        statement_time: Duration::from_millis(300),
        statement_memory_bytes: 8 << 20,
        ..SqlSettings::default()
    };
    let (provider, _dir) = support::open_with(settings);
    let database = database(&provider).await;
    victim(&*database).await;
    let endless = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)";
    let deep = format!("SELECT {}1{}", "abs(".repeat(200), ")".repeat(200));
    let sum = format!("SELECT 1{}", "+1".repeat(500));
    let unions = format!("SELECT 1{}", " UNION ALL SELECT 1".repeat(100));
    let wide = format!(
        "CREATE TABLE w (a{})",
        (0..600).map(|i| format!(", c{i}")).collect::<String>()
    );
    let long = format!("SELECT '{}'", "x".repeat(200 << 10));
    for (sql, end) in [
        (format!("{endless} SELECT count(*) FROM n"), End::Limit),
        (format!("{endless} INSERT INTO t (id) SELECT i + 100 FROM n"), End::Limit),
        (format!("{endless} SELECT i FROM n ORDER BY i DESC"), End::Limit),
        (format!("{endless} SELECT DISTINCT i FROM n"), End::Limit),
        (format!("{endless} SELECT group_concat(i) FROM n"), End::Limit),
        (format!("{endless} SELECT json_group_array(i) FROM n"), End::Limit),
        ("SELECT randomblob(2000000000)".into(), End::TooLarge("value")),
        ("SELECT zeroblob(2000000)".into(), End::TooLarge("value")),
        ("SELECT printf('%2000000s', '')".into(), End::TooLarge("value")),
        ("SELECT replace(hex(zeroblob(400000)), '0', 'aaaa')".into(), End::TooLarge("value")),
        ("SELECT 1 FROM t WHERE a LIKE hex(zeroblob(2000))".into(), End::Invalid("pattern")),
        ("SELECT a.id FROM t a, t b, t c, t d, t e, t f, t g, t h, t i, t j, t k, t l, t m, t n, t o, t p, t q, t r, t s, t t1, t u, t v, t w, t x WHERE a.id + x.id > 1000".into(), End::Limit),
        (deep, End::Invalid("")),
        (sum, End::Invalid("depth")),
        (unions, End::Invalid("compound")),
        (wide, End::Invalid("columns")),
        (long, End::TooLarge("statement")),
        ("SELECT ?2000".into(), End::Invalid("variable number")),
    ] {
        let started = Instant::now();
        ends(&*database, &sql, end).await;
        let short: String = sql.chars().take(100).collect();
        assert!(started.elapsed() < Duration::from_secs(30), "{short}");
    }
    assert_eq!(number(&*database, "SELECT count(*) FROM t").await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_is_a_statements_own() {
    let settings = SqlSettings {
        statement_time: Duration::from_secs(120),
        statement_memory_bytes: 4 << 20,
        ..SqlSettings::default()
    };
    let (provider, _dir) = support::open_with(settings);
    let database = database(&provider).await;
    victim(&*database).await;
    let endless = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)";
    for query in [
        "SELECT i FROM n ORDER BY i DESC",
        "SELECT DISTINCT i FROM n",
    ] {
        ends(
            &*database,
            &format!("{endless} {query}"),
            End::TooLarge("memory"),
        )
        .await;
    }
    // What one could not have is there for the next.
    assert_eq!(number(&*database, "SELECT count(*) FROM t").await, 2);
    let some = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 9999)
                SELECT count(DISTINCT i) FROM n";
    for _ in 0..20 {
        assert_eq!(number(&*database, some).await, 9999);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn results_end_at_their_limits() {
    let mut settings = SqlSettings::default();
    settings.limits.result_rows = 1000;
    settings.limits.result_bytes = 1 << 20;
    let (provider, _dir) = support::open_with(settings);
    let database = database(&provider).await;
    let count = |n: u32| {
        format!(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {n}) SELECT i FROM n"
        )
    };
    assert_eq!(
        rows(&*database, &count(1000)).await.expect("all").len(),
        1000
    );
    let over = rows(&*database, &count(1001)).await;
    assert!(
        matches!(&over, Err(SqlError::TooLarge(text)) if text.contains("1000 rows")),
        "{over:?}"
    );
    let large = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 4)
                 SELECT zeroblob(500000) FROM n";
    let over = rows(&*database, large).await;
    assert!(
        matches!(&over, Err(SqlError::TooLarge(text)) if text.contains("bytes")),
        "{over:?}"
    );
}

/// Whichever way a statement is run, its tenant is told to pay for the thread that ran it, and no other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_processor_time_of_a_statement_is_its_tenants() {
    const LEAST: Duration = Duration::from_millis(5);
    let (provider, _dir) = support::open();
    let charges: Arc<Mutex<Vec<_>>> = Arc::default();
    let told = charges.clone();
    provider.paid_by(Arc::new(move |tenant, time| {
        told.lock().expect("lock").push((tenant, time));
    }));
    let (scope, other) = (scope(), scope());
    let database = provider.open(scope, "default").await.expect("a database");
    let count = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300000)
                 SELECT count(*) FROM n";
    let write = format!("INSERT INTO t {count}");
    let statement = |text: &str| SqlStatement::new(text, Vec::new());
    let create = statement("CREATE TABLE t (n INTEGER)");
    database.execute(create).await.expect("a table");
    let charged = |since: Instant, way: &str| {
        let charges = std::mem::take(&mut *charges.lock().expect("lock"));
        assert!(charges.iter().all(|(tenant, _)| *tenant == scope.tenant));
        let sum: Duration = charges.iter().map(|(_, time)| *time).sum();
        // What is left to do after a write is charged when it is done.
        let passed = since.elapsed() + LEAST;
        assert!(
            (LEAST..=passed).contains(&sum),
            "{way}: {sum:?} of {passed:?}"
        );
    };
    charges.lock().expect("lock").clear();

    let since = Instant::now();
    database.execute(statement(count)).await.expect("counted");
    charged(since, "execute");
    let since = Instant::now();
    database.execute(statement(&write)).await.expect("written");
    charged(since, "a write");
    let since = Instant::now();
    assert_eq!(number(&*database, count).await, 300_000);
    charged(since, "query");
    let since = Instant::now();
    assert_eq!(
        rows(&*database, &format!("{write} RETURNING n"))
            .await
            .expect("one")
            .len(),
        1
    );
    charged(since, "a query that writes");
    let since = Instant::now();
    database
        .batch(vec![statement(&write)])
        .await
        .expect("a batch");
    charged(since, "batch");
    let since = Instant::now();
    let transaction = database.begin(SqlMode::Immediate).await.expect("begun");
    transaction
        .execute(statement(&write))
        .await
        .expect("written");
    charged(since, "a transaction's execute");
    let since = Instant::now();
    let mut found = transaction.query(statement(count)).await.expect("rows");
    while found.next().await.expect("rows").is_some() {}
    charged(since, "a transaction's query");
    drop(found);
    transaction.rollback().await.expect("over");

    charges.lock().expect("lock").clear();
    let theirs = provider.open(other, "default").await.expect("a database");
    theirs.execute(statement(count)).await.expect("counted");
    let charges = charges.lock().expect("lock");
    assert!(
        charges
            .iter()
            .any(|(tenant, time)| *tenant == other.tenant && *time >= LEAST)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_ends_at_its_limit() {
    let mut settings = SqlSettings::default();
    settings.limits.row_bytes = 2 << 20;
    let (provider, _dir) = support::open_with(settings);
    let database = database(&provider).await;
    let wide = |columns: usize| {
        format!(
            "SELECT {}zeroblob(10)",
            "zeroblob(1000000), ".repeat(columns)
        )
    };
    assert_eq!(rows(&*database, &wide(2)).await.expect("it fits").len(), 1);
    ends(&*database, &wide(20), End::TooLarge("row of a result")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statements_of_a_tenant_have_so_much_memory_together() {
    let settings = SqlSettings {
        statement_memory_bytes: 8 << 20,
        tenant_memory_bytes: 2 << 20,
        ..SqlSettings::default()
    };
    let (provider, _dir) = support::open_with(settings);
    let database = database(&provider).await;
    let sort = |count: u32| {
        format!(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count})
             SELECT i, hex(randomblob(500)) AS h FROM n ORDER BY h"
        )
    };
    let refused = rows(&*database, &sort(5_000)).await;
    assert!(
        matches!(&refused, Err(SqlError::Busy(text)) if text.contains("2097152 bytes")),
        "{refused:?}"
    );
    // What it had is there for the next. The most that one can have leaves no other as much.
    let mut most = 500;
    while rows(&*database, &sort(most + 250)).await.is_ok() {
        most += 250;
    }
    let open = SqlStatement::new(sort(most), Vec::new());
    let mut open = database.query(open).await.expect("it begins");
    open.next().await.expect("it fits");
    let refused = rows(&*database, &sort(most)).await;
    assert!(matches!(refused, Err(SqlError::Busy(_))), "{most}");
    // A little is there in any case.
    let few = rows(&*database, &sort(100)).await.expect("its own");
    assert_eq!(few.len(), 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_are_not_taken_count_for_who_asked() {
    const LIMIT: usize = 2 << 20;
    let (provider, _dir) = support::open_with(SqlSettings::default());
    let database = database(&provider).await;
    let kept = Kept::new(LIMIT);
    let query = async || {
        let sql = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 9)
                   SELECT zeroblob(300000) FROM n";
        let statement = SqlStatement::new(sql, Vec::new()).kept_by(&kept);
        let (statement, held) = statement.expect("room");
        let bytes = statement.bytes();
        let rows = database.query(statement).await.expect("it begins");
        held.settle(bytes);
        rows
    };
    let mut taken = query().await;
    let mut count = 0;
    while let Some(rows) = taken.next().await.expect("there is room") {
        assert!((300_000..=LIMIT).contains(&kept.bytes()), "{kept:?}");
        count += rows.len();
    }
    assert_eq!(count, 9);
    drop(taken);
    let nothing = async {
        while kept.bytes() > 0 {
            tokio::task::yield_now().await;
        }
    };
    let ended = tokio::time::timeout(Duration::from_secs(20), nothing).await;
    ended.expect("all is given back");
    let _much = kept.keep(LIMIT - 200_000).expect("room");
    let refused = query().await.next().await;
    assert!(
        matches!(&refused, Err(SqlError::Busy(text)) if text.contains("2097152 bytes")),
        "{refused:?}"
    );
}
