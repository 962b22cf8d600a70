//! What a WASI 0.2 guest writes to a value, on its way to the engine.

use std::collections::VecDeque;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use canopy_backend::blob::{BlobBody, BlobError};
use canopy_backend::{Held, Kept, StorageError};
use futures::{FutureExt, StreamExt, stream};
use parking_lot::Mutex;
use tokio::sync::Notify;
use wasmtime_wasi::p2::{InputStream, OutputStream, Pollable, StreamError, StreamResult};

/// Bytes that wait in a value. A guest may write so much before it says where the value goes;
/// after that it waits until the engine has taken some.
const ROOM: usize = 256 << 10;

/// Bytes between a guest's output stream and the engine.
#[derive(Clone)]
pub(crate) struct Pipe(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    changed: Notify,
    room: Notify,
    kept: Kept,
}

#[derive(Default)]
struct State {
    queue: VecDeque<(Bytes, Held)>,
    bytes: usize,
    /// Somebody takes them.
    taken: bool,
    /// Nobody takes them any more.
    gone: bool,
    /// No more will come.
    ended: bool,
}

impl Pipe {
    /// What waits in it counts in the account of its store.
    pub(crate) fn new(kept: &Kept) -> Self {
        Self(Arc::new(Shared {
            state: Mutex::default(),
            changed: Notify::new(),
            room: Notify::new(),
            kept: kept.clone(),
        }))
    }

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
                if let Some((bytes, _held)) = state.queue.pop_front() {
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
            let held = self.0.0.kept.keep(bytes.len());
            let held = held.map_err(|full| StreamError::LastOperationFailed(full.into()))?;
            state.bytes += bytes.len();
            state.queue.push_back((bytes, held));
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
    /// In which account it counts that something waits.
    kept: Kept,
    held: Option<Held>,
}

impl BodyStream {
    pub(crate) fn new(body: BlobBody, kept: &Kept) -> Self {
        Self {
            body,
            waiting: Bytes::new(),
            end: None,
            kept: kept.clone(),
            held: None,
        }
    }

    fn take(&mut self, next: Option<Result<Bytes, BlobError>>) {
        match next {
            Some(Ok(bytes)) => match self.kept.keep(bytes.len()) {
                Ok(held) => {
                    self.held = Some(held);
                    self.waiting = bytes;
                }
                Err(full) => self.end = Some(Err(StorageError::from(full).into())),
            },
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
            let read = self.waiting.split_to(size.min(self.waiting.len()));
            if self.waiting.is_empty() {
                self.held = None;
            }
            return Ok(read);
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
        let kept = Kept::new(1 << 20);
        let pipe = Pipe::new(&kept);
        let mut stream = ValueStream(pipe.clone());
        let room = stream.check_write().expect("room");
        stream.write(Bytes::from(vec![1; room])).expect("written");
        assert_eq!(kept.bytes(), room);
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
        assert_eq!(kept.bytes(), 0);
        pipe.end();
        assert!(body.next().await.is_none());
        drop(body);
        assert!(matches!(stream.check_write(), Err(StreamError::Closed)));
    }

    #[test]
    fn values_have_so_much_room_together() {
        let kept = Kept::new(ROOM * 2);
        let write = || {
            let mut stream = ValueStream(Pipe::new(&kept));
            let written = stream.write(Bytes::from(vec![1; ROOM]));
            (written, stream)
        };
        let (first, second, third) = (write(), write(), write());
        assert!(first.0.is_ok() && second.0.is_ok());
        assert!(matches!(third.0, Err(StreamError::LastOperationFailed(_))));
        drop(first);
        assert!(write().0.is_ok());
    }

    #[tokio::test]
    async fn a_body_is_read_to_its_end() {
        let kept = Kept::new(1 << 10);
        let mut stream = BodyStream::new(body_of("hello"), &kept);
        assert_eq!(stream.read(2).expect("bytes"), "he");
        assert_eq!(kept.bytes(), 5);
        stream.ready().await;
        assert_eq!(stream.read(10).expect("bytes"), "llo");
        assert_eq!(kept.bytes(), 0);
        stream.ready().await;
        assert!(matches!(stream.read(1), Err(StreamError::Closed)));
        assert!(matches!(stream.read(1), Err(StreamError::Closed)));
    }

    #[tokio::test]
    async fn a_body_for_which_there_is_no_room_ends_with_an_error() {
        let kept = Kept::new(9);
        let mut streams: Vec<_> = (0..2)
            .map(|_| BodyStream::new(body_of("hello"), &kept))
            .collect();
        assert_eq!(streams[0].read(1).expect("bytes"), "h");
        let refused = streams[1].read(1);
        assert!(
            matches!(&refused, Err(StreamError::LastOperationFailed(error))
            if error.to_string().contains("9 bytes"))
        );
    }

    #[tokio::test]
    async fn damage_is_an_error_of_the_stream_and_not_its_end() {
        let body = stream::iter([Ok(Bytes::from("right")), Err(BlobError::Damaged)]);
        let mut stream = BodyStream::new(Box::pin(body), &Kept::new(1 << 10));
        assert_eq!(stream.read(10).expect("bytes"), "right");
        let damaged = stream.read(10);
        assert!(matches!(damaged, Err(StreamError::LastOperationFailed(_))));
        assert!(matches!(stream.read(1), Err(StreamError::Closed)));
    }
}
