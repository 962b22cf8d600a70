//! The database file: opening it, bringing it to the present format, and who may touch it.
//!
//! One thread owns the only connection that writes; everybody else hands it whole transactions.
//! Readers have connections of their own and never wait for the writer. A commit that the disk did
//! not take ends the process: after a failed fsync nobody knows what is on the disk, and a retry
//! that succeeds would be a lie.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use canopy_backend_keys::{FileKeys, Keyring};
use canopy_backend_sqlite::{self as sqlite, Format, Log, die, is_fatal};
use parking_lot::Mutex;
use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

use crate::seal::Sealer;
use crate::sql::{RowExt, one};
use crate::{Counts, StoreError};

/// `CNPY`, and what brings the database from one format to the next.
const FORMAT: Format = Format {
    application_id: 0x434e_5059,
    migrations: &[
        include_str!("schema.sql"),
        include_str!("jobs.sql"),
        include_str!("schedules.sql"),
        include_str!("bindings.sql"),
        include_str!("bound.sql"),
        include_str!("badges.sql"),
    ],
};

/// What operators know it by.
const NAME: &str = "the control plane";

/// What the keys of the database and of the secrets in it are derived for.
const DATABASE_PURPOSE: &str = "control database";
const SECRETS_PURPOSE: &str = "control secrets";

/// Memory for pages, of each connection.
const CACHE_BYTES: u64 = 4 << 20;

/// Transactions that may wait for the writer; whoever comes on top waits to hand his in.
const WRITE_QUEUE: usize = 256;

/// Connections that read at once.
const READERS: usize = 4;

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// The control plane's database. Clones are the same.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    writer: Mutex<Option<mpsc::Sender<Job>>>,
    thread: Mutex<Option<thread::JoinHandle<()>>>,
    readers: Mutex<Vec<Connection>>,
    reading: Semaphore,
    /// Counts the transactions that were written, so that others can react.
    commits: watch::Sender<u64>,
    path: PathBuf,
    keys: FileKeys,
    sealer: Sealer,
}

impl Store {
    /// Opens `control.db` in `directory`, encrypted with a key of the node, and makes it if it is
    /// missing.
    pub fn open(directory: &Path, keys: &Keyring) -> Result<Self, StoreError> {
        let path = directory.join("control.db");
        let sealer = Sealer::new(&keys.node_key(SECRETS_PURPOSE));
        let keys = FileKeys::from(keys.node_key(DATABASE_PURPOSE));
        let mut connection = sqlite::open(&path, &keys, &FORMAT, CACHE_BYTES)
            .map_err(|error| StoreError::opening(&path, error))?;
        connection.pragma_update(None, "foreign_keys", true)?;
        // What a tenant leaves behind must not stay in free pages.
        connection.pragma_update_and_check(None, "secure_delete", true, |_| Ok(()))?;

        let log = Log::of(NAME);
        log.watch(&mut connection)?;

        let (sender, mut jobs) = mpsc::channel::<Job>(WRITE_QUEUE);
        let thread = thread::Builder::new()
            .name("control-store".into())
            .spawn(move || {
                while let Some(job) = jobs.blocking_recv() {
                    job(&mut connection);
                    log.checkpoint_if_due(&connection, true);
                }
                // What SQLite copies by itself when it closes, it does without a word.
                log.empty(&connection);
            })
            .map_err(|error| StoreError::Failed(format!("starting the writer: {error}")))?;
        Ok(Self(Arc::new(Inner {
            writer: Mutex::new(Some(sender)),
            thread: Mutex::new(Some(thread)),
            readers: Mutex::default(),
            reading: Semaphore::new(READERS),
            commits: watch::Sender::new(0),
            path,
            keys,
            sealer,
        })))
    }

    /// Waits for what is under way and closes the database. Later operations fail.
    pub async fn close(&self) {
        drop(self.0.writer.lock().take());
        self.0.reading.close();
        let thread = self.0.thread.lock().take();
        if let Some(thread) = thread {
            let joined = tokio::task::spawn_blocking(move || thread.join()).await;
            if !matches!(joined, Ok(Ok(()))) {
                tracing::error!("the writer of the control database ended with a panic");
            }
        }
        self.0.readers.lock().clear();
    }

    /// Counts the transactions that were written since the store was opened. It changes before
    /// the operation that wrote returns, and also when nobody waits for that any more.
    pub fn commits(&self) -> watch::Receiver<u64> {
        self.0.commits.subscribe()
    }

