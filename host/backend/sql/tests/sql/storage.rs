//! What is particular to these databases: quotas, time, connections, and what operators do.

use std::time::Duration;

use canopy_backend::conformance::sql::{all, number, rows, run, scope};
use canopy_backend::sql::{Sql, SqlError, SqlMode, SqlProvider, SqlStatement, SqlValue};
use canopy_backend::{Maintenance, Quota, QuotaOf, StorageError, StorageQuota};
use canopy_backend_sql::SqlSettings;

use crate::support;

const FILL: &str = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000)
                    INSERT INTO t (a) SELECT zeroblob(1000) FROM n";

async fn table(database: &dyn Sql) {
    run(database, "CREATE TABLE t (id INTEGER PRIMARY KEY, a BLOB)")
        .await
        .expect("a table");
}

fn quota(bytes: u64, items: u64, tenant_bytes: u64) -> StorageQuota {
    StorageQuota {
        sql: Quota { bytes, items },
        tenant_bytes,
        ..StorageQuota::default()
    }
}

fn is_over(result: &Result<impl Sized, SqlError>, expected: QuotaOf) -> bool {
    matches!(
        result,
        Err(SqlError::Storage(StorageError::QuotaExceeded { quota, .. })) if *quota == expected
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_quota_holds_and_deleting_frees_it() {
    for (limits, expected) in [
        (quota(3 << 20, 8, 1 << 30), QuotaOf::InstallationBytes),
        (quota(1 << 30, 8, 3 << 20), QuotaOf::TenantBytes),
    ] {
        let dir = tempfile::tempdir().expect("a folder");
        let storage = support::open_at(dir.path(), SqlSettings::default(), limits);
        let scope = scope();
        let database = storage.open(scope, "default").await.expect("opened");
        table(&*database).await;
        let mut filled = 0;
        let refused = loop {
            match run(&*database, FILL).await {
                Ok(_) => filled += 1000,
                Err(error) => break Err::<(), _>(error),
            }
            assert!(filled < 10_000, "the quota holds");
        };
        assert!(is_over(&refused, expected), "{refused:?}");
        assert!(filled >= 1000, "most of it can be used");
        let count = "SELECT count(*) FROM t";
        assert_eq!(number(&*database, count).await, filled, "nothing by half");
        let usage = storage.usage(scope).await.expect("usage");
        assert!(usage.bytes <= 3 << 20 && usage.bytes > 1 << 20, "{usage:?}");

        let transaction = database.begin(SqlMode::Deferred).await.expect("begun");
        let mut result = Ok(());
        for _ in 0..10 {
            let written = transaction.execute(SqlStatement::new(FILL, vec![])).await;
            if let Err(error) = written {
                result = Err(error);
                break;
            }
        }
        let result = match result {
            Ok(()) => transaction.commit().await,
            refused => refused,
        };
        assert!(is_over(&result, expected), "{result:?}");
        drop(transaction);

        run(&*database, "DELETE FROM t").await.expect("deleted");
        assert!(storage.usage(scope).await.expect("usage").bytes < 1 << 20);
        run(&*database, FILL).await.expect("there is room again");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_databases_than_the_quota() {
    let dir = tempfile::tempdir().expect("a folder");
    let limits = quota(1 << 30, 2, 1 << 30);
    let storage = support::open_at(dir.path(), SqlSettings::default(), limits);
    let scope = scope();
    for name in ["a", "b", "c", "a"] {
        let database = storage.open(scope, name).await.expect("opened");
        let result = rows(&*database, "SELECT 1").await;
        assert_eq!(
            is_over(&result, QuotaOf::InstallationItems),
            name == "c",
            "{name}"
        );
    }
    assert_eq!(storage.usage(scope).await.expect("usage").items, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_stays_open_is_ended() {
    let settings = SqlSettings {
        transaction_time: Duration::from_millis(200),
        ..SqlSettings::default()
    };
    let (storage, _dir) = support::open_with(settings);
    let database = storage.open(scope(), "default").await.expect("opened");
    table(&*database).await;
    let transaction = database.begin(SqlMode::Immediate).await.expect("begun");
    let insert = || SqlStatement::new("INSERT INTO t (a) VALUES (1)", vec![]);
    transaction.execute(insert()).await.expect("inserted");
    // Waits for the right to write, which comes when the other one is ended.
    run(&*database, "INSERT INTO t (a) VALUES (2)")
        .await
        .expect("its turn");
    let late = transaction.execute(insert()).await;
    assert!(
        matches!(&late, Err(SqlError::TransactionOver(why)) if why.contains("200ms")),
        "{late:?}"
    );
    assert!(transaction.commit().await.is_err());
    assert_eq!(number(&*database, "SELECT sum(a) FROM t").await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_that_nobody_reads_is_ended() {
    let settings = SqlSettings {
        transaction_time: Duration::from_millis(200),
        readers: 1,
        ..SqlSettings::default()
    };
    let (storage, _dir) = support::open_with(settings);
    let database = storage.open(scope(), "default").await.expect("opened");
    table(&*database).await;
    run(&*database, FILL).await.expect("filled");
    let select = SqlStatement::new("SELECT a FROM t", vec![]);
    let kept = database.query(select).await.expect("a result");
    assert_eq!(number(&*database, "SELECT count(*) FROM t").await, 1000);
    let end = all(Ok(kept)).await;
    assert!(matches!(end, Err(SqlError::Timeout(_))), "{end:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_ends_when_nobody_waits() {
    let settings = SqlSettings {
        statement_time: Duration::from_secs(3600),
        readers: 1,
        ..SqlSettings::default()
    };
    let (storage, _dir) = support::open_with(settings);
    let database = storage.open(scope(), "default").await.expect("opened");
    table(&*database).await;
    let endless = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)
                   SELECT count(*) FROM n";
    for _ in 0..3 {
        let waiting = run(&*database, endless);
        let _ = tokio::time::timeout(Duration::from_millis(50), waiting).await;
        let waiting = rows(&*database, endless);
        let _ = tokio::time::timeout(Duration::from_millis(50), waiting).await;
    }
    assert_eq!(number(&*database, "SELECT 1").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_waits_for_the_writer_and_then_is_told() {
    let settings = SqlSettings {
        wait: Duration::from_millis(50),
        ..SqlSettings::default()
    };
    let (storage, _dir) = support::open_with(settings);
    let database = storage.open(scope(), "default").await.expect("opened");
    table(&*database).await;
    let transaction = database.begin(SqlMode::Immediate).await.expect("begun");
    let busy = run(&*database, "INSERT INTO t (a) VALUES (1)").await;
    assert!(matches!(busy, Err(SqlError::Busy(_))), "{busy:?}");
    assert_eq!(number(&*database, "SELECT count(*) FROM t").await, 0);
    transaction.rollback().await.expect("rolled back");
    run(&*database, "INSERT INTO t (a) VALUES (1)")
        .await
        .expect("free");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_read_what_has_changed_is_busy() {
    let (storage, _dir) = support::open();
    let database = storage.open(scope(), "default").await.expect("opened");
    table(&*database).await;
    let transaction = database.begin(SqlMode::Deferred).await.expect("begun");
    let select = SqlStatement::new("SELECT count(*) FROM t", vec![]);
    all(transaction.query(select).await).await.expect("read");
    run(&*database, "INSERT INTO t (a) VALUES (1)")
        .await
        .expect("written");
    let insert = SqlStatement::new("INSERT INTO t (a) VALUES (2)", vec![]);
    let late = transaction.execute(insert).await;
    assert!(matches!(late, Err(SqlError::Busy(_))), "{late:?}");
    drop(transaction);
    assert_eq!(number(&*database, "SELECT sum(a) FROM t").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_are_closed_and_few_are_open() {
    let settings = SqlSettings {
        open_connections: 4,
        idle_close: Duration::from_millis(20),
        ..SqlSettings::default()
    };
    let (storage, _dir) = support::open_with(settings);
    let scopes: Vec<_> = (0..20).map(|_| scope()).collect();
    for round in 0..2 {
        for scope in &scopes {
            let database = storage.open(*scope, "default").await.expect("opened");
            if round == 0 {
                table(&*database).await;
            }
            run(&*database, "INSERT INTO t (a) VALUES (1)")
                .await
                .expect("written");
            assert_eq!(
                number(&*database, "SELECT count(*) FROM t").await,
                round + 1
            );
            assert!(storage.open_connections() <= 4);
        }
    }
    while storage.open_connections() > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_is_about_to_be_given_back_is_waited_for() {
    let settings = SqlSettings {
        open_connections: 2,
        ..SqlSettings::default()
    };
    let (storage, _dir) = support::open_with(settings);
    let mut databases = Vec::new();
    for _ in 0..3 {
        let database = storage.open(scope(), "default").await.expect("opened");
        table(&*database).await;
        databases.push(database);
    }
    let [always, one, other] = &databases[..] else {
        unreachable!("three were opened");
    };
    let begin = async |database: &dyn Sql| {
        let transaction = database.begin(SqlMode::Immediate).await.expect("begun");
        let insert = SqlStatement::new("INSERT INTO t (a) VALUES (1)", vec![]);
        transaction.execute(insert).await.expect("written");
        transaction
    };
    let _first = begin(&**always).await;
    for _ in 0..10 {
        let transaction = begin(&**one).await;
        let insert = run(&**other, "INSERT INTO t (a) VALUES (1)");
        let (written, committed) = tokio::join!(insert, transaction.commit());
        committed.expect("committed");
        written.expect("waited for");
    }
    let _second = begin(&**one).await;
    let busy = run(&**other, "INSERT INTO t (a) VALUES (1)").await;
    assert!(matches!(busy, Err(SqlError::Busy(_))), "{busy:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_is_one_moment_and_comes_back() {
    let (storage, dir) = support::open();
    let scope = scope();
    let database = storage.open(scope, "default").await.expect("opened");
    let second = storage.open(scope, "second").await.expect("opened");
    for database in [&database, &second] {
        table(&**database).await;
        run(&**database, FILL).await.expect("filled");
    }
    let writing = database.clone();
    let writer = tokio::spawn(async move {
        for _ in 0..50 {
            run(&*writing, "INSERT INTO t (a) VALUES (1)")
                .await
                .expect("written");
        }
    });
    let copy = dir.path().join("copy");
    std::fs::create_dir(&copy).expect("a folder");
    storage.copy(scope, &copy).await.expect("copied");
    writer.await.expect("written");
    let after = number(&*database, "SELECT count(*) FROM t").await;
    assert_eq!(after, 1050);

    run(&*second, "DROP TABLE t").await.expect("dropped");
    storage.restore(scope, &copy).await.expect("restored");
    assert_eq!(storage.check(scope).await.expect("checked"), []);
    let before = number(&*database, "SELECT count(*) FROM t").await;
    assert!((1000..=1050).contains(&before), "{before}");
    assert_eq!(number(&*second, "SELECT count(*) FROM t").await, 1000);
    run(&*database, FILL).await.expect("goes on");

    let nothing = dir.path().join("nothing");
    std::fs::create_dir(&nothing).expect("a folder");
    storage.restore(scope, &nothing).await.expect("restored");
    assert_eq!(storage.usage(scope).await.expect("usage").items, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_key_changes_the_file_and_not_what_is_in_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let scope = scope();
    let storage = support::open_at(dir.path(), SqlSettings::default(), StorageQuota::default());
    let database = storage.open(scope, "default").await.expect("opened");
    table(&*database).await;
    run(
        &*database,
        "INSERT INTO t (a) VALUES ('canary-in-the-mine')",
    )
    .await
    .expect("written");
    storage.close().await;
    drop((database, storage));

    support::keyring(dir.path())
        .rotate(scope.tenant)
        .expect("a new version");
    let storage = support::open_at(dir.path(), SqlSettings::default(), StorageQuota::default());
    let database = storage.open(scope, "default").await.expect("opened");
    assert_eq!(number(&*database, "SELECT count(*) FROM t").await, 1);
    storage.rekey(scope).await.expect("encrypted anew");
    assert_eq!(number(&*database, "SELECT count(*) FROM t").await, 1);
    assert_eq!(storage.check(scope).await.expect("checked"), []);
    for file in files(dir.path()) {
        let bytes = std::fs::read(&file).expect("read");
        let found = bytes
            .windows(18)
            .any(|window| window == b"canary-in-the-mine");
        assert!(!found, "{} is in the clear", file.display());
    }
}

fn files(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).expect("a folder") {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => found.push(path),
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn erased_databases_do_not_come_back() {
    let (storage, dir) = support::open();
    let (scope, other) = (scope(), scope());
    for scope in [scope, other] {
        let database = storage.open(scope, "default").await.expect("opened");
        table(&*database).await;
    }
    let database = storage.open(scope, "default").await.expect("opened");
    let open = database.begin(SqlMode::Immediate).await.expect("begun");
    storage.erase(scope).await.expect("erased");
    storage.erase(scope).await.expect("erased already");
    assert!(open.commit().await.is_err());
    for name in ["default", "new"] {
        let result = match storage.open(scope, name).await {
            Ok(database) => run(&*database, "SELECT 1").await.map(drop),
            Err(error) => Err(error),
        };
        assert!(
            matches!(result, Err(SqlError::Storage(StorageError::Erased))),
            "{result:?}"
        );
    }
    let path = |scope: canopy_backend::Scope| {
        let folder = dir.path().join("storage").join(scope.tenant.to_string());
        folder.join(scope.installation.to_string()).join("sql")
    };
    assert!(!path(scope).exists());
    assert!(path(other).exists());
    storage.erase_tenant(other.tenant).await.expect("erased");
    assert!(!path(other).exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_file_is_found_and_harms_nobody_else() {
    let dir = tempfile::tempdir().expect("a folder");
    let scope = scope();
    let storage = support::open_at(dir.path(), SqlSettings::default(), StorageQuota::default());
    for name in ["default", "second"] {
        let database = storage.open(scope, name).await.expect("opened");
        table(&*database).await;
        run(&*database, FILL).await.expect("filled");
    }
    storage.close().await;
    drop(storage);
    let folder = dir.path().join("storage").join(scope.tenant.to_string());
    let file = folder
        .join(scope.installation.to_string())
        .join("sql/default.db");
    let mut bytes = std::fs::read(&file).expect("read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&file, bytes).expect("written");

    let storage = support::open_at(dir.path(), SqlSettings::default(), StorageQuota::default());
    let findings = storage.check(scope).await.expect("checked");
    assert!(!findings.is_empty());
    assert!(
        findings.iter().all(|finding| finding.place == "default.db"),
        "{findings:?}"
    );
    let database = storage.open(scope, "default").await.expect("opened");
    let result = rows(&*database, "SELECT sum(length(a)) FROM t").await;
    assert!(matches!(result, Err(SqlError::Storage(_))), "{result:?}");
    let second = storage.open(scope, "second").await.expect("opened");
    assert_eq!(number(&*second, "SELECT count(*) FROM t").await, 1000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_row_id_is_the_handles_own() {
    let (storage, _dir) = support::open();
    let scope = scope();
    let one = storage.open(scope, "default").await.expect("opened");
    let two = storage.open(scope, "default").await.expect("opened");
    table(&*one).await;
    let insert = |id| {
        SqlStatement::new(
            "INSERT INTO t (id) VALUES (?1)",
            vec![SqlValue::Integer(id)],
        )
    };
    one.execute(insert(7)).await.expect("inserted");
    two.execute(insert(9)).await.expect("inserted");
    assert_eq!(number(&*one, "SELECT last_insert_rowid()").await, 7);
    assert_eq!(number(&*two, "SELECT last_insert_rowid()").await, 9);
}
