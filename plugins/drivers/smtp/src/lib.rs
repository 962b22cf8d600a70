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

use bindings::exports::canopy::driver::lifecycle;
use bindings::exports::canopy::mail::sender::{Error, Guest, Message};
use canopy_sdk::{config, log};
use net::Stream;
use session::{Conversation, Credentials, Failure, Secure};
use settings::{Settings, Tls};
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
            let reason = net::describe(&error);
            format!("no connection to the mail server at {host}:{port}: {reason}")
        })?;
        session::check(stream, settings.conversation(), credentials)
            .map_err(|failure| failure.to_string())
    }
}

impl Guest for Smtp {
    fn send(message: Message) -> Result<String, Error> {
        let settings = Settings::read()?;
        let mail = message::compose(&message, &settings.from, OffsetDateTime::now_utc())?;
        let credentials = settings.credentials()?;
        let stream = connect(&settings).map_err(|error| {
            let reason = net::describe(&error);
            log::error!("{}:{}: {reason}", settings.host, settings.port);
            Error::Unavailable(format!("no connection to the mail server: {reason}"))
        })?;
        match session::deliver(stream, settings.conversation(), credentials, &mail) {
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
    fn conversation(&self) -> Conversation<'_> {
        Conversation {
            hello: &self.hello,
            start_tls: self.tls == Tls::Later,
        }
    }

    fn credentials(&self) -> Result<Option<Credentials<'_>>, Error> {
        let Some(username) = &self.username else {
            return Ok(None);
        };
        if self.tls == Tls::Off && !self.allow_plaintext_auth {
            return Err(Error::Refused(
                "signing in would show the password to whoever listens, for the connection is not \
                 encrypted; set `tls`, or `allow_plaintext_auth` if the network can be trusted"
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
            Failure::Refused { .. } | Failure::NoAuth | Failure::NoTls => {
                Self::Refused(failure.to_string())
            }
            Failure::TooLong { .. } => Self::BadMessage(failure.to_string()),
            Failure::Later { .. } | Failure::Broken(_) => Self::Unavailable(failure.to_string()),
        }
    }
}

/// A connection to the mail server, and the name that it has to prove by TLS.
struct Connection {
    stream: Stream,
    server_name: String,
}

impl Secure for Connection {
    fn secure(self) -> io::Result<Self> {
        Ok(Self {
            stream: self.stream.secure(&self.server_name)?,
            server_name: self.server_name,
        })
    }
}

impl io::Read for Connection {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.read(buffer)
    }
}

impl io::Write for Connection {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

fn connect(settings: &Settings) -> io::Result<Connection> {
    let connection = Connection {
        stream: Stream::connect(&settings.host, settings.port, settings.timeout)?,
        server_name: settings.server_name.clone(),
    };
    match settings.tls {
        Tls::Implicit => connection.secure(),
        Tls::Off | Tls::Later => Ok(connection),
    }
}
