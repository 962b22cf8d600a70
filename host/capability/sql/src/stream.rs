//! Rows as a stream: a batch is read from the database when the guest has taken the one before.

use std::pin::Pin;
use std::task::{Context, Poll};

use canopy_backend::sql::{SqlError, SqlOutcome, SqlRow, SqlRows};
use futures::future::BoxFuture;
use tokio::sync::oneshot;
use wasmtime::StoreContextMut;
use wasmtime::component::{Destination, StreamProducer, StreamResult, VecBuffer};

type Next = (Box<dyn SqlRows>, Result<Option<Vec<SqlRow>>, SqlError>);

/// The rows of a result, each turned into a `T` of the guest's interface.
pub(crate) struct RowStream<T> {
    next: BoxFuture<'static, Next>,
    outcome: Option<oneshot::Sender<Result<SqlOutcome, SqlError>>>,
    turn: fn(SqlRow) -> T,
}

impl<T> RowStream<T> {
    /// The rows, and what is told when they have ended.
    pub(crate) fn new(
        rows: Box<dyn SqlRows>,
        turn: fn(SqlRow) -> T,
    ) -> (Self, impl Future<Output = Result<SqlOutcome, SqlError>>) {
        let (tell, outcome) = oneshot::channel();
        let stream = Self {
            next: next(rows),
            outcome: Some(tell),
            turn,
        };
        let outcome = async {
            outcome.await.unwrap_or_else(|_| {
                Err(SqlError::Invalid(
                    "the rows were not read to their end".into(),
                ))
            })
        };
        (stream, outcome)
    }

    fn end(&mut self, outcome: Result<SqlOutcome, SqlError>) -> StreamResult {
        if let Some(tell) = self.outcome.take() {
            // The guest may not want to know.
            let _ = tell.send(outcome);
        }
        StreamResult::Dropped
    }
}

fn next(mut rows: Box<dyn SqlRows>) -> BoxFuture<'static, Next> {
    Box::pin(async move {
        let batch = rows.next().await;
        (rows, batch)
    })
}

impl<D, T: Send + Sync + 'static> StreamProducer<D> for RowStream<T> {
    type Item = T;
    type Buffer = VecBuffer<T>;

    fn poll_produce<'a>(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut store: StoreContextMut<'a, D>,
        mut destination: Destination<'a, T, VecBuffer<T>>,
        finish: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        // A look whether there is something; the reading that follows waits.
        if destination.remaining(&mut store) == Some(0) || self.outcome.is_none() {
            let ended = self.outcome.is_none();
            return Poll::Ready(Ok(match ended {
                true => StreamResult::Dropped,
                false => StreamResult::Completed,
            }));
        }
        let result = match self.next.as_mut().poll(cx) {
            Poll::Pending if finish => StreamResult::Cancelled,
            Poll::Pending => return Poll::Pending,
            Poll::Ready((rows, Ok(Some(batch)))) => {
                let turn = self.turn;
                let batch: Vec<_> = batch.into_iter().map(turn).collect();
                destination.set_buffer(batch.into());
                self.next = next(rows);
                StreamResult::Completed
            }
            Poll::Ready((rows, Ok(None))) => self.end(Ok(rows.outcome())),
            Poll::Ready((_, Err(error))) => self.end(Err(error)),
        };
        Poll::Ready(Ok(result))
    }
}
