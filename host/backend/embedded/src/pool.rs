//! Which databases are open: bounded in number, opened by the first who needs one, closed when
//! they are not used or their place is.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};

use canopy_backend::StorageError;
use canopy_backend::files::erase_dir;
use canopy_ids::InstallationId;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, timeout_at};

use crate::database::Database;
use crate::settings::EmbeddedSettings;
use crate::writer::Committed;

#[derive(Debug)]
pub(crate) struct Pool {
    pub(crate) dir: PathBuf,
    pub(crate) settings: Arc<EmbeddedSettings>,
    pub(crate) counters: Arc<Counters>,
    places: Mutex<Places>,
    /// Told whenever a place may have become free, if somebody waits for one.
    changed: Notify,
    waiting: AtomicUsize,
    /// Held locked until no database can be open any more.
    lock: Mutex<Option<File>>,
    /// Its end ends the thread that closes idle databases.
    _idle: mpsc::Sender<()>,
}

#[derive(Debug, Default)]
struct Places {
    taken: HashMap<InstallationId, Place>,
    closing: usize,
    erased: HashSet<InstallationId>,
    closed: bool,
}

#[derive(Debug)]
enum Place {
    /// Used by nobody else when this is the only reference.
    Open(Arc<Database>),
    /// Being opened, closed or erased.
    Changing,
}

/// What happened since the storage was opened.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) writes: AtomicU64,
    pub(crate) commits: AtomicU64,
    pub(crate) opened: AtomicU64,
    pub(crate) closed: AtomicU64,
}

