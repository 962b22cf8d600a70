//! Connections that are open: each has one of the server to itself until it is dropped, so
//! transactions, temporary tables and settings are as on any connection.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use canopy_sdk::{identity, log};
use net::Stream;

use super::errors::{no_connection, of_fault, text};
use crate::bindings::exports::spin::postgres::postgres::{Column, DbDataType, Error};
use crate::session::{self, Fault, Fetched, Format, Parameter, Row, Session, Status};
use crate::settings::Settings;
use crate::sql::connections::Lease;
use crate::sql::places::Place;

/// Rows that are fetched at once at first, and when they are long.
pub const FEW: i32 = 16;

/// Rows that are fetched at once when they are short, or all are wanted.
const MANY: i32 = 512;

/// Bytes of rows up to which more are fetched the next time.
const SMALL: usize = 32 << 10;

/// What a value takes beside its bytes.
const VALUE: usize = 64;

thread_local! {
    /// Connections that are open, by installation.
    static OPEN: RefCell<HashMap<String, usize>> = RefCell::default();
}

/// One of the connections that an installation has open.
struct Counted(String);

impl Counted {
    fn new(installation: String, most: usize) -> Result<Self, Error> {
        OPEN.with_borrow_mut(|open| {
            let count = open.entry(installation.clone()).or_default();
            if *count >= most {
                return Err(Error::ConnectionFailed(format!(
                    "{most} connections are open, which is the limit"
                )));
            }
            *count += 1;
            Ok(Self(installation))
        })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        OPEN.with_borrow_mut(|open| {
            let left = open.get_mut(&self.0).map_or(0, |count| {
                *count -= 1;
                *count
            });
            if left == 0 {
                open.remove(&self.0);
            }
        });
    }
}

/// A connection of the installation that opened it.
#[derive(Clone)]
pub struct Open(Rc<RefCell<State>>);

struct State {
    settings: Settings,
    installation: Counted,
    /// Until it breaks.
    lease: Option<Lease>,
    /// The statement whose rows wait at the server.
    waiting: Option<Rows>,
}

/// Rows that follow, and those that had to be fetched before they were taken.
#[derive(Clone, Default)]
pub struct Rows(Rc<RefCell<Left>>);

#[derive(Default)]
struct Left {
    rows: VecDeque<Row>,
    /// Whether there are no more at the server, and why.
    ended: Option<Result<(), Error>>,
}

impl Open {
    /// Connects to the database that `address` names: one of the installation's own, by its name. Which
    /// server it is on is the binding's to say.
    pub fn connect(address: &str) -> Result<Self, Error> {
        let settings = Settings::read()?;
        let installation = identity::installation()
            .ok_or_else(|| Error::ConnectionFailed("no installation calls".to_owned()))?;
        // It may hold a password, so it is not repeated.
        let place = Place::of(&installation.id, address).ok_or_else(|| {
            Error::ConnectionFailed(
                "the address is the name of a database of this application, as `default`: which \
                 server it is on, and who signs in there, is said by the driver that is bound"
                    .to_owned(),
            )
        })?;
        let installation = Counted::new(installation.id, settings.max_connections)?;
        let lease = Lease::take(&settings, &place).map_err(no_connection)?;
        Ok(Self(Rc::new(RefCell::new(State {
            settings,
            installation,
            lease: Some(lease),
            waiting: None,
        }))))
    }

    /// Runs a statement to its end and drops its rows; how many it wrote.
    pub fn execute(&self, statement: &str, parameters: &[Parameter]) -> Result<u64, Error> {
        let mut state = self.next()?;
        state.with(|session| {
            session.open(statement, parameters, Format::Binary)?;
            let mut most = FEW;
            loop {
                let fetched = session.fetch(most)?;
                if let Some(written) = fetched.done {
                    session.finish()?;
                    return Ok(written);
                }
                most = more(most, &fetched.rows);
            }
        })
    }

    /// Runs a statement and fetches all its rows, within the limit of a list.
    pub fn query(
        &self,
        statement: &str,
        parameters: &[Parameter],
    ) -> Result<(Vec<Described>, Vec<Row>), Error> {
        let mut state = self.next()?;
        let limit = state.settings.max_result_bytes;
        let (columns, rows) = state.with(|session| {
            let columns = begin(session, statement, parameters)?;
            let (mut rows, mut bytes, mut most) = (Vec::new(), 0, FEW);
            loop {
                let fetched = session.fetch(most)?;
                most = more(most, &fetched.rows);
                bytes += fetched.rows.iter().map(held).sum::<usize>();
                rows.extend(fetched.rows);
                if fetched.done.is_some() || bytes > limit {
                    session.finish()?;
                    return Ok((columns, (bytes <= limit).then_some(rows)));
                }
            }
        })?;
        let rows = rows.ok_or_else(|| {
            text(format!(
                "the rows take more than the {limit} bytes of `max_result_bytes`; let them follow by \
                 `query-async`, or ask for fewer"
            ))
        })?;
        Ok((columns, rows))
    }

    /// Begins a statement whose rows follow.
    pub fn begin(
        &self,
        statement: &str,
        parameters: &[Parameter],
    ) -> Result<(Vec<Described>, Rows), Error> {
        let mut state = self.next()?;
        let (columns, first) = state.with(|session| {
            let columns = begin(session, statement, parameters)?;
            Ok((columns, session.fetch(FEW)?))
        })?;
        let rows = Rows::default();
        state.waiting = Some(rows.clone());
        state.took(&rows, Ok(first));
        Ok((columns, rows))
    }

