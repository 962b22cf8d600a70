//! SQL databases: migrations, transactions, batches and single statements.

use std::path::Path;
use std::sync::Arc;

use canopy_backend::Maintenance;
use canopy_backend::conformance::sql::{migrations, rows, run};
use canopy_backend::sql::{Sql, SqlMode, SqlProvider, SqlStatement, SqlValue};
use canopy_backend_sql::{SqlSettings, SqlStorage};

use super::{Store, Units, content, keyring, ledger, of_content, scope, text, written};

pub(super) struct SqlStore {
    storage: SqlStorage,
    database: Arc<dyn Sql>,
}

const FIRST: (&str, &str) = (
    "0001.sql",
    "CREATE TABLE a (n INTEGER PRIMARY KEY, t TEXT); CREATE TABLE b (n INTEGER PRIMARY KEY, t TEXT);",
);
/// Changes what is there as well.
const SECOND: (&str, &str) = (
    "0002.sql",
    "ALTER TABLE a ADD COLUMN seen INTEGER NOT NULL DEFAULT 0; UPDATE a SET seen = 1; \
     CREATE INDEX seen ON a (seen);",
);
/// The step that brings the second migration.
const UPGRADE: u32 = 10;

fn length(n: u32) -> usize {
    40 + usize::try_from(n * 1997 % 9000).expect("small")
}

fn insert(table: &str, n: u32) -> SqlStatement {
    let text = String::from_utf8(content(n, length(n))).expect("text");
    let values = vec![SqlValue::Integer(n.into()), SqlValue::Text(text)];
    // A row that is there already is what it was.
    let sql = format!("INSERT INTO {table} (n, t) VALUES (?1, ?2) ON CONFLICT (n) DO NOTHING");
    SqlStatement::new(sql, values)
}

impl Store for SqlStore {
    const NAME: &'static str = "sql";
    const STEPS: u32 = 18;

    async fn open(dir: &Path) -> Result<Self, String> {
        let storage = SqlStorage::open(
            dir.join("storage"),
            keyring(dir)?,
            ledger(),
            SqlSettings::default(),
        );
        let storage = storage.map_err(text)?;
        let database = storage.open(scope(), "default").await.map_err(text)?;
        Ok(Self { storage, database })
    }

    async fn step(&mut self, n: u32) -> Result<(), String> {
        let migrate = async |files: &[(&str, &str)]| {
            let migrated = self.storage.migrate(scope(), &migrations(files)).await;
            migrated.map(drop).map_err(text)
        };
        match n {
            1 => migrate(&[FIRST]).await,
            UPGRADE => migrate(&[FIRST, SECOND]).await,
            _ if n % 4 == 2 => {
                let begun = self.database.begin(SqlMode::Immediate).await;
                let transaction = begun.map_err(text)?;
                for table in ["a", "b"] {
                    let done = transaction.execute(insert(table, n)).await;
                    done.map_err(text)?;
                }
                transaction.commit().await.map_err(text)
            }
            _ if n % 4 == 3 => {
                let batch = vec![insert("a", n), insert("b", n)];
                let done = self.database.batch(batch).await;
                done.map(drop)
                    .map_err(|(index, error)| format!("{index}: {error}"))
            }
            _ if n.is_multiple_of(4) => {
                let sql = format!("DELETE FROM b WHERE n = {}", n - 1);
                run(&*self.database, &sql).await.map(drop).map_err(text)
            }
            _ => self
                .database
                .execute(insert("a", n))
                .await
                .map(drop)
                .map_err(text),
        }
    }

    fn expect(n: u32, units: &mut Units) {
        let text = written(n, length(n));
        let mut set = |unit: String, value: String| drop(units.insert(unit, value));
        match n {
            1 => set("schema".into(), "1".into()),
            UPGRADE => {
                let seen = |(unit, value): (&String, &mut String)| {
                    if unit.starts_with("row") && !value.starts_with("none") {
                        value.push_str(" seen");
                    }
                };
                units.iter_mut().for_each(seen);
                units.insert("schema".into(), "2".into());
            }
            _ if n % 4 == 2 || n % 4 == 3 => set(format!("row{n}"), format!("{text} and {text}")),
            _ if n.is_multiple_of(4) => {
                let row = units.entry(format!("row{}", n - 1)).or_default();
                let text = written(n - 1, length(n - 1));
                let seen = if row.ends_with(" seen") { " seen" } else { "" };
                *row = format!("{text} and none{seen}");
            }
            _ => set(format!("row{n}"), format!("{text} and none")),
        }
    }

    async fn observe(&mut self) -> Result<Units, String> {
        let mut units = Units::new();
        let columns = "SELECT name FROM pragma_table_info('a')";
        let columns = rows(&*self.database, columns).await.map_err(text)?.len();
        if columns == 0 {
            return Ok(units);
        }
        let upgraded = columns == 3;
        units.insert("schema".into(), if upgraded { "2" } else { "1" }.into());
        let seen = if upgraded { "a.seen" } else { "0" };
        let sql = format!(
            "SELECT coalesce(a.n, b.n), a.t, b.t, ifnull({seen}, 0) FROM a FULL JOIN b USING (n)"
        );
        for row in rows(&*self.database, &sql).await.map_err(text)? {
            let [SqlValue::Integer(n), one, two, SqlValue::Integer(seen)] = &row[..] else {
                return Err(format!("a row is {row:?}"));
            };
            let half = |value: &SqlValue| match value {
                SqlValue::Text(text) => of_content(text.as_bytes()),
                _ => "none".into(),
            };
            let seen = if *seen == 1 { " seen" } else { "" };
            units.insert(
                format!("row{n}"),
                format!("{} and {}{seen}", half(one), half(two)),
            );
        }
        Ok(units)
    }

    async fn check(&mut self) -> Result<Vec<String>, String> {
        let findings = self.storage.check(scope()).await.map_err(text)?;
        Ok(findings.into_iter().map(|finding| finding.what).collect())
    }

    async fn close(self) {
        drop(self.database);
        self.storage.close().await;
    }
}
