//! The CPU budget of a guest: time that its own code runs, not time that it waits in the host, and not
//! time that the host works for it.
//!
//! A budget measures the polls of the future that drives the guest by the CPU clock of the polling
//! thread, so a busy machine does not spend a guest's budget, and tells apart in them what the guest's
//! code takes and what the host takes (`stopwatch.rs`). Ticks of the engine interrupt the guest to
//! compare; a guest that has run for long also waits for its turn (`share.rs`).
//!
//! What the host does in calls of the guest has a limit of its own
//! ([`EngineSettings::host_time`](crate::EngineSettings::host_time)), so that a guest that does
//! nothing but call the host is ended too. For turns on the CPU, and for the budget of all guests of an
//! owner (`cpu_account.rs`), both count.
//!
//! A slice beyond the first ticks runs beside the runtime's threads (`aside.rs`), so that however many
//! guests compute, the requests of others meet threads that are free. Where a component's calls have
//! been long of late, so does the first one, and it takes turns as the others do: many that begin at
//! once would keep everybody waiting for two ticks each.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;
use wasmtime::{Store, UpdateDeadline};

use crate::aside::aside;
use crate::cpu_account::CpuAccount;
use crate::engine::SLICE;
use crate::limits::LimitExceeded;
use crate::share::Place;
use crate::stopwatch::{CallLengths, Counted, Split, Stopwatch, nanoseconds};

/// What a tick is taken to be where nobody pays for the guest.
const UNPAID_TICK: Duration = Duration::from_millis(1);

/// CPU time of one call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CpuSpent {
    /// Of the guest's own code, which the budget limits.
    pub guest: Duration,
    /// Of the host on its behalf: the host's functions, values on their way in and out, instances
    /// and their memory. What a call is measured roughly at first is taken to be the guest's.
    pub host: Duration,
}

impl From<Split> for CpuSpent {
    fn from(split: Split) -> Self {
        Self {
            guest: Duration::from_nanos(split.guest),
            host: Duration::from_nanos(split.host),
        }
    }
}

/// What a guest may use of the CPU, and what it has used. Clones are the same budget.
#[derive(Clone, Debug)]
pub struct CpuBudget(Arc<State>);

/// All times in nanoseconds.
#[derive(Debug)]
struct State {
    limit: u64,
    /// How often the engine interrupts the guest.
    tick: u64,
    account: Option<Arc<CpuAccount>>,
    watch: Stopwatch,
    /// Of the component; `None`: they are not known.
    lengths: Option<Arc<CallLengths>>,
    /// How much the account knows.
    told: Counted,
    /// Leave to run on, for the poll under way.
    place: Mutex<Option<Place>>,
    /// Whether the next poll begins a slice.
    begins_slice: AtomicBool,
}

impl CpuBudget {
    /// A budget of `limit`, of a guest that nobody pays for.
    pub fn new(limit: Duration) -> Self {
        Self::with(limit, None, None)
    }

    /// A budget of `limit`, of a guest whose CPU time `account` pays for.
    pub fn paid_by(account: Arc<CpuAccount>, limit: Duration) -> Self {
        Self::with(limit, Some(account), None)
    }

    /// The same, of a guest whose component has had calls of these lengths. While they are short the
    /// guest's time and the host's are not told apart.
    pub fn paid_by_with(
        account: Arc<CpuAccount>,
        limit: Duration,
        lengths: Arc<CallLengths>,
    ) -> Self {
        Self::with(limit, Some(account), Some(lengths))
    }

    fn with(
        limit: Duration,
        account: Option<Arc<CpuAccount>>,
        lengths: Option<Arc<CallLengths>>,
    ) -> Self {
        let (tick, ticks) = match &account {
            Some(paid) => (paid.tick(), paid.ticks()),
            None => (UNPAID_TICK, Arc::default()),
        };
        let tick = nanoseconds(tick);
        Self(Arc::new(State {
            limit: nanoseconds(limit),
            tick,
            account,
            watch: Stopwatch::new(ticks, tick),
            lengths,
            told: Counted::default(),
            place: Mutex::new(None),
            begins_slice: AtomicBool::new(false),
        }))
    }

    /// What the guest's code has used since the budget was made, up to the last time it gave way.
    pub fn used(&self) -> Duration {
        Duration::from_nanos(self.0.watch.spent().guest)
    }

    /// What the call under way has used, or the last one.
    pub fn of_call(&self) -> CpuSpent {
        self.0.watch.of_call().into()
    }

    /// Gives the whole limit again, from now on. For an instance that serves another call.
    pub fn renew(&self) {
        self.0.watch.begin_call();
    }

    /// A call that began with [`Self::renew`] is over. How long it was is noted for those to come.
    pub fn call_ends(&self) {
        if let Some(lengths) = &self.0.lengths {
            lengths.note(self.0.watch.is_short());
        }
    }