    /// Runs one transaction that writes. It takes place whole, even if the caller goes away.
    pub(crate) async fn write<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>, &Sealer) -> Result<T, StoreError> + Send + 'static,
    {
        let sender = self.0.writer.lock().clone().ok_or(StoreError::Closed)?;
        let (answer, outcome) = oneshot::channel();
        let inner = Arc::clone(&self.0);
        let job: Job = Box::new(move |connection| {
            let result = transact(connection, |tx| work(tx, &inner.sealer));
            if result.is_ok() {
                inner.commits.send_modify(|count| *count += 1);
            }
            // Whoever asked may be gone; the transaction counts all the same.
            let _ = answer.send(result);
        });
        sender.send(job).await.map_err(|_| StoreError::Closed)?;
        outcome
            .await
            .map_err(|_| StoreError::Failed("the writer ended with a panic".into()))?
    }

    /// Runs what cannot be part of a transaction on the connection that writes.
    pub(crate) async fn outside_transaction<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let sender = self.0.writer.lock().clone().ok_or(StoreError::Closed)?;
        let (answer, outcome) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            // Whoever asked may be gone; the work is done all the same.
            let _ = answer.send(work(connection));
        });
        sender.send(job).await.map_err(|_| StoreError::Closed)?;
        outcome
            .await
            .map_err(|_| StoreError::Failed("the writer ended with a panic".into()))?
    }

    /// Runs one transaction that reads.
    pub(crate) async fn read<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection, &Sealer) -> Result<T, StoreError> + Send + 'static,
    {
        let inner = Arc::clone(&self.0);
        let _turn = self
            .0
            .reading
            .acquire()
            .await
            .map_err(|_| StoreError::Closed)?;
        let task = tokio::task::spawn_blocking(move || {
            let idle = inner.readers.lock().pop();
            let mut connection = match idle {
                Some(connection) => connection,
                None => sqlite::open_reader(&inner.path, &inner.keys, CACHE_BYTES)
                    .map_err(|error| StoreError::opening(&inner.path, error))?,
            };
            let transaction = connection.transaction()?;
            let result = work(&transaction, &inner.sealer);
            drop(transaction);
            inner.readers.lock().push(connection);
            result
        });
        task.await
            .map_err(|error| StoreError::Failed(format!("a reader ended: {error}")))?
    }

    /// The revision of the last change.
    pub async fn revision(&self) -> Result<u64, StoreError> {
        self.read(|db, _| {
            one(db, "SELECT revision FROM counter", [], |row| row.number(0))?
                .ok_or_else(|| StoreError::Corrupt("the counter is missing".into()))
        })
        .await
    }

    /// How many rows of each noun there are.
    pub async fn counts(&self) -> Result<Counts, StoreError> {
        self.read(|db, _| {
            let sql = "SELECT (SELECT count(*) FROM publisher), (SELECT count(*) FROM package), \
                       (SELECT count(*) FROM version), (SELECT count(*) FROM tenant), \
                       (SELECT count(*) FROM installation), (SELECT count(*) FROM driver)";
            let counts = one(db, sql, [], |row| {
                Ok(Counts {
                    publishers: row.number(0)?,
                    packages: row.number(1)?,
                    versions: row.number(2)?,
                    tenants: row.number(3)?,
                    installations: row.number(4)?,
                    drivers: row.number(5)?,
                })
            })?;
            Ok(counts.unwrap_or_default())
        })
        .await
    }

    /// The database's file.
    pub(crate) fn path(&self) -> &Path {
        &self.0.path
    }

    /// Bytes of the database on the disk.
    pub fn size(&self) -> u64 {
        let size = |path: &Path| std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        size(&self.0.path) + size(&self.0.path.with_extension("db-wal"))
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // The last job may hold the last clone, so this may be the writer's own thread.
        drop(self.writer.get_mut().take());
        if let Some(thread) = self.thread.get_mut().take()
            && thread.thread().id() != thread::current().id()
        {
            // A panic of the writer has been reported to whoever waited for it.
            let _ = thread.join();
        }
    }
}

fn transact<T>(
    connection: &mut Connection,
    work: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let value = work(&tx)?;
    match tx.commit() {
        Ok(()) => Ok(value),
        Err(error) if is_fatal(&error) => die(NAME, "a commit failed", &error),
        Err(error) => Err(error.into()),
    }
}
