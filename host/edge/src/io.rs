//! A client's connection with the limits that hyper does not set itself: time for the first bytes,
//! time for the client to take what is sent, the refusal of lengths declared twice, and of floods
//! of HTTP/2 frames that bring nothing.
//!
//! A client that is answered before all of its request's body has come may still be sending it. If
//! the connection were closed then, the system would answer what comes by a reset, and the client
//! could lose the answer by it. So the rest of the body is taken for a while, and forgotten (RFC
//! 9112, section 9.6).

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::flood::Flood;
use crate::framing::Framing;
use crate::streams::Streams;

/// Set when a request on this connection declared its length twice.
#[derive(Debug, Clone, Default)]
pub(crate) struct LengthConflict(Arc<AtomicBool>);

impl LengthConflict {
    pub(crate) fn found(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// What an HTTP/2 connection begins with (RFC 9113, section 3.4). A connection that has sent only a
/// part of it is neither version yet, and no timer of hyper's runs.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Limits of one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IoLimits {
    /// Time until it is known which version of HTTP the client speaks.
    pub first_bytes: Duration,
    /// Time for which a write may make no progress.
    pub write_stall: Duration,
    /// HTTP/2 frames a second that bring no request forward.
    pub control_frames: u32,
    /// Time for which the rest of a body is taken whose request has been answered.
    pub linger: Duration,
    /// Bytes of it that are taken.
    pub linger_bytes: usize,
}

/// A connection that ends with an error when its client sends no beginning of a request in time,
/// takes nothing of what is sent to it, or floods it.
pub(crate) struct GuardedIo<T> {
    inner: T,
    preface_seen: usize,
    preface_timer: Option<Pin<Box<Sleep>>>,
    write_stall: Duration,
    write_timer: Option<Pin<Box<Sleep>>>,
    framing: Framing,
    conflict: LengthConflict,
    flood: Flood,
    streams: Arc<Streams>,
    linger: Duration,
    linger_timer: Option<Pin<Box<Sleep>>>,
    linger_left: usize,
}

/// What is taken at once of what nobody wants.
const FORGOTTEN: usize = 16 << 10;

impl<T> GuardedIo<T> {
    /// Guards `inner`.
    pub(crate) fn new(inner: T, limits: IoLimits) -> Self {
        Self {
            inner,
            preface_seen: 0,
            preface_timer: Some(Box::pin(sleep_until(Instant::now() + limits.first_bytes))),
            write_stall: limits.write_stall,
            write_timer: None,
            framing: Framing::new(),
            conflict: LengthConflict::default(),
            flood: Flood::new(limits.control_frames),
            streams: Streams::new(),
            linger: limits.linger,
            linger_timer: None,
            linger_left: limits.linger_bytes,
        }
    }

    pub(crate) fn conflict(&self) -> LengthConflict {
        self.conflict.clone()
    }

    /// What goes on on the connection.
    pub(crate) fn streams(&self) -> Arc<Streams> {
        Arc::clone(&self.streams)
    }

    /// Looks at what was read; false when it is part of a flood.
    fn look_at(&mut self, bytes: &[u8]) -> bool {
        let rest = &PREFACE[self.preface_seen..];
        let compared = rest.len().min(bytes.len());
        if self.preface_timer.is_some() {
            let same = rest[..compared] == bytes[..compared];
            if same {
                self.preface_seen += compared;
            }
            if !same || self.preface_seen == PREFACE.len() {
                self.preface_timer = None;
            }
            if !same {
                // It is HTTP/1 for good, and no preface will ever be whole.
                self.preface_seen = 0;
            } else if self.preface_timer.is_none() {
                self.streams.begin();
                return !self.flood.read(&bytes[compared..]);
            }
        } else if self.is_http2() {
            return !self.flood.read(bytes);
        }
        if self.framing.read(bytes) {
            self.conflict.0.store(true, Ordering::Release);
        }
        true
    }

    fn is_http2(&self) -> bool {
        self.preface_seen == PREFACE.len()
    }

    /// Looks at the first of these bytes, as many as were written.
    fn look_at_written<'a>(
        &mut self,
        outcome: &Poll<io::Result<usize>>,
        slices: impl IntoIterator<Item = &'a [u8]>,
    ) {
        let (Poll::Ready(Ok(written)), true) = (outcome, self.is_http2()) else {
            return;
        };
        let (mut left, mut data) = (*written, false);
        for slice in slices {
            let part = left.min(slice.len());
            data |= self.flood.written(&slice[..part]);
            left -= part;
        }
        if data {
            self.streams.use_now();
        }
    }

