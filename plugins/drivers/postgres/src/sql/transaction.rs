//! Transactions that are open, each with a connection of its own.

use std::cell::RefCell;
use std::rc::Rc;

use canopy_sdk::log;
use net::Stream;

use super::connections::Lease;
use super::places::LOCK;
use super::refusals::error;
use super::rows::{self, Source};
use super::{Asked, check_caller};
use crate::bindings::exports::canopy::storage::sql::{
    Error, GuestTransaction, Mode, Outcome, Rows, Value,
};
use crate::session::{Fault, Session, Status};
use crate::settings::Settings;

/// A transaction of the installation that began it.
pub struct Open {
    installation: String,
    state: Rc<RefCell<State>>,
}

struct State {
    settings: Settings,
    /// Until it is over.
    lease: Option<Lease>,
    /// Counts statements: what belongs to an earlier one has ended.
    statement: u64,
    /// Whether rows of the last one may wait.
    reading: bool,
    /// Why it is over.
    over: &'static str,
}

impl Open {
    pub(super) fn begin(
        settings: Settings,
        mut lease: Lease,
        installation: &str,
        mode: Mode,
    ) -> Result<Self, Fault> {
        let session = &mut lease.session;
        session.run("BEGIN ISOLATION LEVEL REPEATABLE READ")?;
        if mode == Mode::Immediate
            // What is seen is the state after it, for locking looks at no rows.
            && let Err(fault) = session.run(&format!("LOCK TABLE {LOCK} IN EXCLUSIVE MODE NOWAIT"))
        {
            if !fault.is_over() && session.run("ROLLBACK").is_ok() {
                lease.keep();
            }
            return Err(fault);
        }
        Ok(Self {
            installation: installation.to_owned(),
            state: Rc::new(RefCell::new(State {
                settings,
                lease: Some(lease),
                statement: 0,
                reading: false,
                over: "",
            })),
        })
    }

    pub(super) fn run(&self, statement: &Asked) -> Result<Outcome, Error> {
        self.next(|session| statement.run(session))
    }

    pub(super) fn commit(&self) -> Result<(), Error> {
        // A server asked to commit what it refused before rolls back and calls that a success.
        if self.next(Session::finish)? == Status::Failed {
            self.over("ROLLBACK", "it was rolled back")?;
            return Err(Error::TransactionOver(
                "a statement of the transaction was refused, so it was rolled back".to_owned(),
            ));
        }
        self.over("COMMIT", "it was committed")
    }

    fn over(&self, statement: &str, over: &'static str) -> Result<(), Error> {
        let done = self.next(|session| session.run(statement));
        let mut state = self.state.borrow_mut();
        state.over = over;
        if let Some(lease) = state.lease.take() {
            lease.keep();
        }
        done
    }

    /// Does the next thing, after the rows of the one before have ended.
    fn next<R>(
        &self,
        work: impl FnOnce(&mut Session<Stream>) -> Result<R, Fault>,
    ) -> Result<R, Error> {
        check_caller(&self.installation)?;
        let mut state = self.state.borrow_mut();
        state.statement += 1;
        if std::mem::take(&mut state.reading) {
            state.with(|session| session.finish().map(drop))?;
        }
        state.with(work)
    }
}

impl State {
    fn with<R>(
        &mut self,
        work: impl FnOnce(&mut Session<Stream>) -> Result<R, Fault>,
    ) -> Result<R, Error> {
        let Some(lease) = &mut self.lease else {
            return Err(Error::TransactionOver(self.over.to_owned()));
        };
        let done = work(&mut lease.session);
        if done.as_ref().is_err_and(Fault::is_over) {
            self.lease = None;
            self.over = "its connection broke, so it was rolled back";
        }
        done.map_err(|fault| error(&self.settings, fault))
    }
}

impl GuestTransaction for Open {
    async fn execute(&self, statement: String, parameters: Vec<Value>) -> Result<Outcome, Error> {
        self.run(&Asked::read(&statement, parameters)?)
    }

    async fn query(&self, statement: String, parameters: Vec<Value>) -> Result<Rows, Error> {
        let statement = Asked::read(&statement, parameters)?;
        self.next(|_| Ok(()))?;
        let mut state = self.state.borrow_mut();
        state.reading = true;
        let reading = Reading {
            state: Rc::clone(&self.state),
            statement: state.statement,
        };
        drop(state);
        rows::of_source(reading, &statement)
    }

    async fn commit(&self) -> Result<(), Error> {
        Self::commit(self)
    }

    async fn rollback(&self) -> Result<(), Error> {
        self.over("ROLLBACK", "it was rolled back")
    }
}

impl Drop for Open {
    /// What nobody committed is rolled back.
    fn drop(&mut self) {
        let mut state = self.state.borrow_mut();
        state.statement += 1;
        state.over = "its handle was dropped, so it was rolled back";
        if let Some(mut lease) = state.lease.take() {
            let ended = !state.reading || lease.session.finish().is_ok();
            match ended && lease.session.run("ROLLBACK").is_ok() {
                true => lease.keep(),
                // Closed, which rolls back as well.
                false => log::debug!("a transaction was given up with its connection"),
            }
        }
    }
}

/// The rows of a statement of a transaction, until its next one.
struct Reading {
    state: Rc<RefCell<State>>,
    statement: u64,
}

impl Source for Reading {
    fn with<R>(
        &mut self,
        work: impl FnOnce(&mut Session<Stream>) -> Result<R, Fault>,
    ) -> Result<R, Error> {
        let mut state = self.state.borrow_mut();
        if state.statement != self.statement {
            return Err(Error::Other(
                "the rows ended with the next statement of the transaction".to_owned(),
            ));
        }
        let done = state.with(work);
        if done.is_err() {
            state.reading = false;
        }
        done
    }

    fn end(self) {
        let mut state = self.state.borrow_mut();
        if state.statement == self.statement {
            state.reading = false;
        }
    }
}
