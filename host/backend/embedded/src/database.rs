//! One open database: a queue of changes with one writer, and a few readers.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use canopy_backend::{CpuMeter, Scope, StorageError};
use canopy_backend_keys::FileKeys;
use canopy_backend_sqlite::{self as sqlite, Snapshot, check, die};
use canopy_ids::TenantId;
use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::format::{FILE_NAME, FORMAT, PURPOSE};
use crate::pool::{Lease, Shared};
use crate::writer::{Change, Owner, Reply, Writer};

/// A reading that took longer had to wait for the disk.
const SLOW_READING: Duration = Duration::from_millis(1);
/// How a database's slowness grows with a slow reading; each quick one takes 1 away. A disk that
/// is waited for makes one reading in few slow, a thread that was interrupted one in hundreds.
const SLOW_READING_COUNTS: u32 = 16;
/// Slowness from which on readings leave the serving thread, and the most that is counted, so
/// that they come back soon after the disk has become quick.
const SLOW: u32 = 32;
const SLOWEST: u32 = 64;

#[derive(Debug)]
pub(crate) struct Database {
    tenant: TenantId,
    name: String,
    path: PathBuf,
    keys: FileKeys,
    shared: Arc<Shared>,
    opened: Instant,
    queue: Mutex<Queue>,
    room: Arc<Semaphore>,
    /// Only the one task that empties the queue takes it, and whoever begins a copy.
    writer: Mutex<Writer>,
    /// Copies that are being made, which checkpoints do not wait for.
    copies: AtomicUsize,
    readers: Mutex<Vec<Connection>>,
    reading: Arc<Semaphore>,
    used_at: AtomicU64,
    slowness: AtomicU32,
}

#[derive(Debug, Default)]
struct Queue {
    changes: VecDeque<Queued>,
    /// Whether a task is emptying it.
    emptied: bool,
}

#[derive(Debug)]
struct Queued {
    change: Change,
    reply: oneshot::Sender<Result<Reply, StorageError>>,
    room: OwnedSemaphorePermit,
}

/// Where a reading runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// On the serving thread: a few microseconds, less than leaving it costs. As long as the
    /// disk has not been seen to be slow.
    Here,
    /// On a thread that may wait.
    Aside,
}

impl Database {
    /// Opens the database of `scope` in `folder`, which is made if it does not exist.
    pub(crate) fn open(
        scope: Scope,
        folder: &Path,
        shared: Arc<Shared>,
    ) -> Result<Self, StorageError> {
        let name = scope.to_string();
        let path = folder.join(FILE_NAME);
        let keys = shared.keys.tenant(scope.tenant)?.file_keys(scope, PURPOSE);
        let owner = Owner {
            scope,
            ledger: shared.ledger.clone(),
            clock: shared.clock.clone(),
        };
        let opened = sqlite::open(&path, &keys, &FORMAT, shared.settings.cache_bytes)
            .and_then(|conn| Ok(Writer::new(conn, name.clone(), owner)?));
        let writer = opened.map_err(|error| match StorageError::from(error) {
            StorageError::NoSpace => StorageError::NoSpace,
            error => {
                tracing::error!(database = name, %error, "a database can't be opened");
                error
            }
        })?;
        Ok(Self {
            path,
            keys,
            opened: Instant::now(),
            queue: Mutex::default(),
            room: Arc::new(Semaphore::new(shared.settings.queue_bytes)),
            writer: Mutex::new(writer),
            copies: AtomicUsize::new(0),
            readers: Mutex::default(),
            reading: Arc::new(Semaphore::new(shared.settings.readers)),
            used_at: AtomicU64::new(0),
            slowness: AtomicU32::new(0),
            tenant: scope.tenant,
            name,
            shared,
        })
    }

    fn open_reader(&self) -> Result<Connection, StorageError> {
        let cache_bytes = self.shared.settings.cache_bytes;
        Ok(sqlite::open_reader(&self.path, &self.keys, cache_bytes)?)
    }

    /// Copies the database as it is at one moment to the file `into`. Others go on reading and
    /// writing. Takes as long as the disk does.
    pub(crate) fn copy(&self, into: &Path) -> Result<(), StorageError> {
        self.hold(|snapshot| snapshot.copy(into))
            .and_then(|copied| copied.map_err(|error| sqlite::OpenError::from(error).into()))
    }

    /// Reads all of it and says what is wrong. Others go on reading and writing.
    pub(crate) fn check(&self) -> Result<Vec<String>, StorageError> {
        let reader = self.open_reader()?;
        self.hold(|_| check(&reader))
    }

    /// Does `work` while the file holds one moment of the database.
    fn hold<T>(&self, work: impl FnOnce(&Snapshot) -> T) -> Result<T, StorageError> {
        let reader = self.open_reader()?;
        self.copies.fetch_add(1, Ordering::SeqCst);
        let taken = self.writer.lock().snapshot(&self.path, reader);
        let result = taken.map(|snapshot| work(&snapshot));
        self.copies.fetch_sub(1, Ordering::SeqCst);
        result
    }

