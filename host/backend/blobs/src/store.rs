//! The open objects of one installation: its index, and which of its files are in use.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use canopy_backend::blob::BlobError;
use canopy_backend::{CpuPayers, Ledger, Scope, StorageError};
use canopy_backend_keys::{FileKey, FileKeys, Keyring, TenantKeys};
use canopy_backend_sqlite::{Log, die, is_fatal};
use parking_lot::{Mutex, MutexGuard};
use rusqlite::Connection;
use tokio::sync::Semaphore;

use crate::account::Account;
use crate::folder::Folder;
use crate::index::{self, Change};
use crate::segment::{self, SegmentId};
use crate::settings::BlobSettings;
use crate::transfer::aside;

/// Who waits for a commit, told what became of it.
type Told = Box<dyn FnOnce(Result<(), StorageError>) + Send>;
/// What is to happen in the next commit.
type Job = Box<dyn FnOnce(&Connection, &mut Change) -> Told + Send>;

pub(crate) struct Store {
    pub(crate) scope: Scope,
    pub(crate) folder: Folder,
    pub(crate) settings: Arc<BlobSettings>,
    pub(crate) keyring: Keyring,
    payers: Arc<CpuPayers>,
    pub(crate) account: Arc<Account>,
    /// Bodies that may be written at once.
    pub(crate) writes: Arc<Semaphore>,
    /// Bodies that may be read at once.
    pub(crate) reads: Arc<Semaphore>,
    /// `None` while the file is exchanged for another.
    index: Mutex<Option<Connection>>,
    log: Log,
    queue: Mutex<Vec<Job>>,
    files: Mutex<Files>,
    erased: AtomicBool,
    opened: Instant,
    used_at: AtomicU64,
}

/// Which files may not be removed yet.
#[derive(Default)]
struct Files {
    /// Being read, and how often.
    pinned: HashMap<SegmentId, usize>,
    /// How many want that no file goes.
    held: usize,
    /// To be removed as soon as they may.
    doomed: HashSet<SegmentId>,
}

/// Where an index is opened, by whom it was asked for.
pub(crate) struct Parts {
    pub(crate) scope: Scope,
    pub(crate) folder: Folder,
    pub(crate) settings: Arc<BlobSettings>,
    pub(crate) keyring: Keyring,
    pub(crate) ledger: Ledger,
    pub(crate) payers: Arc<CpuPayers>,
    /// Whether nobody in this process has opened it before.
    pub(crate) first: bool,
}

impl Store {
    /// Opens the index, which is made if it does not exist. The first time in a process, what
    /// writes that were cut short have left is removed.
    pub(crate) fn open(parts: Parts) -> Result<Self, StorageError> {
        let Parts {
            scope,
            folder,
            settings,
            keyring,
            ledger,
            payers,
            first,
        } = parts;
        let failed = |error: &dyn std::fmt::Display| {
            tracing::error!(installation = %scope, %error, "objects cannot be opened");
            StorageError::Failed(format!("the objects of {scope} cannot be opened: {error}"))
        };
        folder.create().map_err(|error| failed(&error))?;
        let index_keys = keyring
            .tenant(scope.tenant)?
            .file_keys(scope, index::PURPOSE);
        let mut conn = canopy_backend_sqlite::open(
            &folder.index(),
            &index_keys,
            &index::FORMAT,
            settings.cache_bytes,
        )?;
        let log = Log::of(format!("{scope} objects"));
        log.watch(&mut conn).map_err(|error| failed(&error))?;
        if first {
            let known = index::segments(&conn).map_err(|error| failed(&error))?;
            let known = known.into_iter().map(|piece| piece.id).collect();
            folder.sweep(&known).map_err(|error| failed(&error))?;
        }
        let total = index::total(&conn).map_err(|error| failed(&error))?;
        let store = Self {
            scope,
            folder,
            keyring,
            payers,
            account: Arc::new(Account::new(scope, ledger, total)),
            writes: Arc::new(Semaphore::new(settings.limits.concurrent_writes)),
            reads: Arc::new(Semaphore::new(settings.limits.concurrent_reads)),
            settings,
            index: Mutex::new(Some(conn)),
            log,
            queue: Mutex::default(),
            files: Mutex::default(),
            erased: AtomicBool::new(false),
            opened: Instant::now(),
            used_at: AtomicU64::new(0),
        };
        store.sweep_uploads()?;
        Ok(store)
    }

    pub(crate) fn touch(&self) {
        let now = u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.used_at.store(now, Ordering::Relaxed);
    }

    /// How long it has not been used.
    pub(crate) fn idle(&self) -> Duration {
        let used = Duration::from_millis(self.used_at.load(Ordering::Relaxed));
        self.opened.elapsed().saturating_sub(used)
    }

