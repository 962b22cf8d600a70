//! Rows on their way from the thread that reads them to whoever takes them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use canopy_backend::sql::{
    SqlColumn, SqlError, SqlOutcome, SqlRow, SqlRows, SqlStatement, SqlValue,
};
use canopy_backend::{Held, Kept};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use crate::guard::{Cancel, CancelOnDrop};
use crate::handle::thread_ended;
use crate::node::Node;
use crate::run::{Sink, Stop};

/// Batches that are read ahead of whoever takes them.
const AHEAD: usize = 1;

/// The two ends of the result of `statement`. A connection is not held for it beyond `deadline`.
pub(crate) fn channel(
    node: &Node,
    statement: &SqlStatement,
    deadline: Instant,
    cancel: Cancel,
) -> (Channel, Pending) {
    let (head, columns) = oneshot::channel();
    let (send, receive) = mpsc::channel(AHEAD);
    let (end, outcome) = oneshot::channel();
    let channel = Channel {
        head: Some(head),
        rows: send,
        end,
        kept: statement.kept().cloned(),
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

/// Rows, and what they take of the account of who takes them.
type Batch = (Vec<SqlRow>, Option<Held>);

/// The end of whoever reads from the database.
pub(crate) struct Channel {
    head: Option<oneshot::Sender<Result<Vec<SqlColumn>, Stop>>>,
    rows: mpsc::Sender<Batch>,
    end: oneshot::Sender<Result<SqlOutcome, SqlError>>,
    /// For whom the rows are kept until they are taken.
    kept: Option<Kept>,
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

    /// Counts rows that are read ahead, when there is room for them.
    fn hold(&self, rows: &[SqlRow]) -> Result<Option<Held>, SqlError> {
        let Some(kept) = &self.kept else {
            return Ok(None);
        };
        let bytes = rows.iter().map(kept_bytes).sum();
        let held = match kept.hold(bytes) {
            Ok(held) => held,
            Err(_) => {
                let room = timeout_at(self.deadline, kept.room(bytes));
                let room = self.runtime.block_on(room).map_err(|_| self.late())?;
                room?
            }
        };
        held.settle(bytes);
        Ok(Some(held))
    }

    fn late(&self) -> SqlError {
        SqlError::Timeout(format!(
            "the rows of a result must be taken within {}",
            self.longest
        ))
    }
}

/// What a row takes of memory.
fn kept_bytes(row: &SqlRow) -> usize {
    let values = row.iter().map(|value| match value {
        SqlValue::Text(text) => text.len(),
        SqlValue::Blob(bytes) => bytes.len(),
        SqlValue::Null | SqlValue::Integer(_) | SqlValue::Real(_) => 0,
    });
    size_of::<SqlRow>() + row.len() * size_of::<SqlValue>() + values.sum::<usize>()
}

impl Sink for Channel {
    fn columns(&mut self, columns: Vec<SqlColumn>) -> bool {
        match self.head.take() {
            Some(head) => head.send(Ok(columns)).is_ok(),
            None => false,
        }
    }

    fn rows(&mut self, rows: Vec<SqlRow>) -> Result<bool, SqlError> {
        if self.rows.is_closed() {
            return Ok(false);
        }
        let held = self.hold(&rows)?;
        let batch = match self.rows.try_send((rows, held)) {
            Ok(()) => return Ok(true),
            Err(mpsc::error::TrySendError::Closed(_)) => return Ok(false),
            Err(mpsc::error::TrySendError::Full(batch)) => batch,
        };
        let sent = self
            .runtime
            .block_on(timeout_at(self.deadline, self.rows.send(batch)));
        match sent {
            Ok(sent) => Ok(sent.is_ok()),
            Err(_) => Err(self.late()),
        }
    }
}

/// A result whose columns are not known yet.
pub(crate) struct Pending {
    columns: oneshot::Receiver<Result<Vec<SqlColumn>, Stop>>,
    rows: mpsc::Receiver<Batch>,
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
            given: None,
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
    rows: mpsc::Receiver<Batch>,
    /// What those take that were given last.
    given: Option<Held>,
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
        self.given = None;
        if let Some((rows, held)) = self.rows.recv().await {
            self.given = held;
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
