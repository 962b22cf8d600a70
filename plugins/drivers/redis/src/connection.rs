//! The connection to the server: made on demand, kept between calls, made anew when it breaks.

use std::cell::RefCell;
use std::io::{self, BufReader, Write};

use net::{Stream, describe};

use crate::resp::{self, Reply};
use crate::settings::Settings;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// There is no connection, or it broke before the answer was complete.
    #[error("the Redis server at {server} cannot be used: {}", describe(reason))]
    Unreachable {
        server: String,
        #[source]
        reason: io::Error,
    },
    /// The server refused the command.
    #[error("the Redis server refused: {0}")]
    Refused(String),
    /// The answer is not one that the command has.
    #[error("the Redis server answered out of turn")]
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
    stream: BufReader<Stream>,
}

thread_local! {
    static KEPT: RefCell<Option<Connection>> = const { RefCell::new(None) };
}

/// Sends `commands` together and returns their answers in order.
///
/// A kept connection that broke while it was idle is noticed by a `PING` that goes ahead of what
/// must not be repeated, so that such a command is sent on a connection that was just seen alive.
pub fn exchange(
    settings: &Settings,
    commands: &[&[&[u8]]],
    repeat: Repeat,
) -> Result<Vec<Reply>, Failure> {
    let unreachable = |reason| Failure::Unreachable {
        server: format!("{}:{}", settings.host, settings.port),
        reason,
    };
    if let Some(mut kept) = KEPT.take().filter(|kept| kept.settings == *settings) {
        let alive = repeat == Repeat::Harmless || kept.exchange(&[&[b"PING"]]).is_ok();
        if alive {
            match kept.exchange(commands) {
                Ok(replies) => return Ok(keep(kept, replies)),
                Err(reason) if repeat == Repeat::Never => return Err(unreachable(reason)),
                Err(_) => {}
            }
        }
    }
    let mut fresh = Connection::open(settings)?;
    let replies = fresh.exchange(commands).map_err(unreachable)?;
    Ok(keep(fresh, replies))
}

fn keep(connection: Connection, replies: Vec<Reply>) -> Vec<Reply> {
    KEPT.set(Some(connection));
    replies
}

impl Connection {
    fn open(settings: &Settings) -> Result<Self, Failure> {
        let server = format!("{}:{}", settings.host, settings.port);
        let stream = connect(settings).map_err(|reason| Failure::Unreachable {
            server: server.clone(),
            reason,
        })?;
        let mut connection = Self {
            settings: settings.clone(),
            stream: BufReader::new(stream),
        };
        let database = settings.database.to_string();
        let mut greeting: Vec<Vec<&[u8]>> = Vec::new();
        match (&settings.username, &settings.password) {
            (Some(user), Some(password)) => {
                greeting.push(vec![b"AUTH", user.as_bytes(), password.as_bytes()]);
            }
            (None, Some(password)) => greeting.push(vec![b"AUTH", password.as_bytes()]),
            (Some(user), None) => greeting.push(vec![b"AUTH", user.as_bytes(), b""]),
            (None, None) => {}
        }
        greeting.push(vec![b"SELECT", database.as_bytes()]);
        let greeting: Vec<&[&[u8]]> = greeting.iter().map(Vec::as_slice).collect();
        let replies = connection
            .exchange(&greeting)
            .map_err(|reason| Failure::Unreachable { server, reason })?;
        for reply in replies {
            if let Reply::Error(text) = reply {
                return Err(Failure::Refused(text));
            }
        }
        Ok(connection)
    }

    fn exchange(&mut self, commands: &[&[&[u8]]]) -> io::Result<Vec<Reply>> {
        let mut bytes = Vec::new();
        for command in commands {
            resp::encode(&mut bytes, command);
        }
        self.stream.get_mut().write_all(&bytes)?;
        self.stream.get_mut().flush()?;
        commands
            .iter()
            .map(|_| resp::decode(&mut self.stream))
            .collect()
    }
}

fn connect(settings: &Settings) -> io::Result<Stream> {
    let stream = Stream::connect(&settings.host, settings.port, settings.timeout)?;
    match &settings.tls {
        Some(name) => stream.secure(name),
        None => Ok(stream),
    }
}
