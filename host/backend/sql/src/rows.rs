//! Rows on their way from the thread that reads them to whoever takes them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use canopy_backend::sql::{SqlColumn, SqlError, SqlOutcome, SqlRow, SqlRows};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use crate::guard::{Cancel, CancelOnDrop};
use crate::handle::thread_ended;
use crate::node::Node;
use crate::run::{Sink, Stop};

/// Batches that are read ahead of whoever takes them.
const AHEAD: usize = 1;

/// The two ends of a result. A connection is not held for it beyond `deadline`.
pub(crate) fn channel(node: &Node, deadline: Instant, cancel: Cancel) -> (Channel, Pending) {
    let (head, columns) = oneshot::channel();
    let (send, receive) = mpsc::channel(AHEAD);
    let (end, outcome) = oneshot::channel();
    let channel = Channel {
        head: Some(head),
        rows: send,
        end,
        runtime: node.runtime.clone(),
        deadline,
        longest: format!("{:?}", node.settings.transaction_time),
    };
    let pending = Pending {
        columns,
        rows: receive,
        outcome,
        waiting: cancel.on_drop(),
    };
    (channel, pending)
}

/// The end of whoever reads from the database.
pub(crate) struct Channel {
    head: Option<oneshot::Sender<Result<Vec<SqlColumn>, Stop>>>,
    rows: mpsc::Sender<Vec<SqlRow>>,
    end: oneshot::Sender<Result<SqlOutcome, SqlError>>,
    runtime: Handle,
    deadline: Instant,
    longest: String,
}

impl Channel {
    /// Says how it ended.
    pub(crate) fn finish(mut self, outcome: Result<SqlOutcome, Stop>) {
        // Whoever waited may have gone.
        match (self.head.take(), outcome) {
            (Some(head), Err(stop)) => drop(head.send(Err(stop))),
            (_, outcome) => drop(self.end.send(outcome.map_err(Stop::into_error))),
        }
    }
}

impl Sink for Channel {
    fn columns(&mut self, columns: Vec<SqlColumn>) -> bool {
        match self.head.take() {
            Some(head) => head.send(Ok(columns)).is_ok(),
            None => false,
        }
    }

    fn rows(&mut self, rows: Vec<SqlRow>) -> Result<bool, SqlError> {
        let rows = match self.rows.try_send(rows) {
            Ok(()) => return Ok(true),
            Err(mpsc::error::TrySendError::Closed(_)) => return Ok(false),
            Err(mpsc::error::TrySendError::Full(rows)) => rows,
        };
        let sent = self
            .runtime
            .block_on(timeout_at(self.deadline, self.rows.send(rows)));
        match sent {
            Ok(sent) => Ok(sent.is_ok()),
            Err(_) => Err(SqlError::Timeout(format!(
                "the rows of a result must be taken within {}",
                self.longest
            ))),
        }
    }
}

/// A result whose columns are not known yet.
pub(crate) struct Pending {
    columns: oneshot::Receiver<Result<Vec<SqlColumn>, Stop>>,
    rows: mpsc::Receiver<Vec<SqlRow>>,
    outcome: oneshot::Receiver<Result<SqlOutcome, SqlError>>,
    waiting: CancelOnDrop,
}

impl Pending {
    pub(crate) async fn rows(self) -> Result<Box<dyn SqlRows>, Stop> {
        self.rows_of(None).await
    }

    /// Clears `reading` when the rows are read or dropped.
    pub(crate) async fn rows_of(
        self,
        reading: Option<Arc<AtomicBool>>,
    ) -> Result<Box<dyn SqlRows>, Stop> {
        let columns = match self.columns.await {
            Ok(columns) => columns?,
            Err(_) => return Err(Stop::Error(thread_ended())),
        };
        if let Some(reading) = &reading {
            reading.store(true, Ordering::SeqCst);
        }
        Ok(Box::new(Rows {
            columns,
            rows: self.rows,
            end: Some(self.outcome),
            outcome: SqlOutcome::default(),
            reading: Reading(reading),
            waiting: Some(self.waiting),
        }))
    }
}

/// The end of whoever takes the rows.
struct Rows {
    columns: Vec<SqlColumn>,
    rows: mpsc::Receiver<Vec<SqlRow>>,
    end: Option<oneshot::Receiver<Result<SqlOutcome, SqlError>>>,
    outcome: SqlOutcome,
    reading: Reading,
    waiting: Option<CancelOnDrop>,
}

/// Says that the rows of a transaction's query are under way.
struct Reading(Option<Arc<AtomicBool>>);

impl Drop for Reading {
    fn drop(&mut self) {
        if let Some(reading) = self.0.take() {
            reading.store(false, Ordering::SeqCst);
        }
    }
}

#[async_trait]
impl SqlRows for Rows {
    fn columns(&self) -> &[SqlColumn] {
        &self.columns
    }

    async fn next(&mut self) -> Result<Option<Vec<SqlRow>>, SqlError> {
        if let Some(rows) = self.rows.recv().await {
            return Ok(Some(rows));
        }
        let Some(end) = &mut self.end else {
            return Ok(None);
        };
        let outcome = end.await;
        self.end = None;
        if let Some(waiting) = self.waiting.take() {
            waiting.disarm();
        }
        self.reading = Reading(None);
        self.outcome = outcome.map_err(|_| thread_ended())??;
        Ok(None)
    }

    fn outcome(&self) -> SqlOutcome {
        self.outcome
    }
}