    /// From the next call on the guest's time and the host's are told apart in `store`, where this
    /// budget is installed, unless the component's calls are short.
    pub fn tell_apart<T: 'static>(&self, store: &mut Store<T>) {
        if !self.0.watch.is_told() && !self.calls_are_short() {
            self.hook(store);
        }
    }

    fn calls_are_short(&self) -> bool {
        let lengths = self.0.lengths.as_ref();
        lengths.is_some_and(|lengths| lengths.are_short())
    }

    fn calls_are_long(&self) -> bool {
        let lengths = self.0.lengths.as_ref();
        lengths.is_some_and(|lengths| lengths.are_long())
    }

    /// Has the budget told whenever the guest's code is entered or left.
    fn hook<T: 'static>(&self, store: &mut Store<T>) {
        let budget = self.clone();
        store.call_hook(move |_, hook| {
            budget.0.watch.cross(hook.entering_host());
            Ok(())
        });
        self.0.watch.set_told(true);
    }

    /// Measures `future`, which must drive the store that this budget is installed in. Whatever
    /// of the guest runs outside of a measured future is charged by whole ticks. Where the component's
    /// calls have been long of late, its turn is waited for first.
    pub fn meter<F: Future>(&self, future: F) -> impl Future<Output = F::Output> + use<F> {
        let budget = self.clone();
        async move {
            if let Some(account) = budget
                .0
                .account
                .as_ref()
                .filter(|_| budget.calls_are_long())
            {
                budget.slice(account.turn()).await;
            }
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

    /// Ends the guest of `store` when the budget is used up, or when the host has worked for one of
    /// its calls for `host_limit`.
    pub(crate) fn install<T: 'static>(&self, store: &mut Store<T>, host_limit: Duration) {
        let host_limit = nanoseconds(host_limit);
        let budget = self.clone();
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(move |_| budget.tick(host_limit));
        self.0.watch.set_told(false);
        self.tell_apart(store);
    }

    fn tick(&self, host_limit: u64) -> wasmtime::Result<UpdateDeadline> {
        let state = &*self.0;
        let is_measured = state.watch.runs();
        if is_measured {
            state.watch.look();
        } else {
            if let Some(account) = &state.account {
                account.runs();
            }
            state.watch.add_guest(state.tick);
        }
        state.tell();
        if let Some(lengths) = &state.lengths
            && !state.watch.is_short()
        {
            lengths.note(false);
        }
        let of_call = state.watch.of_call();
        if of_call.guest >= state.limit {
            let limit = Duration::from_nanos(state.limit);
            return Err(wasmtime::Error::new(LimitExceeded::Cpu { limit }));
        }
        if of_call.host >= host_limit {
            let limit = Duration::from_nanos(host_limit);
            return Err(wasmtime::Error::new(LimitExceeded::HostTime { limit }));
        }
        if let Some(account) = &state.account
            && let Some(overdrawn) = account.overdrawn()
        {
            return Err(wasmtime::Error::new(overdrawn));
        }
        if !is_measured {
            return Ok(UpdateDeadline::Yield(1));
        }
        if of_call.sum() < state.tick.saturating_mul(2) {
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
        let left = (state.limit - of_call.guest).min(host_limit - of_call.host);
        let slice = nanoseconds(SLICE).min(left);
        let budget = self.clone();
        Ok(UpdateDeadline::YieldCustom(
            slice.div_ceil(state.tick),
            Box::pin(async move { budget.slice(turn).await }),
        ))
    }

    /// Waits for its turn. The next poll runs beside the runtime's threads, and has the place.
    async fn slice(&self, turn: impl Future<Output = Place>) {
        let mut place = turn.await;
        self.0.begins_slice.store(true, Relaxed);
        // Behind whatever has become ready meanwhile: a task that is woken by another may be run at
        // once, before all that wait.
        tokio::task::yield_now().await;
        place.begin();
        *self.0.place.lock() = Some(place);
    }
}

/// Has the next tick that counts for `store` be the next there is. A store that waits for its next
/// call misses ticks, and the call would begin by looking at its budget in vain.
pub fn forget_ticks<T: 'static>(store: &mut Store<T>) {
    store.set_epoch_deadline(1);
}

impl State {
    /// Tells the account what it does not know yet.
    fn tell(&self) {
        if let Some(account) = &self.account {
            let spent = self.watch.spent();
            account.charge(spent.since(self.told.get()));
            self.told.set(spent);
        }
    }
}

/// One poll under way; adds its time when it ends, also by a panic.
struct Running<'a>(Option<&'a State>);

impl<'a> Running<'a> {
    fn start(state: &'a State) -> Self {
        if state.watch.runs() {
            return Self(None);
        }
        state.watch.begin_poll();
        if let Some(account) = &state.account {
            account.runs();
        }
        Self(Some(state))
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let Some(state) = self.0 else { return };
        state.watch.end_poll();
        state.tell();
        let place = state.place.lock().take();
        drop(place);
    }
}
