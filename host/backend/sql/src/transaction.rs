//! A transaction: a connection that is kept from one call to the next, and given back in time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use canopy_backend::sql::{SqlError, SqlMode, SqlOutcome, SqlRows, SqlStatement, SqlTransaction};
use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};

use crate::database::Lease;
use crate::guard::Cancel;
use crate::handle::{Handle, on_thread, only_reads, thread_ended};
use crate::node::Thread;
use crate::rows;
use crate::run::{Sink, Stop};

pub(crate) struct Transaction {
    handle: Handle,
    shared: Arc<Shared>,
    deadline: Instant,
    timer: AbortHandle,
}

struct Shared {
    /// The connection; none when the transaction is over. Locked while a call is under way.
    lease: Arc<tokio::sync::Mutex<Option<Lease>>>,
    /// Why the transaction is over.
    over: Mutex<Option<String>>,
    cancel: Cancel,
    /// Whether somebody has rows of it that are neither read to their end nor dropped.
    reading: Arc<AtomicBool>,
}

type Locked = OwnedMutexGuard<Option<Lease>>;

impl Transaction {
    pub(crate) async fn begin(handle: Handle, mode: SqlMode) -> Result<Self, SqlError> {
        let (node, database) = (&handle.node, &handle.database);
        let writes = mode == SqlMode::Immediate;
        if writes && handle.read_only {
            return Err(only_reads());
        }
        let lease = match writes {
            true => database.writer(node).await?,
            false => database.reader(node).await?,
        };
        let thread = handle.thread().await?;
        let deadline = Instant::now() + node.settings.transaction_time;
        let lease = begin_on(lease, thread, writes).await?;
        let shared = Arc::new(Shared {
            lease: Arc::new(tokio::sync::Mutex::new(Some(lease))),
            over: Mutex::new(None),
            cancel: database.ending().child(),
            reading: Arc::default(),
        });
        let longest = node.settings.transaction_time;
        let timed = shared.clone();
        let timer = tokio::spawn(async move {
            sleep_until(deadline).await;
            timed.end(format!("it was open for longer than {longest:?}"));
            timed.cancel.cancel();
            let lease = timed.lease.lock().await.take();
            // A panic has been reported by then.
            let _ = tokio::task::spawn_blocking(move || drop(lease)).await;
        });
        Ok(Self {
            handle,
            shared,
            deadline,
            timer: timer.abort_handle(),
        })
    }

    /// The connection, when the calls before have ended.
    async fn lock(&self) -> Result<Locked, SqlError> {
        if self.shared.reading.load(Ordering::SeqCst) {
            return Err(SqlError::Invalid(
                "the rows of the query before are to be read to their end, or dropped, first"
                    .into(),
            ));
        }
        let lease = self.shared.lease.clone().lock_owned().await;
        self.shared.check()?;
        match lease.is_some() {
            true => Ok(lease),
            false => Err(SqlError::TransactionOver("it was ended".into())),
        }
    }

    /// Takes the right to write with the first statement that does.
    async fn upgrade(&self, lease: &mut Locked) -> Result<(), SqlError> {
        if self.handle.read_only {
            return Err(only_reads());
        }
        match &mut **lease {
            Some(lease) => lease.take_right_to_write().await,
            None => Err(SqlError::TransactionOver("it was ended".into())),
        }
    }

    async fn finish(&self, how: &str, commit: bool) -> Result<(), SqlError> {
        let mut locked = self.lock().await?;
        let thread = self.handle.thread().await?;
        let Some(lease) = locked.take() else {
            return Err(SqlError::TransactionOver("it was ended".into()));
        };
        self.timer.abort();
        self.shared.end(how.into());
        drop(locked);
        on_thread(lease, thread, move |lease| match commit {
            true => lease.commit(),
            false => {
                lease.rollback();
                Ok(())
            }
        })
        .await?
    }
}

impl Shared {
    fn end(&self, why: String) {
        self.over.lock().get_or_insert(why);
    }

    fn check(&self) -> Result<(), SqlError> {
        match &*self.over.lock() {
            Some(why) => Err(SqlError::TransactionOver(why.clone())),
            None => Ok(()),
        }
    }
}

