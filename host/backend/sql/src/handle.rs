//! An open database, as a capability has it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;
use canopy_backend::StorageError;
use canopy_backend::sql::{
    Sql, SqlError, SqlMode, SqlOutcome, SqlRows, SqlStatement, SqlTransaction,
};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::database::{Database, Lease};
use crate::guard::Cancel;
use crate::node::{Node, Thread};
use crate::rows::{self, Channel};
use crate::run::{Run, Sink, Stop};
use crate::text::{screen, seems_to_read};
use crate::transaction::Transaction;

#[derive(Clone)]
pub(crate) struct Handle {
    pub(crate) node: Arc<Node>,
    pub(crate) database: Arc<Database>,
    /// The row id that was inserted last here.
    pub(crate) last: Arc<AtomicI64>,
    pub(crate) read_only: bool,
}

impl Handle {
    pub(crate) fn new(node: &Arc<Node>, database: Arc<Database>, read_only: bool) -> Self {
        Self {
            node: node.clone(),
            database,
            last: Arc::default(),
            read_only,
        }
    }

    pub(crate) fn screen(
        &self,
        statement: &SqlStatement,
        in_transaction: bool,
    ) -> Result<(), SqlError> {
        screen(&statement.text, &self.node.settings.limits, in_transaction)
    }

    pub(crate) async fn thread(&self) -> Result<Thread, SqlError> {
        self.node.thread(self.database.scope.tenant).await
    }

    /// Runs `statement` on the connection of `lease`. On a thread that may wait.
    pub(crate) fn run(
        &self,
        lease: &mut Lease,
        statement: &SqlStatement,
        cancel: &Cancel,
        sink: Option<&mut dyn Sink>,
    ) -> Result<SqlOutcome, Stop> {
        let may_write = lease.is_writing();
        let run = Run {
            conn: lease.open()?,
            settings: &self.node.settings,
            cancel,
            memory: Some(&self.database.memory),
            database: &self.database.title,
            may_write,
            last_insert_rowid: self.last.load(Ordering::Relaxed),
        };
        let outcome = run.run(statement, sink);
        match outcome {
            Ok(outcome) => {
                self.last
                    .store(outcome.last_insert_rowid, Ordering::Relaxed);
                Ok(outcome)
            }
            Err(Stop::Full) => Err(Stop::Error(lease.full())),
            Err(Stop::Writes) if self.read_only => Err(Stop::Error(only_reads())),
            Err(stop) => Err(stop),
        }
    }

    /// Runs statements in a transaction of their own, with the right to write. An error comes with
    /// the index of the statement.
    fn write(
        &self,
        lease: &mut Lease,
        statements: &[SqlStatement],
        cancel: &Cancel,
        mut sink: Option<&mut dyn Sink>,
    ) -> Result<Vec<SqlOutcome>, (usize, SqlError)> {
        lease.begin_writing().map_err(|error| (0, error))?;
        let mut outcomes = Vec::with_capacity(statements.len());
        for (index, statement) in statements.iter().enumerate() {
            let sink = sink.as_mut().map(|sink| &mut **sink as &mut dyn Sink);
            match self.run(lease, statement, cancel, sink) {
                Ok(outcome) => outcomes.push(outcome),
                Err(stop) => {
                    lease.rollback();
                    return Err((index, stop.into_error()));
                }
            }
        }
        lease.commit().map_err(|error| (statements.len(), error))?;
        Ok(outcomes)
    }

    async fn batch_on(
        &self,
        statements: Vec<SqlStatement>,
    ) -> Result<Vec<SqlOutcome>, (usize, SqlError)> {
        if self.read_only {
            return Err((0, only_reads()));
        }
        let lease = self.database.writer(&self.node).await;
        let lease = lease.map_err(|error| (0, error))?;
        let thread = self.thread().await.map_err(|error| (0, error))?;
        let cancel = self.database.ending().child();
        let waiting = cancel.on_drop();
        let handle = self.clone();
        let outcomes = on_thread(lease, thread, move |lease| {
            handle.write(lease, &statements, &cancel, None)
        })
        .await
        .map_err(|error| (0, error))?;
        waiting.disarm();
        outcomes
    }
}

#[async_trait]
impl Sql for Handle {
    async fn execute(&self, statement: SqlStatement) -> Result<SqlOutcome, SqlError> {
        self.screen(&statement, false)?;
        let mut statement = statement;
        if self.read_only || seems_to_read(&statement.text) {
            let lease = self.database.reader(&self.node).await?;
            let thread = self.thread().await?;
            let cancel = self.database.ending().child();
            let waiting = cancel.on_drop();
            let handle = self.clone();
            let (outcome, tried) = on_thread(lease, thread, move |lease| {
                (handle.run(lease, &statement, &cancel, None), statement)
            })
            .await?;
            waiting.disarm();
            match outcome {
                Err(Stop::Writes) => statement = tried,
                outcome => return outcome.map_err(Stop::into_error),
            }
        }
        let outcomes = self.batch_on(vec![statement]).await;
        let outcomes = outcomes.map_err(|(_, error)| error)?;
        Ok(outcomes.first().copied().unwrap_or_default())
    }