    /// Closes the files. Takes as long as the disk does.
    pub(crate) fn close(self) {
        self.readers.into_inner().clear();
        self.writer.into_inner().close();
    }

    /// How long it has not been used.
    pub(crate) fn idle(&self) -> Duration {
        let used_at = Duration::from_millis(self.used_at.load(Ordering::Relaxed));
        self.opened.elapsed().saturating_sub(used_at)
    }

    pub(crate) fn touch(&self) {
        let now = u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.used_at.store(now, Ordering::Relaxed);
    }

    /// Runs `query` on a reading connection.
    pub(crate) async fn read<T, Q>(lease: Lease, place: Place, query: Q) -> Result<T, StorageError>
    where
        T: Send + 'static,
        Q: FnOnce(&Connection) -> Result<T, StorageError> + Send + 'static,
    {
        let closed = |_| StorageError::Failed("the runtime is ending".into());
        let permit = lease
            .reading
            .clone()
            .acquire_owned()
            .await
            .map_err(closed)?;
        let conn = lease.readers.lock().pop();
        match conn {
            Some(conn) if place == Place::Here && !lease.is_slow() => lease.run(conn, query),
            conn => {
                let task = move || {
                    let mut meter = lease.meter();
                    let conn = match conn {
                        Some(conn) => conn,
                        None => lease.open_reader()?,
                    };
                    let result = lease.run(conn, query);
                    meter.charge();
                    drop(permit);
                    result
                };
                tokio::task::spawn_blocking(task)
                    .await
                    .map_err(|error| StorageError::Failed(error.to_string()))?
            }
        }
    }

    /// Of what this thread does from here on.
    fn meter(&self) -> CpuMeter {
        self.shared.payers.begin(self.tenant)
    }

    fn run<T>(
        &self,
        conn: Connection,
        query: impl FnOnce(&Connection) -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        let started = Instant::now();
        let result = query(&conn);
        let slowness = self.slowness.load(Ordering::Relaxed);
        let slowness = match started.elapsed() > SLOW_READING {
            true => SLOWEST.min(slowness + SLOW_READING_COUNTS),
            false => slowness.saturating_sub(1),
        };
        // Readings at the same time may take each other's count away: it is an estimate.
        self.slowness.store(slowness, Ordering::Relaxed);
        match &result {
            // A connection that failed is not used again.
            Err(StorageError::Failed(error) | StorageError::Damaged(error)) => {
                tracing::error!(database = self.name, %error, "a reading failed");
            }
            _ => self.readers.lock().push(conn),
        }
        result
    }

    fn is_slow(&self) -> bool {
        self.slowness.load(Ordering::Relaxed) >= SLOW
    }

    /// Queues `change`, of about `bytes`, and waits until it is on the disk or refused.
    pub(crate) async fn write(
        lease: Lease,
        change: Change,
        bytes: usize,
    ) -> Result<Reply, StorageError> {
        let gone = || StorageError::Failed("the writer ended".into());
        let bytes = u32::try_from(bytes.min(lease.shared.settings.queue_bytes)).unwrap_or(u32::MAX);
        let room = lease
            .room
            .clone()
            .acquire_many_owned(bytes)
            .await
            .map_err(|_| gone())?;
        let (reply, wait) = oneshot::channel();
        let begin = {
            let mut queue = lease.queue.lock();
            queue.changes.push_back(Queued {
                change,
                reply,
                room,
            });
            !std::mem::replace(&mut queue.emptied, true)
        };
        if begin {
            tokio::task::spawn_blocking(move || lease.empty_queue());
        } else {
            drop(lease);
        }
        wait.await.map_err(|_| gone())?
    }

    /// Commits what has queued up, all of it together, until nothing is left. What arrives during
    /// one commit is the next one.
    fn empty_queue(&self) {
        let _guard = EndOnPanic(&self.name);
        let mut writer = self.writer.lock();
        let mut meter = self.meter();
        loop {
            let batch: Vec<Queued> = {
                let mut queue = self.queue.lock();
                let count = queue.changes.len().min(self.shared.settings.commit_writes);
                if count == 0 {
                    queue.emptied = false;
                    return;
                }
                queue.changes.drain(..count).collect()
            };
            let (changes, waiting): (Vec<_>, Vec<_>) = batch
                .into_iter()
                .map(|queued| (queued.change, (queued.reply, queued.room)))
                .unzip();
            let committed = writer.commit(changes.iter());
            meter.charge();
            match committed {
                Ok(committed) => {
                    self.shared.counters.committed(&committed);
                    for ((reply, _), result) in waiting.into_iter().zip(committed.replies) {
                        // Whoever waited may have gone.
                        let _ = reply.send(result);
                    }
                }
                Err(fault) => {
                    for (reply, _) in waiting {
                        let _ = reply.send(Err(fault.clone().into()));
                    }
                }
            }
            writer.checkpoint_if_due(self.copies.load(Ordering::SeqCst) == 0);
        }
    }
}

/// A writer that panicked has left its queue, or a transaction, half done.
struct EndOnPanic<'a>(&'a str);

impl Drop for EndOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            die(
                self.0,
                "the writer panicked",
                &"see the message of the panic",
            );
        }
    }
}
