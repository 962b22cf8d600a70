//! The databases in a process that is killed at any moment: every acknowledged transaction is there
//! afterwards, none is there by half, and the file always opens.
//!
//! The process is this test program itself, run again with the ignored test below.
//! `CANOPY_CRASH_ROUNDS` sets how often it is killed.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use canopy_backend::conformance::sql::{number, run};
use canopy_backend::sql::{SqlMode, SqlProvider, SqlStatement, SqlValue};
use canopy_backend::{Maintenance, Scope, StorageQuota};
use canopy_backend_sql::SqlSettings;
use canopy_ids::{InstallationId, TenantId};

use crate::support;

const FOLDER: &str = "CANOPY_SQL_CRASH_FOLDER";
const SCOPE: &str = "CANOPY_SQL_CRASH_SCOPE";

#[tokio::test]
#[ignore = "run by `killed_at_any_moment_nothing_acknowledged_is_lost`"]
async fn child() {
    let (Ok(folder), Ok(scope)) = (std::env::var(FOLDER), std::env::var(SCOPE)) else {
        return;
    };
    let (tenant, installation) = scope.split_once('/').expect("a scope");
    let scope = Scope {
        tenant: tenant.parse().expect("a tenant"),
        installation: installation.parse().expect("an installation"),
    };
    let storage = support::open_at(
        &PathBuf::from(folder),
        SqlSettings::default(),
        StorageQuota::default(),
    );
    let database = storage.open(scope, "default").await.expect("opened");
    for table in ["a", "b"] {
        let sql = format!("CREATE TABLE IF NOT EXISTS {table} (n INTEGER PRIMARY KEY, t TEXT)");
        run(&*database, &sql).await.expect("a table");
    }
    let mut n = number(&*database, "SELECT ifnull(max(n), 0) FROM a").await;
    loop {
        n += 1;
        let transaction = database.begin(SqlMode::Immediate).await.expect("begun");
        for table in ["a", "b"] {
            let text = "x".repeat(usize::try_from(n * 7919 % 6000).expect("small"));
            let values = vec![SqlValue::Integer(n), SqlValue::Text(text)];
            let insert = SqlStatement::new(format!("INSERT INTO {table} VALUES (?1, ?2)"), values);
            transaction.execute(insert).await.expect("inserted");
        }
        transaction.commit().await.expect("committed");
        let mut out = std::io::stdout().lock();
        writeln!(out, "\nacknowledged {n}").expect("told");
        out.flush().expect("told");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_moment_nothing_acknowledged_is_lost() {
    let rounds = std::env::var("CANOPY_CRASH_ROUNDS").ok();
    let rounds: usize = rounds.and_then(|rounds| rounds.parse().ok()).unwrap_or(8);
    let dir = tempfile::tempdir().expect("a folder");
    let scope = Scope {
        tenant: TenantId::new(),
        installation: InstallationId::new(),
    };
    drop(support::keyring(dir.path()));
    let mut last = 0;
    for round in 0..rounds {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["crash::child", "--exact", "--ignored", "--nocapture"])
            .env(FOLDER, dir.path())
            .env(SCOPE, scope.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .expect("started");
        let out = BufReader::new(child.stdout.take().expect("its output"));
        let mut acknowledged = 0;
        for line in out.lines() {
            let line = line.unwrap_or_default();
            if let Some(n) = line.strip_prefix("acknowledged ") {
                last = n.parse().expect("a number");
                acknowledged += 1;
            }
            // What is acknowledged between this and its end is read as well.
            if acknowledged == 3 + round * 5 % 17 {
                child.kill().expect("killed");
            }
        }
        child.wait().expect("ended");
        assert!(acknowledged > 0, "round {round}: nothing was written");

        let storage = support::open_at(dir.path(), SqlSettings::default(), StorageQuota::default());
        let database = storage.open(scope, "default").await.expect("opened");
        let count = number(&*database, "SELECT count(*) FROM a").await;
        assert!(count >= last, "round {round}: {count} of {last} are there");
        assert_eq!(number(&*database, "SELECT max(n) FROM a").await, count);
        let odd = "SELECT count(*) FROM a FULL JOIN b USING (n) WHERE a.t IS NOT b.t";
        assert_eq!(number(&*database, odd).await, 0, "round {round}: by half");
        assert_eq!(storage.check(scope).await.expect("checked"), []);
        storage.close().await;
    }
}
