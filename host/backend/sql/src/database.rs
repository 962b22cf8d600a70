//! One database: its connections, and the right to write, which one at a time has.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use canopy_backend::sql::SqlError;
use canopy_backend::{Scope, StorageError};
use canopy_backend_keys::FileKeys;
use canopy_backend_sqlite::memory::Pool;
use canopy_backend_sqlite::{Log, die, is_fatal};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::account::SUFFIX;
use crate::connection::{Conn, Role};
use crate::error::{failed, is_full, refused};
use crate::guard::Cancel;
use crate::node::Node;

/// A disk with less free space than this counts as full where SQLite found no more of it.
const FULL_DISK_BYTES: u64 = 16 << 20;
/// How much free space a database that is being closed gives back to the disk: a moment's work.
const GIVE_BACK_BYTES: u64 = 32 << 20;

pub(crate) struct Database {
    pub(crate) scope: Scope,
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    /// For the operator.
    pub(crate) title: String,
    /// Memory of its tenant's statements.
    pub(crate) memory: Arc<Pool>,
    readers: Arc<Semaphore>,
    writer: Arc<Semaphore>,
    idle: Mutex<Idle>,
    log: Log,
    /// Held by whoever makes the file.
    making: Mutex<()>,
    /// Cancelled when the database is closed or erased.
    ending: Mutex<Cancel>,
    erased: AtomicBool,
}

#[derive(Default)]
struct Idle {
    writer: Option<Conn>,
    /// The one used last at the end.
    readers: Vec<Conn>,
}

impl Database {
    pub(crate) fn new(node: &Node, scope: Scope, name: &str) -> Self {
        let title = format!("{scope}/{name}");
        Self {
            scope,
            name: name.to_owned(),
            path: node.folder(scope).join(format!("{name}{SUFFIX}")),
            log: Log::of(title.clone()),
            title,
            memory: node.memory(scope.tenant),
            readers: Arc::new(Semaphore::new(node.settings.readers)),
            writer: Arc::new(Semaphore::new(1)),
            idle: Mutex::default(),
            making: Mutex::default(),
            ending: Mutex::default(),
            erased: AtomicBool::new(false),
        }
    }

    /// The database's folder.
    pub(crate) fn folder(&self, node: &Node) -> PathBuf {
        node.folder(self.scope)
    }

    /// Whether there is a file.
    pub(crate) fn exists(&self) -> bool {
        self.path.metadata().is_ok_and(|file| file.len() > 0)
    }

    pub(crate) fn keys(&self, node: &Node) -> Result<FileKeys, StorageError> {
        let purpose = format!("sql/{}", self.name);
        Ok(node
            .keyring
            .tenant(self.scope.tenant)?
            .file_keys(self.scope, &purpose))
    }

    /// A connection to read with, or for a transaction that may come to write.
    pub(crate) async fn reader(self: &Arc<Self>, node: &Arc<Node>) -> Result<Lease, SqlError> {
        self.check()?;
        let readers = node.settings.readers;
        let permit = node
            .acquire(&self.readers, || {
                format!("all {readers} connections of the database are in use")
            })
            .await?;
        self.check()?;
        let conn = self.idle.lock().readers.pop();
        Ok(Lease::new(
            node,
            self,
            Role::Reader,
            conn,
            Some(permit),
            None,
        ))
    }

    /// The connection that writes.
    pub(crate) async fn writer(self: &Arc<Self>, node: &Arc<Node>) -> Result<Lease, SqlError> {
        self.check()?;
        node.account.ready(self.scope).await?;
        let permit = self.right_to_write(node).await?;
        self.check()?;
        let conn = self.idle.lock().writer.take();
        Ok(Lease::new(
            node,
            self,
            Role::Writer,
            conn,
            None,
            Some(permit),
        ))
    }

    async fn right_to_write(&self, node: &Node) -> Result<OwnedSemaphorePermit, SqlError> {
        node.acquire(&self.writer, || "another transaction writes".into())
            .await
    }

    /// Everything of the database: nobody else has a connection to it, and none is open.
    pub(crate) async fn whole(&self, node: &Node) -> Result<Whole, StorageError> {
        let gone = |_| StorageError::Failed("a queue was closed".into());
        let writer = self.writer.clone().acquire_owned().await.map_err(gone)?;
        let all = u32::try_from(node.settings.readers).unwrap_or(u32::MAX);
        let readers = self
            .readers
            .clone()
            .acquire_many_owned(all)
            .await
            .map_err(gone)?;
        Ok(Whole {
            _writer: writer,
            _readers: readers,
        })
    }

    /// What runs now, and what begins before [`Database::go_on`], ends soon.
    pub(crate) fn end(&self) {
        self.ending.lock().cancel();
    }

    /// What begins from now on is not ended.
    pub(crate) fn go_on(&self) {
        *self.ending.lock() = Cancel::default();
    }

    pub(crate) fn ending(&self) -> Cancel {
        self.ending.lock().clone()
    }

    /// Nothing is to be stored here any more.
    pub(crate) fn set_erased(&self) {
        self.erased.store(true, Ordering::Relaxed);
    }

