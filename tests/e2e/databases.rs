//! One behaviour for all the names by which components reach the same SQL databases: the same script
//! runs through a component of each, one after the other in one installation, and each reads and
//! changes what all others have written.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::{Answer, Face, Node, bare, guest};

const APP: &str = "sql.acme";
/// The components, each a version of the same package, and what its interface has besides rows.
const FACES: [(&str, &str, &[&str]); 4] = [
    ("sql-spin2", "0.1.0", &[]),
    ("sql-spin30", "0.4.0", &["told"]),
    ("sql-spin3", "0.2.0", &["told", "stream"]),
    ("sql-canopy", "0.3.0", &["told", "stream", "functions"]),
];

fn node_with_all_faces(settings: &str) -> Node {
    let node = Node::start_with(settings);
    for (name, ..) in FACES {
        node.publish(&guest(name));
    }
    node.run("tenant create acme");
    node.run("install guests/sql@0.1.0 --tenant acme");
    node
}

async fn asked(face: &Face<'_>, database: &str, statement: &str, parameters: Value) -> Answer {
    let parameters = parameters.to_string();
    let fields = [
        ("store", database),
        ("key", statement),
        ("value", &parameters),
    ];
    face.answer("sql", &fields).await
}

async fn rows(face: &Face<'_>, statement: &str, parameters: Value) -> Value {
    let answer = asked(face, "default", statement, parameters).await;
    assert_eq!(answer.status, 200, "{statement}: {answer:?}");
    answer.json()
}

/// Why a statement is refused, as small letters and digits.
async fn refusal(face: &Face<'_>, statement: &str) -> String {
    let answer = asked(face, "default", statement, json!([])).await;
    assert_eq!(answer.status, 500, "{statement}: {answer:?}");
    bare(&answer.body)
}

/// What became of statements on one connection: rows, or why there are none.
async fn script(face: &Face<'_>, statements: &[&str]) -> Vec<Result<Value, String>> {
    let statements: Vec<_> = statements.iter().map(|text| json!([text, []])).collect();
    let value = json!(statements).to_string();
    let steps = face.ask("script", &[("value", &*value)]).await;
    let step = |step: &Value| match step["error"].as_str() {
        Some(error) => Err(bare(error)),
        None => Ok(step.clone()),
    };
    let steps: Vec<_> = steps.as_array().expect("steps").iter().map(step).collect();
    assert_eq!(steps.len(), statements.len());
    steps
}

async fn values(face: &Face<'_>) {
    let most = "x".repeat(5000);
    for (value, kind) in [
        (json!(null), "null"),
        (json!(0), "integer"),
        (json!(i64::MIN), "integer"),
        (json!(i64::MAX), "integer"),
        (json!(2.5), "real"),
        (json!(-0.0), "real"),
        (json!(1e308), "real"),
        (json!(5e-324), "real"),
        (json!(2.0), "real"),
        (json!(""), "text"),
        (json!("ä\u{1F600} 'quoted' \u{0000} after"), "text"),
        (json!(most), "text"),
        (json!({ "blob": [] }), "blob"),
        (json!({ "blob": [0, 255, 7] }), "blob"),
    ] {
        let read = rows(face, "SELECT ?1, typeof(?1)", json!([value])).await;
        assert_eq!(read, json!([[value, kind]]));
    }
    let named = rows(face, "SELECT :b, :a, :b", json!([1, 2])).await;
    assert_eq!(named, json!([[1, 2, 1]]));
    let columns = [("key", "SELECT 1 AS one, 'x' AS \"two words\", 3")];
    assert_eq!(
        face.ask("columns", &columns).await,
        json!(["one", "two words", "3"])
    );
}

async fn notes(face: &Face<'_>, writer: &str) {
    let insert = "INSERT INTO note (writer, size, data) VALUES (?1, ?2, ?3)";
    let data = json!({ "blob": [0, 255, 7] });
    rows(face, insert, json!([writer, 2.5, data])).await;
    let read = "SELECT writer, size, data, NULL FROM note WHERE writer = ?";
    assert_eq!(
        rows(face, read, json!([writer])).await,
        json!([[writer, 2.5, data, null]])
    );
    let again = asked(face, "default", insert, json!([writer, 1.0, null])).await;
    assert_eq!(again.status, 500, "{again:?}");
    assert!(again.body.contains("UNIQUE"), "{again:?}");
    for (statement, expected) in [
        ("INSERT INTO note (size) VALUES (1)", "notnull"),
        ("INSERT INTO note (writer, size) VALUES ('x', 'y')", "real"),
        ("SELECT * FROM absent", "nosuchtable"),
        ("SELECT", "incomplete"),
        ("SELEC 1", "syntaxerror"),
        ("", "statement"),
        ("SELECT 1; SELECT 2", "statement"),
        ("SELECT ?", "parameter"),
    ] {
        let refused = refusal(face, statement).await;
        assert!(refused.contains(expected), "{statement}: {refused}");
    }
    let many = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 5000)
                SELECT i FROM n";
    let many = rows(face, many, json!([])).await;
    assert_eq!(many.as_array().map(Vec::len), Some(5000));

    for (database, expected) in [("second", "nosuchtable"), ("third", "nosuchdatabase")] {
        let answer = asked(face, database, "SELECT * FROM note", json!([])).await;
        assert_eq!(answer.status, 500, "{answer:?}");
        assert!(bare(&answer.body).contains(expected), "{answer:?}");
    }
}

