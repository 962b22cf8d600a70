//! `wasi:http` and `wasi:io` on one side, the crate `http` and [`Read`] on the other.

use std::io::{self, Read};

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use wasip2::http::types::{Fields, IncomingBody, Method as WasiMethod, OutgoingBody};
use wasip2::io::streams::{InputStream, OutputStream, StreamError};

use crate::Body;

/// How much is asked of a stream at once.
const READ_CHUNK: u64 = 64 * 1024;

/// Reads an incoming body. The stream is a child of the body and is declared first so that it is
/// dropped first.
struct IncomingReader {
    stream: InputStream,
    _body: IncomingBody,
    pending: io::Cursor<Vec<u8>>,
    broken: fn(String) -> io::Error,
}

impl Read for IncomingReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = self.pending.read(buffer)?;
            if read > 0 || buffer.is_empty() {
                return Ok(read);
            }
            match self.stream.blocking_read(READ_CHUNK) {
                Ok(bytes) => self.pending = io::Cursor::new(bytes),
                Err(StreamError::Closed) => return Ok(0),
                Err(StreamError::LastOperationFailed(error)) => {
                    return Err((self.broken)(error.to_debug_string()));
                }
            }
        }
    }
}

/// The body that `incoming` carries; `broken` is what becomes of the reason why it broke off.
pub(crate) fn body(incoming: IncomingBody, broken: fn(String) -> io::Error) -> Body {
    match incoming.stream() {
        Ok(stream) => Body::from_reader(IncomingReader {
            stream,
            _body: incoming,
            pending: io::Cursor::default(),
            broken,
        }),
        Err(()) => Body::empty(),
    }
}

/// The headers of a message from outside. What is no header by the crate `http` is left out; the
/// platform does not let it through.
pub(crate) fn headers(fields: &Fields) -> HeaderMap {
    let entries = fields.entries();
    let mut map = HeaderMap::with_capacity(entries.len());
    for (name, value) in entries {
        if let (Ok(name), Ok(value)) = (
            HeaderName::from_bytes(name.as_bytes()),
            HeaderValue::from_maybe_shared(value),
        ) {
            map.append(name, value);
        }
    }
    map
}

/// Headers for a message to the outside.
pub(crate) fn fields(map: &HeaderMap) -> Result<Fields, String> {
    let entries: Vec<(String, Vec<u8>)> = map
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
        .collect();
    Fields::from_list(&entries).map_err(|error| error.to_string())
}

/// A method of the crate `http` as one of `wasi:http`.
pub(crate) fn wasi_method(method: &Method) -> WasiMethod {
    match *method {
        Method::GET => WasiMethod::Get,
        Method::HEAD => WasiMethod::Head,
        Method::POST => WasiMethod::Post,
        Method::PUT => WasiMethod::Put,
        Method::DELETE => WasiMethod::Delete,
        Method::CONNECT => WasiMethod::Connect,
        Method::OPTIONS => WasiMethod::Options,
        Method::TRACE => WasiMethod::Trace,
        Method::PATCH => WasiMethod::Patch,
        ref other => WasiMethod::Other(other.as_str().to_owned()),
    }
}

/// Sends all of `content` and ends the body. If this fails, `body` is dropped unfinished, which
/// the peer sees as a message that was broken off.
pub(crate) fn send(body: OutgoingBody, mut content: Body) -> io::Result<()> {
    if content.len_hint() != Some(0) {
        let stream = body
            .write()
            .map_err(|()| io::Error::other("the body is already being written"))?;
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let read = content.read(&mut buffer)?;
            if read == 0 {
                break;
            }
            write_all(&stream, &buffer[..read])?;
        }
        match stream.blocking_flush() {
            // A peer that knows the length may answer and leave before it is told of the end. All
            // has been handed over; if it was lost on the way, no answer comes.
            Ok(()) | Err(StreamError::Closed) => {}
            Err(error) => return Err(broken(error)),
        }
        drop(stream);
    }
    OutgoingBody::finish(body, None).map_err(|code| io::Error::other(code.to_string()))
}

fn write_all(stream: &OutputStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let room = match stream.check_write().map_err(broken)? {
            0 => {
                stream.subscribe().block();
                continue;
            }
            room => usize::try_from(room).unwrap_or(usize::MAX),
        };
        let (now, later) = bytes.split_at(room.min(bytes.len()));
        stream.write(now).map_err(broken)?;
        bytes = later;
    }
    Ok(())
}

fn broken(error: StreamError) -> io::Error {
    match error {
        StreamError::Closed => io::Error::new(io::ErrorKind::BrokenPipe, "the peer went away"),
        StreamError::LastOperationFailed(error) => io::Error::other(error.to_debug_string()),
    }
}
