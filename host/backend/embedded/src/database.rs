//! One open database: a queue of changes with one writer, and a few readers.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use canopy_backend::StorageError;
use canopy_ids::InstallationId;
use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::fault::{Fault, die};
use crate::pool::{Counters, Lease};
use crate::schema;
use crate::settings::EmbeddedSettings;
use crate::writer::{Change, Reply, Writer};

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
    name: String,
    dir: PathBuf,
    settings: Arc<EmbeddedSettings>,
    counters: Arc<Counters>,
    opened: Instant,
    queue: Mutex<Queue>,
    room: Arc<Semaphore>,
    /// Only the one task that empties the queue takes it, so nobody waits for it.
    writer: Mutex<Writer>,
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
    /// Opens the database of `installation`, which is made if it does not exist.
    pub(crate) fn open(
        installation: InstallationId,
        dir: PathBuf,
        settings: Arc<EmbeddedSettings>,
        counters: Arc<Counters>,
    ) -> Result<Self, StorageError> {
        let name = installation.to_string();
        let failed = |error: &dyn std::fmt::Display| {
            tracing::error!(database = name, %error, "a database can't be opened");
            StorageError::Failed(format!("the database of {name} can't be opened: {error}"))
        };
        let conn = match schema::open_writer(&dir, settings.cache_bytes) {
            Ok(conn) => conn,
            Err(schema::SchemaError::Sqlite(error))
                if matches!(Fault::of(&error), Fault::NoSpace) =>
            {
                return Err(StorageError::NoSpace);
            }
            Err(error) => return Err(failed(&error)),
        };
        let writer = Writer::new(conn, name.clone(), settings.limits.quota_bytes)
            .map_err(|error| failed(&error))?;
        Ok(Self {
            dir,
            counters,
            opened: Instant::now(),
            queue: Mutex::default(),
            room: Arc::new(Semaphore::new(settings.queue_bytes)),
            writer: Mutex::new(writer),
            readers: Mutex::default(),
            reading: Arc::new(Semaphore::new(settings.readers)),
            used_at: AtomicU64::new(0),
            slowness: AtomicU32::new(0),
            name,
            settings,
        })
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
                    let conn = match conn {
                        Some(conn) => conn,
                        None => schema::open_reader(&lease.dir, lease.settings.cache_bytes)
                            .map_err(|error| Fault::of(&error))?,
                    };
                    let result = lease.run(conn, query);
                    drop(permit);
                    result
                };
                tokio::task::spawn_blocking(task)
                    .await
                    .map_err(|error| StorageError::Failed(error.to_string()))?
            }
        }
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
            Err(StorageError::Failed(error)) => {
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
        let bytes = u32::try_from(bytes.min(lease.settings.queue_bytes)).unwrap_or(u32::MAX);
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
        loop {
            let batch: Vec<Queued> = {
                let mut queue = self.queue.lock();
                let count = queue.changes.len().min(self.settings.commit_writes);
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
            match writer.commit(changes.iter()) {
                Ok(committed) => {
                    self.counters.committed(&committed);
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
            writer.checkpoint_if_due();
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