async fn transactions(face: &Face<'_>, writer: &str) {
    let insert = format!("INSERT INTO note (writer) VALUES ('{writer}, undone')");
    let kept = format!("INSERT INTO note (writer) VALUES ('{writer}, kept')");
    let count = format!("SELECT count(*) FROM note WHERE writer LIKE '{writer}, %'");
    let there = |count: i64| Ok::<_, String>(json!([[count]]));

    let steps = script(face, &["BEGIN", &insert, &count, "ROLLBACK", &count]).await;
    assert_eq!(steps[2], there(1), "it sees its own writes: {steps:?}");
    assert_eq!(steps[4], there(0), "they are undone");
    // The guest ends in the middle.
    let steps = script(face, &["BEGIN IMMEDIATE", &insert, &count]).await;
    assert_eq!(steps[2], there(1), "{steps:?}");
    assert_eq!(rows(face, &count, json!([])).await, json!([[0]]));
    // A statement that fails is undone alone.
    let steps = script(face, &["BEGIN", &kept, &kept, &count, "COMMIT", &count]).await;
    let failed = steps[2].as_ref().expect_err("it is there already");
    assert!(failed.contains("unique"), "{failed}");
    assert_eq!(steps[3], there(1));
    assert_eq!(steps[5], there(1), "the rest is committed");
    assert_eq!(rows(face, &count, json!([])).await, json!([[1]]));
    let steps = [
        "BEGIN",
        "SAVEPOINT here",
        &insert,
        "ROLLBACK TO here",
        &count,
        "RELEASE here",
        "COMMIT",
    ];
    let steps = script(face, &steps).await;
    assert!(steps.iter().all(Result::is_ok), "{steps:?}");
    assert_eq!(steps[4], there(1));
    for alone in ["COMMIT", "ROLLBACK"] {
        let steps = script(face, &[alone, &count]).await;
        assert!(steps[0].is_err(), "{alone}: {steps:?}");
        assert_eq!(steps[1], there(1), "nothing else is wrong");
    }
}

/// What no statement may do, whichever interface it comes by, with a word of the answer.
const CLOSED: [(&str, &str); 22] = [
    ("ATTACH 'x' AS y", "attach"),
    ("ATTACH ':memory:' AS y", "attach"),
    ("DETACH main", "detach"),
    ("VACUUM", "vacuum"),
    ("VACUUM INTO 'x'", "vacuum"),
    ("SELECT load_extension('x')", "loadextension"),
    ("SELECT readfile('/etc/passwd')", "readfile"),
    ("SELECT writefile('x', 'y')", "writefile"),
    ("SELECT sqlcipher_export('x')", "sqlcipherexport"),
    ("PRAGMA writable_schema = ON", "writableschema"),
    ("PRAGMA journal_mode = DELETE", "journalmode"),
    ("PRAGMA synchronous = OFF", "synchronous"),
    ("PRAGMA key = 'x'", "key"),
    ("PRAGMA rekey = 'x'", "rekey"),
    ("PRAGMA foreign_keys = OFF", "foreignkeys"),
    ("PRAGMA temp_store_directory = '/'", "tempstoredirectory"),
    ("UPDATE sqlite_schema SET sql = ''", "sqlite"),
    ("CREATE TEMP TABLE t (x)", "temporary"),
    ("CREATE TABLE temp.t (x)", "temporary"),
    ("SELECT * FROM dbstat", "dbstat"),
    ("SELECT * FROM sqlite_dbpage", "sqlitedbpage"),
    ("DELETE FROM canopy_migration", "canopymigration"),
];

async fn closed(face: &Face<'_>) {
    for (statement, expected) in CLOSED {
        let refused = refusal(face, statement).await;
        assert!(refused.contains(expected), "{statement}: {refused}");
        let steps = script(face, &["BEGIN", statement, "ROLLBACK", "SELECT 1"]).await;
        assert!(steps[1].is_err(), "{statement} in a transaction");
        assert_eq!(steps[3], Ok(json!([[1]])), "{statement}: {steps:?}");
    }
    let refused = refusal(
        face,
        "CREATE VIRTUAL TABLE t USING csv(filename = '/etc/passwd')",
    );
    let refused = refused.await;
    assert!(refused.contains("csv"), "{refused}");
    for open in ["PRAGMA table_info(note)", "PRAGMA foreign_keys"] {
        rows(face, open, json!([])).await;
    }
}

