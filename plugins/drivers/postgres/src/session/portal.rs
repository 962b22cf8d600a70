//! Statements of applications: any text, parameters as text, rows a few at a time.
//!
//! What a statement gives waits at the server, in a portal, and is fetched as it is taken. Until it
//! is closed, the connection does nothing else.

use std::io::{Read, Write};

use bytes::BytesMut;
use fallible_iterator::FallibleIterator as _;
use postgres_protocol::IsNull;
use postgres_protocol::message::backend::Message;
use postgres_protocol::message::frontend;

use super::{Fault, Refusal, Row, Session, bad, refusal};

/// A parameter as it is sent: text in the form that its type has, or bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parameter {
    Null,
    Text(String),
    Bytes(Vec<u8>),
}

/// A column of what a statement gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    /// The server's number for its type.
    pub oid: u32,
}

/// Some rows, and whether more wait.
#[derive(Debug, PartialEq, Eq)]
pub struct Fetched {
    pub rows: Vec<Row>,
    /// Rows that were written by the statement, if it is done.
    pub done: Option<u64>,
}

/// How what a statement gives comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// As people write it.
    Text,
    /// As the server keeps it, whatever the settings of the session.
    Binary,
}

/// Whether the connection is in a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Idle,
    Open,
    /// It can only be rolled back.
    Failed,
}