impl Counters {
    pub(crate) fn committed(&self, committed: &Committed) {
        let writes = committed
            .replies
            .iter()
            .filter(|reply| reply.is_ok())
            .count();
        self.writes.fetch_add(writes as u64, Ordering::Relaxed);
        if committed.synchronised {
            self.commits.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The use of an open database; it stays open until this goes.
#[derive(Debug)]
pub(crate) struct Lease {
    database: Option<Arc<Database>>,
    pool: Arc<Pool>,
}

enum Step {
    Ready(Lease),
    Opening(oneshot::Receiver<Result<Lease, StorageError>>),
    Wait,
}

impl Pool {
    pub(crate) fn new(
        dir: PathBuf,
        settings: EmbeddedSettings,
        lock: File,
        idle: mpsc::Sender<()>,
    ) -> Self {
        Self {
            dir,
            settings: Arc::new(settings),
            counters: Arc::default(),
            places: Mutex::default(),
            changed: Notify::new(),
            waiting: AtomicUsize::new(0),
            lock: Mutex::new(Some(lock)),
            _idle: idle,
        }
    }

    /// Databases that are open, being opened or being closed.
    pub(crate) fn open_databases(&self) -> usize {
        self.places.lock().taken.len()
    }

    /// Whether `installation` has been erased.
    pub(crate) fn check(&self, installation: InstallationId) -> Result<(), StorageError> {
        self.places.lock().check(installation)
    }

    /// The database of `installation`, opened if it is not, for one operation.
    pub(crate) async fn lease(
        self: &Arc<Self>,
        installation: InstallationId,
    ) -> Result<Lease, StorageError> {
        {
            let places = self.places.lock();
            places.check(installation)?;
            if let Some(Place::Open(database)) = places.taken.get(&installation) {
                return Ok(self.lend(database));
            }
        }
        let deadline = Instant::now() + self.settings.open_wait;
        loop {
            let waiting = self.wait();
            match self.step(installation)? {
                Step::Ready(lease) => return Ok(lease),
                Step::Opening(opened) => {
                    drop(waiting);
                    let gone = |_| StorageError::Failed("the runtime is ending".into());
                    return opened.await.map_err(gone)?;
                }
                Step::Wait => {
                    if timeout_at(deadline, waiting.changed).await.is_err() {
                        let limit = self.settings.open_databases;
                        return Err(StorageError::Busy(format!(
                            "all {limit} databases that may be open are in use"
                        )));
                    }
                }
            }
        }
    }

    fn step(self: &Arc<Self>, installation: InstallationId) -> Result<Step, StorageError> {
        let mut places = self.places.lock();
        places.check(installation)?;
        match places.taken.get(&installation) {
            Some(Place::Open(database)) => return Ok(Step::Ready(self.lend(database))),
            Some(Place::Changing) => return Ok(Step::Wait),
            None => {}
        }
        if places.taken.len() < self.settings.open_databases {
            places.taken.insert(installation, Place::Changing);
            drop(places);
            return Ok(Step::Opening(self.open(installation)));
        }
        // Each of those who wait needs one place, not more.
        if places.closing < self.waiting.load(Ordering::Relaxed)
            && let Some(unused) = places.least_recently_used()
            && let Some(database) = places.begin_closing(unused)
        {
            drop(places);
            let pool = self.clone();
            tokio::task::spawn_blocking(move || pool.close_one(unused, database));
        }
        Ok(Step::Wait)
    }

    /// Opens in a task of its own, so that a caller who goes away leaves nothing half done.
    fn open(
        self: &Arc<Self>,
        installation: InstallationId,
    ) -> oneshot::Receiver<Result<Lease, StorageError>> {
        let (send, receive) = oneshot::channel();
        let pool = self.clone();
        tokio::task::spawn_blocking(move || {
            let dir = pool.dir.join(installation.to_string());
            let result = Database::open(
                installation,
                dir,
                pool.settings.clone(),
                pool.counters.clone(),
            );
            let mut places = pool.places.lock();
            let result = match result {
                Ok(database) => {
                    pool.counters.opened.fetch_add(1, Ordering::Relaxed);
                    let database = Arc::new(database);
                    let lease = pool.lend(&database);
                    places.taken.insert(installation, Place::Open(database));
                    Ok(lease)
                }
                Err(error) => {
                    places.taken.remove(&installation);
                    Err(error)
                }
            };
            drop(places);
            pool.tell();
            // Whoever waited may have gone.
            let _ = send.send(result);
        });
        receive
    }

    fn lend(self: &Arc<Self>, database: &Arc<Database>) -> Lease {
        database.touch();
        Lease {
            database: Some(database.clone()),
            pool: self.clone(),
        }
    }

    fn close_one(&self, installation: InstallationId, database: Database) {
        database.close();
        self.counters.closed.fetch_add(1, Ordering::Relaxed);
        let mut places = self.places.lock();
        places.taken.remove(&installation);
        places.closing -= 1;
        drop(places);
        self.tell();
    }

    /// Closes what has not been used for long.
    pub(crate) fn close_idle(&self) {
        let idle: Vec<_> = {
            let mut places = self.places.lock();
            let idle: Vec<_> = places
                .taken
                .iter()
                .filter_map(|(installation, place)| match place {
                    Place::Open(d) if d.idle() >= self.settings.idle_close => Some(*installation),
                    _ => None,
                })
                .collect();
            idle.into_iter()
                .filter_map(|installation| {
                    Some((installation, places.begin_closing(installation)?))
                })
                .collect()
        };
        for (installation, database) in idle {
            self.close_one(installation, database);
        }
    }

    /// Lets nobody in any more, closes all databases when their operations have ended, and then
    /// lets others open them.
    pub(crate) async fn close(self: &Arc<Self>) {
        self.places.lock().closed = true;
        loop {
            let waiting = self.wait();
            let unused: Vec<_> = {
                let mut places = self.places.lock();
                if places.taken.is_empty() {
                    *self.lock.lock() = None;
                    return;
                }
                let open: Vec<_> = places.taken.keys().copied().collect();
                open.into_iter()
                    .filter_map(|id| Some((id, places.begin_closing(id)?)))
                    .collect()
            };
            for (installation, database) in unused {
                let pool = self.clone();
                tokio::task::spawn_blocking(move || pool.close_one(installation, database));
            }
            waiting.changed.await;
        }
    }

    /// Removes the folder of `installation` when the operations under way have ended; no other
    /// begins.
    pub(crate) async fn erase(
        self: &Arc<Self>,
        installation: InstallationId,
    ) -> Result<(), StorageError> {
        self.places.lock().erased.insert(installation);
        loop {
            let waiting = self.wait();
            let database = {
                let mut places = self.places.lock();
                match places.taken.get(&installation) {
                    None => {
                        places.taken.insert(installation, Place::Changing);
                        places.closing += 1;
                        Some(None)
                    }
                    Some(_) => places.begin_closing(installation).map(Some),
                }
            };
            if let Some(database) = database {
                drop(waiting);
                let pool = self.clone();
                let erase = move || pool.erase_one(installation, database);
                return tokio::task::spawn_blocking(erase)
                    .await
                    .map_err(|error| StorageError::Failed(error.to_string()))?;
            }
            waiting.changed.await;
        }
    }

    fn erase_one(
        &self,
        installation: InstallationId,
        database: Option<Database>,
    ) -> Result<(), StorageError> {
        if let Some(database) = database {
            database.close();
            self.counters.closed.fetch_add(1, Ordering::Relaxed);
        }
        let result = erase_dir(&self.dir.join(installation.to_string()));
        let mut places = self.places.lock();
        places.taken.remove(&installation);
        places.closing -= 1;
        drop(places);
        self.tell();
        result.map_err(|error| {
            tracing::error!(database = %installation, %error, "erasing failed");
            StorageError::Failed(format!(
                "erasing the storage of {installation} failed: {error}"
            ))
        })
    }

    fn wait(&self) -> Waiting<'_> {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let mut changed = Box::pin(self.changed.notified());
        changed.as_mut().enable();
        Waiting {
            changed,
            _count: Count(&self.waiting),
        }
    }

    fn tell(&self) {
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.changed.notify_waiters();
        }
    }
}

/// A wait that begins before the look at what is waited for, so no change is missed.
struct Waiting<'a> {
    changed: std::pin::Pin<Box<tokio::sync::futures::Notified<'a>>>,
    _count: Count<'a>,
}

