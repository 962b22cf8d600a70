//! `spin:postgres`: the databases of [`sql`](crate::sql) by the interface of another platform.
//!
//! [`open`] has the connections that applications hold, [`parameters`] writes what goes to the server
//! and [`values`] reads what comes, both with [`moments`]; [`errors`] says what is refused.

#![allow(
    clippy::result_large_err,
    reason = "what an error holds is the interface's to say"
)]

mod errors;
mod moments;
mod open;
mod parameters;
mod values;

use canopy_sdk::config;
use canopy_sdk::stream::{FutureReader, StreamReader, StreamWriter, spawn};

use crate::Postgres;
use crate::bindings::exports::spin::postgres::postgres::{
    Column, Connection, DbValue, Error, Guest, GuestConnection, GuestConnectionBuilder,
    ParameterValue, RowSet,
};
use crate::bindings::{wit_future, wit_stream};
use crate::session::{Parameter, Row};
use crate::settings::Settings;
use open::{Described, FEW, Open, Rows, more};

impl Guest for Postgres {
    type ConnectionBuilder = Builder;
    type Connection = Open;
}

/// What is to be opened.
pub struct Builder {
    address: String,
}

impl GuestConnectionBuilder for Builder {
    fn new(address: String) -> Self {
        Self { address }
    }

    /// Whom the driver trusts is the tenant's to say. An application that insists on an authority gets
    /// the connection if that is the one.
    fn set_ca_root(&self, certificate: String) -> Result<(), Error> {
        let settings = Settings::read()?;
        if settings.tls.is_none() {
            return Err(Error::Other(
                "the driver that is bound talks to its server in the clear (`sslmode`)".to_owned(),
            ));
        }
        let trusted = config::get("ca")?;
        if trusted.is_none_or(|trusted| trusted.trim() != certificate.trim()) {
            return Err(Error::Other(
                "whom the driver trusts is said by its setting `ca`, which is another".to_owned(),
            ));
        }
        Ok(())
    }

    fn build(&self) -> Result<Connection, Error> {
        Open::connect(&self.address).map(Connection::new)
    }

    async fn build_async(&self) -> Result<Connection, Error> {
        self.build()
    }
}

impl GuestConnection for Open {
    fn open(address: String) -> Result<Connection, Error> {
        Self::connect(&address).map(Connection::new)
    }

    async fn open_async(address: String) -> Result<Connection, Error> {
        Self::connect(&address).map(Connection::new)
    }

    fn query(&self, statement: String, params: Vec<ParameterValue>) -> Result<RowSet, Error> {
        let (columns, rows) = Open::query(self, &statement, &parameters_of(params)?)?;
        let rows = rows.iter().map(|row| decoded(&columns, row));
        Ok(RowSet {
            rows: rows.collect::<Result<_, _>>()?,
            columns: columns_of(&columns),
        })
    }

    async fn query_async(
        &self,
        statement: String,
        params: Vec<ParameterValue>,
    ) -> Result<
        (
            Vec<Column>,
            StreamReader<Vec<DbValue>>,
            FutureReader<Result<(), Error>>,
        ),
        Error,
    > {
        let (columns, rows) = self.begin(&statement, &parameters_of(params)?)?;
        let described = columns_of(&columns);
        let (writer, stream) = wit_stream::new();
        let (end, outcome) =
            wit_future::new(|| Err(Error::Other("the driver ended before the rows".to_owned())));
        let open = self.clone();
        spawn(async move {
            let outcome = pump(&open, &columns, &rows, writer).await;
            open.stop(&rows);
            // The connection is free before anybody learns that the rows have ended.
            drop(open);
            // It fails if nobody waits for it any more; then nobody misses it.
            let _ = end.write(outcome).await;
        });
        Ok((described, stream, outcome))
    }

    fn execute(&self, statement: String, params: Vec<ParameterValue>) -> Result<u64, Error> {
        Open::execute(self, &statement, &parameters_of(params)?)
    }

    async fn execute_async(
        &self,
        statement: String,
        params: Vec<ParameterValue>,
    ) -> Result<u64, Error> {
        Open::execute(self, &statement, &parameters_of(params)?)
    }
}

/// Lets the rows follow as fast as they are taken.
async fn pump(
    open: &Open,
    columns: &[Described],
    rows: &Rows,
    mut writer: StreamWriter<Vec<DbValue>>,
) -> Result<(), Error> {
    let mut most = FEW;
    loop {
        let taken = open.take(rows, most)?;
        if taken.is_empty() {
            return Ok(());
        }
        most = more(most, &taken);
        let decoded = taken.iter().map(|row| decoded(columns, row));
        let decoded = decoded.collect::<Result<Vec<_>, _>>()?;
        if !writer.write_all(decoded).await.is_empty() {
            return Ok(());
        }
    }
}

fn parameters_of(values: Vec<ParameterValue>) -> Result<Vec<Parameter>, Error> {
    let numbered = (1..).zip(values);
    let read = |(number, value): (usize, ParameterValue)| {
        let refused = |why| Error::BadParameter(format!("parameter {number}: {why}"));
        parameters::parameter(value).map_err(refused)
    };
    numbered.map(read).collect()
}

fn columns_of(described: &[Described]) -> Vec<Column> {
    let columns = described.iter().map(|described| &described.column);
    columns.cloned().collect()
}

fn decoded(columns: &[Described], row: &Row) -> Result<Vec<DbValue>, Error> {
    let value = |(described, bytes): (&Described, &Option<bytes::Bytes>)| {
        values::value(described.oid, bytes.as_ref()).map_err(|why| {
            Error::ValueConversionFailed(format!("column `{}`: {why}", described.column.name))
        })
    };
    columns.iter().zip(row).map(value).collect()
}
