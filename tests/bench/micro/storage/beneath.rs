//! The engines that Canopy's storage stands on, used as one would without it: SQLite with its log of
//! writes and every commit on the disk, and files, which are not encrypted.

use std::fs::{self, File};
use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use parking_lot::Mutex;
use rusqlite::{Connection, Params, ToSql};
use tokio::sync::oneshot;

/// Writes that one commit takes in at most.
const GROUP: usize = 1024;

/// Whether a database is encrypted, and by what.
#[derive(Clone, Copy)]
pub(super) enum Encryption {
    None,
    SqlCipher,
}

/// A database.
pub(super) struct Database(Mutex<Connection>);

impl Database {
    /// One with a table.
    pub(super) fn new(folder: &Path, encryption: Encryption, table: &str) -> Self {
        let connection = Connection::open(folder.join("data.db")).expect("a database");
        if let Encryption::SqlCipher = encryption {
            // A key and a salt as they are, as Canopy gives them.
            let key = format!("PRAGMA key = \"x'{}'\"", "01".repeat(48));
            connection.execute_batch(&key).expect("encrypted");
        }
        let mode = connection.pragma_update(None, "journal_mode", "WAL");
        mode.expect("a log of writes");
        let synchronous = connection.pragma_update(None, "synchronous", "FULL");
        synchronous.expect("every commit on the disk");
        connection.execute(table, ()).expect("a table");
        Self(Mutex::new(connection))
    }

    /// Runs a statement that gives no rows.
    pub(super) fn run(&self, statement: &str, parameters: impl Params) {
        let connection = self.0.lock();
        let mut statement = connection.prepare_cached(statement).expect("a statement");
        statement.execute(parameters).expect("done");
    }

    /// The text in the one row that a statement finds.
    pub(super) fn find(&self, statement: &str, key: impl ToSql) -> String {
        let connection = self.0.lock();
        let mut statement = connection.prepare_cached(statement).expect("a statement");
        let found = statement.query_row([key], |row| row.get(0));
        found.expect("a row")
    }
}

/// One writer that puts all that waits into one commit.
#[derive(Clone)]
pub(super) struct GroupCommit(Sender<Write>);

struct Write {
    key: String,
    value: String,
    done: oneshot::Sender<()>,
}

impl GroupCommit {
    pub(super) const TABLE: &str =
        "CREATE TABLE pair (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID";
    pub(super) const SET: &str = "INSERT OR REPLACE INTO pair VALUES (?, ?)";

    /// And its thread, which ends after the last clone.
    pub(super) fn new(database: Database) -> (Self, JoinHandle<()>) {
        let (sender, writes) = channel();
        let writer = std::thread::spawn(move || write(&database, &writes));
        (Self(sender), writer)
    }

    /// Returns when the key is on the disk.
    pub(super) async fn set(self, key: String, value: String) {
        let (done, is_done) = oneshot::channel();
        let sent = self.0.send(Write { key, value, done });
        sent.expect("the writer is there");
        is_done.await.expect("committed");
    }
}

fn write(database: &Database, writes: &Receiver<Write>) {
    while let Ok(first) = writes.recv() {
        let others = std::iter::from_fn(|| writes.try_recv().ok());
        let group: Vec<Write> = std::iter::once(first).chain(others).take(GROUP).collect();
        database.run("BEGIN", ());
        for write in &group {
            database.run(GroupCommit::SET, (&write.key, &write.value));
        }
        database.run("COMMIT", ());
        for write in group {
            // Whoever does not wait any more need not be told.
            let _ = write.done.send(());
        }
    }
}

/// Objects as files.
pub(super) struct Files(PathBuf);

impl Files {
    pub(super) fn new(folder: &Path) -> Self {
        Self(folder.to_owned())
    }

    /// Puts a file in place of the one there; afterwards it is on the disk.
    pub(super) fn put(&self, name: &str, bytes: &[u8]) {
        let incoming = self.0.join(format!("{name}.new"));
        let mut file = File::create(&incoming).expect("made");
        file.write_all(bytes).expect("written");
        file.sync_all().expect("on the disk");
        fs::rename(&incoming, self.0.join(name)).expect("renamed");
        let folder = File::open(&self.0).expect("the folder");
        folder.sync_all().expect("on the disk");
    }

    /// Reads a file to its end, and returns how long it is.
    pub(super) fn read(&self, name: &str) -> usize {
        let mut file = File::open(self.0.join(name)).expect("there");
        let (mut buffer, mut length) = (vec![0; 64 << 10], 0);
        loop {
            match file.read(&mut buffer).expect("read") {
                0 => return length,
                read => length += read,
            }
        }
    }
}
