//! What `tests/bench` asks of databases and objects, each so many times (`n`): `/insert` inserts a row in
//! a transaction of its own, `/select` reads one by its key, `/put` puts an object of so many `bytes`, and
//! `/read` reads it to its end. `/table` makes the table.

use std::io::Read;

use canopy_sdk::blobs::Container;
use canopy_sdk::sql::{Database, Statements};
use canopy_sdk::{Problem, Query, Router, get, params};
use serde::Deserialize;

#[derive(Deserialize)]
struct Work {
    n: u32,
    #[serde(default)]
    bytes: usize,
}

#[canopy_sdk::app]
fn app() -> Router {
    Router::new()
        .route("/table", get(table))
        .route("/insert", get(insert))
        .route("/select", get(select))
        .route("/put", get(put))
        .route("/read", get(read))
}

fn table() -> Result<String, Problem> {
    let table = "CREATE TABLE IF NOT EXISTS item (id INTEGER PRIMARY KEY, value TEXT NOT NULL)";
    let made = Database::open("default")?.execute(table, params![])?;
    Ok(made.changes.to_string())
}

fn insert(Query(work): Query<Work>) -> Result<String, Problem> {
    let database = Database::open("default")?;
    let mut last = 0;
    for _ in 0..work.n {
        let statement = "INSERT INTO item (value) VALUES (?)";
        last = database
            .execute(statement, params!["0123456789abcdef"])?
            .last_insert_rowid;
    }
    Ok(last.to_string())
}

fn select(Query(work): Query<Work>) -> Result<String, Problem> {
    let database = Database::open("default")?;
    let mut found = String::new();
    for _ in 0..work.n {
        let value = database.row("SELECT value FROM item WHERE id = ?", params![1])?;
        found = value.ok_or_else(|| Problem::not_found("There is no row."))?;
    }
    Ok(found)
}

fn put(Query(work): Query<Work>) -> Result<String, Problem> {
    let container = Container::create("bench")?;
    for number in 0..work.n {
        container.put(&number.to_string(), vec![b'x'; work.bytes])?;
    }
    Ok(work.n.to_string())
}

fn read(Query(work): Query<Work>) -> Result<String, Problem> {
    let container = Container::named("bench");
    let (mut buffer, mut bytes) = (vec![0; 64 << 10], 0);
    for _ in 0..work.n {
        let mut body = container.get("0")?.body;
        loop {
            let read = body
                .read(&mut buffer)
                .map_err(|error| Problem::bad_request(format!("The object broke off: {error}.")))?;
            bytes += read;
            if read == 0 {
                break;
            }
        }
    }
    Ok(bytes.to_string())
}