    pub(crate) fn check(&self) -> Result<(), SqlError> {
        if self.erased.load(Ordering::Relaxed) {
            return Err(StorageError::Erased.into());
        }
        if self.ending.lock().is_cancelled() {
            return Err(SqlError::Busy("the database is being closed".into()));
        }
        Ok(())
    }

    /// When the connection was used that has been idle for longest.
    pub(crate) fn idle_since(&self) -> Option<Instant> {
        let idle = self.idle.lock();
        let all = idle.readers.iter().chain(&idle.writer);
        all.map(|conn| conn.used_at).min()
    }

    /// Whether nothing is lost by forgetting it.
    pub(crate) fn is_forgettable(&self) -> bool {
        let idle = self.idle.lock();
        idle.writer.is_none() && idle.readers.is_empty()
    }

    /// Closes the idle connections that were last used before `before`. Takes as long as the disk
    /// does.
    pub(crate) fn close_idle(&self, node: &Node, before: Instant) {
        let (writer, readers) = {
            let mut idle = self.idle.lock();
            let is_old = |conn: &Conn| conn.used_at <= before;
            let (old, kept) = std::mem::take(&mut idle.readers)
                .into_iter()
                .partition(is_old);
            idle.readers = kept;
            let readers: Vec<Conn> = old;
            (idle.writer.take_if(|conn| is_old(conn)), readers)
        };
        let count = readers.len() + usize::from(writer.is_some());
        drop(readers);
        if let Some(writer) = writer {
            self.close_writer(writer);
        }
        node.open.fetch_sub(count, Ordering::Relaxed);
    }

    fn close_writer(&self, conn: Conn) {
        if let Err(error) = conn.give_space_back(GIVE_BACK_BYTES) {
            if is_fatal(&error) {
                die(&self.title, "giving space back failed", &error);
            }
            tracing::warn!(database = self.title, %error, "free space was not given back");
        }
        self.log.empty(&conn.sqlite);
        if let Err((_, error)) = conn.sqlite.close() {
            tracing::error!(database = self.title, %error, "a database was not closed");
        }
    }

    /// Ends what is under way and closes all connections.
    pub(crate) async fn close(self: &Arc<Self>, node: &Arc<Node>) {
        self.end();
        if let Ok(whole) = self.whole(node).await {
            let (database, node) = (self.clone(), node.clone());
            let close = move || {
                database.close_idle(&node, Instant::now());
                drop(whole);
            };
            // A panic has been reported by then.
            let _ = tokio::task::spawn_blocking(close).await;
        }
    }
}

/// Nobody else has a connection as long as this exists.
pub(crate) struct Whole {
    _writer: OwnedSemaphorePermit,
    _readers: OwnedSemaphorePermit,
}

/// The use of one connection. What it has not committed when it goes is rolled back.
pub(crate) struct Lease {
    pub(crate) node: Arc<Node>,
    pub(crate) database: Arc<Database>,
    role: Role,
    conn: Option<Conn>,
    _reading: Option<OwnedSemaphorePermit>,
    writing: Option<OwnedSemaphorePermit>,
}

impl Lease {
    fn new(
        node: &Arc<Node>,
        database: &Arc<Database>,
        role: Role,
        conn: Option<Conn>,
        reading: Option<OwnedSemaphorePermit>,
        writing: Option<OwnedSemaphorePermit>,
    ) -> Self {
        Self {
            node: node.clone(),
            database: database.clone(),
            role,
            conn,
            _reading: reading,
            writing,
        }
    }

    /// The connection, opened if there was none. On a thread that may wait.
    pub(crate) fn open(&mut self) -> Result<&mut Conn, SqlError> {
        match &mut self.conn {
            Some(conn) => Ok(conn),
            none => Ok(none.insert(connect(&self.node, &self.database, self.role)?)),
        }
    }

    pub(crate) fn is_writing(&self) -> bool {
        self.writing.is_some()
    }

    /// Takes the right to write, for the rest of the transaction that the connection is in.
    pub(crate) async fn take_right_to_write(&mut self) -> Result<(), SqlError> {
        if self.writing.is_none() {
            self.node.account.ready(self.database.scope).await?;
            self.writing = Some(self.database.right_to_write(&self.node).await?);
        }
        Ok(())
    }

    /// Begins a transaction, which nobody else's write is then in the way of.
    pub(crate) fn begin_writing(&mut self) -> Result<(), SqlError> {
        self.open()?;
        self.limit_growth()?;
        self.say("BEGIN IMMEDIATE")
    }

    /// Begins a transaction that reads until its first write.
    pub(crate) fn begin_reading(&mut self) -> Result<(), SqlError> {
        self.say("BEGIN DEFERRED")
    }

    /// Before the first write of a transaction that has only read.
    pub(crate) fn begin_to_write(&mut self) -> Result<(), SqlError> {
        let conn = self.open()?;
        conn.set_query_only(false).map_err(|error| failed(&error))?;
        self.limit_growth()
    }

