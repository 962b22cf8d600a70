//! The writing connection of one database: many changes, one commit.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use canopy_backend::{QuotaOf, StorageError, Swap};
use rusqlite::{CachedStatement, Connection, OptionalExtension, TransactionBehavior, params};

use crate::fault::{Fault, die, is_fatal};
use crate::query;

/// What an entry or a bucket costs of the quota on top of its bytes: about what the file needs.
const ENTRY_OVERHEAD: u64 = 64;
/// Pages of the write-ahead log from which on they are copied into the database, as far as no
/// reader needs them there: 4 MiB, as SQLite does by default.
const CHECKPOINT_PAGES: i32 = 1000;
/// Pages from which on the copying waits for readers, so the log ends growing.
const CHECKPOINT_WAIT_PAGES: i32 = 16 * CHECKPOINT_PAGES;
/// Free pages from which on a database that is being closed gives space back to the disk, and how
/// many it gives at once: 32 MiB, a moment's work.
const VACUUM_PAGES: i64 = 8192;

/// One caller's change, applied whole or not at all.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) bucket: Arc<str>,
    pub(crate) kind: Kind,
}

#[derive(Debug)]
pub(crate) enum Kind {
    /// No key twice.
    Put(Vec<(String, Vec<u8>)>),
    Delete(Vec<String>),
    Increment {
        key: String,
        delta: i64,
    },
    Swap {
        key: String,
        expected: Option<Vec<u8>>,
        new: Vec<u8>,
    },
}

#[derive(Debug)]
pub(crate) enum Reply {
    Done,
    Sum(i64),
    Swap(Swap),
}

/// What became of the changes of one commit.
#[derive(Debug)]
pub(crate) struct Committed {
    /// In the order of the changes.
    pub(crate) replies: Vec<Result<Reply, StorageError>>,
    /// Whether any of them wrote, so that there was something to put on the disk.
    pub(crate) synchronised: bool,
}

/// Why a change was not applied.
enum Refusal {
    /// It can't be: the others can.
    Change(StorageError),
    /// The database failed: none of the batch was applied.
    Database(rusqlite::Error),
}

impl From<rusqlite::Error> for Refusal {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error)
    }
}

#[derive(Debug)]
pub(crate) struct Writer {
    conn: Connection,
    name: String,
    used: u64,
    quota: u64,
    log_pages: Arc<AtomicI32>,
}

