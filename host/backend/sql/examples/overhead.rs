//! What the platform adds to SQLite: a row selected by its key, and a row inserted, through the
//! trait and by rusqlite alone on a file with the same settings.
//!
//! `cargo run --release -p canopy-backend-sql --example overhead`

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use canopy_backend::sql::{Sql, SqlProvider, SqlStatement, SqlValue};
use canopy_backend::{Ledger, Scope, StorageQuota};
use canopy_backend_keys::{Keyring, OperatorKey};
use canopy_backend_sql::{SqlSettings, SqlStorage};
use canopy_backend_sqlite::Format;
use canopy_ids::{InstallationId, TenantId};

const ROWS: i64 = 10_000;
const TIME: Duration = Duration::from_secs(3);
const TABLE: &str = "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT)";
const FILL: &str =
    "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000)
                    INSERT INTO t SELECT i, 'some text of a row ' || i FROM n";
const SELECT: &str = "SELECT a FROM t WHERE id = ?1";
const INSERT: &str = "INSERT INTO t (a) VALUES (?1)";

type Failure = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let dir = tempfile::tempdir_in(".")?;
    let keyring = Keyring::open(OperatorKey::generate()?, &dir.path().join("storage"))?;
    let scope = Scope {
        tenant: TenantId::new(),
        installation: InstallationId::new(),
    };
    let keys = keyring.tenant(scope.tenant)?.file_keys(scope, "bare");

    let format = Format {
        application_id: 1,
        migrations: &[TABLE],
    };
    let bare = canopy_backend_sqlite::open(&dir.path().join("bare.db"), &keys, &format, 2 << 20)?;
    bare.execute_batch(FILL)?;
    let mut select = bare.prepare(SELECT)?;
    report(
        "select, rusqlite",
        &rate(|n| {
            let text: String = select.query_row([1 + n % ROWS], |row| row.get(0))?;
            black_box(text);
            Ok(())
        })?,
    );
    let mut insert = bare.prepare(INSERT)?;
    report(
        "insert, rusqlite",
        &rate(|_| {
            insert.execute(["another row of text"])?;
            Ok(())
        })?,
    );

    let ledger = Ledger::new(Arc::new(StorageQuota::default()));
    let storage = dir.path().join("storage");
    let storage = SqlStorage::open(storage, keyring, ledger, SqlSettings::default())?;
    let database = storage.open(scope, "default").await?;
    for sql in [TABLE, FILL] {
        database.execute(SqlStatement::new(sql, vec![])).await?;
    }
    for tasks in [1, 8] {
        let title = format!("select, trait, {tasks} at once");
        report(&title, &concurrent(&database, tasks, true).await?);
        let title = format!("insert, trait, {tasks} at once");
        report(&title, &concurrent(&database, tasks, false).await?);
    }
    storage.close().await;
    Ok(())
}

fn report(title: &str, rate: &f64) {
    println!("{title:28} {rate:10.0} per second");
}

fn rate(mut work: impl FnMut(i64) -> Result<(), Failure>) -> Result<f64, Failure> {
    let started = Instant::now();
    let mut count = 0_u32;
    while started.elapsed() < TIME {
        work(count.into())?;
        count += 1;
    }
    Ok(f64::from(count) / started.elapsed().as_secs_f64())
}

async fn concurrent(database: &Arc<dyn Sql>, tasks: u32, select: bool) -> Result<f64, Failure> {
    let started = Instant::now();
    let mut running = Vec::new();
    for _ in 0..tasks {
        let database = database.clone();
        running.push(tokio::spawn(async move {
            let mut count = 0_u32;
            while started.elapsed() < TIME {
                let done = if select {
                    read(&*database, 1 + i64::from(count) % ROWS).await
                } else {
                    let text = SqlValue::Text("another row of text".into());
                    let insert = SqlStatement::new(INSERT, vec![text]);
                    database.execute(insert).await.map(drop)
                };
                done.map_err(|error| error.to_string())?;
                count += 1;
            }
            Ok::<_, String>(count)
        }));
    }
    let mut total = 0;
    for task in running {
        total += task.await??;
    }
    Ok(f64::from(total) / started.elapsed().as_secs_f64())
}

async fn read(database: &dyn Sql, id: i64) -> Result<(), canopy_backend::sql::SqlError> {
    let statement = SqlStatement::new(SELECT, vec![SqlValue::Integer(id)]);
    let mut rows = database.query(statement).await?;
    while let Some(batch) = rows.next().await? {
        black_box(batch);
    }
    Ok(())
}
