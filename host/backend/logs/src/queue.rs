//! Between those who append, who never wait, and the one thread that writes.
//!
//! Each log has a queue of its own with limits of its own, and the writer serves the logs that
//! have something to write in turn, so a flood in one log costs no other log a record.

use std::collections::{HashMap, HashSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use canopy_ids::RequestId;
use parking_lot::{Condvar, Mutex};
use time::OffsetDateTime;
use tokio::sync::{oneshot, watch};

use crate::escape::escape;
use crate::{Entry, Level, LogContext, LogError, LogOwner, LogSettings, Source};

/// What a record costs in a queue on top of its text.
const RECORD_OVERHEAD: usize = 256;
/// A log says at most this often how much it dropped.
const DROP_REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// Bytes of the context that a guest names.
const CONTEXT_BYTES: usize = 256;

/// What handles, readers and the writer share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) dir: PathBuf,
    pub(crate) settings: LogSettings,
    queued_bytes: AtomicUsize,
    logs: Mutex<Logs>,
    ready: Mutex<Ready>,
    wake: Condvar,
}

#[derive(Debug, Default)]
struct Logs {
    live: HashMap<LogOwner, Arc<LogState>>,
    /// Identifiers are never given twice, so an erased log must not come back either.
    erased: HashSet<LogOwner>,
}

#[derive(Debug, Default)]
struct Ready {
    logs: VecDeque<Arc<LogState>>,
    /// Logs that dropped records and have not said so yet.
    late: Vec<Arc<LogState>>,
    late_due: Option<Instant>,
    closing: bool,
    /// The writer is gone.
    ended: bool,
}

/// One log's queue and what is known of its file.
#[derive(Debug)]
pub(crate) struct LogState {
    pub(crate) owner: LogOwner,
    pending: Mutex<Pending>,
    pub(crate) progress: watch::Sender<Progress>,
}

/// How far a log is written.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Progress {
    /// The newest record's number, as far as this process wrote any.
    pub(crate) seq: u64,
    /// Nothing more will come.
    pub(crate) ended: bool,
}

#[derive(Debug)]
struct Pending {
    batch: Batch,
    bytes: usize,
    scheduled: bool,
    late: bool,
    ended: bool,
    allowance: u64,
    refilled: Instant,
    reported: Option<Instant>,
}

/// What the writer takes from a queue at once.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) entries: Vec<Queued>,
    pub(crate) dropped: Option<Dropped>,
    pub(crate) flushed: Vec<oneshot::Sender<()>>,
    pub(crate) erase: Vec<oneshot::Sender<Result<(), LogError>>>,
}

/// An entry on its way to the file.
#[derive(Debug)]
pub(crate) struct Queued {
    pub(crate) time: OffsetDateTime,
    pub(crate) level: Level,
    pub(crate) source: Source,
    pub(crate) message: String,
    pub(crate) context: Option<String>,
    pub(crate) request_id: Option<RequestId>,
    pub(crate) writer: Arc<LogContext>,
}

/// Records that were not taken.
#[derive(Debug)]
pub(crate) struct Dropped {
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    pub(crate) writer: Arc<LogContext>,
}

impl Queued {
    fn new(entry: &Entry<'_>, writer: &Arc<LogContext>, settings: &LogSettings) -> Self {
        let now = OffsetDateTime::now_utc();
        let micros = now.nanosecond() / 1000 * 1000;
        Self {
            time: now.replace_nanosecond(micros).unwrap_or(now),
            level: entry.level,
            source: entry.source,
            message: escape(entry.message, settings.message_bytes),
            context: entry.context.map(|text| escape(text, CONTEXT_BYTES)),
            request_id: entry.request_id,
            writer: writer.clone(),
        }
    }

    fn size(&self) -> usize {
        self.message.len() + self.context.as_ref().map_or(0, String::len) + RECORD_OVERHEAD
    }
}

