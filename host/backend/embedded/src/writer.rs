//! The writing connection of one database: many changes, one commit.

use std::sync::Arc;

use canopy_backend::{Clock, Ledger, StorageKind};
use canopy_backend::{Entry, Outcome, Scope, StorageError, Usage};
use canopy_backend_sqlite::{Log, Snapshot, die, is_fatal, pragma};
use rusqlite::{Connection, TransactionBehavior};

use crate::batch::{Batch, Buckets, Refusal, Step, Tally};
use crate::fault::Fault;

/// Free pages from which on a database that is being closed gives space back to the disk, and how
/// many it gives at once: 32 MiB, a moment's work.
const VACUUM_PAGES: i64 = 8192;
/// Entries that have expired and are removed by one commit on the side.
const SWEEP_ENTRIES: usize = 256;

/// One caller's change, applied whole or not at all.
#[derive(Debug)]
pub(crate) enum Change {
    Steps(Vec<Step>),
    /// Removes all that has expired, and counts the rest.
    Count,
}

#[derive(Debug)]
pub(crate) enum Reply {
    Done(Vec<Outcome>),
    Conflict {
        operation: usize,
        found: Option<Entry>,
    },
    Count(Usage),
}

/// What became of the changes of one commit.
#[derive(Debug)]
pub(crate) struct Committed {
    /// In the order of the changes.
    pub(crate) replies: Vec<Result<Reply, StorageError>>,
    /// Whether any of them wrote, so that there was something to put on the disk.
    pub(crate) synchronised: bool,
}

/// Whose data a writer writes, and by whose leave.
#[derive(Clone)]
pub(crate) struct Owner {
    pub(crate) scope: Scope,
    pub(crate) ledger: Ledger,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Owner {
    pub(crate) fn now(&self) -> i64 {
        i64::try_from(self.clock.now()).unwrap_or(i64::MAX)
    }
}

pub(crate) struct Writer {
    conn: Connection,
    name: String,
    owner: Owner,
    tally: Tally,
    buckets: Buckets,
    log: Log,
}

impl Writer {
    pub(crate) fn new(mut conn: Connection, name: String, owner: Owner) -> rusqlite::Result<Self> {
        let tally = Tally::read(&conn)?;
        let log = Log::of(name.clone());
        log.watch(&mut conn)?;
        let writer = Self {
            conn,
            name,
            owner,
            tally,
            buckets: Buckets::default(),
            log,
        };
        writer.tell_ledger();
        Ok(writer)
    }

    fn tell_ledger(&self) {
        let Owner { scope, ledger, .. } = &self.owner;
        ledger.set(*scope, StorageKind::KeyValue, self.tally.bytes);
    }

    /// Applies `changes` in order and commits them together. An error: none of them was applied.
    /// Does not return if it is unknown what the disk holds.
    pub(crate) fn commit<'a>(
        &mut self,
        changes: impl Iterator<Item = &'a Change>,
    ) -> Result<Committed, Fault> {
        let result = self.try_commit(changes);
        result.map_err(|error| {
            if is_fatal(&error) {
                die(&self.name, "writing failed", &error);
            }
            if !self.conn.is_autocommit()
                && let Err(error) = self.conn.execute_batch("ROLLBACK")
            {
                die(&self.name, "undoing failed", &error);
            }
            self.buckets.forget();
            self.tell_ledger();
            tracing::error!(database = self.name, %error, "writes were refused");
            Fault::of(&error)
        })
    }

    fn try_commit<'a>(
        &mut self,
        changes: impl Iterator<Item = &'a Change>,
    ) -> rusqlite::Result<Committed> {
        let before = self.tally;
        let rows_before = self.conn.total_changes();
        let transaction = self
            .conn
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut batch = Batch {
            conn: &transaction,
            owner: &self.owner,
            tally: before,
            buckets: &mut self.buckets,
            now: self.owner.now(),
        };
        batch.sweep(SWEEP_ENTRIES)?;
        let mut replies = Vec::new();
        for change in changes {
            let applied = match change {
                Change::Steps(steps) => batch.apply(steps),
                Change::Count => batch.count().map_err(Refusal::Database),
            };
            replies.push(match applied {
                Ok(reply) => Ok(reply),
                Err(Refusal::Conflict { operation, found }) => {
                    Ok(Reply::Conflict { operation, found })
                }
                Err(Refusal::Change(error)) => Err(error),
                Err(Refusal::Database(error)) => return Err(error),
            });
        }
        let tally = batch.tally;
        tally.write(&transaction, &before)?;
        transaction.commit()?;
        self.tally = tally;
        Ok(Committed {
            replies,
            synchronised: self.conn.total_changes() != rows_before,
        })
    }

    /// The present moment of the database, which has another connection in `reader`.
    pub(crate) fn snapshot(
        &mut self,
        path: &std::path::Path,
        reader: Connection,
    ) -> Result<Snapshot, StorageError> {
        Ok(Snapshot::take(path, &self.conn, reader)?)
    }

    /// Copies the write-ahead log into the database when it has grown; without waiting for readers
    /// if `patient` is not set. Does not return if the disk fails.
    pub(crate) fn checkpoint_if_due(&mut self, patient: bool) {
        self.log.checkpoint_if_due(&self.conn, patient);
    }

    /// Closes the file with everything in it and nothing beside it.
    pub(crate) fn close(mut self) {
        if let Err(error) = self.give_space_back() {
            if is_fatal(&error) {
                die(&self.name, "giving space back failed", &error);
            }
            tracing::warn!(database = self.name, %error, "free space was not given back");
        }
        self.log.empty(&self.conn);
        if let Err((_, error)) = self.conn.close() {
            tracing::error!(database = self.name, %error, "a database was not closed");
        }
    }

    fn give_space_back(&mut self) -> rusqlite::Result<()> {
        let free: i64 = pragma(&self.conn, "freelist_count")?;
        if free >= VACUUM_PAGES {
            let sql = format!("PRAGMA incremental_vacuum({VACUUM_PAGES})");
            let mut vacuum = self.conn.prepare(&sql)?;
            let mut rows = vacuum.query([])?;
            while rows.next()?.is_some() {}
        }
        Ok(())
    }
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer")
            .field("name", &self.name)
            .field("tally", &self.tally)
            .finish_non_exhaustive()
    }
}