struct Count<'a>(&'a AtomicUsize);

impl Drop for Count<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Places {
    fn check(&self, installation: InstallationId) -> Result<(), StorageError> {
        if self.erased.contains(&installation) {
            Err(StorageError::Erased)
        } else if self.closed {
            Err(StorageError::Busy("the node is shutting down".into()))
        } else {
            Ok(())
        }
    }

    fn least_recently_used(&self) -> Option<InstallationId> {
        let unused = self
            .taken
            .iter()
            .filter_map(|(installation, place)| match place {
                Place::Open(database) if Arc::strong_count(database) == 1 => {
                    Some((database.idle(), *installation))
                }
                _ => None,
            });
        unused.max().map(|(_, installation)| installation)
    }

    /// Takes the database of `installation` out of its place, if it is open and nobody uses it.
    /// New uses come only from its place, which is locked.
    fn begin_closing(&mut self, installation: InstallationId) -> Option<Database> {
        let place = self.taken.get_mut(&installation)?;
        match std::mem::replace(place, Place::Changing) {
            Place::Open(database) => match Arc::try_unwrap(database) {
                Ok(database) => {
                    self.closing += 1;
                    Some(database)
                }
                Err(used) => {
                    *place = Place::Open(used);
                    None
                }
            },
            Place::Changing => None,
        }
    }
}

impl Deref for Lease {
    type Target = Database;

    fn deref(&self) -> &Database {
        match &self.database {
            Some(database) => database,
            None => unreachable!("a lease has its database until it is dropped"),
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.database = None;
        self.pool.tell();
    }
}
