//! One conversation with the server, in version 3 of its protocol: logging in, and statements that
//! are prepared once.
//!
//! The messages are read and written by `postgres-protocol`; here is their order, and how long they
//! may be.

mod portal;

use std::collections::HashSet;
use std::io::{self, Read, Write};

use bytes::{BufMut as _, Bytes, BytesMut};
use fallible_iterator::FallibleIterator as _;
use postgres_protocol::IsNull;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use postgres_protocol::message::backend::{ErrorResponseBody, Header, Message};
use postgres_protocol::message::frontend;

pub use portal::{Column, Fetched, Format, Parameter, Status};

/// The longest message taken from the server: a value of the largest size and room for what
/// surrounds it.
const MAX_MESSAGE: usize = 4 << 20;

/// The most bytes taken in answer to one statement: a batch has to fit into the driver's memory.
const MAX_ANSWER: usize = 64 << 20;

/// Bytes read from the connection at once.
const CHUNK: usize = 16 << 10;

/// How long a statement of an application waits for a lock, in milliseconds.
const LOCK_MS: &str = "100";

/// How long a transaction of an application stays open without a statement, in milliseconds.
const OPEN_MS: &str = "20000";

/// A parameter of a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    Text(&'a str),
    Bytes(&'a [u8]),
    Integer(i64),
    ListOfBytes(&'a [&'a [u8]]),
}

/// What a refusal may have beside its code and its message.
const FIELDS: [(u8, &str); 13] = [
    (b'H', "hint"),
    (b'P', "position"),
    (b'p', "internal_position"),
    (b'q', "internal_query"),
    (b'W', "where_"),
    (b's', "schema"),
    (b't', "table"),
    (b'c', "column"),
    (b'd', "datatype"),
    (b'n', "constraint"),
    (b'F', "file"),
    (b'L', "line"),
    (b'R', "routine"),
];

/// The server's number for the type `bytea`.
const BYTEA: u32 = 17;

impl Value<'_> {
    /// The server's number for its type.
    fn oid(self) -> u32 {
        match self {
            Self::Text(_) => 25,
            Self::Bytes(_) => BYTEA,
            Self::Integer(_) => 20,
            Self::ListOfBytes(_) => 1001,
        }
    }

    /// Appends its binary form.
    fn encode(self, out: &mut BytesMut) -> io::Result<()> {
        match self {
            Self::Text(text) => out.put_slice(text.as_bytes()),
            Self::Bytes(bytes) => out.put_slice(bytes),
            Self::Integer(number) => out.put_i64(number),
            Self::ListOfBytes(items) => {
                // One dimension, no nulls, counted from one.
                out.put_i32(1);
                out.put_i32(0);
                out.put_u32(BYTEA);
                out.put_i32(length(items.len())?);
                out.put_i32(1);
                for item in items {
                    out.put_i32(length(item.len())?);
                    out.put_slice(item);
                }
            }
        }
        Ok(())
    }
}

fn length(bytes: usize) -> io::Result<i32> {
    i32::try_from(bytes).map_err(|_| bad("too much for one message"))
}

/// A row of an answer: the columns' binary forms.
pub type Row = Vec<Option<Bytes>>;

/// What the server said instead of an answer.
#[derive(Debug, Clone, Default, PartialEq, Eq, thiserror::Error)]
#[error("{message} (SQLSTATE {code})")]
pub struct Refusal {
    /// Five characters that say what is wrong.
    pub code: String,
    /// The same for people.
    pub message: String,
    /// Whether the server ends the connection with it.
    pub fatal: bool,
    pub more: Box<More>,
}

/// What else the server said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct More {
    /// How bad it is, in a word that is not translated.
    pub severity: String,
    /// More of it for people.
    pub detail: Option<String>,
    /// The rest, by the names that clients have for it.
    pub fields: Vec<(&'static str, String)>,
}

impl Refusal {
    /// One of this driver's own, in the words of the server.
    pub fn own(code: &str, message: &str) -> Self {
        Self {
            code: code.to_owned(),
            message: message.to_owned(),
            fatal: false,
            more: Box::new(More {
                severity: "ERROR".to_owned(),
                ..More::default()
            }),
        }
    }

    /// Whether the server refuses because it is ending, restarting or starting.
    pub fn is_away(&self) -> bool {
        self.fatal && self.code.starts_with("57P")
    }