    /// Passes a write's outcome on; an error if it has been pending for too long.
    fn watch_write<R>(
        &mut self,
        cx: &mut Context<'_>,
        outcome: Poll<io::Result<R>>,
    ) -> Poll<io::Result<R>> {
        if outcome.is_ready() {
            self.write_timer = None;
            return outcome;
        }
        let stall = self.write_stall;
        let timer = self
            .write_timer
            .get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + stall)));
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Err(timed_out("the client takes nothing of what is sent")))
    }
}

impl<T: AsyncRead + Unpin> GuardedIo<T> {
    /// Takes the rest of the body that is under way, until its client is done or gone, or the limits
    /// are reached.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let linger = self.linger;
        let timer = self
            .linger_timer
            .get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + linger)));
        if timer.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let mut room = [MaybeUninit::uninit(); FORGOTTEN];
        while self.framing.is_within_a_body() && self.linger_left > 0 {
            let mut buffer = ReadBuf::uninit(&mut room);
            let outcome = ready!(Pin::new(&mut self.inner).poll_read(cx, &mut buffer));
            let bytes = buffer.filled();
            if outcome.is_err() || bytes.is_empty() {
                break;
            }
            self.framing.read(bytes);
            self.linger_left = self.linger_left.saturating_sub(bytes.len());
        }
        Poll::Ready(())
    }
}

fn timed_out(message: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, message)
}

