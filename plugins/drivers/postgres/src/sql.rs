//! `canopy:storage/sql`: each installation's databases are schemas of its own.
//!
//! [`places`] says who owns what, [`connections`] keeps connections, [`text`] reads statements,
//! [`values`] and [`refusals`] translate, [`rows`] lets rows follow as they are taken, and
//! [`transaction`] has those that are open.

pub mod connections;
pub mod places;
mod refusals;
mod rows;
mod text;
mod transaction;
pub mod values;

use canopy_sdk::{config, identity, log};
use net::Stream;

use crate::Postgres;
use crate::bindings::exports::canopy::storage::sql::{
    Database, Error, Guest, GuestDatabase, Mode, Outcome, Rows, Statement, Transaction, Value,
};
use crate::connection::Failure;
use crate::session::{Fault, Format, Session};
use crate::settings::Settings;
use connections::Lease;
use places::Place;
use refusals::{error, unusable};
use transaction::Open;

/// Rows of a statement that are fetched at once only to be dropped.
const DROPPED: i32 = 256;

impl Guest for Postgres {
    type Database = Handle;
    type Transaction = Open;
}

/// A database of the installation that opened it.
pub struct Handle {
    settings: Settings,
    place: Place,
    installation: String,
}

impl Handle {
    /// A database works for the installation that opened it and nobody else, whoever may hold it.
    fn lease(&self) -> Result<Lease, Error> {
        check_caller(&self.installation)?;
        Lease::take(&self.settings, &self.place).map_err(|failure| match failure {
            Failure::Refused(refusal) => error(&self.settings, Fault::Refused(refusal)),
            other => unusable(other),
        })
    }

    fn begin(&self, mode: Mode) -> Result<Open, Error> {
        let begun = Open::begin(
            self.settings.clone(),
            self.lease()?,
            &self.installation,
            mode,
        );
        begun.map_err(|fault| error(&self.settings, fault))
    }
}

fn check_caller(installation: &str) -> Result<(), Error> {
    if identity::installation().is_none_or(|caller| caller.id != installation) {
        return Err(Error::AccessDenied(
            "this belongs to another installation".to_owned(),
        ));
    }
    Ok(())
}

impl GuestDatabase for Handle {
    async fn open(name: String) -> Result<Database, Error> {
        let settings = Settings::read()?;
        let installation = identity::installation()
            .ok_or_else(|| Error::AccessDenied("no installation calls".to_owned()))?;
        let place = Place::of(&installation.id, &name).ok_or(Error::NoSuchDatabase)?;
        Ok(Database::new(Self {
            settings,
            place,
            installation: installation.id,
        }))
    }

    async fn execute(&self, statement: String, parameters: Vec<Value>) -> Result<Outcome, Error> {
        let statement = Asked::read(&statement, parameters)?;
        let mut lease = self.lease()?;
        let done = statement.run(&mut lease.session);
        if !done.as_ref().is_err_and(Fault::is_over) {
            lease.keep();
        }
        done.map_err(|fault| error(&self.settings, fault))
    }

    async fn query(&self, statement: String, parameters: Vec<Value>) -> Result<Rows, Error> {
        let statement = Asked::read(&statement, parameters)?;
        rows::of_lease(&self.settings, self.lease()?, &statement)
    }

    async fn batch(&self, statements: Vec<Statement>) -> Result<Vec<Outcome>, (u32, Error)> {
        let open = self.begin(Mode::Immediate).map_err(|error| (0, error))?;
        let mut outcomes = Vec::with_capacity(statements.len());
        for (index, statement) in (0..).zip(statements) {
            let done = Asked::read(&statement.text, statement.parameters)
                .and_then(|statement| open.run(&statement));
            outcomes.push(done.map_err(|error| (index, error))?);
        }
        let last = u32::try_from(outcomes.len().saturating_sub(1)).unwrap_or(u32::MAX);
        open.commit().map_err(|error| (last, error))?;
        Ok(outcomes)
    }

    async fn begin(&self, mode: Mode) -> Result<Transaction, Error> {
        Ok(Transaction::new(Self::begin(self, mode)?))
    }
}

/// A statement that has been read.
struct Asked {
    text: String,
    parameters: Vec<crate::session::Parameter>,
}

impl Asked {
    fn read(statement: &str, parameters: Vec<Value>) -> Result<Self, Error> {
        let prepared = text::prepared(statement)?;
        if prepared.parameters != parameters.len() {
            return Err(Error::InvalidStatement(format!(
                "the statement has {} parameters, and {} were given",
                prepared.parameters,
                parameters.len()
            )));
        }
        Ok(Self {
            text: prepared.text,
            parameters: parameters.into_iter().map(values::parameter).collect(),
        })
    }

    /// Runs it to its end and drops the rows that it may give.
    fn run(&self, session: &mut Session<Stream>) -> Result<Outcome, Fault> {
        session.open(&self.text, &self.parameters, Format::Text)?;
        let changes = loop {
            if let Some(changes) = session.fetch(DROPPED)?.done {
                break changes;
            }
        };
        session.finish()?;
        Ok(outcome(changes))
    }
}

/// The server has no row ids: what a row got is told by `RETURNING`.
fn outcome(changes: u64) -> Outcome {
    Outcome {
        changes,
        last_insert_rowid: 0,
    }
}

impl From<config::Error> for Error {
    fn from(error: config::Error) -> Self {
        log::error!("{error}");
        Self::Other(error.to_string())
    }
}