/// Runs one statement of a transaction. On a thread that may wait. `upgraded`: this is the first
/// one that writes.
fn run(
    handle: &Handle,
    shared: &Shared,
    locked: &mut Locked,
    statement: &SqlStatement,
    upgraded: bool,
    sink: Option<&mut dyn Sink>,
) -> Result<SqlOutcome, Stop> {
    let over = || Stop::Error(SqlError::TransactionOver("it was ended".into()));
    let lease = locked.as_mut().ok_or_else(over)?;
    if upgraded {
        lease.begin_to_write()?;
    }
    let result = handle.run(lease, statement, &shared.cancel, sink);
    if let Err(Stop::Error(error)) = &result {
        // Some errors undo all of a transaction: what comes next must not run outside of it.
        if !lease.is_in_transaction() {
            shared.end(format!("it was rolled back: {error}"));
            drop(locked.take());
        } else if shared.check().is_err() {
            // The error is that of being ended.
            shared.check()?;
        }
    }
    result
}

async fn begin_on(lease: Lease, thread: Thread, writes: bool) -> Result<Lease, SqlError> {
    let begin = move || {
        let (mut lease, _running) = (lease, thread.begin());
        match writes {
            true => lease.begin_writing()?,
            false => lease.begin_reading()?,
        }
        Ok(lease)
    };
    tokio::task::spawn_blocking(begin)
        .await
        .map_err(|_| thread_ended())?
}

#[async_trait]
impl SqlTransaction for Transaction {
    async fn execute(&self, statement: SqlStatement) -> Result<SqlOutcome, SqlError> {
        self.handle.screen(&statement, true)?;
        let statement = Arc::new(statement);
        let mut locked = self.lock().await?;
        let mut upgraded = false;
        loop {
            let thread = self.handle.thread().await?;
            let (handle, shared) = (self.handle.clone(), self.shared.clone());
            let tried = statement.clone();
            let ran = tokio::task::spawn_blocking(move || {
                let _running = thread.begin();
                let result = run(&handle, &shared, &mut locked, &tried, upgraded, None);
                (result, locked)
            });
            let (result, back) = ran.await.map_err(|_| thread_ended())?;
            locked = back;
            match result {
                Err(Stop::Writes) if !upgraded => {
                    self.upgrade(&mut locked).await?;
                    upgraded = true;
                }
                result => return result.map_err(Stop::into_error),
            }
        }
    }

    async fn query(&self, statement: SqlStatement) -> Result<Box<dyn SqlRows>, SqlError> {
        self.handle.screen(&statement, true)?;
        let statement = Arc::new(statement);
        let mut locked = self.lock().await?;
        let mut upgraded = false;
        loop {
            let thread = self.handle.thread().await?;
            // Interrupting a statement that writes would undo the whole transaction.
            let unused = Cancel::default();
            let (mut sink, pending) =
                rows::channel(&self.handle.node, &statement, self.deadline, unused);
            let (handle, shared) = (self.handle.clone(), self.shared.clone());
            let tried = statement.clone();
            tokio::task::spawn_blocking(move || {
                let mut running = thread.begin();
                let sinking = Some(&mut sink as &mut dyn Sink);
                let result = run(&handle, &shared, &mut locked, &tried, upgraded, sinking);
                drop(locked);
                running.meter.charge();
                sink.finish(result);
            });
            let rows = pending.rows_of(Some(self.shared.reading.clone())).await;
            match rows {
                Err(Stop::Writes) if !upgraded => {
                    locked = self.lock().await?;
                    self.upgrade(&mut locked).await?;
                    upgraded = true;
                }
                rows => return rows.map_err(Stop::into_error),
            }
        }
    }

    async fn commit(&self) -> Result<(), SqlError> {
        self.finish("it was committed", true).await
    }

    async fn rollback(&self) -> Result<(), SqlError> {
        self.finish("it was rolled back", false).await
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        self.timer.abort();
        self.shared.end("it was dropped".into());
        self.shared.cancel.cancel();
        let shared = self.shared.clone();
        let runtime = &self.handle.node.runtime;
        match self.shared.lease.try_lock() {
            Ok(mut lease) => {
                if let Some(lease) = lease.take() {
                    runtime.spawn_blocking(move || drop(lease));
                }
            }
            Err(_) => {
                runtime.spawn(async move {
                    let lease = shared.lease.lock().await.take();
                    let _ = tokio::task::spawn_blocking(move || drop(lease)).await;
                });
            }
        }
    }
}