impl Shared {
    pub(crate) fn new(dir: PathBuf, settings: LogSettings) -> Self {
        Self {
            dir,
            settings,
            queued_bytes: AtomicUsize::new(0),
            logs: Mutex::default(),
            ready: Mutex::default(),
            wake: Condvar::new(),
        }
    }

    /// The state of `owner`'s log; one that takes nothing if the log has been erased or the writer
    /// is gone.
    pub(crate) fn log(&self, owner: LogOwner) -> Arc<LogState> {
        let mut logs = self.logs.lock();
        if logs.erased.contains(&owner) || self.ready.lock().ended {
            return Arc::new(LogState::new(owner, &self.settings, true));
        }
        let new = || Arc::new(LogState::new(owner, &self.settings, false));
        logs.live.entry(owner).or_insert_with(new).clone()
    }

    /// Takes `entry` into the queue of `log`, or counts it as dropped. Never waits.
    pub(crate) fn append(&self, log: &Arc<LogState>, entry: &Entry<'_>, writer: &Arc<LogContext>) {
        let queued = Queued::new(entry, writer, &self.settings);
        let size = queued.size();
        let mut pending = log.pending.lock();
        if pending.ended {
            return;
        }
        pending.refill(&self.settings);
        if pending.allowance >= size as u64
            && pending.bytes + size <= self.settings.queue_bytes
            && self.reserve(size)
        {
            pending.allowance -= size as u64;
            pending.bytes += size;
            pending.batch.entries.push(queued);
            self.schedule(log, &mut pending);
        } else {
            let dropped = pending.batch.dropped.get_or_insert_with(|| Dropped {
                records: 0,
                bytes: 0,
                writer: writer.clone(),
            });
            dropped.records += 1;
            dropped.bytes += size as u64;
            self.report_later(log, &mut pending);
        }
    }

    /// Ends when everything appended before has been written or counted as dropped.
    pub(crate) async fn flush(&self, owner: LogOwner) {
        let Some(log) = self.logs.lock().live.get(&owner).cloned() else {
            return;
        };
        let (done, wait) = oneshot::channel();
        {
            let mut pending = log.pending.lock();
            if pending.ended {
                return;
            }
            pending.batch.flushed.push(done);
            self.schedule(&log, &mut pending);
        }
        // The writer went away: it has written everything first.
        let _ = wait.await;
    }

    /// Has the writer remove the log, which takes nothing from here on.
    pub(crate) async fn erase(&self, owner: LogOwner) -> Result<(), LogError> {
        let log = {
            let mut logs = self.logs.lock();
            logs.erased.insert(owner);
            let new = || Arc::new(LogState::new(owner, &self.settings, false));
            logs.live.remove(&owner).unwrap_or_else(new)
        };
        let (done, wait) = oneshot::channel();
        {
            let mut pending = log.pending.lock();
            pending.ended = true;
            self.release(std::mem::take(&mut pending.bytes));
            pending.batch.entries.clear();
            pending.batch.dropped = None;
            pending.batch.erase.push(done);
            self.schedule(&log, &mut pending);
        }
        log.progress.send_modify(|progress| progress.ended = true);
        if self.ready.lock().ended {
            return Err(LogError::Closed);
        }
        wait.await.unwrap_or(Err(LogError::Closed))
    }

    /// Tells the writer to write what there is and end.
    pub(crate) fn close(&self) {
        self.ready.lock().closing = true;
        self.wake.notify_all();
    }

    /// After the writer has ended: nothing is taken any more and nobody is left waiting.
    pub(crate) fn end_all(&self) {
        let mut ready = self.ready.lock();
        ready.ended = true;
        let left: Vec<_> = ready.logs.drain(..).collect();
        drop(ready);
        let mut logs = self.logs.lock();
        for log in logs.live.drain().map(|(_, log)| log).chain(left) {
            log.end();
        }
    }