    /// Lets the file grow as far as the quota goes.
    fn limit_growth(&mut self) -> Result<(), SqlError> {
        let (node, database) = (self.node.clone(), self.database.clone());
        let room = node
            .account
            .room(database.scope, &database.folder(&node), &database.name)?;
        let conn = self.open()?;
        conn.limit_bytes(room).map_err(|error| failed(&error))
    }

    /// Commits the transaction, if the quota lets it; otherwise it is rolled back. Does not return
    /// if it is unknown what the disk holds.
    pub(crate) fn commit(&mut self) -> Result<(), SqlError> {
        let (node, database) = (self.node.clone(), self.database.clone());
        let writes = self.is_writing();
        let conn = self.open()?;
        let settled = match writes {
            true => settle(&node, &database, conn),
            false => Ok(()),
        };
        let result = match settled {
            Err(error) => Err(error),
            Ok(()) => match conn.sqlite.execute_batch("COMMIT") {
                Ok(()) => return Ok(()),
                Err(error) if is_fatal(&error) => die(&database.title, "a commit failed", &error),
                Err(error) if is_full(&error) => Err(self.full()),
                Err(error) => Err(refused(&error)),
            },
        };
        self.rollback();
        if writes {
            let conn = self.open()?;
            // What was noted for the commit is not so.
            settle(&node, &database, conn)?;
        }
        result
    }

    /// Undoes the transaction, if there is one.
    pub(crate) fn rollback(&mut self) {
        let title = &self.database.title;
        let Some(conn) = &self.conn else { return };
        if !conn.sqlite.is_autocommit()
            && let Err(error) = conn.sqlite.execute_batch("ROLLBACK")
        {
            match self.writing.is_some() {
                true => die(title, "undoing failed", &error),
                false => tracing::error!(database = title, %error, "a reading was not ended"),
            }
        }
    }

    /// Whether the connection is in a transaction.
    pub(crate) fn is_in_transaction(&self) -> bool {
        let conn = self.conn.as_ref();
        conn.is_some_and(|conn| !conn.sqlite.is_autocommit())
    }

    /// Whether [`Lease::tidy`] has something to do.
    pub(crate) fn needs_tidying(&self) -> bool {
        self.is_writing() && self.database.log.is_due()
    }

    /// What is left to do after a commit, when whoever waited for it knows of it.
    pub(crate) fn tidy(&self) {
        if let Some(conn) = &self.conn
            && self.needs_tidying()
        {
            self.database.log.checkpoint_if_due(&conn.sqlite, true);
        }
    }

    /// Why a statement found no more space: the disk is full, or else the quota is.
    pub(crate) fn full(&self) -> SqlError {
        let disk_is_full = self
            .database
            .path
            .parent()
            .and_then(|folder| rustix::fs::statvfs(folder).ok())
            .is_some_and(|disk| disk.f_bavail.saturating_mul(disk.f_frsize) < FULL_DISK_BYTES);
        match disk_is_full {
            true => StorageError::NoSpace.into(),
            false => self.node.account.exceeded(self.database.scope).into(),
        }
    }

    fn say(&mut self, sql: &str) -> Result<(), SqlError> {
        let title = self.database.title.clone();
        let conn = self.open()?;
        conn.sqlite.execute_batch(sql).map_err(|error| {
            if is_fatal(&error) {
                die(&title, "a transaction did not begin", &error);
            }
            failed(&error)
        })
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.rollback();
        let Some(mut conn) = self.conn.take() else {
            return;
        };
        let in_order = !std::thread::panicking()
            && (self.role == Role::Writer
                || self.writing.is_none()
                || conn.set_query_only(true).is_ok());
        if !in_order {
            drop(conn);
            self.node.open.fetch_sub(1, Ordering::Relaxed);
            return;
        }
        conn.used_at = Instant::now();
        let mut idle = self.database.idle.lock();
        match conn.role {
            Role::Writer => idle.writer = Some(conn),
            Role::Reader => idle.readers.push(conn),
        }
    }
}

fn connect(node: &Node, database: &Database, role: Role) -> Result<Conn, SqlError> {
    let folder = database.folder(node);
    if !database.exists() {
        node.account.make(database.scope, &folder, &database.name)?;
    }
    let keys = database.keys(node)?;
    node.make_room()?;
    let open = |role| Conn::open(&database.path, &keys, role, &node.settings, &database.log);
    let making = database.making.lock();
    let made = match role == Role::Reader && !database.exists() {
        true => open(Role::Writer).map(drop),
        false => Ok(()),
    };
    let opened = made.and_then(|()| open(role));
    drop(making);
    if opened.is_err() {
        node.open.fetch_sub(1, Ordering::Relaxed);
        // It may have been counted in and not have come to be.
        node.account.forget(database.scope);
    }
    opened.inspect_err(|error| {
        tracing::error!(database = database.title, %error, "a database can't be opened");
    })
}

fn settle(node: &Node, database: &Database, conn: &Conn) -> Result<(), SqlError> {
    let bytes = conn.used_bytes().map_err(|error| failed(&error))?;
    let folder = database.folder(node);
    Ok(node
        .account
        .settle(database.scope, &folder, &database.name, bytes)?)
}
