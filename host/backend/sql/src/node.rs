//! What all databases of a node have in common: which are there, how many connections are open, how
//! many statements run.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use canopy_backend::sql::SqlError;
use canopy_backend::{CpuMeter, CpuPayers, Scope, StorageError, StorageKind};
use canopy_backend_keys::Keyring;
use canopy_backend_sqlite::memory::Pool;
use canopy_ids::TenantId;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::account::Account;
use crate::database::Database;
use crate::settings::SqlSettings;

/// How long connections that are all in use are looked at again: a statement gives its own back just after
/// it is done, and closing one takes as long as the disk does.
const RETURNING: Duration = Duration::from_secs(1);
/// Time between two looks.
const LOOK: Duration = Duration::from_millis(1);

pub(crate) struct Node {
    /// The folder of all storage.
    pub(crate) dir: PathBuf,
    pub(crate) settings: SqlSettings,
    pub(crate) keyring: Keyring,
    pub(crate) account: Account,
    pub(crate) runtime: Handle,
    pub(crate) open: AtomicUsize,
    databases: Mutex<HashMap<(Scope, String), Arc<Database>>>,
    erased: Mutex<HashSet<Scope>>,
    tenants: Mutex<HashMap<TenantId, Weak<Semaphore>>>,
    statements: Arc<Semaphore>,
    pub(crate) payers: Arc<CpuPayers>,
    /// Memory of the statements of all tenants, and of each.
    memory: Arc<Pool>,
    memories: Mutex<HashMap<TenantId, Weak<Pool>>>,
    closed: AtomicBool,
    /// Held locked as long as a database may be open.
    pub(crate) _lock: File,
    /// Its end ends the thread that closes idle connections.
    pub(crate) _idle: mpsc::Sender<()>,
}

/// The right to run a statement, on a thread of its own.
pub(crate) struct Thread {
    tenant: TenantId,
    payers: Arc<CpuPayers>,
    _tenant: OwnedSemaphorePermit,
    _node: OwnedSemaphorePermit,
    /// Lives as long as one of the tenant's statements runs or waits.
    _tenants: Arc<Semaphore>,
}

impl Thread {
    /// The statement runs, on this thread, until the returned value is dropped.
    pub(crate) fn begin(self) -> Running {
        Running {
            meter: self.payers.begin(self.tenant),
            _thread: self,
        }
    }
}

/// A statement that runs. The processor time of its thread is the tenant's.
pub(crate) struct Running {
    pub(crate) meter: CpuMeter,
    _thread: Thread,
}

impl Node {
    pub(crate) fn new(
        dir: PathBuf,
        settings: SqlSettings,
        keyring: Keyring,
        account: Account,
        lock: File,
        idle: mpsc::Sender<()>,
    ) -> Self {
        Self {
            statements: Arc::new(Semaphore::new(settings.node_statements)),
            memory: Pool::new(settings.node_memory_bytes),
            memories: Mutex::default(),
            dir,
            settings,
            keyring,
            account,
            runtime: Handle::current(),
            open: AtomicUsize::new(0),
            databases: Mutex::default(),
            erased: Mutex::default(),
            tenants: Mutex::default(),
            payers: Arc::default(),
            closed: AtomicBool::new(false),
            _lock: lock,
            _idle: idle,
        }
    }

    /// The folder of the databases of `scope`.
    pub(crate) fn folder(&self, scope: Scope) -> PathBuf {
        self.dir
            .join(scope.tenant.to_string())
            .join(scope.installation.to_string())
            .join(StorageKind::Sql.as_str())
    }

    /// The database `name` of `scope`. Nothing is opened yet.
    pub(crate) fn database(&self, scope: Scope, name: &str) -> Arc<Database> {
        let mut databases = self.databases.lock();
        let database = databases
            .entry((scope, name.to_owned()))
            .or_insert_with(|| Arc::new(Database::new(self, scope, name)));
        if self.erased.lock().contains(&scope) {
            database.set_erased();
        }
        database.clone()
    }

    /// The memory that statements of `tenant` have together, as long as any of its databases is known.
    pub(crate) fn memory(&self, tenant: TenantId) -> Arc<Pool> {
        let mut memories = self.memories.lock();
        if let Some(memory) = memories.get(&tenant).and_then(Weak::upgrade) {
            return memory;
        }
        memories.retain(|_, memory| memory.strong_count() > 0);
        let memory = self.memory.part(self.settings.tenant_memory_bytes);
        memories.insert(tenant, Arc::downgrade(&memory));
        memory
    }

