//! What a WASI 0.2 guest writes to a value, on its way to the engine.

use std::collections::VecDeque;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use canopy_backend::blob::{BlobBody, BlobError};
use futures::{FutureExt, StreamExt, stream};
use parking_lot::Mutex;
use tokio::sync::Notify;
use wasmtime_wasi::p2::{InputStream, OutputStream, Pollable, StreamError, StreamResult};

/// Bytes that wait in a value. A guest may write so much before it says where the value goes;
/// after that it waits until the engine has taken some.
const ROOM: usize = 256 << 10;

/// Bytes between a guest's output stream and the engine.
#[derive(Clone, Default)]
pub(crate) struct Pipe(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Notify,
    room: Notify,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Bytes>,
    bytes: usize,
    /// Somebody takes them.
    taken: bool,
    /// Nobody takes them any more.
    gone: bool,
    /// No more will come.
    ended: bool,
}

impl Pipe {
    /// All has been written.
    pub(crate) fn end(&self) {
        self.0.state.lock().ended = true;
        self.0.changed.notify_one();
    }

    /// What is written, as it is written. To be taken once.
    pub(crate) fn take(&self) -> BlobBody {
        self.0.state.lock().taken = true;
        self.0.room.notify_one();
        let taker = Taker(self.clone());
        Box::pin(stream::unfold(taker, |taker| async move {
            let bytes = taker.0.next().await?;
            Some((Ok(bytes), taker))
        }))
    }

    async fn next(&self) -> Option<Bytes> {
        loop {
            {
                let mut state = self.0.state.lock();
                if let Some(bytes) = state.queue.pop_front() {
                    state.bytes -= bytes.len();
                    self.0.room.notify_one();
                    return Some(bytes);
                }
                if state.ended {
                    return None;
                }
            }
            self.0.changed.notified().await;
        }
    }
}

struct Taker(Pipe);

impl Drop for Taker {
    fn drop(&mut self) {
        self.0.0.state.lock().gone = true;
        self.0.0.room.notify_one();
    }
}

/// The guest's end of a [`Pipe`].
pub(crate) struct ValueStream(pub(crate) Pipe);

impl State {
    fn room(&self) -> StreamResult<usize> {
        match ROOM.saturating_sub(self.bytes) {
            _ if self.gone => Err(StreamError::Closed),
            0 if !self.taken => Err(StreamError::LastOperationFailed(wasmtime::format_err!(
                "`write-data` must be called before more than {ROOM} bytes are written"
            ))),
            room => Ok(room),
        }
    }
}

#[async_trait]
impl Pollable for ValueStream {
    async fn ready(&mut self) {
        while matches!(self.0.0.state.lock().room(), Ok(0)) {
            self.0.0.room.notified().await;
        }
    }
}

#[async_trait]
impl OutputStream for ValueStream {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        let mut state = self.0.0.state.lock();
        if bytes.len() > state.room()? {
            return Err(StreamError::trap("more is written than was permitted"));
        }
        if !bytes.is_empty() {
            state.bytes += bytes.len();
            state.queue.push_back(bytes);
            self.0.0.changed.notify_one();
        }
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        self.0.0.state.lock().room()
    }
}

/// An object's body as a WASI 0.2 guest reads it.
pub(crate) struct BodyStream {
    body: BlobBody,
    /// Read, and not yet given.
    waiting: Bytes,
    end: Option<Result<(), BlobError>>,
}

impl BodyStream {
    pub(crate) fn new(body: BlobBody) -> Self {
        Self {
            body,
            waiting: Bytes::new(),
            end: None,
        }
    }

    fn take(&mut self, next: Option<Result<Bytes, BlobError>>) {
        match next {
            Some(Ok(bytes)) => self.waiting = bytes,
            Some(Err(error)) => self.end = Some(Err(error)),
            None => self.end = Some(Ok(())),
        }
    }
}

#[async_trait]
impl Pollable for BodyStream {
    async fn ready(&mut self) {
        if self.waiting.is_empty() && self.end.is_none() {
            let next = self.body.next().await;
            self.take(next);
        }
    }
}

#[async_trait]
impl InputStream for BodyStream {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        if self.waiting.is_empty()
            && self.end.is_none()
            && let Some(next) = self.body.next().now_or_never()
        {
            self.take(next);
        }
        if !self.waiting.is_empty() {
            return Ok(self.waiting.split_to(size.min(self.waiting.len())));
        }
        match self.end.replace(Ok(())) {
            None => {
                self.end = None;
                Ok(Bytes::new())
            }
            Some(Ok(())) => Err(StreamError::Closed),
            Some(Err(error)) => Err(StreamError::LastOperationFailed(wasmtime::format_err!(
                "{}",
                crate::ctx::told(&error)
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use canopy_backend::blob::body_of;

    use super::*;

    #[tokio::test]
    async fn a_value_takes_only_its_room_until_it_is_taken() {
        let pipe = Pipe::default();
        let mut stream = ValueStream(pipe.clone());
        let room = stream.check_write().expect("room");
        stream.write(Bytes::from(vec![1; room])).expect("written");
        let full = stream.check_write();
        assert!(matches!(full, Err(StreamError::LastOperationFailed(_))));
        let mut body = pipe.take();
        assert_eq!(stream.check_write().expect("it waits"), 0);
        assert_eq!(
            body.next().await.expect("bytes").expect("right").len(),
            room
        );
        stream.ready().await;
        assert_eq!(stream.check_write().expect("room again"), room);
        pipe.end();
        assert!(body.next().await.is_none());
        drop(body);
        assert!(matches!(stream.check_write(), Err(StreamError::Closed)));
    }

    #[tokio::test]
    async fn a_body_is_read_to_its_end() {
        let mut stream = BodyStream::new(body_of("hello"));
        assert_eq!(stream.read(2).expect("bytes"), "he");
        stream.ready().await;
        assert_eq!(stream.read(10).expect("bytes"), "llo");
        stream.ready().await;
        assert!(matches!(stream.read(1), Err(StreamError::Closed)));
        assert!(matches!(stream.read(1), Err(StreamError::Closed)));
    }

    #[tokio::test]
    async fn damage_is_an_error_of_the_stream_and_not_its_end() {
        let body = stream::iter([Ok(Bytes::from("right")), Err(BlobError::Damaged)]);
        let mut stream = BodyStream::new(Box::pin(body));
        assert_eq!(stream.read(10).expect("bytes"), "right");
        let damaged = stream.read(10);
        assert!(matches!(damaged, Err(StreamError::LastOperationFailed(_))));
        assert!(matches!(stream.read(1), Err(StreamError::Closed)));
    }
}
