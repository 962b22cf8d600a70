//! The connection to the server: made on demand, kept between calls, made anew when it breaks.

use std::cell::RefCell;
use std::io;

use net::{Stream, describe};

use crate::rows::{Statement, creation, quoted};
use crate::session::{Fault, Login, Refusal, Row, Session, Value, ask_for_tls};
use crate::settings::Settings;

/// How often a statement is done that the server undoes in favour of others.
const ATTEMPTS: usize = 4;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// There is no connection, or it broke before the answer was complete.
    #[error("the PostgreSQL server at {server} cannot be used: {reason}")]
    Unreachable { server: String, reason: String },
    /// The server refused to let the driver in.
    #[error("the PostgreSQL server at {server} does not let the driver in: {reason}")]
    NotLetIn { server: String, reason: String },
    /// The server refused the statement.
    #[error("the PostgreSQL server refused: {0}")]
    Refused(Refusal),
    /// The answer is not one that the statement has.
    #[error("the PostgreSQL server answered out of turn")]
    Confused,
}

/// What may be done again if the connection breaks before the answer is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// Doing it twice is the same as doing it once.
    Harmless,
    /// It may have been done already.
    Never,
}

struct Connection {
    settings: Settings,
    table: String,
    session: Session<Stream>,
}

thread_local! {
    static KEPT: RefCell<Option<Connection>> = const { RefCell::new(None) };
}

/// Runs `statement` and returns its rows.
///
/// Before what must not be repeated, a kept connection is asked whether the server still answers,
/// so that one which broke while it was idle is noticed in time.
pub fn execute(
    settings: &Settings,
    statement: Statement,
    parameters: &[Value<'_>],
    repeat: Repeat,
) -> Result<Vec<Row>, Failure> {
    if let Some(mut kept) = KEPT.take().filter(|kept| kept.settings == *settings)
        && (repeat == Repeat::Harmless || kept.session.is_alive())
    {
        match kept.execute(statement, parameters) {
            Err(failure @ Failure::Unreachable { .. }) if repeat == Repeat::Never => {
                return Err(failure);
            }
            Err(Failure::Unreachable { .. }) => {}
            done => {
                KEPT.set(Some(kept));
                return done;
            }
        }
    }
    let mut fresh = Connection::open(settings)?;
    let done = fresh.execute(statement, parameters);
    if !matches!(done, Err(Failure::Unreachable { .. })) {
        KEPT.set(Some(fresh));
    }
    done
}

/// Connects and signs in, and no more.
pub fn check(settings: &Settings) -> Result<(), Failure> {
    sign_in(
        settings,
        &settings.username,
        settings.password.as_deref(),
        None,
    )
    .map(drop)
}

/// Connects, and signs in as somebody.
pub fn sign_in(
    settings: &Settings,
    username: &str,
    password: Option<&str>,
    schema: Option<&str>,
) -> Result<Session<Stream>, Failure> {
    let stream = connect(settings).map_err(|reason| failure(settings, reason.into()))?;
    let login = Login {
        username,
        password,
        database: &settings.database,
        // The server gives up first, so that it is the statement that ends and not the connection.
        timeout_ms: (settings.timeout.as_millis() * 9 / 10).max(1),
        schema,
    };
    Session::begin(stream, login).map_err(|fault| match fault {
        Fault::Refused(refusal) if !refusal.is_away() => Failure::NotLetIn {
            server: settings.server(),
            reason: refusal.to_string(),
        },
        other => failure(settings, other),
    })
}

impl Connection {
    fn open(settings: &Settings) -> Result<Self, Failure> {
        let session = sign_in(
            settings,
            &settings.username,
            settings.password.as_deref(),
            None,
        )?;
        let mut connection = Self {
            settings: settings.clone(),
            table: quoted(&settings.table),
            session,
        };
        connection.ensure_table()?;
        Ok(connection)
    }

    fn ensure_table(&mut self) -> Result<(), Failure> {
        let table = self.table.clone();
        if !self
            .execute(Statement::HasTable, &[Value::Text(&table)])?
            .is_empty()
        {
            return Ok(());
        }
        match self.session.run(&creation(&table)) {
            // Somebody else made it at the same time.
            Err(Fault::Refused(refusal))
                if matches!(refusal.code.as_str(), "42P07" | "42710" | "23505") =>
            {
                Ok(())
            }
            done => done.map_err(|fault| failure(&self.settings, fault)),
        }
    }

    fn execute(
        &mut self,
        statement: Statement,
        parameters: &[Value<'_>],
    ) -> Result<Vec<Row>, Failure> {
        let mut attempt = 1;
        loop {
            let text = || statement.text(&self.table);
            match self.session.execute(statement.name(), text, parameters) {
                Err(Fault::Refused(refusal)) if refusal.is_passing() && attempt < ATTEMPTS => {
                    attempt += 1;
                }
                done => return done.map_err(|fault| failure(&self.settings, fault)),
            }
        }
    }
}

/// What a fault is for whoever asked.
pub fn failure(settings: &Settings, fault: Fault) -> Failure {
    let server = settings.server();
    match fault {
        Fault::Broken(error) => Failure::Unreachable {
            server,
            reason: describe(&error),
        },
        Fault::Refused(refusal) if refusal.fatal => Failure::Unreachable {
            server,
            reason: refusal.to_string(),
        },
        Fault::Refused(refusal) => Failure::Refused(refusal),
        Fault::Login(reason) => Failure::NotLetIn {
            server,
            reason: reason.to_owned(),
        },
    }
}

fn connect(settings: &Settings) -> io::Result<Stream> {
    let mut stream = Stream::connect(&settings.host, settings.port, settings.timeout)?;
    match &settings.tls {
        Some(name) => {
            ask_for_tls(&mut stream)?;
            stream.secure(name)
        }
        None => Ok(stream),
    }
}
