//! The CPU budget of a guest: time that its own code runs, not time that it waits in the host.
//!
//! A budget measures the polls of the future that drives the guest by the CPU clock of the polling
//! thread, so a busy machine does not spend a guest's budget. Ticks of the engine interrupt the
//! guest to compare; a guest that has run for long also waits for its turn (`share.rs`).
//!
//! Reading that clock is a system call, and most calls are over before it would have mattered. So
//! a call is measured by the monotonic clock, which costs next to nothing and never shows less,
//! until it has used [`COARSE`] or a tick has met it. On a busy machine a call may so be charged for
//! one tick that was not its own, once.
//!
//! A slice beyond the first ticks runs beside the runtime's threads (`aside.rs`), so that however many
//! guests compute, the requests of others meet threads that are free.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;
use rustix::time::{ClockId, clock_gettime};
use wasmtime::{Store, UpdateDeadline};

use crate::aside::aside;
use crate::cpu_account::CpuAccount;
use crate::engine::SLICE;
use crate::limits::LimitExceeded;
use crate::share::Place;

/// No poll is under way.
const IDLE: u64 = u64::MAX;

/// From this much on a call is measured by the CPU clock.
const COARSE: Duration = Duration::from_millis(1);

/// What a tick is taken to be where nobody pays for the guest.
const UNPAID_TICK: Duration = Duration::from_millis(1);

/// What a guest may use of the CPU, and what it has used. Clones are the same budget.
#[derive(Clone, Debug)]
pub struct CpuBudget(Arc<State>);

/// All times in nanoseconds. One thread at a time drives a store, so relaxed accesses suffice.
#[derive(Debug)]
struct State {
    limit: u64,
    /// How often the engine interrupts the guest.
    tick: u64,
    account: Option<Arc<CpuAccount>>,
    /// Up to the end of the last poll.
    used: AtomicU64,
    /// What was used when the call began.
    before: AtomicU64,
    /// How much the account knows.
    told: AtomicU64,
    poll_began: AtomicU64,
    /// Whether `poll_began` is of the CPU clock; else it is of the monotonic clock.
    exact: AtomicBool,
    /// Leave to run on, for the poll under way.
    place: Mutex<Option<Place>>,
    /// Whether the next poll begins a slice.
    begins_slice: AtomicBool,
}

impl CpuBudget {
    /// A budget of `limit`, of a guest that nobody pays for.
    pub fn new(limit: Duration) -> Self {
        Self::with(limit, None)
    }

    /// A budget of `limit`, of a guest whose CPU time `account` pays for.
    pub fn paid_by(account: Arc<CpuAccount>, limit: Duration) -> Self {
        Self::with(limit, Some(account))
    }

    fn with(limit: Duration, account: Option<Arc<CpuAccount>>) -> Self {
        let tick = account.as_ref().map_or(UNPAID_TICK, |paid| paid.tick());
        Self(Arc::new(State {
            limit: nanoseconds(limit),
            tick: nanoseconds(tick),
            account,
            used: AtomicU64::new(0),
            before: AtomicU64::new(0),
            told: AtomicU64::new(0),
            poll_began: AtomicU64::new(IDLE),
            exact: AtomicBool::new(false),
            place: Mutex::new(None),
            begins_slice: AtomicBool::new(false),
        }))
    }

    /// What the guest has used since the budget was made, up to the last time it gave way.
    pub fn used(&self) -> Duration {
        Duration::from_nanos(self.0.used.load(Relaxed))
    }

    /// Gives the whole limit again, from now on. For an instance that serves another call.
    pub fn renew(&self) {
        let state = &*self.0;
        state.before.store(state.used.load(Relaxed), Relaxed);
        if state.poll_began.load(Relaxed) == IDLE {
            state.exact.store(false, Relaxed);
        }
    }