    /// Whether the statement was undone so that others could go on, and may succeed if done again.
    pub fn is_passing(&self) -> bool {
        matches!(self.code.as_str(), "40001" | "40P01")
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The connection broke, or what came over it makes no sense.
    #[error(transparent)]
    Broken(#[from] io::Error),
    /// The server refused.
    #[error(transparent)]
    Refused(Refusal),
    /// The server wants to know the user in a way that this driver does not take.
    #[error("{0}")]
    Login(&'static str),
}

impl Fault {
    /// Whether the connection is of no use after it.
    pub fn is_over(&self) -> bool {
        match self {
            Self::Refused(refusal) => refusal.fatal,
            Self::Broken(_) | Self::Login(_) => true,
        }
    }
}

/// Who logs in to what.
#[derive(Clone, Copy)]
pub struct Login<'a> {
    pub username: &'a str,
    pub password: Option<&'a str>,
    pub database: &'a str,
    /// How long the server works on one statement, in milliseconds.
    pub timeout_ms: u128,
    /// The schema in which an application's statements look up names, where it is for those.
    pub schema: Option<&'a str>,
}

/// Asks the server to go on by TLS. One that does not is not talked to in the clear. Nothing is read
/// beyond its answer: what came before TLS is nobody's word.
pub fn ask_for_tls(stream: &mut (impl Read + Write)) -> io::Result<()> {
    let mut out = BytesMut::new();
    frontend::ssl_request(&mut out);
    stream.write_all(&out)?;
    stream.flush()?;
    let mut answer = [0];
    stream.read_exact(&mut answer)?;
    match answer {
        [b'S'] => Ok(()),
        [b'N'] => Err(io::Error::other("it offers no TLS")),
        _ => Err(bad("no answer to the question for TLS")),
    }
}

/// A conversation over `stream`.
pub struct Session<S> {
    stream: S,
    input: BytesMut,
    prepared: HashSet<&'static str>,
    /// As the server said when it was last ready.
    status: Status,
}

impl<S: Read + Write> Session<S> {
    /// Logs in.
    pub fn begin(stream: S, login: Login<'_>) -> Result<Self, Fault> {
        let mut session = Self {
            stream,
            input: BytesMut::new(),
            prepared: HashSet::new(),
            status: Status::Idle,
        };
        let timeout = login.timeout_ms.to_string();
        let path = login.schema.map(|schema| format!("\"{schema}\""));
        // Nobody else of this driver goes on while a statement waits, so what it waits for may be held
        // by one of them: it does not wait for long, and is told that it is to be tried again.
        let further = path.as_deref().map(|path| {
            [
                ("search_path", path),
                ("lock_timeout", LOCK_MS),
                ("idle_in_transaction_session_timeout", OPEN_MS),
            ]
        });
        let parameters = [
            ("user", login.username),
            ("database", login.database),
            ("client_encoding", "UTF8"),
            ("application_name", "canopy"),
            ("statement_timeout", &timeout),
        ];
        let parameters = parameters.into_iter().chain(further.into_iter().flatten());
        let mut out = BytesMut::new();
        frontend::startup_message(parameters, &mut out)?;
        session.send(&out)?;
        session.log_in(login.password)?;
        session.settle()?;
        Ok(session)
    }

    /// Answers the server's question who is there, until it is content.
    fn log_in(&mut self, password: Option<&str>) -> Result<(), Fault> {
        let mut scram = None;
        // That the server knows the password, too, is proved by its last word; it cannot leave that
        // out once it was asked.
        let mut proved = true;
        loop {
            match self.receive()? {
                Message::AuthenticationOk if proved => return Ok(()),
                Message::AuthenticationOk => {
                    return Err(Fault::Login(
                        "the server did not prove that it knows the password",
                    ));
                }
                Message::AuthenticationSasl(body) => {
                    let mechanisms = body.mechanisms().collect::<Vec<_>>()?;
                    if !mechanisms.contains(&SCRAM_SHA_256) {
                        return Err(Fault::Login("the server offers no SCRAM-SHA-256"));
                    }
                    let password =
                        password.ok_or(Fault::Login("the server asks for a password"))?;
                    let begun =
                        ScramSha256::new(password.as_bytes(), ChannelBinding::unsupported());
                    let mut out = BytesMut::new();
                    frontend::sasl_initial_response(SCRAM_SHA_256, begun.message(), &mut out)?;
                    self.send(&out)?;
                    scram = Some(begun);
                    proved = false;
                }
                Message::AuthenticationSaslContinue(body) => {
                    let scram = scram.as_mut().ok_or_else(|| bad("an answer out of turn"))?;
                    scram.update(body.data())?;
                    let mut out = BytesMut::new();
                    frontend::sasl_response(scram.message(), &mut out)?;
                    self.send(&out)?;
                }
                Message::AuthenticationSaslFinal(body) => {
                    let scram = scram.as_mut().ok_or_else(|| bad("an answer out of turn"))?;
                    scram.finish(body.data())?;
                    proved = true;
                }
                Message::AuthenticationCleartextPassword => {
                    return Err(Fault::Login(
                        "the server asks for the password in clear text; this driver proves it by \
                         SCRAM-SHA-256 alone",
                    ));
                }
                Message::AuthenticationMd5Password(_) => {
                    return Err(Fault::Login(
                        "the server asks for the password as MD5; set `password_encryption` to \
                         scram-sha-256 and the password anew",
                    ));
                }
                Message::ErrorResponse(body) => return Err(refusal(&body)?.into()),
                _ => return Err(bad("another kind of login than by SCRAM-SHA-256").into()),
            }
        }
    }

    /// Reads until the server is ready for a statement.
    fn settle(&mut self) -> Result<(), Fault> {
        loop {
            match self.receive()? {
                Message::ReadyForQuery(_) => return Ok(()),
                Message::ErrorResponse(body) => return Err(refusal(&body)?.into()),
                _ => {}
            }
        }
    }

    /// Whether it is in a transaction.
    pub fn status(&self) -> Status {
        self.status
    }

    /// Whether the server still answers.
    pub fn is_alive(&mut self) -> bool {
        let mut out = BytesMut::new();
        frontend::sync(&mut out);
        self.send(&out).is_ok() && self.settle().is_ok()
    }

    /// Runs statements that give no rows.
    pub fn run(&mut self, text: &str) -> Result<(), Fault> {
        let mut out = BytesMut::new();
        frontend::query(text, &mut out)?;
        self.send(&out)?;
        self.rows(None).map(drop)
    }

    /// Runs the statement that goes by `name` and is prepared from `text` the first time.
    pub fn execute(
        &mut self,
        name: &'static str,
        text: impl FnOnce() -> String,
        parameters: &[Value<'_>],
    ) -> Result<Vec<Row>, Fault> {
        let mut out = BytesMut::new();
        let fresh = !self.prepared.contains(name);
        if fresh {
            let types = parameters.iter().map(|value| value.oid());
            frontend::parse(name, &text(), types, &mut out)?;
        }
        // Everything is in binary, there and back.
        let bound = frontend::bind(
            "",
            name,
            [1],
            parameters,
            |value, out| {
                value.encode(out)?;
                Ok(IsNull::No)
            },
            [1],
            &mut out,
        );
        bound.map_err(|error| match error {
            frontend::BindError::Conversion(error) => io::Error::other(error),
            frontend::BindError::Serialization(error) => error,
        })?;
        frontend::execute("", 0, &mut out)?;
        frontend::sync(&mut out);
        self.send(&out)?;
        self.rows(fresh.then_some(name))
    }

    /// Reads what a statement gives. `preparing` is noted as prepared if the server says so.
    fn rows(&mut self, preparing: Option<&'static str>) -> Result<Vec<Row>, Fault> {
        let mut rows = Vec::new();
        let mut taken = 0;
        let mut refused = None;
        loop {
            match self.receive()? {
                Message::ParseComplete => self.prepared.extend(preparing),
                Message::DataRow(body) => {
                    taken += body.buffer().len();
                    if taken > MAX_ANSWER {
                        return Err(bad("more than this driver takes").into());
                    }
                    let bytes = body.buffer_bytes();
                    let row = body
                        .ranges()
                        .map(|range| Ok(range.map(|range| bytes.slice(range))));
                    rows.push(row.collect()?);
                }
                Message::ErrorResponse(body) => {
                    let refusal = refusal(&body)?;
                    // Nothing more comes after it.
                    if refusal.fatal {
                        return Err(refusal.into());
                    }
                    refused.get_or_insert(refusal);
                }
                Message::ReadyForQuery(_) => {
                    return match refused {
                        Some(refusal) => Err(refusal.into()),
                        None => Ok(rows),
                    };
                }
                _ => {}
            }
        }
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)?;
        self.stream.flush()
    }

    /// The next message that is not a mere notice.
    fn receive(&mut self) -> io::Result<Message> {
        loop {
            if let Some(header) = Header::parse(&self.input)?
                && usize::try_from(header.len()).is_ok_and(|length| length > MAX_MESSAGE)
            {
                return Err(bad(
                    "more than this driver takes; is it a PostgreSQL server?",
                ));
            }
            match Message::parse(&mut self.input)? {
                Some(
                    Message::NoticeResponse(_)
                    | Message::ParameterStatus(_)
                    | Message::NotificationResponse(_),
                ) => {}
                Some(message) => {
                    if let Message::ReadyForQuery(body) = &message {
                        self.status = match body.status() {
                            b'I' => Status::Idle,
                            b'T' => Status::Open,
                            b'E' => Status::Failed,
                            _ => return Err(bad("a state that there is not")),
                        };
                    }
                    return Ok(message);
                }
                None => {
                    let mut chunk = [0; CHUNK];
                    let read = self.stream.read(&mut chunk)?;
                    if read == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    self.input.extend_from_slice(&chunk[..read]);
                }
            }
        }
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

fn refusal(body: &ErrorResponseBody) -> io::Result<Refusal> {
    let mut refusal = Refusal::default();
    let mut fields = body.fields();
    while let Some(field) = fields.next()? {
        let text = String::from_utf8_lossy(field.value_bytes()).into_owned();
        match field.type_() {
            b'C' => refusal.code = text,
            b'M' => refusal.message = text,
            b'D' => refusal.more.detail = Some(text),
            // In a form that is not translated.
            b'V' => {
                refusal.fatal = matches!(&*text, "FATAL" | "PANIC");
                refusal.more.severity = text;
            }
            kind => {
                let known = FIELDS.iter().find(|(known, _)| *known == kind);
                refusal
                    .more
                    .fields
                    .extend(known.map(|(_, name)| (*name, text)));
            }
        }
    }
    Ok(refusal)
}

fn bad(what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("the server sent {what}"),
    )
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