    /// Does what waits for the disk, on a thread that may. Its time of the processor is the tenant's.
    pub(crate) async fn aside<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Arc<Self>) -> Result<T, BlobError> + Send + 'static,
    ) -> Result<T, BlobError> {
        let store = self.clone();
        aside(move || {
            let _meter = store.payers.begin(store.scope.tenant);
            work(&store)
        })
        .await
    }

    /// Nothing is read or written any more.
    pub(crate) fn mark_erased(&self) {
        self.erased.store(true, Ordering::Release);
    }

    /// The tenant's keys as they are now: there may be a new version at any time.
    pub(crate) fn keys(&self) -> Result<Arc<TenantKeys>, StorageError> {
        Ok(self.keyring.tenant(self.scope.tenant)?)
    }

    /// The key for new segments.
    pub(crate) fn file_key(&self) -> Result<FileKey, StorageError> {
        Ok(self.keys()?.file_key(self.scope, segment::PURPOSE))
    }

    /// The keys for the index.
    pub(crate) fn index_keys(&self) -> Result<FileKeys, StorageError> {
        Ok(self.keys()?.file_keys(self.scope, index::PURPOSE))
    }

    pub(crate) fn lock(&self) -> Result<Index<'_>, StorageError> {
        let index = self.index.lock();
        if self.erased.load(Ordering::Acquire) {
            return Err(StorageError::Erased);
        }
        match *index {
            Some(_) => Ok(Index(index)),
            None => Err(StorageError::Failed("the index is closed".into())),
        }
    }

    /// Reads one moment of the index.
    pub(crate) fn read<T>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, BlobError>,
    ) -> Result<T, BlobError> {
        let index = self.lock()?;
        let conn = index.conn();
        let moment = conn.unchecked_transaction().map_err(index::failed)?;
        read(&moment)
    }

    /// Changes the index: whole, or not at all, and on the disk when this returns. Changes that
    /// wait for a commit under way are committed together by the next one.
    pub(crate) fn write<T: Send + 'static>(
        &self,
        change: impl FnOnce(&Connection, &mut Change) -> Result<T, BlobError> + Send + 'static,
    ) -> Result<T, BlobError> {
        let (tell, told) = std::sync::mpsc::sync_channel(1);
        let account = self.account.clone();
        let job: Job = Box::new(move |conn, all| {
            let result = savepoint(conn, &account, all, change);
            Box::new(move |committed| {
                let result = match committed {
                    Ok(()) => result,
                    Err(error) => Err(error.into()),
                };
                // Whoever asked is still there: it holds the other end.
                let _ = tell.send(result);
            })
        });
        self.queue.lock().push(job);
        self.commit()?;
        told.recv()
            .map_err(|_| BlobError::failed("a commit was given up"))?
    }

    /// Commits what is queued, unless somebody else has done it meanwhile.
    fn commit(&self) -> Result<(), StorageError> {
        let index = match self.lock() {
            Ok(index) => index,
            Err(error) => {
                self.queue.lock().clear();
                return Err(error);
            }
        };
        let jobs = std::mem::take(&mut *self.queue.lock());
        if jobs.is_empty() {
            return Ok(());
        }
        let mut change = Change::default();
        let mut waiting = Vec::with_capacity(jobs.len());
        let conn = index.conn();
        let commit = || -> rusqlite::Result<()> {
            conn.execute_batch("BEGIN IMMEDIATE")?;
            for job in jobs {
                waiting.push(job(conn, &mut change));
            }
            index::count(conn, &change)?;
            conn.execute_batch("COMMIT")
        };
        let committed = commit().map_err(|error| {
            if is_fatal(&error) {
                die(&self.scope.to_string(), "a commit failed", &error);
            }
            if !conn.is_autocommit()
                && let Err(error) = conn.execute_batch("ROLLBACK")
            {
                die(&self.scope.to_string(), "a rollback failed", &error);
            }
            match index::failed(error) {
                BlobError::Storage(error) => error,
                other => StorageError::Failed(other.to_string()),
            }
        });
        match committed {
            Ok(()) => self.account.committed(&change),
            Err(_) => self.account.given_up(&change),
        }
        drop(index);
        if committed.is_ok() {
            self.remove(change.freed);
        }
        for told in waiting {
            told(match &committed {
                Ok(()) => Ok(()),
                Err(StorageError::NoSpace) => Err(StorageError::NoSpace),
                Err(error) => Err(StorageError::Failed(error.to_string())),
            });
        }
        // Whoever waited for the commit need not wait for this.
        if self.log.is_due()
            && let Ok(index) = self.lock()
        {
            self.log.checkpoint_if_due(index.conn(), false);
        }
        Ok(())
    }

    /// Removes the files of segments that nothing refers to, as soon as nobody reads them.
    pub(crate) fn remove(&self, segments: Vec<SegmentId>) {
        let free: Vec<_> = {
            let mut files = self.files.lock();
            let (free, used): (Vec<_>, Vec<_>) = segments
                .into_iter()
                .partition(|id| files.held == 0 && !files.pinned.contains_key(id));
            files.doomed.extend(used);
            free
        };
        self.folder.remove(&free);
    }

    /// Forgets uploads in parts to which nothing was added for long.
    pub(crate) fn sweep_uploads(&self) -> Result<(), StorageError> {
        let expiry = self.settings.upload_expiry;
        let expired = self
            .read(|conn| index::expired(conn, expiry).map_err(index::failed))
            .map_err(storage)?;
        for upload in expired {
            match self.write(move |conn, change| index::abort(conn, &upload, change)) {
                Ok(()) | Err(BlobError::NoSuchUpload) => {}
                Err(error) => return Err(storage(error)),
            }
        }
        Ok(())
    }

    /// Closes the index for `exchange`, and opens it again.
    pub(crate) fn exchange(
        &self,
        exchange: impl FnOnce() -> Result<(), StorageError>,
    ) -> Result<(), StorageError> {
        let mut index = self.lock()?;
        if let Some(conn) = index.0.take() {
            // What SQLite copies by itself when it closes, it does without a word.
            self.log.empty(&conn);
        }
        let exchanged = exchange();
        let mut opened = canopy_backend_sqlite::open(
            &self.folder.index(),
            &self.index_keys()?,
            &index::FORMAT,
            self.settings.cache_bytes,
        )?;
        let watched = self.log.watch(&mut opened);
        *index.0 = Some(opened);
        watched.map_err(|error| storage(index::failed(error)))?;
        exchanged
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("scope", &self.scope)
            .finish_non_exhaustive()
    }
}

