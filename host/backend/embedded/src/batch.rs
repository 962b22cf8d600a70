//! The changes of one commit, applied one after the other within its transaction.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use canopy_backend::{
    Action, Condition, Entry, Outcome, QuotaOf, SetOptions, StorageError, StorageKind, Usage,
};
use rusqlite::{Connection, OptionalExtension, params};

use crate::query;
use crate::writer::{Owner, Reply};

/// What an entry or a bucket costs of the quota on top of its bytes: about what the file needs.
const ENTRY_OVERHEAD: u64 = 64;
/// Names of buckets whose numbers are remembered.
const KNOWN_BUCKETS: usize = 1024;
/// Entries that have expired and are removed before a quota refuses a write.
const ALL: usize = usize::MAX;

/// One step of a change.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) bucket: Arc<str>,
    pub(crate) key: String,
    pub(crate) action: Action,
}

/// Why a change was not applied.
pub(crate) enum Refusal {
    /// A condition did not hold.
    Conflict {
        operation: usize,
        found: Option<Entry>,
    },
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

impl From<StorageError> for Refusal {
    fn from(error: StorageError) -> Self {
        Self::Change(error)
    }
}

/// What the tables hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) bytes: u64,
    pub(crate) items: u64,
    version: u64,
    /// When the next entry expires, or earlier.
    next_expiry: Option<i64>,
}

impl Tally {
    pub(crate) fn read(conn: &Connection) -> rusqlite::Result<Self> {
        let sql = "SELECT bytes, items, version FROM canopy_usage";
        let number = |row: &rusqlite::Row<'_>, index| row.get(index).map(i64::unsigned_abs);
        let mut tally = conn.query_row(sql, [], |row| {
            Ok(Self {
                bytes: number(row, 0)?,
                items: number(row, 1)?,
                version: number(row, 2)?,
                next_expiry: None,
            })
        })?;
        tally.next_expiry = next_expiry(conn)?;
        Ok(tally)
    }

    pub(crate) fn write(&self, conn: &Connection, before: &Self) -> rusqlite::Result<()> {
        if (self.bytes, self.items, self.version) == (before.bytes, before.items, before.version) {
            return Ok(());
        }
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        conn.prepare_cached("UPDATE canopy_usage SET bytes = ?1, items = ?2, version = ?3")?
            .execute([number(self.bytes), number(self.items), number(self.version)])?;
        Ok(())
    }

    fn free(&mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_sub(bytes);
        self.items = self.items.saturating_sub(1);
    }
}

/// The numbers of buckets, as far as they are known.
#[derive(Debug, Default)]
pub(crate) struct Buckets(HashMap<Arc<str>, i64>);

impl Buckets {
    /// What was learnt in a transaction that is undone is not so.
    pub(crate) fn forget(&mut self) {
        self.0.clear();
    }
}

pub(crate) struct Batch<'a> {
    pub(crate) conn: &'a Connection,
    pub(crate) owner: &'a Owner,
    pub(crate) tally: Tally,
    pub(crate) buckets: &'a mut Buckets,
    pub(crate) now: i64,
}

/// The row of a key.
struct Found {
    id: i64,
    length: usize,
    expires_at: Option<i64>,
}