    /// Measures `future`, which must drive the store that this budget is installed in. Whatever
    /// of the guest runs outside of a measured future is charged by whole ticks.
    pub fn meter<F: Future>(&self, future: F) -> impl Future<Output = F::Output> + use<F> {
        let budget = self.clone();
        async move {
            let mut future = pin!(future);
            poll_fn(|context| {
                let mut poll = || {
                    let _running = Running::start(&budget.0);
                    future.as_mut().poll(context)
                };
                match budget.0.begins_slice.swap(false, Relaxed) {
                    true => aside(poll),
                    false => poll(),
                }
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
        let is_measured = state.poll_began.load(Relaxed) != IDLE;
        let this_poll = if is_measured {
            state.be_exact();
            state.this_poll()
        } else {
            if let Some(account) = &state.account {
                account.runs();
            }
            state.used.fetch_add(state.tick, Relaxed);
            0
        };
        let used = state.used.load(Relaxed).saturating_add(this_poll);
        state.tell(used);
        let of_call = used.saturating_sub(state.before.load(Relaxed));
        if of_call >= state.limit {
            let limit = Duration::from_nanos(state.limit);
            return Err(wasmtime::Error::new(LimitExceeded::Cpu { limit }));
        }
        if let Some(account) = &state.account
            && let Some(overdrawn) = account.overdrawn()
        {
            return Err(wasmtime::Error::new(overdrawn));
        }
        if !is_measured {
            return Ok(UpdateDeadline::Yield(1));
        }
        if of_call < state.tick.saturating_mul(2) {
            // A guest that waited in the host finds ticks that were not its own, and may have been
            // charged for one of them.
            return Ok(UpdateDeadline::Continue(1));
        }
        let Some(account) = &state.account else {
            return Ok(UpdateDeadline::Yield(1));
        };
        // Asked for before the place of the slice that is over is given back, so that this guest
        // competes for it too.
        let turn = account.turn();
        let place = state.place.lock().take();
        drop(place);
        let slice = nanoseconds(SLICE).min(state.limit - of_call);
        let budget = self.clone();
        Ok(UpdateDeadline::YieldCustom(
            slice.div_ceil(state.tick),
            Box::pin(async move {
                let mut place = turn.await;
                budget.0.begins_slice.store(true, Relaxed);
                // Behind whatever has become ready meanwhile: a task that is woken by another may be
                // run at once, before all that wait.
                tokio::task::yield_now().await;
                place.begin();
                *budget.0.place.lock() = Some(place);
            }),
        ))
    }
}

/// Has the next tick that counts for `store` be the next there is. A store that waits for its next
/// call misses ticks, and the call would begin by looking at its budget in vain.
pub fn forget_ticks<T: 'static>(store: &mut Store<T>) {
    store.set_epoch_deadline(1);
}

impl State {
    /// The clock that the poll under way is measured by. Only for the polling thread.
    fn now(&self) -> u64 {
        if self.exact.load(Relaxed) {
            time(ClockId::ThreadCPUTime)
        } else {
            time(ClockId::Monotonic)
        }
    }

    /// What the poll under way has used.
    fn this_poll(&self) -> u64 {
        self.now().saturating_sub(self.poll_began.load(Relaxed))
    }

    /// Changes to the CPU clock within a poll, as if that had been running all the while.
    fn be_exact(&self) {
        if !self.exact.load(Relaxed) {
            let so_far = self.this_poll().min(self.tick);
            self.exact.store(true, Relaxed);
            let began = time(ClockId::ThreadCPUTime).saturating_sub(so_far);
            self.poll_began.store(began, Relaxed);
        }
    }

    /// Tells the account what it does not know yet.
    fn tell(&self, used: u64) {
        if let Some(account) = &self.account {
            account.charge(used.saturating_sub(self.told.swap(used, Relaxed)));
        }
    }
}

/// One poll under way; adds its time when it ends, also by a panic.
struct Running<'a>(Option<&'a State>);

impl<'a> Running<'a> {
    fn start(state: &'a State) -> Self {
        if state.poll_began.load(Relaxed) != IDLE {
            return Self(None);
        }
        state.poll_began.store(state.now(), Relaxed);
        if let Some(account) = &state.account {
            account.runs();
        }
        Self(Some(state))
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let Some(state) = self.0 else { return };
        let mut this_poll = state.this_poll();
        if !state.exact.load(Relaxed) {
            this_poll = this_poll.min(state.tick);
        }
        let used = state.used.fetch_add(this_poll, Relaxed) + this_poll;
        if used.saturating_sub(state.before.load(Relaxed)) >= nanoseconds(COARSE) {
            state.exact.store(true, Relaxed);
        }
        state.poll_began.store(IDLE, Relaxed);
        state.tell(used);
        let place = state.place.lock().take();
        drop(place);
    }
}

fn time(clock: ClockId) -> u64 {
    let now = clock_gettime(clock);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(now.tv_nsec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}

pub(crate) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(IDLE - 1)
}
