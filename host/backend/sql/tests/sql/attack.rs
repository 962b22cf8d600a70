//! Statements that reach for what is closed. Each names how it ends.

use canopy_backend::conformance::sql::{database, number, rows, run};
use canopy_backend::sql::{Sql, SqlError, SqlMode, SqlStatement, SqlValue};
use proptest::prelude::*;

use crate::support;

/// How a statement is to end.
pub(crate) enum End {
    Denied(&'static str),
    Invalid(&'static str),
    TooLarge(&'static str),
    /// Whichever of time and memory is reached first.
    Limit,
}

pub(crate) async fn ends(database: &dyn Sql, sql: &str, end: End) {
    let result = match run(database, sql).await {
        // What runs without error may still show it when it is read.
        Ok(_) => rows(database, sql).await.map(drop),
        Err(error) => Err(error),
    };
    let (matches, part) = match (&result, &end) {
        (Err(SqlError::Denied(text)), End::Denied(part))
        | (Err(SqlError::Invalid(text)), End::Invalid(part))
        | (Err(SqlError::TooLarge(text)), End::TooLarge(part)) => (text.contains(part), *part),
        (Err(SqlError::Timeout(_) | SqlError::TooLarge(_)), End::Limit) => (true, ""),
        _ => (false, "the expected kind of error"),
    };
    let short: String = sql.chars().take(100).collect();
    assert!(matches, "{short}: {result:?} has not {part:?}");
}

/// A guest's own tables to attack with.
pub(crate) async fn victim(database: &dyn Sql) {
    for sql in [
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT)",
        "INSERT INTO t (a) VALUES ('x'), ('y')",
        "CREATE VIRTUAL TABLE words USING fts5 (body)",
        "INSERT INTO words VALUES ('one two'), ('two three')",
        "CREATE VIRTUAL TABLE boxes USING rtree (id, x0, x1)",
        "INSERT INTO boxes VALUES (1, 0.0, 1.0)",
    ] {
        run(database, sql)
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_closed_is_refused_by_name() {
    let (provider, dir) = support::open();
    let database = database(&provider).await;
    victim(&*database).await;
    let outside = dir.path().join("outside.db");
    let outside = outside.display();
    let cases: Vec<(String, End)> = vec![
        // Other files.
        (format!("ATTACH '{outside}' AS x"), End::Denied("ATTACH")),
        (
            format!("ATTACH 'file:{outside}?mode=rwc' AS x KEY ''"),
            End::Denied("ATTACH"),
        ),
        ("ATTACH ':memory:' AS x".into(), End::Denied("ATTACH")),
        ("DETACH main".into(), End::Denied("ATTACH")),
        (format!("VACUUM INTO '{outside}'"), End::Denied("VACUUM")),
        (
            format!("/**/ vacuum main into '{outside}'"),
            End::Denied("VACUUM"),
        ),
        ("VACUUM".into(), End::Denied("VACUUM")),
        (
            format!("SELECT load_extension('{outside}')"),
            End::Denied("load_extension"),
        ),
        (
            "SELECT sqlcipher_export('x')".into(),
            End::Denied("sqlcipher_export"),
        ),
        (
            "SELECT fts3_tokenizer('simple')".into(),
            End::Denied("fts3_tokenizer"),
        ),
        (
            "SELECT readfile('/etc/passwd')".into(),
            End::Invalid("no such function"),
        ),
        (
            format!("SELECT writefile('{outside}', 'x')"),
            End::Invalid("no such function"),
        ),
        // What protects the file.
        (
            "PRAGMA writable_schema = ON".into(),
            End::Denied("writable_schema"),
        ),
        (
            "PRAGMA journal_mode = DELETE".into(),
            End::Denied("journal_mode"),
        ),
        (
            "PRAGMA main.journal_mode".into(),
            End::Denied("journal_mode"),
        ),
        (
            "PRAGMA synchronous = OFF".into(),
            End::Denied("synchronous"),
        ),
        ("PRAGMA key = 'x'".into(), End::Denied("key")),
        ("PRAGMA rekey = 'x'".into(), End::Denied("rekey")),
        ("PRAGMA hexkey = '00'".into(), End::Denied("hexkey")),
        ("PRAGMA cipher_salt".into(), End::Denied("cipher_salt")),
        (
            "PRAGMA cipher_log = '/tmp/x'".into(),
            End::Denied("cipher_log"),
        ),
        (
            "PRAGMA cipher_profile = '/tmp/x'".into(),
            End::Denied("cipher_profile"),
        ),
        (
            "PRAGMA cipher_memory_security".into(),
            End::Denied("cipher_memory_security"),
        ),
        ("PRAGMA database_list".into(), End::Denied("database_list")),
        (
            "SELECT * FROM pragma_database_list".into(),
            End::Denied("database_list"),
        ),
        (
            "SELECT * FROM pragma_journal_mode".into(),
            End::Denied("journal_mode"),
        ),
        (
            "SELECT * FROM pragma_temp_store_directory".into(),
            End::Invalid("no such table"),
        ),
        (
            "PRAGMA temp_store_directory = '/tmp'".into(),
            End::Denied("temp_store_directory"),
        ),
        (
            "PRAGMA data_store_directory = '/tmp'".into(),
            End::Denied("data_store_directory"),
        ),
        ("PRAGMA temp_store = FILE".into(), End::Denied("temp_store")),
        (
            "PRAGMA cache_size = 1000000".into(),
            End::Denied("cache_size"),
        ),
        ("PRAGMA mmap_size = 1".into(), End::Denied("mmap_size")),
        (
            "PRAGMA max_page_count = 4294967294".into(),
            End::Denied("max_page_count"),
        ),
        (
            "PRAGMA hard_heap_limit = 1".into(),
            End::Denied("hard_heap_limit"),
        ),
        (
            "PRAGMA soft_heap_limit = 1".into(),
            End::Denied("soft_heap_limit"),
        ),
        ("PRAGMA threads = 8".into(), End::Denied("threads")),
        (
            "PRAGMA busy_timeout = 1".into(),
            End::Denied("busy_timeout"),
        ),
        (
            "PRAGMA locking_mode = EXCLUSIVE".into(),
            End::Denied("locking_mode"),
        ),
        ("PRAGMA query_only = OFF".into(), End::Denied("query_only")),
        (
            "PRAGMA trusted_schema = ON".into(),
            End::Denied("trusted_schema"),
        ),
        (
            "PRAGMA foreign_keys = OFF".into(),
            End::Denied("can be read but not set"),
        ),
        (
            "PRAGMA user_version = 7".into(),
            End::Denied("user_version"),
        ),
        (
            "PRAGMA application_id = 7".into(),
            End::Denied("application_id"),
        ),
        (
            "PRAGMA wal_checkpoint(TRUNCATE)".into(),
            End::Denied("wal_checkpoint"),
        ),
        (
            "PRAGMA wal_autocheckpoint = 0".into(),
            End::Denied("wal_autocheckpoint"),
        ),
        (
            "PRAGMA incremental_vacuum".into(),
            End::Denied("incremental_vacuum"),
        ),
        (
            "PRAGMA case_sensitive_like = 1".into(),
            End::Denied("case_sensitive_like"),
        ),
        (
            "PRAGMA integrity_check".into(),
            End::Denied("integrity_check"),
        ),
        ("PRAGMA unheard_of".into(), End::Denied("unheard_of")),
        (
            "EXPLAIN PRAGMA journal_mode = DELETE".into(),
            End::Denied("journal_mode"),
        ),
        (
            "UPDATE sqlite_schema SET sql = ''".into(),
            End::Invalid("may not be modified"),
        ),
        (
            "INSERT INTO sqlite_schema VALUES ('table','a','a',2,'')".into(),
            End::Invalid("may not be modified"),
        ),
        (
            "DELETE FROM sqlite_master".into(),
            End::Invalid("may not be modified"),
        ),
        (
            "DROP TABLE sqlite_schema".into(),
            End::Invalid("may not be dropped"),
        ),
        (
            "UPDATE words_data SET block = x''".into(),
            End::Invalid("may not be modified"),
        ),
        (
            "DROP TABLE words_data".into(),
            End::Invalid("may not be dropped"),
        ),
        // The platform's table.
        (
            "SELECT * FROM canopy_migration".into(),
            End::Denied("platform's own"),
        ),
        (
            "SELECT count(*) FROM Canopy_Migration".into(),
            End::Denied("platform's own"),
        ),
        (
            "INSERT INTO canopy_migration VALUES (0, '', x'', 0)".into(),
            End::Denied("platform's own"),
        ),
        (
            "UPDATE canopy_migration SET name = ''".into(),
            End::Denied("platform's own"),
        ),
        (
            "DELETE FROM canopy_migration".into(),
            End::Denied("platform's own"),
        ),
        (
            "DROP TABLE canopy_migration".into(),
            End::Denied("platform's own"),
        ),
        (
            "ALTER TABLE canopy_migration RENAME TO m".into(),
            End::Denied("platform's own"),
        ),
        (
            "ALTER TABLE canopy_migration ADD COLUMN x".into(),
            End::Denied("platform's own"),
        ),
        (
            "CREATE INDEX i ON canopy_migration (name)".into(),
            End::Denied("platform's own"),
        ),
        (
            "CREATE TRIGGER g AFTER INSERT ON canopy_migration BEGIN SELECT 1; END".into(),
            End::Denied("platform's own"),
        ),
        // What stays on a connection.
        ("CREATE TEMP TABLE x (a)".into(), End::Denied("temporary")),
        ("CREATE TABLE temp.x (a)".into(), End::Denied("temporary")),
        (
            "CREATE TEMP VIEW x AS SELECT 1".into(),
            End::Denied("temporary"),
        ),
        (
            "CREATE TEMP TRIGGER x AFTER INSERT ON t BEGIN SELECT 1; END".into(),
            End::Denied("temporary"),
        ),
        ("BEGIN".into(), End::Denied("BEGIN")),
        ("begin immediate".into(), End::Denied("begin")),
        ("COMMIT".into(), End::Denied("COMMIT")),
        ("END".into(), End::Denied("END")),
        ("ROLLBACK".into(), End::Denied("ROLLBACK")),
        ("SAVEPOINT a".into(), End::Denied("SAVEPOINT")),
        ("RELEASE a".into(), End::Denied("RELEASE")),
        ("EXPLAIN COMMIT".into(), End::Denied("COMMIT")),
        ("SELECT changes()".into(), End::Denied("changes()")),
        // Modules.
        (
            "CREATE VIRTUAL TABLE x USING fts4 (a)".into(),
            End::Denied("fts4"),
        ),
        (
            "CREATE VIRTUAL TABLE x USING fts3 (a)".into(),
            End::Denied("fts3"),
        ),
        (
            "CREATE VIRTUAL TABLE x USING dbstat (main)".into(),
            End::Denied("dbstat"),
        ),
        (
            "CREATE VIRTUAL TABLE x USING csv (filename='/etc/passwd')".into(),
            End::Denied("csv"),
        ),
        ("SELECT * FROM dbstat".into(), End::Denied("dbstat")),
        ("SELECT count(*) FROM dbstat".into(), End::Denied("dbstat")),
        (
            "SELECT * FROM sqlite_dbpage".into(),
            End::Invalid("no such table"),
        ),
    ];
    for (sql, end) in cases {
        ends(&*database, &sql, end).await;
    }
    assert!(!dir.path().join("outside.db").exists());
    assert_eq!(number(&*database, "SELECT count(*) FROM t").await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_closed_stays_so_behind_views_and_triggers() {
    let (provider, _dir) = support::open();
    let database = database(&provider).await;
    victim(&*database).await;
    for sql in [
        "CREATE VIEW v AS SELECT * FROM canopy_migration",
        "CREATE VIEW p AS SELECT * FROM pragma_database_list",
        "CREATE VIEW l AS SELECT load_extension('x') AS a",
        "CREATE TRIGGER g AFTER INSERT ON t BEGIN DELETE FROM canopy_migration; END",
    ] {
        // Refused now or when it is used.
        let _ = run(&*database, sql).await;
    }
    for sql in [
        "SELECT * FROM v",
        "SELECT * FROM p",
        "SELECT a FROM l",
        "INSERT INTO t (a) VALUES ('z')",
    ] {
        let result = rows(&*database, sql).await;
        assert!(
            matches!(&result, Err(SqlError::Denied(_) | SqlError::Invalid(_))),
            "{sql}: {result:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_cached_statement_may_depends_on_the_moment() {
    let (provider, _dir) = support::open();
    let database = database(&provider).await;
    victim(&*database).await;
    let transaction = database
        .begin(SqlMode::Immediate)
        .await
        .expect("a transaction");
    for sql in [
        "SAVEPOINT a",
        "INSERT INTO t (a) VALUES ('s')",
        "ROLLBACK TO a",
        "RELEASE a",
    ] {
        transaction
            .execute(SqlStatement::new(sql, vec![]))
            .await
            .expect(sql);
    }
    for sql in ["COMMIT", "ROLLBACK", "BEGIN", "END", "EXPLAIN ROLLBACK"] {
        let result = transaction.execute(SqlStatement::new(sql, vec![])).await;
        assert!(
            matches!(result, Err(SqlError::Denied(_))),
            "{sql}: {result:?}"
        );
    }
    transaction.commit().await.expect("committed");
    for sql in ["SAVEPOINT a", "ROLLBACK TO a", "RELEASE a"] {
        ends(&*database, sql, End::Denied("only within a transaction")).await;
    }
    assert_eq!(number(&*database, "SELECT count(*) FROM t").await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_open_works() {
    let (provider, _dir) = support::open();
    let database = database(&provider).await;
    victim(&*database).await;
    for sql in [
        "PRAGMA table_info(t)",
        "SELECT name FROM pragma_table_info('t')",
        "PRAGMA foreign_key_check",
        "PRAGMA page_count",
        "SELECT rowid FROM words WHERE words MATCH 'two' ORDER BY rank",
        "SELECT highlight(words, 0, '<', '>') FROM words WHERE words MATCH 'three'",
        "INSERT INTO words (words) VALUES ('optimize')",
        "SELECT id FROM boxes WHERE x0 < 0.5",
        "SELECT value FROM json_each('[1,2]')",
        "ALTER TABLE t ADD COLUMN b TEXT",
        "ALTER TABLE t RENAME COLUMN b TO c",
        "ALTER TABLE t DROP COLUMN c",
        "ALTER TABLE t RENAME TO u",
        "CREATE INDEX u_a ON u (a)",
        "CREATE VIEW v AS SELECT a FROM u",
        "CREATE TRIGGER g AFTER INSERT ON u BEGIN UPDATE u SET a = 'z' WHERE id = new.id; END",
        "INSERT INTO u (a) VALUES ('n') RETURNING id",
        "ANALYZE",
        "REINDEX",
        "EXPLAIN QUERY PLAN SELECT * FROM u",
        "DROP VIEW v",
        "DROP TABLE words",
    ] {
        rows(&*database, sql)
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
    assert_eq!(number(&*database, "SELECT last_insert_rowid()").await, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_can_be_changed_in_every_way() {
    let (provider, _dir) = support::open();
    let database = database(&provider).await;
    for sql in [
        "CREATE TABLE note (id INTEGER PRIMARY KEY, writer TEXT NOT NULL) STRICT",
        "INSERT INTO note (writer) VALUES ('a')",
        "ALTER TABLE note ADD COLUMN title TEXT",
        "ALTER TABLE note ADD COLUMN size INTEGER NOT NULL DEFAULT 1 CHECK (size > 0)",
        "ALTER TABLE note ADD COLUMN twice INTEGER AS (size * 2)",
        "ALTER TABLE note RENAME COLUMN title TO heading",
        "CREATE INDEX note_heading ON note (heading)",
        "CREATE VIEW large AS SELECT * FROM note WHERE size > 1",
        "ALTER TABLE note RENAME TO text",
        "DROP VIEW large",
        "DROP INDEX note_heading",
        "ALTER TABLE text DROP COLUMN heading",
        "CREATE TABLE part (note INTEGER NOT NULL REFERENCES text ON DELETE CASCADE)",
        "DROP TABLE part",
        "REINDEX",
        "ANALYZE",
    ] {
        run(&*database, sql)
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
    assert_eq!(number(&*database, "SELECT twice FROM text").await, 2);
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
}

/// Pieces of SQL that make sense together more often than letters do.
fn pieces() -> impl Strategy<Value = String> {
    let words = prop::sample::select(vec![
        "SELECT",
        "*",
        "FROM",
        "t",
        "WHERE",
        "a",
        "=",
        "'x'",
        "1",
        "(",
        ")",
        ",",
        ";",
        "INSERT INTO",
        "VALUES",
        "UPDATE",
        "SET",
        "DELETE",
        "CREATE TABLE",
        "DROP",
        "PRAGMA",
        "ATTACH",
        "AS",
        "canopy_migration",
        "sqlite_schema",
        "--",
        "/*",
        "*/",
        "\n",
        "BEGIN",
        "COMMIT",
        "ROLLBACK",
        "SAVEPOINT",
        "?1",
        ":a",
        "\"",
        "[",
        "`",
        "UNION",
        "WITH RECURSIVE",
        "EXPLAIN",
        "VACUUM",
        "RETURNING",
        "TRIGGER",
        "END",
        "NULL",
        "x'00'",
        "ü",
        "\u{feff}",
        "json_each",
        "fts5",
    ]);
    prop::collection::vec(words, 0..20).prop_map(|words| words.join(" "))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever is asked, the database answers, and is itself afterwards.
    #[test]
    fn any_text_is_answered(texts in prop::collection::vec(prop_oneof![".{0,80}", pieces()], 20)) {
        runtime().block_on(async {
            let (provider, dir) = support::open();
            let database = database(&provider).await;
            victim(&*database).await;
            for text in &texts {
                let parameters = vec![SqlValue::Text(text.clone())];
                let _ = database.execute(SqlStatement::new(text.clone(), parameters)).await;
                let _ = rows(&*database, text).await;
                let statement = SqlStatement::new(text.clone(), vec![]);
                let _ = database.batch(vec![statement.clone(), statement.clone()]).await;
                let transaction = database.begin(SqlMode::Deferred).await.expect("a transaction");
                let _ = transaction.execute(statement).await;
            }
            assert_eq!(number(&*database, "SELECT 41 + 1").await, 42);
            let files: Vec<_> = std::fs::read_dir(dir.path()).expect("a folder").collect();
            assert_eq!(files.len(), 2, "the storage and the operator's key");
        });
    }
}