    /// Waits for the next log that has something to write. `None`: closing, and nothing is left.
    pub(crate) fn next_ready(&self) -> Option<(Arc<LogState>, Batch)> {
        let mut ready = self.ready.lock();
        loop {
            if ready
                .late_due
                .is_some_and(|due| ready.closing || due <= Instant::now())
            {
                ready.late_due = None;
                let late = std::mem::take(&mut ready.late);
                ready.logs.extend(late);
            }
            if let Some(log) = ready.logs.pop_front() {
                let closing = ready.closing;
                drop(ready);
                let batch = self.take(&log, closing);
                return Some((log, batch));
            }
            match ready.late_due {
                None if ready.closing => return None,
                None => self.wake.wait(&mut ready),
                Some(due) => {
                    self.wake.wait_until(&mut ready, due);
                }
            }
        }
    }

    fn take(&self, log: &Arc<LogState>, closing: bool) -> Batch {
        let mut pending = log.pending.lock();
        pending.scheduled = false;
        self.release(std::mem::take(&mut pending.bytes));
        let mut batch = std::mem::take(&mut pending.batch);
        if batch.dropped.is_some() {
            let due = pending
                .reported
                .is_none_or(|at| at.elapsed() >= DROP_REPORT_INTERVAL);
            if due || closing || !batch.flushed.is_empty() {
                pending.reported = Some(Instant::now());
                pending.late = false;
            } else {
                pending.batch.dropped = batch.dropped.take();
                pending.late = false;
                self.report_later(log, &mut pending);
            }
        }
        batch
    }

    fn schedule(&self, log: &Arc<LogState>, pending: &mut Pending) {
        if !std::mem::replace(&mut pending.scheduled, true) {
            self.ready.lock().logs.push_back(log.clone());
            self.wake.notify_one();
        }
    }

    fn report_later(&self, log: &Arc<LogState>, pending: &mut Pending) {
        if !std::mem::replace(&mut pending.late, true) {
            let mut ready = self.ready.lock();
            ready.late.push(log.clone());
            ready
                .late_due
                .get_or_insert_with(|| Instant::now() + DROP_REPORT_INTERVAL);
            drop(ready);
            self.wake.notify_one();
        }
    }

    fn reserve(&self, size: usize) -> bool {
        let limit = self.settings.node_queue_bytes;
        let add = |queued: usize| Some(queued + size).filter(|sum| *sum <= limit);
        self.queued_bytes
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, add)
            .is_ok()
    }

    fn release(&self, size: usize) {
        self.queued_bytes.fetch_sub(size, Ordering::Relaxed);
    }
}

impl LogState {
    fn new(owner: LogOwner, settings: &LogSettings, ended: bool) -> Self {
        let pending = Pending {
            batch: Batch::default(),
            bytes: 0,
            scheduled: false,
            late: false,
            ended,
            allowance: settings.burst_bytes,
            refilled: Instant::now(),
            reported: None,
        };
        let progress = watch::Sender::new(Progress { seq: 0, ended });
        Self {
            owner,
            pending: Mutex::new(pending),
            progress,
        }
    }

    fn end(&self) {
        let mut pending = self.pending.lock();
        pending.ended = true;
        pending.batch = Batch::default();
        drop(pending);
        self.progress.send_modify(|progress| progress.ended = true);
    }

    /// Counts records that could not be written as dropped.
    pub(crate) fn count_lost(&self, shared: &Shared, this: &Arc<Self>, lost: Dropped) {
        let mut pending = self.pending.lock();
        match &mut pending.batch.dropped {
            Some(dropped) => {
                dropped.records += lost.records;
                dropped.bytes += lost.bytes;
            }
            none => *none = Some(lost),
        }
        shared.report_later(this, &mut pending);
    }
}

impl Pending {
    fn refill(&mut self, settings: &LogSettings) {
        let elapsed = self.refilled.elapsed();
        let gained = elapsed.as_micros() * u128::from(settings.bytes_per_second) / 1_000_000;
        if gained > 0 {
            self.refilled += elapsed;
            let gained = u64::try_from(gained).unwrap_or(u64::MAX);
            self.allowance = self
                .allowance
                .saturating_add(gained)
                .min(settings.burst_bytes);
        }
    }
}
