//! Streams of WASI 0.3, for storage modules and drivers; an application meets them as
//! [`Body`](crate::Body).

use std::future::Future;
use std::io::{self, Read};
use std::pin::Pin;
use std::task::Poll;

/// Lets a future go on after the call that began it has returned, as for the bytes that follow.
pub use wasip3::spawn_local as spawn;
pub use wasip3::wit_bindgen::block_on;
pub use wasip3::wit_bindgen::rt::async_support::{
    FutureReader, FutureWriter, StreamReader, StreamResult, StreamWriter,
};

use crate::Body;

/// How much is asked of a stream at once.
pub(crate) const CHUNK: usize = 64 * 1024;

/// Whether a stream ended whole; known when it has ended.
pub type Outcome = Pin<Box<dyn Future<Output = io::Result<()>>>>;

/// Bytes that come from the platform: read here, or handed on without being read.
pub struct ByteStream {
    bytes: StreamReader<u8>,
    length: Option<u64>,
    outcome: Option<Outcome>,
    pending: io::Cursor<Vec<u8>>,
}

impl ByteStream {
    /// `bytes`, which are `length` where that is known; `outcome` says at their end whether they
    /// were all.
    pub fn new(
        bytes: StreamReader<u8>,
        length: Option<u64>,
        outcome: impl Future<Output = io::Result<()>> + 'static,
    ) -> Self {
        Self {
            bytes,
            length,
            outcome: Some(Box::pin(outcome)),
            pending: io::Cursor::default(),
        }
    }

    /// How many bytes are left, where it is known.
    #[must_use]
    pub fn length(&self) -> Option<u64> {
        self.length
    }

    /// Whether nothing has been read of it.
    pub(crate) fn is_whole(&self) -> bool {
        self.outcome.is_some() && self.pending.get_ref().is_empty()
    }

    /// Its parts, for handing it on.
    #[must_use]
    pub fn into_parts(self) -> (StreamReader<u8>, Option<u64>, Outcome) {
        let outcome = self.outcome.unwrap_or_else(|| Box::pin(async { Ok(()) }));
        (self.bytes, self.length, outcome)
    }
}

impl Read for ByteStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = self.pending.read(buffer)?;
            if read > 0 || buffer.is_empty() {
                self.length = self.length.map(|left| left.saturating_sub(read as u64));
                return Ok(read);
            }
            let Some(outcome) = &mut self.outcome else {
                return Ok(0);
            };
            let spare = std::mem::take(self.pending.get_mut());
            let spare = match spare.capacity() {
                0 => Vec::with_capacity(CHUNK),
                _ => {
                    let mut spare = spare;
                    spare.clear();
                    spare
                }
            };
            let (result, bytes) = block_on(self.bytes.read(spare));
            let ended = matches!(result, StreamResult::Dropped) && bytes.is_empty();
            self.pending = io::Cursor::new(bytes);
            if ended {
                let outcome = block_on(outcome.as_mut());
                self.outcome = None;
                outcome?;
            }
        }
    }
}

impl std::fmt::Debug for ByteStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ByteStream")
            .field("length", &self.length)
            .finish_non_exhaustive()
    }
}

/// Calls `take` with a stream of all that `body` yields, and waits for what it returns.
///
/// An error of `body` ends the call before the stream ends, so that what takes the stream never
/// mistakes a part for the whole.
///
/// # Errors
/// That of `body`.
pub fn offer<T, F>(body: Body, take: impl FnOnce(StreamReader<u8>) -> F) -> io::Result<T>
where
    F: Future<Output = T>,
{
    let body = match body.into_stream() {
        // Of a known length; a shorter one is an error of whoever takes it.
        Ok(stream) if stream.length().is_some() => {
            let (bytes, _, _) = stream.into_parts();
            return Ok(block_on(take(bytes)));
        }
        Ok(stream) => Body::from_reader(stream),
        Err(body) => body,
    };
    let (writer, reader) = wasip3::wit_stream::new();
    let mut unfinished = None;
    block_on(async {
        let mut pump = Some(Box::pin(crate::entry::pump(body, writer)));
        let mut call = Box::pin(take(reader));
        std::future::poll_fn(|context| {
            if let Some(pumping) = &mut pump
                && let Poll::Ready((outcome, writer)) = pumping.as_mut().poll(context)
            {
                if let Err(error) = outcome {
                    // Kept open until the call is gone: an end would make the part a whole.
                    unfinished = Some(writer);
                    return Poll::Ready(Err(error));
                }
                pump = None;
            }
            call.as_mut().poll(context).map(Ok)
        })
        .await
    })
}
