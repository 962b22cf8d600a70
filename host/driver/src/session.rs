//! The streams and futures of one call: which of them are open still, and what ends them.
//!
//! A call is over when it has returned *and* the driver has nothing more to do for its streams.
//! Each of them is a [`Link`] that the two ends share, one in each store.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::{Context, Waker};

use tokio::sync::Notify;

use crate::error::{DriverFailed, FailureCause};
use crate::handle::{Info, Target};

/// Whether a store still is there. Held by its data, which is dropped before anything else of it.
#[derive(Debug)]
pub(crate) struct Alive(Arc<AtomicBool>);

/// What an end of a stream knows about its store.
#[derive(Debug, Clone)]
pub(crate) struct StoreLife(Arc<AtomicBool>);

impl Alive {
    pub(crate) fn new() -> Self {
        Self(Arc::new(AtomicBool::new(true)))
    }

    pub(crate) fn life(&self) -> StoreLife {
        StoreLife(self.0.clone())
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl StoreLife {
    fn lasts(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// The streams of one call.
pub(crate) struct Session {
    info: Arc<Info>,
    target: Arc<Target>,
    /// Those of the session for which the driver has to run.
    open: AtomicUsize,
    /// Wakes the actor.
    changed: Arc<Notify>,
    /// The caller's store went away in the middle of what it was writing.
    abandoned: AtomicBool,
    /// A future of the results can say that the driver failed, so that a stream may just end.
    tells: AtomicBool,
    failure: OnceLock<FailureCause>,
    links: Mutex<Vec<Weak<Link>>>,
}

impl Session {
    pub(crate) fn new(info: Arc<Info>, target: Arc<Target>, changed: Arc<Notify>) -> Arc<Self> {
        Arc::new(Self {
            info,
            target,
            open: AtomicUsize::new(0),
            changed,
            abandoned: AtomicBool::new(false),
            tells: AtomicBool::new(false),
            failure: OnceLock::new(),
            links: Mutex::new(Vec::new()),
        })
    }

    /// For how many of its streams the driver has to run.
    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::Acquire)
    }

    pub(crate) fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::Acquire)
    }

    pub(crate) fn set_tells(&self) {
        self.tells.store(true, Ordering::Release);
    }

    pub(crate) fn tells(&self) -> bool {
        self.tells.load(Ordering::Acquire)
    }

    /// Notes why the driver is about to be gone.
    pub(crate) fn fail(&self, cause: FailureCause) {
        let _ = self.failure.set(cause);
    }

    /// Why there is no more to come.
    pub(crate) fn failure(&self) -> DriverFailed {
        let cause = self.failure.get().cloned();
        self.info.failure(
            self.target.interface.clone(),
            self.target.function.clone(),
            cause.unwrap_or(FailureCause::Stopped),
        )
    }

    /// Whether all that is open is written by the driver and read by nobody any more. Its writers
    /// are about to learn that.
    pub(crate) fn is_unread(&self) -> bool {
        let links: Vec<_> = lock(&self.links).iter().filter_map(Weak::upgrade).collect();
        links.iter().all(|link| link.is_closed_or_unread())
    }

    /// Ends what the driver writes: its own end is dropped for it, and the caller's end gets the
    /// failure. What the driver still reads goes on.
    pub(crate) fn cut(&self, cause: FailureCause) {
        self.fail(cause);
        let links = std::mem::take(&mut *lock(&self.links));
        for link in links.iter().filter_map(Weak::upgrade) {
            link.cut();
        }
    }

    fn abandon(&self) {
        self.abandoned.store(true, Ordering::Release);
        self.changed.notify_one();
    }

    fn closed_one(&self) {
        self.open.fetch_sub(1, Ordering::AcqRel);
        self.changed.notify_one();
    }
}

/// What the two ends of a stream or future share.
pub(crate) struct Link {
    into_driver: bool,
    state: Mutex<State>,
}

struct State {
    writing: Writing,
    /// The driver need not run for it any more.
    closed: bool,
    reader_gone: bool,
    session: Option<Arc<Session>>,
    outlet: Option<Waker>,
    inlet: Option<Waker>,
}

/// How it stands with the writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Writing {
    Open,
    /// It has ended what it wrote.
    Whole,
    /// It was gone in the middle.
    Broken,
}

/// What the reader is to do where nothing more comes.
pub(crate) enum Ending {
    /// It was all.
    Whole,
    /// The writer is gone, and the driver, which reads, will be told otherwise.
    Never,
    /// The driver, which wrote, is gone.
    Failed(Arc<Session>),
}

impl Link {
    pub(crate) fn new(into_driver: bool) -> Arc<Self> {
        Arc::new(Self {
            into_driver,
            state: Mutex::new(State {
                writing: Writing::Open,
                closed: false,
                reader_gone: false,
                session: None,
                outlet: None,
                inlet: None,
            }),
        })
    }