impl<T: AsyncRead + Unpin> AsyncRead for GuardedIo<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        match Pin::new(&mut this.inner).poll_read(cx, buffer) {
            Poll::Ready(Ok(())) => {
                if this.look_at(&buffer.filled()[before..]) {
                    Poll::Ready(Ok(()))
                } else {
                    let message = "the client floods the connection with frames that bring nothing";
                    Poll::Ready(Err(io::Error::other(message)))
                }
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                if let Some(timer) = &mut this.preface_timer {
                    ready!(timer.as_mut().poll(cx));
                    return Poll::Ready(Err(timed_out("the client did not begin a request")));
                }
                Poll::Pending
            }
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for GuardedIo<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.look_at_written(&outcome, [bytes]);
        self.watch_write(cx, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.inner).poll_write_vectored(cx, slices);
        self.look_at_written(&outcome, slices.iter().map(|slice| &**slice));
        self.watch_write(cx, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.inner).poll_flush(cx);
        self.watch_write(cx, outcome)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.linger_timer.is_none() {
            ready!(Pin::new(&mut this.inner).poll_shutdown(cx))?;
        }
        // Of HTTP/2 the framing follows nothing.
        if this.framing.is_within_a_body() {
            ready!(this.poll_linger(cx));
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::task::JoinHandle;

    use super::*;

    const TIME: Duration = Duration::from_secs(5);
    const LIMITS: IoLimits = IoLimits {
        first_bytes: TIME,
        write_stall: TIME,
        control_frames: 10,
        linger: TIME,
        linger_bytes: 100,
    };

    #[tokio::test(start_paused = true)]
    async fn silence_and_half_a_preface_time_out() {
        for sent in ["", "P", "PRI * HTTP/2.0\r\n\r\nSM"] {
            let (mut client, server) = duplex(1024);
            let mut io = GuardedIo::new(server, LIMITS);
            client.write_all(sent.as_bytes()).await.expect("written");
            let mut got = vec![0; sent.len()];
            io.read_exact(&mut got).await.expect("what was sent");
            let error = io.read_u8().await.expect_err("nothing more came");
            assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{sent:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn once_the_version_is_known_other_timers_take_over() {
        for sent in ["GET", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
            let (mut client, server) = duplex(1024);
            let mut io = GuardedIo::new(server, LIMITS);
            client.write_all(sent.as_bytes()).await.expect("written");
            let mut got = vec![0; sent.len()];
            io.read_exact(&mut got).await.expect("what was sent");
            let more = tokio::time::timeout(10 * TIME, io.read_u8()).await;
            assert!(more.is_err(), "{sent:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_pings_ends_the_connection() {
        let ping = b"\0\0\x08\x06\0\0\0\0\0.flood..";
        let (mut client, server) = duplex(1 << 16);
        let mut io = GuardedIo::new(server, LIMITS);
        client.write_all(PREFACE).await.expect("written");
        client.write_all(&ping.repeat(51)).await.expect("written");
        let mut got = Vec::new();
        let error = io.read_to_end(&mut got).await.expect_err("a flood");
        assert_eq!(error.kind(), io::ErrorKind::Other);
    }

    #[tokio::test(start_paused = true)]
    async fn acknowledgements_of_what_was_sent_are_no_flood() {
        let (ping, ack) = (
            *b"\0\0\x08\x06\0\0\0\0\0 asked. ",
            *b"\0\0\x08\x06\x01\0\0\0\0 asked. ",
        );
        let (mut client, server) = duplex(1 << 16);
        let mut io = GuardedIo::new(server, LIMITS);
        client.write_all(PREFACE).await.expect("written");
        io.read_exact(&mut [0; PREFACE.len()]).await.expect("it");
        for _ in 0..100 {
            let (head, rest) = ping.split_at(5);
            let pieces = [io::IoSlice::new(head), io::IoSlice::new(rest)];
            let written = io.write_vectored(&pieces).await.expect("written");
            io.write_all(&ping[written..]).await.expect("written");
            client.write_all(&ack).await.expect("written");
            io.read_exact(&mut [0; 17]).await.expect("an answer");
        }
        client.write_all(&ack.repeat(3)).await.expect("written");
        let error = io.read_exact(&mut [0; 51]).await.expect_err("nobody asked");
        assert_eq!(error.kind(), io::ErrorKind::Other);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_is_given_up() {
        let (_client, server) = duplex(16);
        let mut io = GuardedIo::new(server, LIMITS);
        let error = io.write_all(&[0; 64]).await.expect_err("nobody reads");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    /// A connection that is being closed after 4 bytes of the body of 1,000 that `client` sends.
    async fn closing(client: &mut DuplexStream, server: DuplexStream) -> JoinHandle<Instant> {
        let mut io = GuardedIo::new(server, LIMITS);
        let begun = b"POST / HTTP/1.1\r\nContent-Length: 1000\r\n\r\nbody";
        client.write_all(begun).await.expect("written");
        let mut got = vec![0; begun.len()];
        io.read_exact(&mut got).await.expect("what was sent");
        tokio::spawn(async move {
            io.shutdown().await.expect("closed");
            Instant::now()
        })
    }

    #[tokio::test(start_paused = true)]
    async fn the_rest_of_a_body_is_taken_for_so_long_and_so_much() {
        let (mut client, server) = duplex(64);
        let begun = Instant::now();
        let closed = closing(&mut client, server).await;
        client.write_all(&[b'x'; 90]).await.expect("taken");
        assert_eq!(client.read(&mut [0]).await.expect("an end"), 0);
        assert_eq!(closed.await.expect("no panic") - begun, LIMITS.linger);

        let (mut client, server) = duplex(64);
        let closed = closing(&mut client, server).await;
        let error = client.write_all(&[b'x'; 900]).await.expect_err("too much");
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        closed.await.expect("no panic");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_leaves_or_is_done_is_not_waited_for() {
        let (mut client, server) = duplex(1024);
        let begun = Instant::now();
        let closed = closing(&mut client, server).await;
        drop(client);
        assert_eq!(closed.await.expect("no panic"), begun);

        let (mut client, server) = duplex(1024);
        let mut io = GuardedIo::new(server, LIMITS);
        let whole = b"POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\nbody";
        client.write_all(whole).await.expect("written");
        let mut got = vec![0; whole.len()];
        io.read_exact(&mut got).await.expect("what was sent");
        io.shutdown().await.expect("closed");
        assert_eq!(Instant::now(), begun);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_client_that_keeps_reading_is_served() {
        let (mut client, server) = duplex(16);
        let mut io = GuardedIo::new(server, LIMITS);
        let writer = tokio::spawn(async move { io.write_all(&[7; 160]).await });
        for _ in 0..160 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert_eq!(client.read_u8().await.expect("a byte"), 7);
        }
        writer.await.expect("no panic").expect("all written");
    }
}
