//! What is stored, by four ways: the engine beneath alone (SQLite, plain files), the same encrypted
//! (SQLCipher), Canopy's storage called natively, and a guest of Canopy.
//!
//! One way and one operation in one process, so that the memory it takes is its own.

mod beneath;
mod memory;

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use canopy_backend::Scope;
use canopy_backend::blob::{ObjectId, PutOptions, body_of};
use canopy_backend::sql::{SqlStatement, SqlValue};
use canopy_ids::{InstallationId, TenantId};
use futures::StreamExt;
use serde_json::{Value, json};

use crate::node::{MEMORIES, Node, compiler};
use beneath::{Database, Encryption, Files, GroupCommit};
use memory::Memory;

/// Who sets keys at once, each keys of his own.
const WRITERS: u32 = 64;
/// Keys of each of them.
const KEYS: u32 = 200;
const VALUE: &str = "0123456789abcdef";
/// Bytes of an object.
const OBJECT: usize = 8 << 20;
/// Of so many runs at the end it is kept how long they took.
const LATEST: usize = 2048;
const TABLE: &str = "CREATE TABLE item (id INTEGER PRIMARY KEY, value TEXT NOT NULL)";
const INSERT: &str = "INSERT INTO item (value) VALUES (?)";
const SELECT: &str = "SELECT value FROM item WHERE id = ?";

/// Operations of the kind `what` for so long: how many a second, how long each takes, and the memory
/// that the process has taken for them.
pub(crate) fn measure(folder: &Path, how: &str, what: &str, seconds: u32) -> Value {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let time = Duration::from_secs(seconds.into());
    runtime.expect("a runtime").block_on(async {
        match how {
            "beneath" => beneath(folder, what, time, Encryption::None).await,
            "encrypted" => beneath(folder, what, time, Encryption::SqlCipher).await,
            "native" => native(folder, what, time).await,
            "guest" => guest(folder, what, time).await,
            _ => panic!("there is no way `{how}`"),
        }
    })
}

async fn beneath(folder: &Path, what: &str, time: Duration, encryption: Encryption) -> Value {
    let place = tempfile::tempdir_in(folder).expect("a folder");
    let memory = Memory::begin();
    let database = |table| Database::new(place.path(), encryption, table);
    match what {
        "get" => {
            let database = Arc::new(database(GroupCommit::TABLE));
            database.run(GroupCommit::SET, ("0/0", VALUE));
            let get = move |_, _| {
                database.find("SELECT value FROM pair WHERE key = ?", "0/0");
                std::future::ready(())
            };
            operations(time, 1, 1, memory, get).await
        }
        "set" => {
            let (group, writer) = GroupCommit::new(database(GroupCommit::TABLE));
            let set = move |writer, number| {
                let (key, value) = pair(writer, number);
                group.clone().set(key, value)
            };
            let found = operations(time, WRITERS, 1, memory, set).await;
            // A process that ends takes the engine's library from a thread that still closes the database.
            writer.join().expect("the writer ends");
            found
        }
        "insert" => {
            let database = Arc::new(database(TABLE));
            let insert = move |_, _| {
                database.run(INSERT, [VALUE]);
                std::future::ready(())
            };
            operations(time, 1, 1, memory, insert).await
        }
        "select" => {
            let database = Arc::new(database(TABLE));
            database.run(INSERT, [VALUE]);
            let select = move |_, _| {
                database.find(SELECT, 1);
                std::future::ready(())
            };
            operations(time, 1, 1, memory, select).await
        }
        "put" | "read" => {
            let files = Arc::new(Files::new(place.path()));
            files.put("0", &vec![b'x'; OBJECT]);
            let put = what == "put";
            let object = vec![b'x'; if put { OBJECT } else { 0 }];
            let object = Arc::new(object);
            let operation = move |_, _| {
                match put {
                    true => files.put("0", &object),
                    false => assert_eq!(files.read("0"), OBJECT),
                }
                std::future::ready(())
            };
            operations(time, 1, 1, memory, operation).await
        }
        _ => panic!("there is no operation `{what}`"),
    }
}