/// The index, locked and open.
pub(crate) struct Index<'a>(MutexGuard<'a, Option<Connection>>);

impl Index<'_> {
    pub(crate) fn conn(&self) -> &Connection {
        match &*self.0 {
            Some(conn) => conn,
            None => unreachable!("the index was found open, and only its holder closes it"),
        }
    }
}

fn storage(error: BlobError) -> StorageError {
    match error {
        BlobError::Storage(error) => error,
        other => StorageError::Failed(other.to_string()),
    }
}

/// Does `change` within the quota and adds it to `all`, or does nothing.
fn savepoint<T>(
    conn: &Connection,
    account: &Account,
    all: &mut Change,
    change: impl FnOnce(&Connection, &mut Change) -> Result<T, BlobError>,
) -> Result<T, BlobError> {
    conn.execute_batch("SAVEPOINT change")
        .map_err(index::failed)?;
    let mut own = Change::default();
    let result = change(conn, &mut own).and_then(|done| {
        account.check(all, &own)?;
        Ok(done)
    });
    let end = match result {
        Ok(_) => "RELEASE change",
        Err(_) => "ROLLBACK TO change; RELEASE change",
    };
    conn.execute_batch(end).map_err(index::failed)?;
    if result.is_ok() {
        all.append(own);
    }
    result
}

/// A use of segments' files: none of them is removed while this is there.
#[derive(Debug)]
pub(crate) struct Pin {
    store: Arc<Store>,
    segments: Vec<SegmentId>,
    hold: bool,
}

impl Pin {
    /// Keeps `segments`, which are known: the index is locked.
    pub(crate) fn new(store: &Arc<Store>, _: &Connection, segments: Vec<SegmentId>) -> Self {
        let mut files = store.files.lock();
        for id in &segments {
            *files.pinned.entry(*id).or_default() += 1;
        }
        drop(files);
        Self {
            store: store.clone(),
            segments,
            hold: false,
        }
    }

    /// Keeps every file that is there.
    pub(crate) fn all(store: &Arc<Store>) -> Self {
        store.files.lock().held += 1;
        Self {
            store: store.clone(),
            segments: Vec::new(),
            hold: true,
        }
    }

    pub(crate) fn store(&self) -> &Arc<Store> {
        &self.store
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // As before an exchange.
        if let Some(conn) = self.index.get_mut()
            && !self.erased.load(Ordering::Relaxed)
        {
            self.log.empty(conn);
        }
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        let free = {
            let mut guard = self.store.files.lock();
            let files = &mut *guard;
            files.held -= usize::from(self.hold);
            for id in &self.segments {
                if let Some(count) = files.pinned.get_mut(id) {
                    *count -= 1;
                    if *count == 0 {
                        files.pinned.remove(id);
                    }
                }
            }
            if files.doomed.is_empty() || files.held > 0 {
                return;
            }
            let free: Vec<_> = files
                .doomed
                .iter()
                .copied()
                .filter(|id| !files.pinned.contains_key(id))
                .collect();
            for id in &free {
                files.doomed.remove(id);
            }
            free
        };
        self.store.folder.remove(&free);
    }
}