async fn told(face: &Face<'_>, writer: &str) {
    let run = async |statement: &str| face.ask("told", &[("key", statement)]).await;
    run("CREATE TABLE IF NOT EXISTS told (id INTEGER PRIMARY KEY, x)").await;
    run("DELETE FROM told").await;
    let inserted = run("INSERT INTO told (id, x) VALUES (41, 1), (42, 1)").await;
    assert_eq!(inserted, json!([2, 42]), "{writer}");
    let updated = run("UPDATE told SET x = 2").await;
    assert_eq!(updated[0], 2, "{writer}");
    assert_eq!(run("DELETE FROM told WHERE id = 7").await[0], 0, "{writer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_name_behaves_alike_and_reads_what_others_have_written() {
    let node = node_with_all_faces("");
    let face = Face::new(&node, APP);
    for (name, version, extras) in FACES {
        if version != "0.1.0" {
            face.run_as(version);
        }
        values(&face).await;
        notes(&face, name).await;
        transactions(&face, name).await;
        closed(&face).await;
        if extras.contains(&"told") {
            told(&face, name).await;
        }
    }
    let all = "SELECT writer FROM note WHERE writer NOT LIKE '%, kept' ORDER BY id";
    let writers: Vec<_> = FACES.iter().map(|(name, ..)| json!([name])).collect();
    for (name, version, _) in FACES {
        face.run_as(version);
        assert_eq!(rows(&face, all, json!([])).await, json!(writers), "{name}");
        let change = "UPDATE note SET size = coalesce(size, 0) + 1";
        rows(&face, change, json!([])).await;
    }
    for (_, version, _) in FACES {
        face.run_as(version);
        let sizes = "SELECT DISTINCT size FROM note ORDER BY size";
        assert_eq!(
            rows(&face, sizes, json!([])).await,
            json!([[4.0], [6.5]]),
            "each has changed what all have written"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn spins_connections_begin_no_transaction_within_one() {
    let node = node_with_all_faces("");
    let face = Face::new(&node, APP);
    for (name, version, extras) in FACES {
        if extras.contains(&"functions") {
            continue;
        }
        face.run_as(version);
        let insert = format!("INSERT INTO note (writer) VALUES ('{name}')");
        let steps = script(&face, &["begin", "BEGIN", &insert, "end transaction;"]).await;
        let refused = steps[1].as_ref().expect_err("it is in one already");
        assert!(refused.contains("withinatransaction"), "{refused}");
        assert!(steps[2].is_ok() && steps[3].is_ok(), "{steps:?}");
        let read = format!("SELECT count(*) FROM note WHERE writer = '{name}'");
        assert_eq!(rows(&face, &read, json!([])).await, json!([[1]]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_platforms_own_name_runs_batches_whole_and_streams_end_early() {
    let node = node_with_all_faces("");
    let face = Face::new(&node, APP);
    let endless = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 900000)
                   SELECT i FROM n";
    for (name, version, extras) in FACES {
        if !extras.contains(&"stream") {
            continue;
        }
        face.run_as(version);
        let first = face.ask("first", &[("key", endless)]).await;
        assert_eq!(first, json!([[1]]), "{name}");
        rows(&face, "DELETE FROM note", json!([])).await;
    }
    let batch = async |statements: Value| {
        let statements = statements.to_string();
        face.ask("batch", &[("value", &*statements)]).await
    };
    let insert = "INSERT INTO note (writer) VALUES (?)";
    let done = batch(json!([[insert, ["one"]], [insert, ["two"]]])).await;
    assert_eq!(done, json!([1, 1]));
    let failed = batch(json!([[insert, ["three"]], [insert, ["one"]]])).await;
    assert_eq!(failed["index"], 1, "{failed}");
    assert_eq!(
        rows(&face, "SELECT writer FROM note ORDER BY id", json!([])).await,
        json!([["one"], ["two"]])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_hold_by_every_name_and_the_database_goes_on() {
    let node = node_with_all_faces(
        "[sql]
         statement = \"2 KiB\"
         value = \"64 KiB\"
         statement_time = \"500 ms\"
         memory = \"4 MiB\"
         result_rows = 3000
         list = \"256 KiB\"
         [plan]
         sql_bytes = \"1 MiB\"
         databases = 1",
    );
    let face = Face::new(&node, APP);
    let series = |count: u64, what: &str| {
        format!(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT {count})
             SELECT {what} FROM n"
        )
    };
    let statement = format!("SELECT '{}'", "x".repeat(2048));
    let slow = series(u64::from(u32::MAX), "count(*)");
    let sorted = series(20_000, "randomblob(1000) AS r");
    let sorted = format!("SELECT count(*) FROM (SELECT r FROM ({sorted}) ORDER BY r)");
    let rows_over = series(3001, "1");
    let list = series(1000, "zeroblob(1000)");
    for (name, version, extras) in FACES {
        if version != "0.1.0" {
            face.run_as(version);
        }
        for (what, statement, expected) in [
            ("statement", &*statement, "overthelimitof2048"),
            ("value", "SELECT zeroblob(65537)", "overthelimitof65536"),
            ("time", &*slow, "500ms"),
            ("memory", &*sorted, "memory"),
            ("rows", &*rows_over, "3000"),
        ] {
            let refused = refusal(&face, statement).await;
            assert!(refused.contains(expected), "{name} {what}: {refused}");
            assert_eq!(rows(&face, "SELECT 1", json!([])).await, json!([[1]]));
        }
        let listed = asked(&face, "default", &list, json!([])).await;
        let (status, said) = (listed.status, bare(&listed.body));
        if extras.contains(&"stream") {
            assert_eq!(status, 200, "{name}");
        } else {
            assert_eq!(status, 500, "{name}");
            assert!(said.contains("262144bytes"), "{name}: {said}");
        }

        // The disk: refused whole, and free again after deleting.
        rows(
            &face,
            "CREATE TABLE IF NOT EXISTS bulk (data BLOB)",
            json!([]),
        )
        .await;
        let insert = "INSERT INTO bulk VALUES (zeroblob(60000))";
        let mut stored = 0;
        let refused = loop {
            let answer = asked(&face, "default", insert, json!([])).await;
            if answer.status == 500 {
                break bare(&answer.body);
            }
            stored += 1;
            assert!(stored < 20, "{name}: 1 MiB is not so much");
        };
        assert!(stored > 10, "{name}: {stored}");
        let full = refused.contains("databasefull") || refused.contains("quota");
        assert!(full, "{name}: {refused}");
        let kept = rows(&face, "SELECT count(*) FROM bulk", json!([])).await;
        assert_eq!(kept, json!([[stored]]), "{name}");
        rows(&face, "DELETE FROM bulk", json!([])).await;
        rows(&face, insert, json!([])).await;
        rows(&face, "DELETE FROM bulk", json!([])).await;
        let second = asked(&face, "second", "CREATE TABLE t (x)", json!([])).await;
        assert_eq!(second.status, 500, "{name}: {second:?}");
        let said = bare(&second.body);
        let full = said.contains("databasefull") || said.contains("quota");
        assert!(full, "{name}: {said}");
    }
}

/// Writes version 0.5.0 of `project` to `folder`, with a second migration whose second statement
/// fails.
fn next_version(project: &Path, folder: &Path) {
    let first = "migrations/0001-notes.sql";
    let second = "migrations/0002-broken.sql";
    let manifest = std::fs::read_to_string(project.join("canopy.toml")).expect("a manifest");
    let component = project.join("../../target/wasm32-wasip2/release/sql_canopy.wasm");
    let manifest = manifest
        .replace("0.3.0", "0.5.0")
        .replace("target/wasm32-wasip2/release/", "")
        .replace(
            &format!("[\"{first}\"]"),
            &format!("[\"{first}\", \"{second}\"]"),
        );
    std::fs::create_dir(folder.join("migrations")).expect("made");
    std::fs::write(folder.join("canopy.toml"), manifest).expect("written");
    std::fs::copy(component, folder.join("sql_canopy.wasm")).expect("copied");
    std::fs::copy(project.join(first), folder.join(first)).expect("copied");
    let broken =
        "ALTER TABLE note ADD COLUMN title TEXT;\nINSERT INTO note (writer) VALUES (NULL);";
    std::fs::write(folder.join(second), broken).expect("written");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_whose_migration_fails_is_not_installed_and_the_old_one_goes_on() {
    let node = Node::start();
    let project = guest("sql-canopy");
    node.publish(&project);
    let broken = tempfile::tempdir().expect("a folder");
    next_version(&project, broken.path());
    node.publish(broken.path());
    node.run("tenant create acme");
    node.run("install guests/sql@0.3.0 --tenant acme");
    let face = Face::new(&node, APP);
    rows(
        &face,
        "INSERT INTO note (writer) VALUES ('kept')",
        json!([]),
    )
    .await;

    let refused = node.cli(["upgrade", "sql", "0.5.0", "--tenant", "acme"]);
    assert_ne!(refused.code, 0);
    for said in ["0002-broken.sql", "NOT NULL"] {
        assert!(refused.stderr.contains(said), "{}", refused.stderr);
    }
    assert_eq!(
        rows(&face, "SELECT * FROM note", json!([])).await,
        json!([[1, "kept", null, null]]),
        "the column that the migration added first is gone with it"
    );
}
