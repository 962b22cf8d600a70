//! Rows that follow after a query has returned, as fast as they are taken and no faster.

use canopy_sdk::stream::{StreamWriter, spawn};
use net::Stream;

use super::connections::Lease;
use super::refusals::error;
use super::values;
use super::{Asked, outcome};
use crate::bindings::exports::canopy::storage::sql::{Error, Outcome, Rows, Value};
use crate::bindings::{wit_future, wit_stream};
use crate::session::{Column, Fault, Format, Row, Session};
use crate::settings::Settings;

/// Rows that are fetched at once at first.
pub(super) const FEW: i32 = 16;

/// Rows that are fetched at once when they are small.
const MANY: i32 = 512;

/// Bytes of rows up to which more are fetched the next time.
const SMALL: usize = 32 << 10;

/// What gives the rows of a query after the first ones.
pub(super) trait Source: 'static {
    /// Does something with the connection, unless it is another's by now.
    fn with<R>(
        &mut self,
        work: impl FnOnce(&mut Session<Stream>) -> Result<R, Fault>,
    ) -> Result<R, Error>;

    /// The query is over.
    fn end(self);
}

/// A query on a connection of its own.
struct Own {
    settings: Settings,
    lease: Option<Lease>,
}

impl Source for Own {
    fn with<R>(
        &mut self,
        work: impl FnOnce(&mut Session<Stream>) -> Result<R, Fault>,
    ) -> Result<R, Error> {
        let Some(lease) = &mut self.lease else {
            return Err(Error::Other("the connection is gone".to_owned()));
        };
        let done = work(&mut lease.session);
        if done.as_ref().is_err_and(Fault::is_over) {
            self.lease = None;
        }
        done.map_err(|fault| error(&self.settings, fault))
    }

    fn end(self) {
        if let Some(lease) = self.lease {
            lease.keep();
        }
    }
}

/// Begins a query on a connection that nobody else uses.
pub(super) fn of_lease(
    settings: &Settings,
    lease: Lease,
    statement: &Asked,
) -> Result<Rows, Error> {
    let own = Own {
        settings: settings.clone(),
        lease: Some(lease),
    };
    of_source(own, statement)
}

/// Begins a query, and lets the rows follow.
pub(super) fn of_source(mut source: impl Source, statement: &Asked) -> Result<Rows, Error> {
    let begun = source.with(|session| {
        let columns = session.open(&statement.text, &statement.parameters, Format::Text)?;
        Ok((columns, session.fetch(FEW)?))
    });
    let (columns, first) = match begun {
        Ok(begun) => begun,
        Err(error) => {
            source.end();
            return Err(error);
        }
    };
    let (writer, rows) = wit_stream::new();
    let (end, outcome) =
        wit_future::new(|| Err(Error::Other("the driver ended before the rows".to_owned())));
    let described = columns.iter().map(values::column).collect();
    spawn(async move {
        let outcome = pump(&mut source, &columns, first.rows, first.done, writer).await;
        source.end();
        // It fails if nobody waits for it any more; then nobody misses it.
        let _ = end.write(outcome).await;
    });
    Ok(Rows {
        columns: described,
        rows,
        outcome,
    })
}

async fn pump(
    source: &mut impl Source,
    columns: &[Column],
    mut fetched: Vec<Row>,
    mut done: Option<u64>,
    mut writer: StreamWriter<Vec<Value>>,
) -> Result<Outcome, Error> {
    let mut most = FEW;
    loop {
        let bytes: usize = fetched
            .iter()
            .flatten()
            .flatten()
            .map(|text| text.len())
            .sum();
        most = if bytes < SMALL {
            (most * 4).min(MANY)
        } else {
            FEW
        };
        let rows = fetched.iter().map(|row| decoded(columns, row));
        let rows = match rows.collect::<Result<Vec<_>, _>>() {
            Ok(rows) => rows,
            Err(error) => {
                source.with(Session::finish)?;
                return Err(error);
            }
        };
        let dropped = !rows.is_empty() && !writer.write_all(rows).await.is_empty();
        if dropped || done.is_some() {
            source.with(Session::finish)?;
            return Ok(outcome(done.unwrap_or(0)));
        }
        let next = source.with(|session| session.fetch(most))?;
        (fetched, done) = (next.rows, next.done);
    }
}

fn decoded(columns: &[Column], row: &Row) -> Result<Vec<Value>, Error> {
    let pairs = columns.iter().zip(row);
    pairs
        .map(|(column, text)| values::value(column.oid, text.as_ref()))
        .collect()
}