impl<S: Read + Write> Session<S> {
    /// Begins a statement and says which columns it gives. Nothing of it has been done if this fails.
    pub fn open(
        &mut self,
        text: &str,
        parameters: &[Parameter],
        format: Format,
    ) -> Result<Vec<Column>, Fault> {
        // What cannot be written down would look like a connection that broke.
        if text.contains('\0') || parameters.len() > usize::from(u16::MAX) {
            return Err(Fault::Refused(Refusal::own(
                "42601",
                "a statement has no zero byte and at most 65535 parameters",
            )));
        }
        let mut out = BytesMut::new();
        // The server finds the types by itself.
        frontend::parse("", text, [], &mut out)?;
        let formats = parameters
            .iter()
            .map(|one| i16::from(matches!(one, Parameter::Bytes(_))));
        let bound = frontend::bind(
            "",
            "",
            formats,
            parameters,
            |parameter, out| {
                match parameter {
                    Parameter::Null => return Ok(IsNull::Yes),
                    Parameter::Text(text) => out.extend_from_slice(text.as_bytes()),
                    Parameter::Bytes(bytes) => out.extend_from_slice(bytes),
                }
                Ok(IsNull::No)
            },
            [i16::from(format == Format::Binary)],
            &mut out,
        );
        bound.map_err(unbound)?;
        frontend::describe(b'P', "", &mut out)?;
        frontend::flush(&mut out);
        self.send(&out)?;
        loop {
            match self.receive()? {
                Message::ParseComplete | Message::BindComplete => {}
                Message::NoData => return Ok(Vec::new()),
                Message::RowDescription(body) => {
                    let column = |field: postgres_protocol::message::backend::Field<'_>| {
                        Ok(Column {
                            name: field.name().to_owned(),
                            oid: field.type_oid(),
                        })
                    };
                    return Ok(body.fields().map(column).collect()?);
                }
                Message::ErrorResponse(body) => return self.refused(refusal(&body)?),
                _ => return Err(bad("an answer out of turn").into()),
            }
        }
    }

    /// At most `most` rows of the statement that was begun.
    pub fn fetch(&mut self, most: i32) -> Result<Fetched, Fault> {
        let mut out = BytesMut::new();
        frontend::execute("", most, &mut out)?;
        frontend::flush(&mut out);
        self.send(&out)?;
        let mut rows = Vec::new();
        let mut copied = false;
        loop {
            match self.receive()? {
                // Nothing goes this way: what the server wants to have is refused at once, and what it
                // gives when it has come, with all that it did.
                Message::CopyInResponse(_) => {
                    let mut out = BytesMut::new();
                    frontend::copy_fail("rows are written by INSERT here", &mut out)?;
                    self.send(&out)?;
                }
                Message::CopyOutResponse(_) => copied = true,
                Message::CopyData(_) | Message::CopyDone => {}
                Message::CommandComplete(_) if copied => {
                    let mut out = BytesMut::new();
                    // No statement, by which the server undoes the one before.
                    frontend::parse("", "undo", [], &mut out)?;
                    frontend::flush(&mut out);
                    self.send(&out)?;
                }
                Message::ErrorResponse(_) if copied => {
                    return self.refused(Refusal::own(
                        "0A000",
                        "rows are read by SELECT here, and not by COPY",
                    ));
                }
                Message::DataRow(body) => {
                    let bytes = body.buffer_bytes();
                    let row = body
                        .ranges()
                        .map(|range| Ok(range.map(|range| bytes.slice(range))));
                    rows.push(row.collect()?);
                }
                Message::PortalSuspended => return Ok(Fetched { rows, done: None }),
                Message::CommandComplete(body) => {
                    return Ok(Fetched {
                        rows,
                        done: Some(written(body.tag()?)),
                    });
                }
                Message::EmptyQueryResponse => {
                    return Ok(Fetched {
                        rows,
                        done: Some(0),
                    });
                }
                Message::ErrorResponse(body) => return self.refused(refusal(&body)?),
                _ => return Err(bad("an answer out of turn").into()),
            }
        }
    }

    /// Ends the statement. Outside of a transaction what it wrote takes place now, unless this fails.
    pub fn finish(&mut self) -> Result<Status, Fault> {
        let mut out = BytesMut::new();
        frontend::sync(&mut out);
        self.send(&out)?;
        let mut refused = None;
        loop {
            match self.receive()? {
                Message::ReadyForQuery(_) => {
                    return match refused {
                        Some(refusal) => Err(Fault::Refused(refusal)),
                        None => Ok(self.status),
                    };
                }
                Message::ErrorResponse(body) => {
                    let refusal = refusal(&body)?;
                    if refusal.fatal {
                        return Err(Fault::Refused(refusal));
                    }
                    refused.get_or_insert(refusal);
                }
                _ => {}
            }
        }
    }

    /// What the server calls a type, asked while the statement that was begun waits.
    pub fn name_of_type(&mut self, oid: u32) -> Result<String, Fault> {
        const NAME: &str = "canopy_type";
        let mut out = BytesMut::new();
        let text = "SELECT typname FROM pg_catalog.pg_type WHERE oid = $1";
        frontend::parse(NAME, text, [26], &mut out)?;
        let bound = frontend::bind(
            NAME,
            NAME,
            [1],
            [oid],
            |oid, out| {
                out.extend_from_slice(&oid.to_be_bytes());
                Ok(IsNull::No)
            },
            [0],
            &mut out,
        );
        bound.map_err(unbound)?;
        frontend::execute(NAME, 0, &mut out)?;
        frontend::close(b'P', NAME, &mut out)?;
        frontend::close(b'S', NAME, &mut out)?;
        frontend::flush(&mut out);
        self.send(&out)?;
        let (mut name, mut closed) = (None, 0);
        while closed < 2 {
            match self.receive()? {
                Message::DataRow(body) => {
                    let bytes = body.buffer_bytes();
                    let text = body.ranges().next()?.flatten();
                    let text = text.map(|range| bytes.slice(range));
                    name = text.and_then(|text| String::from_utf8(text.to_vec()).ok());
                }
                Message::CloseComplete => closed += 1,
                Message::ErrorResponse(body) => return self.refused(refusal(&body)?),
                _ => {}
            }
        }
        // A type that was dropped meanwhile.
        Ok(name.unwrap_or_else(|| oid.to_string()))
    }

    /// After a refusal the server takes nothing until the statement has ended.
    fn refused<T>(&mut self, refusal: Refusal) -> Result<T, Fault> {
        if !refusal.fatal {
            self.finish()?;
        }
        Err(Fault::Refused(refusal))
    }
}

fn unbound(error: frontend::BindError) -> std::io::Error {
    match error {
        frontend::BindError::Conversion(error) => std::io::Error::other(error),
        frontend::BindError::Serialization(error) => error,
    }
}

