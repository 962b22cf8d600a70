//! Bodies of requests and responses.

use std::io::{self, Read};

use crate::{Problem, StatusCode};

/// Bytes of a request or a response: known as a whole, or read as they come.
///
/// A body is [`Read`], so it passes to whatever takes a reader, and a reader becomes a body by
/// [`Body::from_reader`]; a response made of one is sent piece by piece and never held as a whole.
pub struct Body(Inner);

enum Inner {
    Full(io::Cursor<Vec<u8>>),
    Reader(Box<dyn Read>),
    #[cfg(feature = "wasi-0-3")]
    Stream(crate::stream::ByteStream),
}

impl Body {
    /// No bytes.
    #[must_use]
    pub fn empty() -> Self {
        Self::from(Vec::new())
    }

    /// What `reader` yields. An error of the reader after the head has been sent aborts the
    /// response, so that the client sees that it is incomplete. Where it becomes a
    /// [`Problem`](crate::Problem) it is taken for the caller's, unless [`failed`] made it.
    pub fn from_reader(reader: impl Read + 'static) -> Self {
        Self(Inner::Reader(Box::new(reader)))
    }

    /// The number of bytes left, where it is known.
    #[must_use]
    pub fn len_hint(&self) -> Option<usize> {
        match &self.0 {
            Inner::Full(bytes) => {
                let read = usize::try_from(bytes.position()).unwrap_or(usize::MAX);
                Some(bytes.get_ref().len().saturating_sub(read))
            }
            Inner::Reader(_) => None,
            #[cfg(feature = "wasi-0-3")]
            Inner::Stream(_) => None,
        }
    }

    /// The number of bytes left, as the peer announced it or as it is known.
    #[cfg(feature = "wasi-0-3")]
    #[must_use]
    pub fn length(&self) -> Option<u64> {
        match &self.0 {
            Inner::Stream(stream) => stream.length(),
            _ => self.len_hint().map(|length| length as u64),
        }
    }

    /// The stream that this body is, if it is one and nothing has been read of it.
    ///
    /// # Errors
    /// The body itself, if it is not.
    #[cfg(feature = "wasi-0-3")]
    pub fn into_stream(self) -> Result<crate::stream::ByteStream, Self> {
        match self.0 {
            Inner::Stream(stream) if stream.is_whole() => Ok(stream),
            other => Err(Self(other)),
        }
    }

    /// Reads all bytes that are left, if they are at most `limit`.
    ///
    /// # Errors
    /// [`ReadError::TooLarge`] if there are more than `limit`; [`ReadError::Io`] if the peer broke
    /// off.
    pub fn read_to_vec(self, limit: usize) -> Result<Vec<u8>, ReadError> {
        if self.len_hint().is_some_and(|left| left > limit) {
            return Err(ReadError::TooLarge { limit });
        }
        let mut bytes = Vec::new();
        let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
        self.take(most).read_to_end(&mut bytes)?;
        if bytes.len() > limit {
            return Err(ReadError::TooLarge { limit });
        }
        Ok(bytes)
    }

    /// Reads all bytes that are left as UTF-8, if they are at most `limit`.
    ///
    /// # Errors
    /// As [`Body::read_to_vec`], and [`ReadError::NotText`].
    pub fn read_to_string(self, limit: usize) -> Result<String, ReadError> {
        String::from_utf8(self.read_to_vec(limit)?).map_err(|_| ReadError::NotText)
    }
}

/// Why a body could not be read as a whole.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// There is more than the reader is willing to hold.
    #[error("the body is longer than {limit} bytes")]
    TooLarge {
        /// The limit that was given.
        limit: usize,
    },
    /// The bytes are not UTF-8.
    #[error("the body is not UTF-8 text")]
    NotText,
    /// The peer broke off, or sent what is not HTTP.
    #[error("the body could not be read: {0}")]
    Io(#[from] io::Error),
}

/// An error for readers of what is not the caller's, as an object of the storage or the answer of
/// another host: where it becomes a [`Problem`], it is the one that `error` becomes.
pub fn failed<E>(error: E) -> io::Error
where
    E: Into<Problem> + std::fmt::Display + Send + Sync + 'static,
{
    io::Error::other(Failed {
        reason: error.to_string(),
        problem: Box::new(|| error.into()),
    })
}

#[derive(thiserror::Error)]
#[error("{reason}")]
struct Failed {
    reason: String,
    problem: Box<dyn FnOnce() -> Problem + Send + Sync>,
}

impl std::fmt::Debug for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Failed").field(&self.reason).finish()
    }
}

/// What broke off is the caller's, and 400, unless [`failed`] made the error.
impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        let text = error.to_string();
        let status = match error {
            ReadError::Io(error) => match error.downcast::<Failed>() {
                Ok(failed) => return (failed.problem)(),
                Err(_) => StatusCode::BAD_REQUEST,
            },
            ReadError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            ReadError::NotText => StatusCode::BAD_REQUEST,
        };
        Self::new(status, text)
    }
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.0 {
            Inner::Full(bytes) => bytes.read(buffer),
            Inner::Reader(reader) => reader.read(buffer),
            #[cfg(feature = "wasi-0-3")]
            Inner::Stream(stream) => stream.read(buffer),
        }
    }
}

impl Default for Body {
    fn default() -> Self {
        Self::empty()
    }
}

#[cfg(feature = "wasi-0-3")]
impl From<crate::stream::ByteStream> for Body {
    fn from(stream: crate::stream::ByteStream) -> Self {
        Self(Inner::Stream(stream))
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Inner::Full(io::Cursor::new(bytes)))
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Self::from(text.into_bytes())
    }
}

impl From<&[u8]> for Body {
    fn from(bytes: &[u8]) -> Self {
        Self::from(bytes.to_vec())
    }
}

impl From<&str> for Body {
    fn from(text: &str) -> Self {
        Self::from(text.as_bytes())
    }
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.len_hint() {
            Some(left) => write!(f, "Body({left} bytes)"),
            None => f.write_str("Body(stream)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_of_exactly_the_limit_is_read_and_one_byte_more_is_refused() {
        assert_eq!(Body::from("abcd").read_to_vec(4).unwrap(), b"abcd");
        assert!(matches!(
            Body::from("abcde").read_to_vec(4),
            Err(ReadError::TooLarge { limit: 4 })
        ));
        let stream = Body::from_reader(io::repeat(b'x'));
        assert!(matches!(
            stream.read_to_vec(10),
            Err(ReadError::TooLarge { limit: 10 })
        ));
    }

    #[test]
    fn bytes_that_are_no_text_are_refused_as_text() {
        let body = Body::from(vec![0xff, 0xfe]);
        assert!(matches!(body.read_to_string(9), Err(ReadError::NotText)));
    }

    #[test]
    fn a_body_that_breaks_off_is_the_callers_fault_unless_it_says_whose_else() {
        struct Broken(fn() -> io::Error);
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err((self.0)())
            }
        }
        let status = |error| {
            let read = Body::from_reader(Broken(error)).read_to_vec(9);
            Problem::from(read.unwrap_err()).status()
        };
        assert_eq!(
            status(|| io::ErrorKind::BrokenPipe.into()),
            StatusCode::BAD_REQUEST
        );
        let conflict = || failed(Problem::conflict("not now"));
        assert_eq!(status(conflict), StatusCode::CONFLICT);
        assert_eq!(conflict().to_string(), "not now");
    }
}
