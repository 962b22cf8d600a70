//! The CPU budget of a guest: time that its own code runs, not time that it waits in the host.
//!
//! A budget measures the polls of the future that drives the guest by the CPU clock of the polling
//! thread, so a busy machine does not spend a guest's budget. Ticks of the engine interrupt the
//! guest to compare; a guest that has run for a tick also gives way to other tasks.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use wasmtime::{Store, UpdateDeadline};

use crate::engine::TICK;
use crate::limits::LimitExceeded;

/// No poll is under way.
const IDLE: u64 = u64::MAX;

/// What a guest may use of the CPU, and what it has used. Clones are the same budget.
#[derive(Clone, Debug)]
pub struct CpuBudget(Arc<State>);

/// All times in nanoseconds. One thread at a time drives a store, so relaxed accesses suffice.
#[derive(Debug)]
struct State {
    limit: u64,
    used: AtomicU64,
    ends_at: AtomicU64,
    poll_began: AtomicU64,
}

impl CpuBudget {
    /// A budget of `limit`.
    pub fn new(limit: Duration) -> Self {
        let limit = nanoseconds(limit);
        Self(Arc::new(State {
            limit,
            used: AtomicU64::new(0),
            ends_at: AtomicU64::new(limit),
            poll_began: AtomicU64::new(IDLE),
        }))
    }

    /// What the guest has used since the budget was made, up to the last time it gave way.
    pub fn used(&self) -> Duration {
        Duration::from_nanos(self.0.used.load(Relaxed))
    }

    /// Gives the whole limit again, from now on. For an instance that serves another call.
    pub fn renew(&self) {
        let used = self.0.used.load(Relaxed);
        self.0
            .ends_at
            .store(used.saturating_add(self.0.limit), Relaxed);
    }

    /// Measures `future`, which must drive the store that this budget is installed in. Whatever
    /// of the guest runs outside of a measured future is charged by whole ticks.
    pub fn meter<F: Future>(&self, future: F) -> impl Future<Output = F::Output> + use<F> {
        let budget = self.clone();
        async move {
            let mut future = pin!(future);
            poll_fn(|context| {
                let _running = Running::start(&budget.0);
                future.as_mut().poll(context)
            })
            .await
        }
    }

    /// Ends the guest of `store` when the budget is used up.
    pub(crate) fn install<T: 'static>(&self, store: &mut Store<T>) {
        let budget = self.clone();
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(move |_| budget.tick());
    }

    fn tick(&self) -> wasmtime::Result<UpdateDeadline> {
        let state = &*self.0;
        let began = state.poll_began.load(Relaxed);
        let this_poll = if began == IDLE {
            state.used.fetch_add(nanoseconds(TICK), Relaxed);
            nanoseconds(TICK)
        } else {
            thread_time().saturating_sub(began)
        };
        if self.used_now() >= state.ends_at.load(Relaxed) {
            let limit = Duration::from_nanos(state.limit);
            return Err(wasmtime::Error::new(LimitExceeded::Cpu { limit }));
        }
        // A guest that waited in the host finds ticks that were not its own.
        Ok(if this_poll >= nanoseconds(TICK) {
            UpdateDeadline::Yield(1)
        } else {
            UpdateDeadline::Continue(1)
        })
    }

    /// Includes the poll under way; only for the polling thread.
    fn used_now(&self) -> u64 {
        let state = &*self.0;
        let running = match state.poll_began.load(Relaxed) {
            IDLE => 0,
            began => thread_time().saturating_sub(began),
        };
        state.used.load(Relaxed).saturating_add(running)
    }
}

/// One poll under way; adds its time when it ends, also by a panic.
struct Running<'a>(Option<&'a State>);

impl<'a> Running<'a> {
    fn start(state: &'a State) -> Self {
        if state.poll_began.load(Relaxed) != IDLE {
            return Self(None);
        }
        state.poll_began.store(thread_time(), Relaxed);
        Self(Some(state))
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if let Some(state) = self.0 {
            let began = state.poll_began.swap(IDLE, Relaxed);
            state
                .used
                .fetch_add(thread_time().saturating_sub(began), Relaxed);
        }
    }
}

/// CPU time of this thread.
fn thread_time() -> u64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(now.tv_nsec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(IDLE - 1)
}