    /// Counts it to a call in the driver. Before, nothing is taken from the writer.
    pub(crate) fn attach(self: &Arc<Self>, session: &Arc<Session>) {
        let mut state = lock(&self.state);
        if !state.closed {
            session.open.fetch_add(1, Ordering::AcqRel);
        }
        state.session = Some(session.clone());
        lock(&session.links).push(Arc::downgrade(self));
        let broken = state.writing == Writing::Broken;
        let outlet = state.outlet.take();
        drop(state);
        if broken && self.into_driver {
            session.abandon();
        }
        if let Some(waker) = outlet {
            waker.wake();
        }
    }

    /// Whether the writer may write; otherwise it is woken when it may, or when that is over.
    pub(crate) fn writer_ready(&self, cx: &Context<'_>) -> Readiness {
        let mut state = lock(&self.state);
        if state.writing == Writing::Broken || state.reader_gone {
            return Readiness::Over;
        }
        state.outlet = Some(cx.waker().clone());
        match state.session.is_some() {
            true => Readiness::Ready,
            false => Readiness::Wait,
        }
    }

    /// Has the reader woken when it is cut.
    pub(crate) fn reader_waits(&self, cx: &Context<'_>) -> bool {
        let mut state = lock(&self.state);
        state.inlet = Some(cx.waker().clone());
        state.writing != Writing::Broken
    }

    /// What it means that nothing comes any more.
    pub(crate) fn ending(&self) -> Ending {
        let state = lock(&self.state);
        let (writing, session) = (state.writing, state.session.clone());
        drop(state);
        match (writing, session) {
            (Writing::Whole, _) => {
                self.close();
                Ending::Whole
            }
            (_, Some(session)) if !self.into_driver => Ending::Failed(session),
            _ => Ending::Never,
        }
    }

    /// Whether the reader is to stop although something may still come.
    pub(crate) fn is_broken(&self) -> bool {
        lock(&self.state).writing == Writing::Broken
    }

    fn cut(&self) {
        if self.into_driver {
            return;
        }
        let mut state = lock(&self.state);
        if state.writing == Writing::Open {
            state.writing = Writing::Broken;
        }
        let wakers = (state.outlet.take(), state.inlet.take());
        drop(state);
        self.close();
        for waker in [wakers.0, wakers.1].into_iter().flatten() {
            waker.wake();
        }
    }

    fn writer_gone(&self, whole: bool) {
        let mut state = lock(&self.state);
        if state.writing == Writing::Open {
            state.writing = match whole {
                true => Writing::Whole,
                false => Writing::Broken,
            };
        }
        let session = state.session.clone();
        drop(state);
        match (self.into_driver, session) {
            (false, _) => self.close(),
            (true, Some(session)) if !whole => session.abandon(),
            (true, _) => {}
        }
    }

    fn is_closed_or_unread(&self) -> bool {
        let state = lock(&self.state);
        state.closed || (!self.into_driver && state.reader_gone)
    }

    /// The writer is to learn of it. Where that is the driver, it has to run until then.
    fn reader_gone(&self) {
        let mut state = lock(&self.state);
        state.reader_gone = true;
        let (outlet, session) = (state.outlet.take(), state.session.clone());
        drop(state);
        if self.into_driver {
            self.close();
        } else if let Some(session) = session {
            session.changed.notify_one();
        }
        if let Some(waker) = outlet {
            waker.wake();
        }
    }

    /// The driver need not run for it any more.
    pub(crate) fn close(&self) {
        let mut state = lock(&self.state);
        if std::mem::replace(&mut state.closed, true) {
            return;
        }
        let session = state.session.clone();
        drop(state);
        if let Some(session) = session {
            session.closed_one();
        }
    }
}

/// Whether a writer may write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Readiness {
    Ready,
    Wait,
    Over,
}

/// The writer's hold on a link. Dropping it ends what was written: as a whole where all is known to
/// have been written, or where it is a stream whose store lives, since then its guest has dropped it.
pub(crate) struct WriterEnd {
    link: Arc<Link>,
    life: Option<StoreLife>,
    done: bool,
}

impl WriterEnd {
    pub(crate) fn of_stream(link: Arc<Link>, life: StoreLife) -> Self {
        Self {
            link,
            life: Some(life),
            done: false,
        }
    }

    /// A future has a value, or somebody died.
    pub(crate) fn of_future(link: Arc<Link>) -> Self {
        Self {
            link,
            life: None,
            done: false,
        }
    }

    pub(crate) fn link(&self) -> &Link {
        &self.link
    }

    /// All has been written, whatever becomes of the store.
    pub(crate) fn set_done(&mut self) {
        self.done = true;
    }
}

impl Drop for WriterEnd {
    fn drop(&mut self) {
        let lives = self.life.as_ref().is_some_and(StoreLife::lasts);
        self.link.writer_gone(self.done || lives);
    }
}

/// The reader's hold on a link.
pub(crate) struct ReaderEnd(Arc<Link>);

impl ReaderEnd {
    pub(crate) fn new(link: Arc<Link>) -> Self {
        Self(link)
    }

    pub(crate) fn link(&self) -> &Arc<Link> {
        &self.0
    }
}

impl Drop for ReaderEnd {
    fn drop(&mut self) {
        self.0.reader_gone();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