impl Writer {
    pub(crate) fn new(mut conn: Connection, name: String, quota: u64) -> rusqlite::Result<Self> {
        let used: i64 = conn.query_row("SELECT bytes FROM canopy_usage", [], |row| row.get(0))?;
        let log_pages = Arc::new(AtomicI32::new(0));
        let counter = log_pages.clone();
        // Takes the place of SQLite's own checkpoints, whose errors nobody would see.
        conn.wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, pages| {
            counter.store(pages, Ordering::Relaxed);
            Ok(())
        }))?;
        Ok(Self {
            conn,
            name,
            used: u64::try_from(used).unwrap_or(0),
            quota,
            log_pages,
        })
    }

    /// Applies `changes` in order and commits them together. An error: none of them was applied.
    /// Does not return if it is unknown what the disk holds.
    pub(crate) fn commit<'a>(
        &mut self,
        changes: impl Iterator<Item = &'a Change>,
    ) -> Result<Committed, Fault> {
        let before = self.used;
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
            self.used = before;
            tracing::error!(database = self.name, %error, "writes were refused");
            Fault::of(&error)
        })
    }

    fn try_commit<'a>(
        &mut self,
        changes: impl Iterator<Item = &'a Change>,
    ) -> rusqlite::Result<Committed> {
        let before = self.used;
        let rows_before = self.conn.total_changes();
        let transaction = self
            .conn
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut batch = Batch {
            conn: &transaction,
            used: before,
            quota: self.quota,
        };
        let mut replies = Vec::new();
        for change in changes {
            replies.push(match batch.apply(change) {
                Ok(reply) => Ok(reply),
                Err(Refusal::Change(error)) => Err(error),
                Err(Refusal::Database(error)) => return Err(error),
            });
        }
        let used = batch.used;
        if used != before {
            let bytes = i64::try_from(used).unwrap_or(i64::MAX);
            transaction
                .prepare_cached("UPDATE canopy_usage SET bytes = ?1")?
                .execute([bytes])?;
        }
        transaction.commit()?;
        self.used = used;
        Ok(Committed {
            replies,
            synchronised: self.conn.total_changes() != rows_before,
        })
    }

    /// Copies the write-ahead log into the database when it has grown. Does not return if the disk
    /// fails.
    pub(crate) fn checkpoint_if_due(&mut self) {
        let pages = self.log_pages.load(Ordering::Relaxed);
        if pages < CHECKPOINT_PAGES {
            return;
        }
        let mode = if pages < CHECKPOINT_WAIT_PAGES {
            "PASSIVE"
        } else {
            "RESTART"
        };
        self.checkpoint(mode);
    }

    fn checkpoint(&mut self, mode: &str) {
        let sql = format!("PRAGMA wal_checkpoint({mode})");
        match self.conn.query_row(&sql, [], |row| row.get::<_, i64>(0)) {
            Ok(_) => {}
            Err(error) if is_fatal(&error) => die(&self.name, "a checkpoint failed", &error),
            // Full disks and long readings pass; the log keeps what was committed.
            Err(error) => tracing::warn!(database = self.name, %error, "a checkpoint was put off"),
        }
    }

    /// Closes the file with everything in it and nothing beside it.
    pub(crate) fn close(mut self) {
        if let Err(error) = self.give_space_back() {
            if is_fatal(&error) {
                die(&self.name, "giving space back failed", &error);
            }
            tracing::warn!(database = self.name, %error, "free space was not given back");
        }
        self.checkpoint("TRUNCATE");
        if let Err((_, error)) = self.conn.close() {
            tracing::error!(database = self.name, %error, "a database was not closed");
        }
    }

    fn give_space_back(&mut self) -> rusqlite::Result<()> {
        let free: i64 = crate::schema::pragma(&self.conn, "freelist_count")?;
        if free >= VACUUM_PAGES {
            let sql = format!("PRAGMA incremental_vacuum({VACUUM_PAGES})");
            let mut vacuum = self.conn.prepare(&sql)?;
            let mut rows = vacuum.query([])?;
            while rows.next()?.is_some() {}
        }
        Ok(())
    }
}

/// The changes of one commit, with the bytes used after those applied so far.
struct Batch<'a> {
    conn: &'a Connection,
    used: u64,
    quota: u64,
}

impl<'a> Batch<'a> {
    fn apply(&mut self, change: &Change) -> Result<Reply, Refusal> {
        match &change.kind {
            Kind::Put(pairs) => {
                self.put(
                    &change.bucket,
                    pairs.iter().map(|(key, value)| (key.as_str(), value)),
                )?;
                Ok(Reply::Done)
            }
            Kind::Delete(keys) => self.delete(&change.bucket, keys),
            Kind::Increment { key, delta } => {
                let sum = self.sum(&change.bucket, key, *delta)?;
                self.put(
                    &change.bucket,
                    [(key.as_str(), &sum.to_string().into_bytes())],
                )?;
                Ok(Reply::Sum(sum))
            }
            Kind::Swap { key, expected, new } => {
                let found = self.get(&change.bucket, key)?;
                if found != *expected {
                    return Ok(Reply::Swap(Swap::Conflict(found)));
                }
                self.put(&change.bucket, [(key.as_str(), new)])?;
                Ok(Reply::Swap(Swap::Done))
            }
        }
    }

