//! The Redis serialization protocol, version 2.

use std::io::{self, BufRead, Read, Write};

/// The longest bulk string that is taken from the server: a value of the largest size and room for
/// what surrounds it.
const MAX_BULK: u64 = 16 << 20;

/// The longest line: a simple string, an error, a number.
const MAX_LINE: u64 = 64 << 10;

/// The most elements of an array.
const MAX_ARRAY: u64 = 1 << 20;

/// How deep arrays are nested; the transactions of this driver need three.
const MAX_DEPTH: u32 = 8;

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// A word, such as `OK`.
    Simple(String),
    /// The server's refusal.
    Error(String),
    /// A number.
    Integer(i64),
    /// Bytes, or nothing.
    Bulk(Option<Vec<u8>>),
    /// Answers; nothing for a transaction that did not take place.
    Array(Option<Vec<Reply>>),
}

/// Appends the command made of `parts` to `out`.
pub fn encode(out: &mut Vec<u8>, parts: &[&[u8]]) {
    // Writing to a vector does not fail.
    let _ = write!(out, "*{}\r\n", parts.len());
    for part in parts {
        let _ = write!(out, "${}\r\n", part.len());
        out.extend_from_slice(part);
        out.extend_from_slice(b"\r\n");
    }
}

/// Reads one answer.
pub fn decode(input: &mut impl BufRead) -> io::Result<Reply> {
    read(input, 0)
}

fn read(input: &mut impl BufRead, depth: u32) -> io::Result<Reply> {
    let line = line(input)?;
    let (kind, rest) = line
        .split_at_checked(1)
        .ok_or_else(|| bad("an empty line"))?;
    match kind {
        "+" => Ok(Reply::Simple(rest.to_owned())),
        "-" => Ok(Reply::Error(rest.to_owned())),
        ":" => Ok(Reply::Integer(number(rest)?)),
        "$" => match length(rest, MAX_BULK)? {
            None => Ok(Reply::Bulk(None)),
            Some(length) => bulk(input, length).map(|bytes| Reply::Bulk(Some(bytes))),
        },
        "*" if depth == MAX_DEPTH => Err(bad("arrays nested too deeply")),
        "*" => match length(rest, MAX_ARRAY)? {
            None => Ok(Reply::Array(None)),
            Some(length) => (0..length)
                .map(|_| read(input, depth + 1))
                .collect::<io::Result<_>>()
                .map(|items| Reply::Array(Some(items))),
        },
        _ => Err(bad("an answer of unknown kind; is this a Redis server?")),
    }
}

fn line(input: &mut impl BufRead) -> io::Result<String> {
    let mut bytes = Vec::new();
    input.take(MAX_LINE).read_until(b'\n', &mut bytes)?;
    if bytes.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    match bytes.strip_suffix(b"\r\n") {
        Some(text) => Ok(String::from_utf8_lossy(text).into_owned()),
        None => Err(bad("a line without an end")),
    }
}

fn bulk(input: &mut impl BufRead, length: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let whole = length + 2;
    if input.take(whole).read_to_end(&mut bytes)? as u64 != whole {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if bytes.split_off(bytes.len() - 2) != b"\r\n" {
        return Err(bad("bytes without an end"));
    }
    Ok(bytes)
}

fn number(text: &str) -> io::Result<i64> {
    text.parse().map_err(|_| bad("a number that is none"))
}

/// `-1` stands for nothing.
fn length(text: &str, limit: u64) -> io::Result<Option<u64>> {
    match number(text)? {
        -1 => Ok(None),
        length => match u64::try_from(length) {
            Ok(length) if length <= limit => Ok(Some(length)),
            _ => Err(bad("more than this driver takes")),
        },
    }
}

fn bad(what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("the server sent {what}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(text: &str) -> io::Result<Reply> {
        decode(&mut text.as_bytes())
    }

    #[test]
    fn commands_carry_any_bytes() {
        let mut out = Vec::new();
        encode(&mut out, &[b"SET", b"a\r\nb", b""]);
        assert_eq!(out, b"*3\r\n$3\r\nSET\r\n$4\r\na\r\nb\r\n$0\r\n\r\n");
    }

    #[test]
    fn every_kind_of_answer_is_read() {
        assert_eq!(decoded("+OK\r\n").unwrap(), Reply::Simple("OK".into()));
        assert_eq!(
            decoded("-ERR no\r\n").unwrap(),
            Reply::Error("ERR no".into())
        );
        assert_eq!(decoded(":-7\r\n").unwrap(), Reply::Integer(-7));
        assert_eq!(decoded("$-1\r\n").unwrap(), Reply::Bulk(None));
        assert_eq!(
            decoded("$4\r\na\r\nb\r\n").unwrap(),
            Reply::Bulk(Some(b"a\r\nb".into()))
        );
        assert_eq!(decoded("*-1\r\n").unwrap(), Reply::Array(None));
        let nested = Reply::Array(Some(vec![
            Reply::Integer(1),
            Reply::Array(Some(vec![Reply::Bulk(None)])),
        ]));
        assert_eq!(decoded("*2\r\n:1\r\n*1\r\n$-1\r\n").unwrap(), nested);
    }

    #[test]
    fn answers_that_are_broken_or_boundless_are_refused() {
        for text in [
            "",
            "+OK",
            "$3\r\nab",
            "$2\r\nabcd",
            ":x\r\n",
            "$-2\r\n",
            "HTTP/1.1 400\r\n",
        ] {
            assert!(decoded(text).is_err(), "{text:?}");
        }
        assert!(decoded("$99999999999\r\n").is_err());
        assert!(decoded("*99999999999\r\n").is_err());
        assert!(decoded(&"*1\r\n".repeat(100)).is_err());
    }
}