impl Batch<'_> {
    /// Takes all steps, or none.
    pub(crate) fn apply(&mut self, steps: &[Step]) -> Result<Reply, Refusal> {
        match self.attempt(steps) {
            Err(Refusal::Change(StorageError::QuotaExceeded { .. })) if self.sweep(ALL)? > 0 => {
                self.attempt(steps)
            }
            result => result,
        }
    }

    fn attempt(&mut self, steps: &[Step]) -> Result<Reply, Refusal> {
        let before = self.tally;
        // What is alone is refused before it writes, and needs nothing to be undone.
        if let [step] = steps {
            return Ok(Reply::Done(vec![self.step(0, step, Some(before))?]));
        }
        self.conn.prepare_cached("SAVEPOINT change")?.execute([])?;
        let all = (steps.iter().enumerate())
            .map(|(index, step)| self.step(index, step, None))
            .collect::<Result<Vec<_>, _>>()
            .and_then(|outcomes| {
                self.admit(&before, &self.tally)?;
                Ok(outcomes)
            });
        if let Err(Refusal::Database(error)) = all {
            return Err(error.into());
        }
        if all.is_err() {
            self.conn
                .prepare_cached("ROLLBACK TO change")?
                .execute([])?;
            self.tally = before;
            self.buckets.forget();
        }
        self.conn.prepare_cached("RELEASE change")?.execute([])?;
        all.map(Reply::Done)
    }

    /// Takes one step. With `admit_from`, it asks before it writes whether what it adds to that
    /// may be stored.
    fn step(
        &mut self,
        operation: usize,
        step: &Step,
        admit_from: Option<Tally>,
    ) -> Result<Outcome, Refusal> {
        let key = step.key.as_bytes();
        let bucket = self.bucket(&step.bucket)?;
        let found = match bucket {
            Some(bucket) => self.find(bucket, key)?,
            None => None,
        };
        let alive = found.as_ref().filter(|found| {
            found
                .expires_at
                .is_none_or(|expires_at| expires_at > self.now)
        });
        let condition = match &step.action {
            Action::Check(condition) | Action::Delete(condition) => condition,
            Action::Set { options, .. } => &options.condition,
            Action::Get | Action::Increment(_) => &Condition::Always,
        };
        // The value itself is read only where it is looked at.
        let entry = match (condition, &step.action) {
            (Condition::Always, Action::Set { .. } | Action::Delete(_)) => None,
            _ => alive.map(|found| self.entry(found.id)).transpose()?,
        };
        if !condition.holds(entry.as_ref()) {
            return Err(Refusal::Conflict {
                operation,
                found: entry,
            });
        }
        match &step.action {
            Action::Check(_) => Ok(Outcome::Checked),
            Action::Get => Ok(Outcome::Found(entry)),
            Action::Set { value, options } => {
                let expires_at = options.ttl.map(|ttl| self.expiry(ttl));
                let place = (bucket, found.as_ref());
                self.put(step, place, value, expires_at, admit_from)
                    .map(Outcome::Stored)
            }
            Action::Increment(delta) => {
                let sum = sum(entry.as_ref(), *delta)?;
                let value = sum.to_string().into_bytes();
                let expires_at = alive.and_then(|found| found.expires_at);
                self.put(
                    step,
                    (bucket, found.as_ref()),
                    &value,
                    expires_at,
                    admit_from,
                )?;
                Ok(Outcome::Sum(sum))
            }
            Action::Delete(_) => {
                let was_there = alive.is_some();
                if let Some(found) = &found {
                    let before = self.tally;
                    self.conn
                        .prepare_cached("DELETE FROM canopy_entry WHERE id = ?1")?
                        .execute([found.id])?;
                    self.tally.free(cost(key.len(), found.length));
                    if admit_from.is_some() {
                        self.admit(&before, &self.tally)?;
                    }
                }
                Ok(Outcome::Removed(was_there))
            }
        }
    }

    fn put(
        &mut self,
        step: &Step,
        (bucket, found): (Option<i64>, Option<&Found>),
        value: &[u8],
        expires_at: Option<i64>,
        admit_from: Option<Tally>,
    ) -> Result<u64, Refusal> {
        let key = step.key.as_bytes();
        let mut tally = self.tally;
        if bucket.is_none() {
            tally.bytes += cost(step.bucket.len(), 0);
        }
        if let Some(found) = found {
            tally.free(cost(key.len(), found.length));
        }
        tally.bytes += cost(key.len(), value.len());
        tally.items += 1;
        tally.version += 1;
        tally.next_expiry = match (tally.next_expiry, expires_at) {
            (Some(next), Some(this)) => Some(next.min(this)),
            (next, this) => next.or(this),
        };
        if let Some(before) = admit_from {
            self.admit(&before, &tally)?;
        }
        let bucket = match bucket {
            Some(bucket) => bucket,
            None => self.make_bucket(&step.bucket)?,
        };
        let version = i64::try_from(tally.version).unwrap_or(i64::MAX);
        match found {
            Some(found) => self
                .conn
                .prepare_cached(
                    "UPDATE canopy_entry SET value = ?2, version = ?3, expires_at = ?4
                     WHERE id = ?1",
                )?
                .execute(params![found.id, value, version, expires_at])?,
            None => self
                .conn
                .prepare_cached(
                    "INSERT INTO canopy_entry (bucket, key, value, version, expires_at)
                     VALUES (?1, ?2, ?3, ?4, ?5)",
                )?
                .execute(params![bucket, key, value, version, expires_at])?,
        };
        self.tally = tally;
        Ok(tally.version)
    }

    /// Whether what grows from `before` to `after` may be stored.
    fn admit(&self, before: &Tally, after: &Tally) -> Result<(), StorageError> {
        let scope = self.owner.scope;
        let ledger = &self.owner.ledger;
        let quota = ledger.quotas().installation(scope, StorageKind::KeyValue);
        let exceeded = |quota, limit| Err(StorageError::QuotaExceeded { quota, limit });
        if after.items > before.items && after.items > quota.items {
            return exceeded(QuotaOf::InstallationItems, quota.items);
        }
        if after.bytes <= before.bytes {
            ledger.shrink(scope, StorageKind::KeyValue, before.bytes - after.bytes);
            return Ok(());
        }
        if after.bytes > quota.bytes {
            return exceeded(QuotaOf::InstallationBytes, quota.bytes);
        }
        ledger.grow(scope, StorageKind::KeyValue, after.bytes - before.bytes)
    }

    /// Removes up to `limit` entries that have expired, and returns how many.
    pub(crate) fn sweep(&mut self, limit: usize) -> rusqlite::Result<usize> {
        if self.tally.next_expiry.is_none_or(|next| next > self.now) {
            return Ok(0);
        }
        let before = self.tally;
        let rows = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut swept = 0;
        {
            let mut expired = self.conn.prepare_cached(
                "DELETE FROM canopy_entry WHERE id IN (SELECT id FROM canopy_entry
                 WHERE expires_at IS NOT NULL AND expires_at <= ?1 ORDER BY expires_at LIMIT ?2)
                 RETURNING length(key), length(value)",
            )?;
            let mut removed = expired.query([self.now, rows])?;
            while let Some(row) = removed.next()? {
                let (key, value): (isize, isize) = (row.get(0)?, row.get(1)?);
                self.tally
                    .free(cost(key.unsigned_abs(), value.unsigned_abs()));
                swept += 1;
            }
        }
        self.tally.next_expiry = next_expiry(self.conn)?;
        let freed = before.bytes.saturating_sub(self.tally.bytes);
        let Owner { scope, ledger, .. } = self.owner;
        ledger.shrink(*scope, StorageKind::KeyValue, freed);
        Ok(swept)
    }

    /// What there is, without what has expired.
    pub(crate) fn count(&mut self) -> rusqlite::Result<Reply> {
        self.sweep(ALL)?;
        Ok(Reply::Count(Usage {
            bytes: self.tally.bytes,
            items: self.tally.items,
        }))
    }

    fn expiry(&self, ttl: Duration) -> i64 {
        let millis = ttl.as_nanos().div_ceil(1_000_000);
        self.now
            .saturating_add(i64::try_from(millis).unwrap_or(i64::MAX))
    }

    fn bucket(&mut self, name: &Arc<str>) -> rusqlite::Result<Option<i64>> {
        if let Some(id) = self.buckets.0.get(name) {
            return Ok(Some(*id));
        }
        let id = self
            .conn
            .prepare_cached("SELECT id FROM canopy_bucket WHERE name = ?1")?
            .query_row([name.as_bytes()], |row| row.get(0))
            .optional()?;
        if let Some(id) = id {
            self.know(name, id);
        }
        Ok(id)
    }

    fn make_bucket(&mut self, name: &Arc<str>) -> rusqlite::Result<i64> {
        let id = self
            .conn
            .prepare_cached("INSERT INTO canopy_bucket (name) VALUES (?1)")?
            .insert([name.as_bytes()])?;
        self.know(name, id);
        Ok(id)
    }

    fn know(&mut self, name: &Arc<str>, id: i64) {
        if self.buckets.0.len() >= KNOWN_BUCKETS {
            self.buckets.0.clear();
        }
        self.buckets.0.insert(name.clone(), id);
    }

    fn find(&self, bucket: i64, key: &[u8]) -> rusqlite::Result<Option<Found>> {
        self.conn
            .prepare_cached(
                "SELECT id, length(value), expires_at FROM canopy_entry
                 WHERE bucket = ?1 AND key = ?2",
            )?
            .query_row(params![bucket, key], |row| {
                Ok(Found {
                    id: row.get(0)?,
                    length: row.get::<_, isize>(1)?.unsigned_abs(),
                    expires_at: row.get(2)?,
                })
            })
            .optional()
    }

    fn entry(&self, id: i64) -> rusqlite::Result<Entry> {
        self.conn
            .prepare_cached("SELECT value, version, expires_at FROM canopy_entry WHERE id = ?1")?
            .query_row([id], |row| query::entry(row, 0))
    }
}

fn next_expiry(conn: &Connection) -> rusqlite::Result<Option<i64>> {
    conn.prepare_cached("SELECT min(expires_at) FROM canopy_entry WHERE expires_at IS NOT NULL")?
        .query_row([], |row| row.get(0))
}

fn sum(entry: Option<&Entry>, delta: i64) -> Result<i64, StorageError> {
    let current = match entry {
        None => 0,
        Some(entry) => std::str::from_utf8(&entry.value)
            .ok()
            .and_then(|text| text.parse::<i64>().ok())
            .ok_or(StorageError::NotANumber)?,
    };
    current.checked_add(delta).ok_or(StorageError::Overflow)
}

fn cost(key: usize, value: usize) -> u64 {
    (key + value) as u64 + ENTRY_OVERHEAD
}

/// Setting without a condition and for ever.
pub(crate) fn set(value: Vec<u8>) -> Action {
    Action::Set {
        value,
        options: SetOptions::default(),
    }
}
