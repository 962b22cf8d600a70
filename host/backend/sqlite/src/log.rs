//! Checkpoints of a write-ahead log, in place of SQLite's own, whose errors nobody would see.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use rusqlite::Connection;
use rusqlite::hooks::Wal;

use crate::fault::{die, is_fatal};

/// Pages of the log from which on they are copied into the database, as far as no reader needs them
/// there: 4 MiB, as SQLite does by default.
const DUE_PAGES: i32 = 1000;
/// Pages from which on the copying waits for readers, so the log ends growing.
const WAIT_PAGES: i32 = 16 * DUE_PAGES;

/// The write-ahead log of one database. Clones are the same.
#[derive(Debug, Clone)]
pub struct Log {
    /// For the operator.
    database: Arc<str>,
    pages: Arc<AtomicI32>,
}

impl Log {
    /// The log of `database`, as operators are to call it.
    pub fn of(database: impl Into<Arc<str>>) -> Self {
        Self {
            database: database.into(),
            pages: Arc::default(),
        }
    }

    /// Has the commits of `conn` counted here, and none of them begin a checkpoint by itself.
    pub fn watch(&self, conn: &mut Connection) -> rusqlite::Result<()> {
        let pages = Arc::clone(&self.pages);
        conn.wal_hook(Some(move |_: &mut Wal, count| {
            pages.store(count, Ordering::Relaxed);
            Ok(())
        }))
    }

    /// Whether it has grown so much that [`Self::checkpoint_if_due`] does something.
    pub fn is_due(&self) -> bool {
        self.pages.load(Ordering::Relaxed) >= DUE_PAGES
    }

    /// Copies the log into the database by `conn` when it has grown; where it has grown very much and
    /// `patient` is set, waits for readers. Does not return if the disk fails.
    pub fn checkpoint_if_due(&self, conn: &Connection, patient: bool) {
        match self.pages.load(Ordering::Relaxed) {
            ..DUE_PAGES => {}
            WAIT_PAGES.. if patient => self.checkpoint(conn, "RESTART"),
            _ => self.checkpoint(conn, "PASSIVE"),
        }
    }

    /// Copies all of the log into the database by `conn`, and empties it. Does not return if the disk
    /// fails.
    pub fn empty(&self, conn: &Connection) {
        self.checkpoint(conn, "TRUNCATE");
    }

    fn checkpoint(&self, conn: &Connection, mode: &str) {
        let sql = format!("PRAGMA wal_checkpoint({mode})");
        match conn.query_row(&sql, [], |_| Ok(())) {
            Ok(()) => {}
            Err(error) if is_fatal(&error) => die(&self.database, "a checkpoint failed", &error),
            // Full disks and long readings pass; the log keeps what was committed.
            Err(error) => {
                tracing::warn!(database = &*self.database, %error, "a checkpoint was put off");
            }
        }
    }
}
