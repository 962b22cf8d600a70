//! Which databases are open: bounded in number, for each tenant and for all, opened by the first who
//! needs one, closed when they are not used or their place is.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};

use canopy_backend::files::erase_dir;
use canopy_backend::{Clock, CpuPayers, Ledger, Scope, StorageError, StorageKind};
use canopy_backend_keys::Keyring;
use canopy_ids::TenantId;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, timeout_at};

use crate::database::Database;
use crate::format::folder;
use crate::settings::EmbeddedSettings;
use crate::writer::Committed;

#[derive(Debug)]
pub(crate) struct Pool {
    pub(crate) dir: PathBuf,
    pub(crate) shared: Arc<Shared>,
    places: Mutex<Places>,
    /// Told whenever a place may have become free, if somebody waits for one.
    changed: Notify,
    waiting: AtomicUsize,
    /// Held locked until no database can be open any more.
    lock: Mutex<Option<File>>,
    /// Its end ends the thread that closes idle databases.
    _idle: mpsc::Sender<()>,
}

/// What all databases work with.
pub(crate) struct Shared {
    pub(crate) settings: EmbeddedSettings,
    pub(crate) counters: Counters,
    pub(crate) payers: CpuPayers,
    pub(crate) keys: Keyring,
    pub(crate) ledger: Ledger,
    pub(crate) clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct Places {
    taken: HashMap<Scope, Place>,
    closing: usize,
    /// Somebody waits to have it for himself: nobody else begins.
    reserved: HashSet<Scope>,
    erased: HashSet<Scope>,
    erased_tenants: HashSet<TenantId>,
    closed: bool,
}

#[derive(Debug)]
enum Place {
    /// Used by nobody else when this is the only reference.
    Open(Arc<Database>),
    /// Being opened or closed, or somebody has it for himself.
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
    pub(crate) fn new(dir: PathBuf, shared: Shared, lock: File, idle: mpsc::Sender<()>) -> Self {
        Self {
            dir,
            shared: Arc::new(shared),
            places: Mutex::default(),
            changed: Notify::new(),
            waiting: AtomicUsize::new(0),
            lock: Mutex::new(Some(lock)),
            _idle: idle,
        }
    }

    /// The present time in milliseconds since 1970.
    pub(crate) fn now(&self) -> i64 {
        i64::try_from(self.shared.clock.now()).unwrap_or(i64::MAX)
    }

    /// Where `scope`'s files are.
    pub(crate) fn folder(&self, scope: Scope) -> PathBuf {
        folder(&self.dir, scope)
    }

    /// Databases that are open, being opened or being closed.
    pub(crate) fn open_databases(&self) -> usize {
        self.places.lock().taken.len()
    }

    /// Whether `scope` has been erased.
    pub(crate) fn check(&self, scope: Scope) -> Result<(), StorageError> {
        self.places.lock().check(scope)
    }

    /// The database of `scope`, opened if it is not, for one operation.
    pub(crate) async fn lease(self: &Arc<Self>, scope: Scope) -> Result<Lease, StorageError> {
        {
            let places = self.places.lock();
            places.check(scope)?;
            if let Some(Place::Open(database)) = places.taken.get(&scope)
                && !places.is_reserved(scope)
            {
                return Ok(self.lend(database));
            }
        }
        let deadline = Instant::now() + self.shared.settings.open_wait;
        loop {
            let waiting = self.wait();
            match self.step(scope)? {
                Step::Ready(lease) => return Ok(lease),
                Step::Opening(opened) => {
                    drop(waiting);
                    let gone = |_| StorageError::Failed("the runtime is ending".into());
                    return opened.await.map_err(gone)?;
                }
                Step::Wait => {
                    if timeout_at(deadline, waiting.changed).await.is_err() {
                        return Err(self.all_in_use(scope.tenant));
                    }
                }
            }
        }
    }

