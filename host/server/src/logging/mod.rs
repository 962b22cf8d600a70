//! The node's own log, on standard error.
//!
//! Threat: whoever reads standard error stops reading, and a thread that serves requests waits for a
//! pipe to have room. So records are put into a queue of bounded size, and one thread that does
//! nothing else writes them, as many at once as there are. What finds the queue full is dropped and
//! counted, and the log says how many records are missing as soon as it is read again.
//!
//! That thread gathers for a moment before it writes: woken for every record, it would cost a busy
//! node two changes of thread and a system call for each request.

mod line;
#[cfg(test)]
mod line_tests;

use std::io::{self, IsTerminal as _, Write};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use tracing_subscriber::filter::{EnvFilter, ParseError};
use tracing_subscriber::fmt::MakeWriter;

use crate::settings::{LogFormat, NodeLog};
use line::Line;

/// How long the end of the process waits for the log to be written.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// How long records are gathered before they are written.
const GATHERED: Duration = Duration::from_millis(5);

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LogError {
    /// The filter cannot be read.
    #[error("setting `log.filter`: {0}")]
    Filter(#[from] ParseError),
    /// The thread that writes did not start.
    #[error("the thread that writes the log cannot start: {0}")]
    Thread(#[from] io::Error),
}

/// Starts logging as `settings` say. What has been logged is written when the guard is dropped.
pub(crate) fn start(settings: &NodeLog) -> Result<LogGuard, LogError> {
    let filter = EnvFilter::builder().parse(&settings.filter)?;
    let queue = Queue::new(settings.queue_bytes);
    queue.clone().write_to(io::stderr())?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(queue.clone());
    match settings.format {
        LogFormat::Text => {
            let colours = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            builder.event_format(Line { colours }).init();
        }
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
    Ok(LogGuard(queue))
}

/// Writes what is queued when it is dropped, unless nobody reads it.
pub(crate) struct LogGuard(Queue);

impl Drop for LogGuard {
    fn drop(&mut self) {
        self.0.flush(LAST_WORDS);
    }
}

/// Records that wait to be written. Clones are the same queue.
#[derive(Clone)]
struct Queue(Arc<Shared>);

struct Shared {
    limit: usize,
    state: Mutex<State>,
    /// There is something to write, or no more time to gather.
    filled: Condvar,
    /// There is nothing left to write.
    written: Condvar,
}

#[derive(Default)]
struct State {
    waiting: Vec<u8>,
    thread: Thread,
    /// Somebody waits for everything to be written.
    is_urgent: bool,
    dropped: u64,
}

/// What the thread that writes is at.
#[derive(Default, PartialEq, Eq)]
enum Thread {
    /// It sleeps until there is something.
    #[default]
    Idle,
    /// It sleeps for a moment, until there is more.
    Gathering,
    /// It writes what it took.
    Writing,
}

impl Queue {
    fn new(limit: usize) -> Self {
        Self(Arc::new(Shared {
            limit,
            state: Mutex::default(),
            filled: Condvar::new(),
            written: Condvar::new(),
        }))
    }

    /// Takes a record, or counts it as dropped. Never waits for whoever reads the log.
    fn push(&self, record: &[u8]) {
        let mut state = self.0.state.lock();
        if state.waiting.len().saturating_add(record.len()) > self.0.limit {
            state.dropped += 1;
            return;
        }
        state.waiting.extend_from_slice(record);
        let wake = match state.thread {
            Thread::Idle => true,
            Thread::Gathering => state.waiting.len() > self.0.limit / 2,
            Thread::Writing => false,
        };
        if wake {
            state.thread = Thread::Gathering;
            drop(state);
            self.0.filled.notify_one();
        }
    }

    /// Starts the thread that writes to `out`.
    fn write_to(self, mut out: impl Write + Send + 'static) -> io::Result<()> {
        thread::Builder::new()
            .name("canopy-log".into())
            .spawn(move || {
                let mut batch = Vec::new();
                loop {
                    let dropped = self.take(&mut batch);
                    // Where standard error is gone there is nobody to tell.
                    let _ = out.write_all(&batch).and_then(|()| out.flush());
                    batch.clear();
                    if dropped > 0 {
                        tracing::warn!(
                            dropped,
                            "records of this log were dropped: it is not read fast enough"
                        );
                    }
                }
            })
            .map(drop)
    }

    /// Waits for records, takes all of them, and says how many were dropped before.
    fn take(&self, batch: &mut Vec<u8>) -> u64 {
        let mut state = self.0.state.lock();
        while state.waiting.is_empty() {
            state.thread = Thread::Idle;
            self.0.written.notify_all();
            self.0.filled.wait(&mut state);
        }
        state.thread = Thread::Gathering;
        let until = Instant::now() + GATHERED;
        while !state.is_urgent && state.waiting.len() <= self.0.limit / 2 {
            if self.0.filled.wait_until(&mut state, until).timed_out() {
                break;
            }
        }
        state.thread = Thread::Writing;
        std::mem::swap(&mut state.waiting, batch);
        std::mem::take(&mut state.dropped)
    }

    /// Waits until everything is written, but no longer than `time`.
    fn flush(&self, time: Duration) {
        let until = Instant::now() + time;
        let mut state = self.0.state.lock();
        state.is_urgent = true;
        self.0.filled.notify_one();
        while state.thread != Thread::Idle || !state.waiting.is_empty() {
            if self.0.written.wait_until(&mut state, until).timed_out() {
                break;
            }
        }
        state.is_urgent = false;
    }
}

impl<'a> MakeWriter<'a> for Queue {
    type Writer = Record<'a>;

    fn make_writer(&'a self) -> Record<'a> {
        Record(self)
    }
}

/// One record, which comes in one piece.
struct Record<'a>(&'a Queue);

impl Write for Record<'_> {
    fn write(&mut self, record: &[u8]) -> io::Result<usize> {
        self.0.push(record);
        Ok(record.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// A reader that reads when it is told to, and keeps what it reads.
    struct Reader {
        go: Receiver<()>,
        read: Sender<Vec<u8>>,
    }

    impl Write for Reader {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // Once nobody tells it any more it reads on and on.
            let _ = self.go.recv();
            let _ = self.read.send(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn stuck(limit: usize) -> (Queue, Sender<()>, Receiver<Vec<u8>>) {
        let (go, told) = channel();
        let (sender, read) = channel();
        let queue = Queue::new(limit);
        let reader = Reader {
            go: told,
            read: sender,
        };
        queue.clone().write_to(reader).expect("a thread");
        (queue, go, read)
    }

    #[test]
    fn a_reader_that_is_stuck_stops_nobody_and_loses_only_what_does_not_fit() {
        let (queue, go, read) = stuck(1_000);
        for _ in 0..10_000 {
            let written = Record(&queue).write_all(b"123456789\n");
            written.expect("never fails, and never waits");
        }
        drop(go);
        queue.flush(Duration::from_secs(60));
        let read: Vec<u8> = read.try_iter().flatten().collect();
        // Up to two queues full: one that the thread took, and one that waited.
        assert!((1_000..=2_000).contains(&read.len()), "{}", read.len());
        assert!(read.chunks(10).all(|record| record == b"123456789\n"));
    }

    #[test]
    fn the_end_waits_for_what_is_queued_and_not_for_ever() {
        let (queue, go, read) = stuck(1_000);
        queue.push(b"one\n");
        queue.flush(Duration::from_millis(1));
        assert!(read.try_recv().is_err(), "the reader is stuck");
        drop(go);
        queue.push(b"two\n");
        queue.flush(Duration::from_secs(60));
        let read: Vec<u8> = read.try_iter().flatten().collect();
        assert_eq!(read, b"one\ntwo\n");
    }

    #[test]
    fn what_was_dropped_is_said_once() {
        let queue = Queue::new(8);
        for _ in 0..6 {
            queue.push(b"record.\n");
        }
        let mut batch = Vec::new();
        assert_eq!(queue.take(&mut batch), 5);
        assert_eq!(batch, b"record.\n");
        batch.clear();
        queue.push(b"another\n");
        assert_eq!(queue.take(&mut batch), 0);
    }
}
