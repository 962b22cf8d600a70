//! Files of the node: what is refused and why, what a copy is, how keys change, what a check finds.

use std::fs::{self, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use canopy_backend::{Scope, StorageError};
use canopy_backend_keys::{FileKeys, Keyring, OperatorKey};
use canopy_backend_sqlite::{
    Format, OpenError, Snapshot, check, key_version, open, open_reader, rekey, remove,
    storage_error,
};
use canopy_ids::{InstallationId, TenantId};
use rusqlite::Connection;
use tempfile::TempDir;

const CACHE: u64 = 1 << 20;
const PAGE: u64 = 4096;
const FORMAT: Format = Format {
    application_id: 0x1234_5678,
    migrations: &["CREATE TABLE thing (id INTEGER PRIMARY KEY, text TEXT NOT NULL) STRICT"],
};

struct World {
    folder: TempDir,
    ring: Keyring,
    scope: Scope,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let ring = Keyring::open(OperatorKey::generate().expect("a key"), folder.path());
        Self {
            folder,
            ring: ring.expect("a ring"),
            scope: Scope {
                tenant: TenantId::new(),
                installation: InstallationId::new(),
            },
        }
    }

    fn keys(&self) -> FileKeys {
        let tenant = self.ring.tenant(self.scope.tenant).expect("keys");
        tenant.file_keys(self.scope, "test")
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("a/b/data.db")
    }

    fn open(&self) -> Connection {
        open(&self.path(), &self.keys(), &FORMAT, CACHE).expect("opens")
    }

    /// A closed database of `rows` rows, and how many pages it has.
    fn filled(&self, rows: i64) -> u64 {
        let conn = self.open();
        fill(&conn, rows);
        conn.close().expect("closed");
        fs::metadata(self.path()).expect("metadata").len() / PAGE
    }

    fn names(&self) -> Vec<String> {
        let folder = self.path().parent().expect("a folder").to_owned();
        let mut names: Vec<String> = fs::read_dir(folder)
            .expect("a folder")
            .map(|entry| {
                entry
                    .expect("an entry")
                    .file_name()
                    .into_string()
                    .expect("text")
            })
            .collect();
        names.sort();
        names
    }
}

fn fill(conn: &Connection, rows: i64) {
    let text = "canary in the coal mine ".repeat(40);
    conn.execute_batch("BEGIN").expect("begun");
    for _ in 0..rows {
        conn.execute("INSERT INTO thing (text) VALUES (?1)", [&text])
            .expect("inserted");
    }
    conn.execute_batch("COMMIT").expect("committed");
}

fn count(conn: &Connection) -> i64 {
    conn.query_row("SELECT count(*) FROM thing", [], |row| row.get(0))
        .expect("counted")
}

fn pragma(conn: &Connection, name: &str) -> String {
    conn.pragma_query_value(None, name, |row| row.get::<_, rusqlite::types::Value>(0))
        .map(|value| match value {
            rusqlite::types::Value::Integer(number) => number.to_string(),
            rusqlite::types::Value::Text(text) => text,
            other => format!("{other:?}"),
        })
        .expect("a value")
}

fn damage(path: &Path, at: u64) {
    let mut file = OpenOptions::new().write(true).open(path).expect("opens");
    file.seek(SeekFrom::Start(at)).expect("there");
    file.write_all(&[0xa5; 32]).expect("written");
}

#[test]
fn the_engine_is_new_enough() {
    let conn = World::new().open();
    let version: String = conn
        .query_row("SELECT sqlite_version()", [], |row| row.get(0))
        .expect("a version");
    let numbers: Vec<u32> = version
        .split('.')
        .map(|n| n.parse().expect("a number"))
        .collect();
    // Before it, a log that was reset while it was read could lose what was committed.
    assert!(numbers >= vec![3, 51, 3], "{version}");
}

#[test]
fn what_is_stored_is_nowhere_in_the_files() {
    let world = World::new();
    let conn = world.open();
    fill(&conn, 100);
    assert_eq!(world.names(), ["data.db", "data.db-shm", "data.db-wal"]);
    for name in world.names() {
        let path = world.path().with_file_name(name);
        let bytes = fs::read(&path).expect("a file");
        for plain in [&b"canary"[..], b"CREATE TABLE", b"SQLite format 3"] {
            assert!(!bytes.windows(plain.len()).any(|w| w == plain), "{path:?}");
        }
        let mode = fs::metadata(&path).expect("metadata").permissions().mode();
        assert_eq!(mode & 0o077, 0, "{path:?}");
    }
}