    async fn query(&self, statement: SqlStatement) -> Result<Box<dyn SqlRows>, SqlError> {
        self.screen(&statement, false)?;
        let statement = Arc::new(statement);
        let deadline = Instant::now() + self.node.settings.transaction_time;
        if self.read_only || seems_to_read(&statement.text) {
            let lease = self.database.reader(&self.node).await?;
            let thread = self.thread().await?;
            let cancel = self.database.ending().child();
            let (mut sink, pending) =
                rows::channel(&self.node, &statement, deadline, cancel.clone());
            let (handle, tried) = (self.clone(), statement.clone());
            tokio::task::spawn_blocking(move || {
                let mut running = thread.begin();
                let mut lease = lease;
                let outcome = handle.run(&mut lease, &tried, &cancel, Some(&mut sink));
                drop(lease);
                running.meter.charge();
                sink.end(outcome);
            });
            match pending.rows().await {
                Err(Stop::Writes) => {}
                rows => return rows.map_err(Stop::into_error),
            }
        }
        if self.read_only {
            return Err(only_reads());
        }
        let lease = self.database.writer(&self.node).await?;
        let thread = self.thread().await?;
        let cancel = self.database.ending().child();
        let (mut sink, pending) = rows::channel(&self.node, &statement, deadline, cancel.clone());
        let handle = self.clone();
        tokio::task::spawn_blocking(move || {
            let mut running = thread.begin();
            let mut lease = lease;
            let statements = std::slice::from_ref(&*statement);
            let outcomes = handle.write(&mut lease, statements, &cancel, Some(&mut sink));
            let outcome = outcomes.map(|outcomes| outcomes.first().copied().unwrap_or_default());
            running.meter.charge();
            finish(lease, || {
                sink.end(outcome.map_err(|(_, error)| Stop::Error(error)))
            });
        });
        pending.rows().await.map_err(Stop::into_error)
    }

    async fn batch(
        &self,
        statements: Vec<SqlStatement>,
    ) -> Result<Vec<SqlOutcome>, (usize, SqlError)> {
        let limit = self.node.settings.limits.batch_statements;
        if statements.len() > limit {
            let error = format!(
                "a batch of {} statements is over the limit of {limit}",
                statements.len()
            );
            return Err((limit, SqlError::TooLarge(error)));
        }
        for (index, statement) in statements.iter().enumerate() {
            self.screen(statement, true)
                .map_err(|error| (index, error))?;
        }
        if statements.is_empty() {
            return Ok(Vec::new());
        }
        self.batch_on(statements).await
    }

    async fn begin(&self, mode: SqlMode) -> Result<Box<dyn SqlTransaction>, SqlError> {
        Ok(Box::new(Transaction::begin(self.clone(), mode).await?))
    }
}

/// Does `work` on a thread that may wait, and puts the connection back.
pub(crate) async fn on_thread<T: Send + 'static>(
    mut lease: Lease,
    thread: Thread,
    work: impl FnOnce(&mut Lease) -> T + Send + 'static,
) -> Result<T, SqlError> {
    let (send, receive) = oneshot::channel();
    tokio::task::spawn_blocking(move || {
        let mut running = thread.begin();
        let result = work(&mut lease);
        running.meter.charge();
        // Whoever waited may have gone.
        finish(lease, || drop(send.send(result)));
    });
    receive.await.map_err(|_| thread_ended())
}

/// Puts the connection back and tells the result, so that the next statement finds the same
/// connection; or first tells the result where putting it back takes time.
fn finish(lease: Lease, tell: impl FnOnce()) {
    if lease.needs_tidying() {
        tell();
        lease.tidy();
    } else {
        drop(lease);
        tell();
    }
}

pub(crate) fn thread_ended() -> SqlError {
    StorageError::Failed("the thread of a statement ended".into()).into()
}

pub(crate) fn only_reads() -> SqlError {
    SqlError::Denied("the statement writes where only reading is open".into())
}

impl Stop {
    pub(crate) fn into_error(self) -> SqlError {
        match self {
            Self::Error(error) => error,
            Self::Writes | Self::Full => only_reads(),
        }
    }
}

impl Channel {
    fn end(self, outcome: Result<SqlOutcome, Stop>) {
        self.finish(outcome);
    }
}
