//! Serves `canopy:mail/sender` over SMTP.
//!
//! [`message`] writes the message down, [`session`] hands it to the server; here is what joins
//! them to the platform.

mod address;
mod message;
mod mime;
mod session;
mod settings;

use std::io;
use std::net::{TcpStream, ToSocketAddrs};

use bindings::exports::canopy::driver::lifecycle;
use bindings::exports::canopy::mail::sender::{Error, Guest, Message};
use canopy_sdk::{config, log};
use session::{Credentials, Failure};
use settings::Settings;
use time::OffsetDateTime;

#[canopy_sdk::driver(
    "canopy:mail/sender@0.1.0",
    "canopy:driver/lifecycle@0.1.0",
    wit = ["../../../wit/mail/0.1.0", "../../../wit/driver/0.1.0"]
)]
struct Smtp;

impl lifecycle::Guest for Smtp {
    /// Connects, greets and signs in, and sends nothing.
    fn check() -> Result<(), String> {
        let settings = Settings::read().map_err(|error| error.to_string())?;
        let credentials = settings.credentials().map_err(|error| match error {
            Error::Refused(text) => text,
            other => format!("{other:?}"),
        })?;
        let stream = connect(&settings).map_err(|error| {
            let (host, port) = (&settings.host, settings.port);
            let reason = session::describe(&error);
            format!("no connection to the mail server at {host}:{port}: {reason}")
        })?;
        session::check(stream, &settings.hello, credentials).map_err(|failure| failure.to_string())
    }
}

impl Guest for Smtp {
    fn send(message: Message) -> Result<String, Error> {
        let settings = Settings::read()?;
        let mail = message::compose(&message, &settings.from, OffsetDateTime::now_utc())?;
        let credentials = settings.credentials()?;
        let stream = connect(&settings).map_err(|error| {
            let reason = session::describe(&error);
            log::error!("{}:{}: {reason}", settings.host, settings.port);
            Error::Unavailable(format!("no connection to the mail server: {reason}"))
        })?;
        match session::deliver(stream, &settings.hello, credentials, &mail) {
            Ok(()) => {
                log::info!(
                    "handed over {} to {} recipients",
                    mail.id,
                    mail.recipients.len()
                );
                Ok(mail.id)
            }
            Err(failure) => {
                log::warn!("not handed over: {failure}");
                Err(failure.into())
            }
        }
    }
}

impl Settings {
    fn credentials(&self) -> Result<Option<Credentials<'_>>, Error> {
        let Some(username) = &self.username else {
            return Ok(None);
        };
        if !self.allow_plaintext_auth {
            return Err(Error::Refused(
                "signing in would show the password to whoever listens, for the connection is not \
                 encrypted; set `allow_plaintext_auth` if the network can be trusted"
                    .to_owned(),
            ));
        }
        Ok(Some(Credentials {
            username,
            password: &self.password,
        }))
    }
}

impl From<config::Error> for Error {
    fn from(error: config::Error) -> Self {
        log::error!("{error}");
        Self::Unavailable(format!("the driver's configuration: {error}"))
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Recipient { address, .. } => Self::BadAddress(address),
            Failure::Refused { .. } | Failure::NoAuth => Self::Refused(failure.to_string()),
            Failure::TooLong { .. } => Self::BadMessage(failure.to_string()),
            Failure::Later { .. } | Failure::Broken(_) => Self::Unavailable(failure.to_string()),
        }
    }
}

/// Tries the addresses of the host one after the other.
fn connect(settings: &Settings) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the host name has no address");
    for address in (settings.host.as_str(), settings.port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, settings.timeout) {
            Ok(stream) => {
                stream.set_read_timeout(Some(settings.timeout))?;
                stream.set_write_timeout(Some(settings.timeout))?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}