async fn native(folder: &Path, what: &str, time: Duration) -> Value {
    let node = Node::new(folder, compiler(), MEMORIES);
    let scope = Scope {
        tenant: TenantId::new(),
        installation: InstallationId::new(),
    };
    let memory = Memory::begin();
    match what {
        "get" | "set" => {
            let bucket = node.storage.open(scope, "default").await.expect("a bucket");
            bucket.set("0/0", VALUE.into()).await.expect("set");
            if what == "get" {
                let get = move |_, _| {
                    let bucket = Arc::clone(&bucket);
                    async move {
                        bucket.get("0/0").await.expect("get").expect("a value");
                    }
                };
                return operations(time, 1, 1, memory, get).await;
            }
            let set = move |writer, number| {
                let bucket = Arc::clone(&bucket);
                async move {
                    let (key, value) = pair(writer, number);
                    bucket.set(&key, value.into()).await.expect("set");
                }
            };
            operations(time, WRITERS, 1, memory, set).await
        }
        "insert" | "select" => {
            let sql = node.sql.open(scope, "default").await.expect("a database");
            let insert = || SqlStatement::new(INSERT, vec![SqlValue::Text(VALUE.into())]);
            let table = SqlStatement::new(TABLE, Vec::new());
            sql.execute(table).await.expect("a table");
            sql.execute(insert()).await.expect("inserted");
            if what == "insert" {
                let insert = move |_, _| {
                    let sql = Arc::clone(&sql);
                    async move {
                        let inserted = sql.execute(insert()).await;
                        assert_eq!(inserted.expect("inserted").changes, 1);
                    }
                };
                return operations(time, 1, 1, memory, insert).await;
            }
            let select = move |_, _| {
                let sql = Arc::clone(&sql);
                async move {
                    let select = SqlStatement::new(SELECT, vec![SqlValue::Integer(1)]);
                    let mut rows = sql.query(select).await.expect("rows");
                    assert_eq!(rows.next().await.expect("read").expect("some").len(), 1);
                    assert!(rows.next().await.expect("read").is_none());
                }
            };
            operations(time, 1, 1, memory, select).await
        }
        "put" | "read" => {
            let blobs = node.blobs.open(scope).await.expect("objects");
            let made = blobs.create_container("bench").await;
            assert!(made.expect("a container"), "it is new");
            let object = bytes::Bytes::from(vec![b'x'; OBJECT]);
            let id = ObjectId::new("bench", "0");
            let first = blobs.put(id, PutOptions::default(), body_of(object.clone()));
            first.await.expect("put");
            if what == "put" {
                let put = move |_, _| {
                    let (blobs, body) = (Arc::clone(&blobs), body_of(object.clone()));
                    async move {
                        let id = ObjectId::new("bench", "0");
                        let put = blobs.put(id, PutOptions::default(), body).await;
                        put.expect("put");
                    }
                };
                return operations(time, 1, 1, memory, put).await;
            }
            drop(object);
            let read = move |_, _| {
                let blobs = Arc::clone(&blobs);
                async move {
                    let id = ObjectId::new("bench", "0");
                    let mut body = blobs.get(id, None).await.expect("there").body;
                    let mut length = 0;
                    while let Some(piece) = body.next().await {
                        length += piece.expect("whole").len();
                    }
                    assert_eq!(length, OBJECT);
                }
            };
            operations(time, 1, 1, memory, read).await
        }
        _ => panic!("there is no operation `{what}`"),
    }
}

async fn guest(folder: &Path, what: &str, time: Duration) -> Value {
    let node = Arc::new(Node::new(folder, compiler(), MEMORIES));
    // What is to be there, who asks at once, and how many operations one request is.
    let (guest, first, tasks, each) = match what {
        "get" => ("bench", "/set?n=1&writer=0", 1, KEYS),
        "set" => ("bench", "/set?n=1&writer=0", WRITERS, KEYS),
        "insert" => ("bench-storage", "/table", 1, 20),
        "select" => ("bench-storage", "/insert?n=1", 1, KEYS),
        "put" | "read" => ("bench-storage", "/put?n=1", 1, 1),
        _ => panic!("there is no operation `{what}`"),
    };
    let memory = Memory::begin();
    if what == "select" {
        node.call(guest, "/table").await;
    }
    let size = match what {
        "put" | "read" => format!("&bytes={OBJECT}"),
        _ => String::new(),
    };
    node.call(guest, &format!("{first}{size}")).await;
    let what = what.to_owned();
    let operation = move |task, _| {
        let node = Arc::clone(&node);
        let path = format!("/{what}?n={each}&writer={task}{size}");
        async move { assert!(!node.call(guest, &path).await.is_empty()) }
    };
    operations(time, tasks, each, memory, operation).await
}

/// What a writer sets next. Each value is another one: the engine writes nothing where nothing changes.
fn pair(writer: u32, number: u32) -> (String, String) {
    let key = format!("{writer}/{}", number % KEYS);
    (key, format!("{number:0width$}", width = VALUE.len()))
}

/// Runs `operation` again and again in so many tasks; each run of it counts as `each` operations.
async fn operations<F>(
    time: Duration,
    tasks: u32,
    each: u32,
    memory: Memory,
    operation: impl Fn(u32, u32) -> F + Clone + Send + 'static,
) -> Value
where
    F: Future<Output = ()> + Send,
{
    let begun = Instant::now();
    let working = (0..tasks).map(|task| {
        let operation = operation.clone();
        tokio::spawn(async move {
            let (mut took, mut done) = ([0.0; LATEST], 0_u32);
            while begun.elapsed() < time {
                let before = Instant::now();
                operation(task, done).await;
                took[done as usize % LATEST] = before.elapsed().as_secs_f64() * 1e6;
                done += 1;
            }
            (took, done)
        })
    });
    let working: Vec<_> = working.collect();
    let (mut latest, mut done) = (Vec::new(), 0.0);
    for task in working {
        let (took, number) = task.await.expect("done");
        latest.extend_from_slice(&took[..LATEST.min(number as usize)]);
        done += f64::from(number);
    }
    latest.sort_by(f64::total_cmp);
    let at = |percent: usize| latest[(latest.len() - 1) * percent / 100] / f64::from(each);
    json!({
        "rate": done * f64::from(each) / begun.elapsed().as_secs_f64(),
        "p50us": at(50),
        "p99us": at(99),
        "memory": memory.taken(),
        "bad": 0,
    })
}