    /// The next rows, at most `most` of them where they have yet to be fetched; none, when all have
    /// been taken.
    pub fn take(&self, rows: &Rows, most: i32) -> Result<Vec<Row>, Error> {
        loop {
            let left = std::mem::take(&mut rows.0.borrow_mut().rows);
            if !left.is_empty() {
                return Ok(left.into());
            }
            if let Some(ended) = &rows.0.borrow().ended {
                return ended.clone().map(|()| Vec::new());
            }
            let mut state = self.0.borrow_mut();
            let fetched = state.with(|session| session.fetch(most));
            state.took(rows, fetched);
        }
    }

    /// Nobody takes more of these rows: the statement ends.
    pub fn stop(&self, rows: &Rows) {
        let mut state = self.0.borrow_mut();
        if rows.0.borrow().ended.is_none() {
            let ended = state.with(|session| session.finish().map(drop));
            rows.0.borrow_mut().ended = Some(ended);
            state.waiting = None;
        }
    }

    /// The state, for the next statement: rows that still wait for the one before are fetched, as far
    /// as the limit of a list goes.
    fn next(&self) -> Result<std::cell::RefMut<'_, State>, Error> {
        let mut state = self.0.borrow_mut();
        let caller = identity::installation();
        if caller.is_none_or(|caller| caller.id != state.installation.0) {
            return Err(Error::Other(
                "this connection belongs to another installation".to_owned(),
            ));
        }
        state.fetch_what_waits();
        Ok(state)
    }
}

impl State {
    fn with<R>(
        &mut self,
        work: impl FnOnce(&mut Session<Stream>) -> Result<R, Fault>,
    ) -> Result<R, Error> {
        let Some(lease) = &mut self.lease else {
            return Err(Error::ConnectionFailed(
                "the connection broke before; open another".to_owned(),
            ));
        };
        let done = work(&mut lease.session);
        if done.as_ref().is_err_and(Fault::is_over) {
            self.lease = None;
        }
        done.map_err(|fault| of_fault(&self.settings, fault))
    }

    /// Notes what was fetched of the statement that waits, and ends it if that was all.
    fn took(&mut self, rows: &Rows, fetched: Result<Fetched, Error>) {
        let mut left = rows.0.borrow_mut();
        let ended = match fetched {
            Ok(fetched) => {
                left.rows.extend(fetched.rows);
                match fetched.done {
                    None => return,
                    Some(_) => self.with(|session| session.finish().map(drop)),
                }
            }
            Err(error) => Err(error),
        };
        left.ended = Some(ended);
        self.waiting = None;
    }

    fn fetch_what_waits(&mut self) {
        let limit = self.settings.max_result_bytes;
        let (mut bytes, mut most) = (0, FEW);
        while let Some(rows) = self.waiting.clone() {
            let fetched = self.with(|session| session.fetch(most));
            if let Ok(fetched) = &fetched {
                most = more(most, &fetched.rows);
                bytes += fetched.rows.iter().map(held).sum::<usize>();
            }
            self.took(&rows, fetched);
            if bytes > limit && self.waiting.take().is_some() {
                let ended = self.with(|session| session.finish().map(drop));
                rows.0.borrow_mut().ended = Some(ended.and(Err(text(format!(
                    "another statement began, and the rows that were left take more than the {limit} \
                     bytes of `max_result_bytes`"
                )))));
            }
        }
    }
}

impl Drop for State {
    /// The connection is kept for others if it can be made as new, and closed otherwise.
    fn drop(&mut self) {
        let Some(mut lease) = self.lease.take() else {
            return;
        };
        let session = &mut lease.session;
        let done = self.waiting.is_none() || session.finish().is_ok();
        let undone = done && (session.status() == Status::Idle || session.run("ROLLBACK").is_ok());
        match undone && session.run("DISCARD ALL").is_ok() {
            true => lease.keep(),
            false => log::debug!("a connection was closed, for it could not be used again"),
        }
    }
}

/// A column as the interface has it, and the server's number for its type.
pub struct Described {
    pub column: Column,
    pub oid: u32,
}

/// Begins a statement and finds out which columns it gives.
fn begin(
    session: &mut Session<Stream>,
    statement: &str,
    parameters: &[Parameter],
) -> Result<Vec<Described>, Fault> {
    let columns = session.open(statement, parameters, Format::Binary)?;
    let mut names: HashMap<u32, String> = HashMap::new();
    let mut described = Vec::with_capacity(columns.len());
    for session::Column { name, oid } in columns {
        let data_type = match (super::values::data_type(oid), names.get(&oid)) {
            (Some(known), _) => known,
            (None, Some(asked)) => DbDataType::Other(asked.clone()),
            (None, None) => {
                let asked = session.name_of_type(oid)?;
                names.insert(oid, asked.clone());
                DbDataType::Other(asked)
            }
        };
        let column = Column { name, data_type };
        described.push(Described { column, oid });
    }
    Ok(described)
}

/// How many rows are fetched the next time, after as many gave `rows`.
pub fn more(most: i32, rows: &[Row]) -> i32 {
    let bytes: usize = rows.iter().map(held).sum();
    if bytes < SMALL {
        (most * 4).min(MANY)
    } else {
        FEW
    }
}

/// What a row takes in memory.
fn held(row: &Row) -> usize {
    let bytes = row.iter().flatten().map(|value| value.len());
    bytes.sum::<usize>() + row.len() * VALUE
}
