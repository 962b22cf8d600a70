//! One behaviour for all the names by which components reach the same SQL databases: the same script
//! runs through a component of each, one after the other in one installation, and each reads what all
//! others have written.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::{Answer, Node, guest};

/// The components, each a version of the same package.
const FACES: [(&str, &str); 3] = [
    ("sql-spin2", "0.1.0"),
    ("sql-spin3", "0.2.0"),
    ("sql-canopy", "0.3.0"),
];

async fn asked(node: &Node, database: &str, statement: &str, parameters: Value) -> Answer {
    let parameters = parameters.to_string();
    let query = [
        ("op", "sql"),
        ("store", database),
        ("key", statement),
        ("value", &parameters),
    ];
    let url = reqwest::Url::parse_with_params("http://any/", query).expect("a URL");
    node.get(
        "sql.acme",
        &format!("/?{}", url.query().unwrap_or_default()),
    )
    .await
}

async fn rows(node: &Node, statement: &str, parameters: Value) -> Value {
    let answer = asked(node, "default", statement, parameters).await;
    assert_eq!(answer.status, 200, "{statement}: {answer:?}");
    answer.json()
}

async fn refusal(node: &Node, database: &str, statement: &str, parameters: Value) -> String {
    let answer = asked(node, database, statement, parameters).await;
    assert_eq!(answer.status, 500, "{statement}: {answer:?}");
    answer.body
}

async fn behaves(node: &Node, writer: &str) {
    let insert = "INSERT INTO note (writer, size, data) VALUES (?1, ?2, ?3)";
    let data = json!({ "blob": [0, 255, 7] });
    let none = json!([]);
    rows(node, insert, json!([writer, 2.5, data])).await;
    let read = "SELECT writer, size, data, NULL FROM note WHERE writer = ?";
    assert_eq!(
        rows(node, read, json!([writer])).await,
        json!([[writer, 2.5, data, null]])
    );

    let again = refusal(node, "default", insert, json!([writer, 1.0, null])).await;
    assert!(again.contains("UNIQUE"), "{again}");
    let unknown = refusal(node, "default", "SELECT * FROM absent", none.clone()).await;
    assert!(unknown.contains("no such table"), "{unknown}");
    let closed = refusal(node, "default", "ATTACH 'x' AS y", none.clone()).await;
    assert!(!closed.contains("no such table"), "{closed}");
    let many = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 5000)
                SELECT i FROM n";
    let many = rows(node, many, none.clone()).await;
    assert_eq!(many.as_array().map(Vec::len), Some(5000));

    let apart = refusal(node, "second", "SELECT * FROM note", none.clone()).await;
    assert!(apart.contains("no such table"), "{apart}");
    let undeclared = refusal(node, "third", "SELECT 1", none).await;
    assert!(undeclared.contains("NoSuchDatabase"), "{undeclared}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_by_one_name_is_read_by_every_other() {
    let node = Node::start();
    for (name, _) in FACES {
        node.publish(&guest(name));
    }
    node.run("tenant create acme");
    node.run("install guests/sql@0.1.0 --tenant acme");
    let run_as = |version: &str| node.run(&format!("upgrade sql {version} --tenant acme"));
    for (name, version) in FACES {
        if version != "0.1.0" {
            run_as(version);
        }
        behaves(&node, name).await;
    }
    for (_, version) in FACES {
        run_as(version);
        assert_eq!(
            rows(&node, "SELECT writer FROM note ORDER BY id", json!([])).await,
            json!([["sql-spin2"], ["sql-spin3"], ["sql-canopy"]])
        );
    }
}

/// Writes version 0.4.0 of `project` to `folder`, with a second migration whose second statement
/// fails.
fn next_version(project: &Path, folder: &Path) {
    let first = "migrations/0001-notes.sql";
    let second = "migrations/0002-broken.sql";
    let manifest = std::fs::read_to_string(project.join("canopy.toml")).expect("a manifest");
    let component = project.join("../../target/wasm32-wasip2/release/sql_canopy.wasm");
    let manifest = manifest
        .replace("0.3.0", "0.4.0")
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
    rows(
        &node,
        "INSERT INTO note (writer) VALUES ('kept')",
        json!([]),
    )
    .await;

    let refused = node.cli(["upgrade", "sql", "0.4.0", "--tenant", "acme"]);
    assert_ne!(refused.code, 0);
    for said in ["0002-broken.sql", "NOT NULL"] {
        assert!(refused.stderr.contains(said), "{}", refused.stderr);
    }
    assert_eq!(
        rows(&node, "SELECT * FROM note", json!([])).await,
        json!([[1, "kept", null, null]]),
        "the column that the migration added first is gone with it"
    );
}