    /// Sets all pairs, or none of them if they do not fit.
    fn put<'p>(
        &mut self,
        bucket: &str,
        pairs: impl IntoIterator<Item = (&'p str, &'p Vec<u8>)> + Clone,
    ) -> Result<(), Refusal> {
        let known = self.bucket(bucket)?;
        let mut freed = 0;
        let mut taken = if known.is_none() {
            cost(bucket.len(), 0)
        } else {
            0
        };
        if let Some(id) = known {
            let mut size = self.size()?;
            for (key, _) in pairs.clone() {
                freed += size_of(&mut size, id, key)?.map_or(0, |size| cost(key.len(), size));
            }
        }
        for (key, value) in pairs.clone() {
            taken += cost(key.len(), value.len());
        }
        let used = self.used.saturating_sub(freed) + taken;
        if used > self.quota && used > self.used {
            return Err(Refusal::Change(StorageError::QuotaExceeded {
                quota: QuotaOf::InstallationBytes,
                limit: self.quota,
            }));
        }
        let id = match known {
            Some(id) => id,
            None => self
                .conn
                .prepare_cached("INSERT INTO canopy_bucket (name) VALUES (?1)")?
                .insert([bucket.as_bytes()])?,
        };
        let mut put = self.conn.prepare_cached(
            "INSERT INTO canopy_entry (bucket, key, value) VALUES (?1, ?2, ?3)
             ON CONFLICT (bucket, key) DO UPDATE SET value = excluded.value",
        )?;
        for (key, value) in pairs {
            put.execute(params![id, key.as_bytes(), value])?;
        }
        self.used = used;
        Ok(())
    }

    fn delete(&mut self, bucket: &str, keys: &[String]) -> Result<Reply, Refusal> {
        let Some(id) = self.bucket(bucket)? else {
            return Ok(Reply::Done);
        };
        let mut size = self.size()?;
        let mut delete = self
            .conn
            .prepare_cached("DELETE FROM canopy_entry WHERE bucket = ?1 AND key = ?2")?;
        for key in keys {
            if let Some(size) = size_of(&mut size, id, key)? {
                delete.execute(params![id, key.as_bytes()])?;
                self.used = self.used.saturating_sub(cost(key.len(), size));
            }
        }
        Ok(Reply::Done)
    }

    fn sum(&self, bucket: &str, key: &str, delta: i64) -> Result<i64, Refusal> {
        let current = match self.get(bucket, key)? {
            None => 0,
            Some(bytes) => std::str::from_utf8(&bytes)
                .ok()
                .and_then(|text| text.parse::<i64>().ok())
                .ok_or(Refusal::Change(StorageError::NotANumber))?,
        };
        current
            .checked_add(delta)
            .ok_or(Refusal::Change(StorageError::Overflow))
    }

    fn get(&self, bucket: &str, key: &str) -> rusqlite::Result<Option<Vec<u8>>> {
        query::get(self.conn, bucket, key)
    }

    fn bucket(&self, name: &str) -> rusqlite::Result<Option<i64>> {
        self.conn
            .prepare_cached("SELECT id FROM canopy_bucket WHERE name = ?1")?
            .query_row([name.as_bytes()], |row| row.get(0))
            .optional()
    }

    fn size(&self) -> rusqlite::Result<CachedStatement<'a>> {
        self.conn
            .prepare_cached("SELECT length(value) FROM canopy_entry WHERE bucket = ?1 AND key = ?2")
    }
}

fn size_of(
    size: &mut CachedStatement<'_>,
    bucket: i64,
    key: &str,
) -> rusqlite::Result<Option<usize>> {
    let size: Option<isize> = size
        .query_row(params![bucket, key.as_bytes()], |row| row.get(0))
        .optional()?;
    Ok(size.map(isize::unsigned_abs))
}

fn cost(key: usize, value: usize) -> u64 {
    (key + value) as u64 + ENTRY_OVERHEAD
}