/// Rows that a command wrote, by what the server calls it when it is done.
fn written(tag: &str) -> u64 {
    let mut words = tag.split(' ');
    match words.next() {
        Some("INSERT" | "UPDATE" | "DELETE" | "MERGE") => words
            .next_back()
            .and_then(|count| count.parse().ok())
            .unwrap_or(0),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::tests::{error, logged_in, message, ready, row};

    fn described(names: &[(&str, u32)]) -> Vec<u8> {
        let mut body = u16::try_from(names.len()).unwrap().to_be_bytes().to_vec();
        for (name, oid) in names {
            body.extend(name.as_bytes());
            body.push(0);
            body.extend([0; 6]);
            body.extend(oid.to_be_bytes());
            body.extend([0; 8]);
        }
        message(b'T', &body)
    }

    #[test]
    fn rows_are_fetched_a_few_at_a_time() {
        let script = [
            message(b'1', b""),
            message(b'2', b""),
            described(&[("n", 20)]),
            row(&[Some(b"1")]),
            message(b's', b""),
            row(&[None]),
            message(b'C', b"SELECT 2\0"),
            ready(),
        ];
        let mut session = logged_in(&script);
        let columns = session
            .open(
                "SELECT",
                &[Parameter::Null, Parameter::Bytes(vec![1])],
                Format::Text,
            )
            .unwrap();
        let column = Column {
            name: "n".to_owned(),
            oid: 20,
        };
        assert_eq!(columns, [column]);
        let first = session.fetch(1).unwrap();
        assert_eq!((first.rows.len(), first.done), (1, None));
        let last = session.fetch(1).unwrap();
        assert_eq!((last.rows, last.done), (vec![vec![None]], Some(0)));
        assert_eq!(session.finish().unwrap(), Status::Idle);
    }

    #[test]
    fn after_a_refusal_the_next_statement_is_taken() {
        let script = [
            error("ERROR", "42601"),
            ready(),
            message(b'1', b""),
            message(b'2', b""),
            message(b'n', b""),
            message(b'C', b"UPDATE 3\0"),
            error("ERROR", "23503"),
            ready(),
        ];
        let mut session = logged_in(&script);
        assert!(matches!(
            session.open("x", &[], Format::Text),
            Err(Fault::Refused(refusal)) if refusal.code == "42601"
        ));
        session.open("UPDATE", &[], Format::Text).unwrap();
        assert_eq!(session.fetch(0).unwrap().done, Some(3));
        // What is looked at last refuses last.
        assert!(matches!(
            session.finish(),
            Err(Fault::Refused(refusal)) if refusal.code == "23503"
        ));
    }

    #[test]
    fn what_cannot_be_written_down_is_refused_and_the_next_statement_is_taken() {
        let script = [message(b'1', b""), message(b'2', b""), message(b'n', b"")];
        let mut session = logged_in(&script);
        let many = vec![Parameter::Null; 65536];
        for (text, parameters) in [("SELECT '\0'", &[][..]), ("SELECT 1", &many)] {
            let refused = session.open(text, parameters, Format::Binary);
            assert!(
                matches!(&refused, Err(Fault::Refused(refusal)) if refusal.code == "42601"),
                "{refused:?}"
            );
        }
        assert!(session.open("SELECT 1", &[], Format::Binary).is_ok());
    }

    #[test]
    fn what_would_go_another_way_than_as_rows_is_refused() {
        let script = [
            message(b'1', b""),
            message(b'2', b""),
            message(b'n', b""),
            message(b'H', &[0, 0, 0]),
            message(b'd', b"1\n"),
            message(b'c', b""),
            message(b'C', b"COPY 1\0"),
            error("ERROR", "42601"),
            ready(),
            message(b'1', b""),
            message(b'2', b""),
            message(b'n', b""),
            message(b'G', &[0, 0, 0]),
            error("ERROR", "57014"),
            ready(),
        ];
        let mut session = logged_in(&script);
        for code in ["0A000", "57014"] {
            session.open("COPY", &[], Format::Binary).unwrap();
            let refused = session.fetch(0);
            assert!(
                matches!(&refused, Err(Fault::Refused(refusal)) if refusal.code == code),
                "{refused:?}"
            );
        }
    }

    #[test]
    fn the_name_of_a_type_is_asked_while_a_statement_waits() {
        let script = [
            message(b'1', b""),
            message(b'2', b""),
            described(&[("m", 16400)]),
            message(b'1', b""),
            message(b'2', b""),
            row(&[Some(b"mood")]),
            message(b'C', b"SELECT 1\0"),
            message(b'3', b""),
            message(b'3', b""),
            row(&[Some(b"sad")]),
            message(b'C', b"SELECT 1\0"),
            ready(),
        ];
        let mut session = logged_in(&script);
        let columns = session.open("SELECT", &[], Format::Binary).unwrap();
        assert_eq!(session.name_of_type(columns[0].oid).unwrap(), "mood");
        assert_eq!(session.fetch(0).unwrap().rows.len(), 1);
        assert_eq!(session.finish().unwrap(), Status::Idle);
    }

    #[test]
    fn what_was_written_is_told_by_the_tag() {
        for (tag, count) in [
            ("INSERT 0 5", 5),
            ("DELETE 0", 0),
            ("SELECT 9", 0),
            ("CREATE TABLE", 0),
            ("", 0),
        ] {
            assert_eq!(written(tag), count, "{tag}");
        }
    }
}