    /// Nothing of `scope` is to be stored any more.
    pub(crate) fn set_erased(&self, scope: Scope) {
        self.erased.lock().insert(scope);
    }

    /// The databases that fit `wanted` and are known here.
    pub(crate) fn known(&self, wanted: impl Fn(Scope) -> bool) -> Vec<Arc<Database>> {
        let databases = self.databases.lock();
        databases
            .iter()
            .filter(|((scope, _), _)| wanted(*scope))
            .map(|(_, database)| database.clone())
            .collect()
    }

    /// Waits until a statement of `tenant` may run.
    pub(crate) async fn thread(&self, tenant: TenantId) -> Result<Thread, SqlError> {
        let tenants = {
            let mut tenants = self.tenants.lock();
            match tenants.get(&tenant).and_then(Weak::upgrade) {
                Some(tenants) => tenants,
                None => {
                    tenants.retain(|_, tenants| tenants.strong_count() > 0);
                    let all = Arc::new(Semaphore::new(self.settings.tenant_statements));
                    tenants.insert(tenant, Arc::downgrade(&all));
                    all
                }
            }
        };
        let limit = self.settings.tenant_statements;
        let of_tenant = self
            .acquire(&tenants, || {
                format!("all {limit} statements that a tenant may run at once are running")
            })
            .await?;
        let limit = self.settings.node_statements;
        let of_node = self
            .acquire(&self.statements, || {
                format!("all {limit} statements that the node may run at once are running")
            })
            .await?;
        Ok(Thread {
            tenant,
            payers: self.payers.clone(),
            _tenant: of_tenant,
            _node: of_node,
            _tenants: tenants,
        })
    }

    /// Waits for one of what `semaphore` has, but not for ever.
    pub(crate) async fn acquire(
        &self,
        semaphore: &Arc<Semaphore>,
        busy: impl FnOnce() -> String,
    ) -> Result<OwnedSemaphorePermit, SqlError> {
        if self.closed.load(Ordering::Relaxed) {
            return Err(SqlError::Busy("the node is shutting down".into()));
        }
        if let Ok(permit) = semaphore.clone().try_acquire_owned() {
            return Ok(permit);
        }
        match timeout(self.settings.wait, semaphore.clone().acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) => Err(StorageError::Failed("a queue was closed".into()).into()),
            Err(_) => Err(SqlError::Busy(busy())),
        }
    }

    /// Makes room for one more connection, which is counted from now on. One that somebody else gives
    /// back or closes at this moment is waited for, on a thread that may.
    pub(crate) fn make_room(&self) -> Result<(), SqlError> {
        let limit = self.settings.open_connections;
        let begun = Instant::now();
        loop {
            let open = self.open.load(Ordering::Relaxed);
            if open < limit {
                let counted = self.open.compare_exchange(
                    open,
                    open + 1,
                    Ordering::Relaxed,
                    Ordering::Relaxed,
                );
                match counted {
                    Ok(_) => return Ok(()),
                    Err(_) => continue,
                }
            }
            let oldest = self
                .known(|_| true)
                .into_iter()
                .filter_map(|database| Some((database.idle_since()?, database)))
                .min_by_key(|(since, _)| *since);
            match oldest {
                Some((_, database)) => database.close_idle(self, Instant::now()),
                None if begun.elapsed() < RETURNING => thread::sleep(LOOK),
                None => {
                    return Err(SqlError::Busy(format!(
                        "all {limit} connections that may be open are in use"
                    )));
                }
            }
        }
    }

    /// Closes connections that have not been used for long, and forgets databases without any.
    pub(crate) fn close_idle(&self) {
        if let Some(before) = Instant::now().checked_sub(self.settings.idle_close) {
            for database in self.known(|_| true) {
                database.close_idle(self, before);
            }
        }
        self.databases
            .lock()
            .retain(|_, database| Arc::strong_count(database) > 1 || !database.is_forgettable());
    }

    /// Lets nothing begin any more, ends what is under way, and closes all files.
    pub(crate) async fn close(self: &Arc<Self>) {
        self.closed.store(true, Ordering::Relaxed);
        for database in self.known(|_| true) {
            database.close(self).await;
        }
    }
}