#[test]
fn a_connection_is_durable_and_defensive() {
    let conn = World::new().open();
    assert_eq!(pragma(&conn, "journal_mode"), "wal");
    assert_eq!(pragma(&conn, "synchronous"), "2");
    assert_eq!(pragma(&conn, "auto_vacuum"), "2");
    assert_eq!(pragma(&conn, "trusted_schema"), "0");
    assert!(!pragma(&conn, "cipher_version").is_empty());
    conn.execute_batch("PRAGMA writable_schema = 1")
        .expect("ignored");
    assert!(
        conn.execute("UPDATE sqlite_schema SET sql = ''", [])
            .is_err()
    );
    assert_eq!(pragma(&conn, "writable_schema"), "0");
}

#[test]
fn a_reader_reads_and_does_not_write_or_make() {
    let world = World::new();
    let absent = open_reader(&world.path(), &world.keys(), CACHE);
    assert!(matches!(absent, Err(OpenError::Io(_))), "{absent:?}");
    assert!(!world.path().exists());
    let writer = world.open();
    fill(&writer, 3);
    let reader = open_reader(&world.path(), &world.keys(), CACHE).expect("opens");
    assert_eq!(count(&reader), 3);
    assert!(reader.execute("DELETE FROM thing", []).is_err());
    assert_eq!(count(&writer), 3);
}

#[test]
fn another_key_is_told_from_damage() {
    let world = World::new();
    world.filled(200);
    let before = fs::read(world.path()).expect("read");
    let others = World::new().keys();
    let refused = open(&world.path(), &others, &FORMAT, CACHE);
    assert!(
        matches!(refused, Err(OpenError::WrongKey(_))),
        "{refused:?}"
    );
    let refused = open_reader(&world.path(), &others, CACHE);
    assert!(
        matches!(refused, Err(OpenError::WrongKey(_))),
        "{refused:?}"
    );
    assert_eq!(fs::read(world.path()).expect("read"), before);

    damage(&world.path(), 500);
    let refused = open(&world.path(), &world.keys(), &FORMAT, CACHE);
    assert!(matches!(refused, Err(OpenError::Damaged(_))), "{refused:?}");
}

#[test]
fn files_of_others_and_of_newer_versions_are_refused_and_left_alone() {
    let world = World::new();
    world.filled(1);
    let other = Format {
        application_id: 7,
        ..FORMAT
    };
    let refused = open(&world.path(), &world.keys(), &other, CACHE);
    assert!(
        matches!(
            refused,
            Err(OpenError::Foreign {
                found: 0x1234_5678,
                expected: 7
            })
        ),
        "{refused:?}"
    );
    let conn = world.open();
    conn.pragma_update(None, "user_version", 9).expect("set");
    drop(conn);
    let refused = open(&world.path(), &world.keys(), &FORMAT, CACHE);
    assert!(
        matches!(refused, Err(OpenError::Newer { found: 9, known: 1 })),
        "{refused:?}"
    );

    let plain = world.folder.path().join("plain.db");
    let conn = Connection::open(&plain).expect("opens");
    conn.execute_batch("CREATE TABLE t (a)").expect("made");
    drop(conn);
    let before = fs::read(&plain).expect("read");
    let refused = open(&plain, &world.keys(), &FORMAT, CACHE);
    assert!(
        matches!(refused, Err(OpenError::NotEncrypted)),
        "{refused:?}"
    );
    assert_eq!(fs::read(&plain).expect("read"), before);
}

#[test]
fn tables_are_brought_to_the_present_version() {
    const LATER: Format = Format {
        application_id: FORMAT.application_id,
        migrations: &[
            FORMAT.migrations[0],
            "ALTER TABLE thing ADD COLUMN colour TEXT NOT NULL DEFAULT 'red'",
        ],
    };
    let world = World::new();
    world.filled(2);
    for _ in 0..2 {
        let conn = open(&world.path(), &world.keys(), &LATER, CACHE).expect("opens");
        let sql = "SELECT count(*) FROM thing WHERE colour = 'red'";
        let red: i64 = conn.query_row(sql, [], |row| row.get(0)).expect("counted");
        assert_eq!(red, 2);
    }
    let older = open(&world.path(), &world.keys(), &FORMAT, CACHE);
    assert!(
        matches!(older, Err(OpenError::Newer { found: 2, known: 1 })),
        "{older:?}"
    );
}