    fn step(self: &Arc<Self>, scope: Scope) -> Result<Step, StorageError> {
        let mut places = self.places.lock();
        places.check(scope)?;
        if places.is_reserved(scope) {
            return Ok(Step::Wait);
        }
        match places.taken.get(&scope) {
            Some(Place::Open(database)) => return Ok(Step::Ready(self.lend(database))),
            Some(Place::Changing) => return Ok(Step::Wait),
            None => {}
        }
        let settings = &self.shared.settings;
        let own = places.of(scope.tenant) >= settings.tenant_databases;
        if !own && places.taken.len() < settings.open_databases {
            places.taken.insert(scope, Place::Changing);
            drop(places);
            return Ok(Step::Opening(self.open(scope)));
        }
        // Each of those who wait needs one place, not more.
        if places.closing < self.waiting.load(Ordering::Relaxed)
            && let Some(unused) = places.least_recently_used(own.then_some(scope.tenant))
            && let Some(database) = places.begin_closing(unused)
        {
            drop(places);
            let pool = self.clone();
            tokio::task::spawn_blocking(move || pool.close_one(unused, database));
        }
        Ok(Step::Wait)
    }

    /// Why an operation of `tenant` has waited for long enough.
    fn all_in_use(&self, tenant: TenantId) -> StorageError {
        let settings = &self.shared.settings;
        let (limit, whose) = match self.places.lock().of(tenant) >= settings.tenant_databases {
            true => (settings.tenant_databases, "databases of one tenant"),
            false => (settings.open_databases, "databases"),
        };
        StorageError::Busy(format!("all {limit} {whose} that may be open are in use"))
    }