#[test]
fn a_copy_is_of_one_moment_and_shares_what_did_not_change() {
    let world = World::new();
    let writer = world.open();
    writer
        .pragma_update(None, "wal_autocheckpoint", 2)
        .expect("set");
    fill(&writer, 500);
    let reader = || open_reader(&world.path(), &world.keys(), CACHE).expect("opens");
    let copies: Vec<PathBuf> = (0..2)
        .map(|number| {
            let snapshot = Snapshot::take(&world.path(), &writer, reader()).expect("taken");
            // Written after the moment, with a checkpoint tried after it.
            fill(&writer, 5);
            let copy = world.folder.path().join(format!("copy{number}.db"));
            snapshot.copy(&copy).expect("copied");
            copy
        })
        .collect();
    for (copy, expected) in copies.iter().zip([500, 505]) {
        let conn = open(copy, &world.keys(), &FORMAT, CACHE).expect("opens");
        assert_eq!(count(&conn), expected);
        assert_eq!(check(&conn), Vec::<String>::new());
        conn.close().expect("closed");
    }
    assert_eq!(count(&writer), 510);
    let pages = |path: &Path| -> Vec<Vec<u8>> {
        let bytes = fs::read(path).expect("read");
        let page = usize::try_from(PAGE).expect("small");
        bytes.chunks(page).map(<[u8]>::to_vec).collect()
    };
    let (first, second) = (pages(&copies[0]), pages(&copies[1]));
    let same = first.iter().zip(&second).filter(|(a, b)| a == b).count();
    assert!(
        same > first.len() / 2,
        "{same} of {} pages are the same",
        first.len()
    );
}

#[test]
fn another_version_of_the_key_replaces_the_file_whole() {
    let world = World::new();
    world.filled(300);
    assert_eq!(
        key_version(&world.path(), &world.keys()).expect("read"),
        Some(1)
    );
    assert!(!rekey(&world.path(), &world.keys()).expect("nothing to do"));
    world.ring.rotate(world.scope.tenant).expect("rotated");
    // What an attempt that was cut short left behind.
    fs::write(world.path().with_extension("db.rekey"), "half").expect("written");
    assert!(rekey(&world.path(), &world.keys()).expect("done"));
    assert_eq!(
        key_version(&world.path(), &world.keys()).expect("read"),
        Some(2)
    );
    assert_eq!(world.names(), ["data.db"]);
    let conn = world.open();
    assert_eq!(count(&conn), 300);
    assert_eq!(check(&conn), Vec::<String>::new());
    assert_eq!(pragma(&conn, "journal_mode"), "wal");
    assert_eq!(pragma(&conn, "auto_vacuum"), "2");
}

#[test]
fn a_check_finds_a_damaged_page_wherever_it_is() {
    let world = World::new();
    let pages = world.filled(500);
    let whole = fs::read(world.path()).expect("read");
    for page in [2, pages / 2, pages - 1] {
        damage(&world.path(), page * PAGE + 1000);
        let conn = world.open();
        assert!(!check(&conn).is_empty(), "page {page}");
        drop(conn);
        fs::write(world.path(), &whole).expect("repaired");
    }
    assert_eq!(check(&world.open()), Vec::<String>::new());
}

#[test]
fn a_damaged_page_is_an_error_and_never_other_data() {
    let world = World::new();
    let pages = world.filled(500);
    damage(&world.path(), (pages / 2) * PAGE + 1000);
    let conn = world.open();
    let read = || -> rusqlite::Result<Vec<String>> {
        let mut all = conn.prepare("SELECT text FROM thing")?;
        all.query_map([], |row| row.get(0))?.collect()
    };
    let error = read().expect_err("damaged");
    assert!(
        matches!(storage_error(&error), StorageError::Damaged(_)),
        "{error:?}"
    );
}

#[test]
fn a_removed_database_leaves_nothing_beside_it() {
    let world = World::new();
    fill(&world.open(), 1);
    // The connection that a crash would leave behind.
    std::mem::forget(world.open());
    remove(&world.path()).expect("removed");
    remove(&world.path()).expect("removed already");
    assert_eq!(world.names(), Vec::<String>::new());
}