    /// Opens in a task of its own, so that a caller who goes away leaves nothing half done.
    fn open(self: &Arc<Self>, scope: Scope) -> oneshot::Receiver<Result<Lease, StorageError>> {
        let (send, receive) = oneshot::channel();
        let pool = self.clone();
        tokio::task::spawn_blocking(move || {
            let result = Database::open(scope, &pool.folder(scope), pool.shared.clone());
            let mut places = pool.places.lock();
            let result = match result {
                Ok(database) => {
                    pool.shared.counters.opened.fetch_add(1, Ordering::Relaxed);
                    let database = Arc::new(database);
                    let lease = pool.lend(&database);
                    places.taken.insert(scope, Place::Open(database));
                    Ok(lease)
                }
                Err(error) => {
                    places.taken.remove(&scope);
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

    fn close_one(&self, scope: Scope, database: Database) {
        database.close();
        self.shared.counters.closed.fetch_add(1, Ordering::Relaxed);
        let mut places = self.places.lock();
        places.taken.remove(&scope);
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
                .filter_map(|(scope, place)| match place {
                    Place::Open(d) if d.idle() >= self.shared.settings.idle_close => Some(*scope),
                    _ => None,
                })
                .collect();
            idle.into_iter()
                .filter_map(|scope| Some((scope, places.begin_closing(scope)?)))
                .collect()
        };
        for (scope, database) in idle {
            self.close_one(scope, database);
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
            for (scope, database) in unused {
                let pool = self.clone();
                tokio::task::spawn_blocking(move || pool.close_one(scope, database));
            }
            waiting.changed.await;
        }
    }

    /// Does `work` with the folder of `scope` while nobody has its database open: waits until the
    /// operations under way have ended and closes it; others wait until `work` has ended.
    pub(crate) async fn alone<T: Send + 'static>(
        self: &Arc<Self>,
        scope: Scope,
        work: impl FnOnce(&Path) -> Result<T, StorageError> + Send + 'static,
    ) -> Result<T, StorageError> {
        self.check(scope)?;
        self.close_and(scope, work).await
    }

    /// Removes all that `scope` stores; no operation begins any more.
    pub(crate) async fn erase(self: &Arc<Self>, scope: Scope) -> Result<(), StorageError> {
        self.places.lock().erased.insert(scope);
        let ledger = self.shared.ledger.clone();
        let erase = move |folder: &Path| {
            let erased = erase_dir(folder);
            if let Some(installation) = folder.parent() {
                // Other kinds of storage may be in it; the last one removes it.
                let _ = fs::remove_dir(installation);
            }
            erased.map_err(|error| {
                tracing::error!(database = %scope, %error, "erasing failed");
                StorageError::Failed(format!("erasing the storage of {scope}: {error}"))
            })?;
            ledger.remove(scope, StorageKind::KeyValue);
            Ok(())
        };
        self.close_and(scope, erase).await
    }

    /// Lets nobody begin any more with what `tenant` stores.
    pub(crate) fn close_tenant(&self, tenant: TenantId) {
        self.places.lock().erased_tenants.insert(tenant);
    }

    async fn close_and<T: Send + 'static>(
        self: &Arc<Self>,
        scope: Scope,
        work: impl FnOnce(&Path) -> Result<T, StorageError> + Send + 'static,
    ) -> Result<T, StorageError> {
        let reserved = Reserved::new(self, scope).await;
        loop {
            let waiting = self.wait();
            let database = {
                let mut places = self.places.lock();
                match places.taken.get(&scope) {
                    None => {
                        places.taken.insert(scope, Place::Changing);
                        places.closing += 1;
                        Some(None)
                    }
                    Some(_) => places.begin_closing(scope).map(Some),
                }
            };
            if let Some(database) = database {
                drop(waiting);
                let pool = self.clone();
                let task = move || {
                    let _reserved = reserved;
                    let _place = Cleared(&pool, scope);
                    if let Some(database) = database {
                        database.close();
                        pool.shared.counters.closed.fetch_add(1, Ordering::Relaxed);
                    }
                    work(&pool.folder(scope))
                };
                return tokio::task::spawn_blocking(task)
                    .await
                    .map_err(|error| StorageError::Failed(error.to_string()))?;
            }
            waiting.changed.await;
        }
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

/// The wish of one task to have a database for itself.
struct Reserved {
    pool: Arc<Pool>,
    scope: Scope,
}

impl Reserved {
    /// Waits until nobody else has it.
    async fn new(pool: &Arc<Pool>, scope: Scope) -> Self {
        loop {
            let waiting = pool.wait();
            if pool.places.lock().reserved.insert(scope) {
                return Self {
                    pool: pool.clone(),
                    scope,
                };
            }
            waiting.changed.await;
        }
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.pool.places.lock().reserved.remove(&self.scope);
        self.pool.tell();
    }
}

/// Makes a place free, also after a panic.
struct Cleared<'a>(&'a Pool, Scope);

impl Drop for Cleared<'_> {
    fn drop(&mut self) {
        let mut places = self.0.places.lock();
        places.taken.remove(&self.1);
        places.closing -= 1;
        drop(places);
        self.0.tell();
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
    fn is_reserved(&self, scope: Scope) -> bool {
        !self.reserved.is_empty() && self.reserved.contains(&scope)
    }

    fn check(&self, scope: Scope) -> Result<(), StorageError> {
        if self.erased.contains(&scope) || self.erased_tenants.contains(&scope.tenant) {
            Err(StorageError::Erased)
        } else if self.closed {
            Err(StorageError::Busy("the node is shutting down".into()))
        } else {
            Ok(())
        }
    }

    /// How many places `tenant` has.
    fn of(&self, tenant: TenantId) -> usize {
        let all = self.taken.keys();
        all.filter(|scope| scope.tenant == tenant).count()
    }

    /// Of those of `tenant`, or of all.
    fn least_recently_used(&self, tenant: Option<TenantId>) -> Option<Scope> {
        let unused = self.taken.iter().filter_map(|(scope, place)| match place {
            Place::Open(database) if Arc::strong_count(database) == 1 => {
                Some((database.idle(), *scope))
            }
            _ => None,
        });
        let wanted = |scope: &Scope| tenant.is_none_or(|tenant| scope.tenant == tenant);
        let unused = unused.filter(|(_, scope)| wanted(scope));
        unused.max().map(|(_, scope)| scope)
    }

    /// Takes the database of `scope` out of its place, if it is open and nobody uses it.
    /// New uses come only from its place, which is locked.
    fn begin_closing(&mut self, scope: Scope) -> Option<Database> {
        let place = self.taken.get_mut(&scope)?;
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
