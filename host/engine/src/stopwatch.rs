//! Tells apart what the guest's own code takes of the CPU and what the host takes on its behalf,
//! within the polls of the future that drives the guest.
//!
//! A poll begins and ends in the host. In between wasmtime says whenever the guest's code is entered
//! or left, which is a hundred times in a short call. So nothing is looked at then but a count of
//! the engine's ticks, until a tick has met the call or it has used as much as one: up to there it is
//! measured by the monotonic clock, and all of it is taken to be the guest's, for one tick at most.
//! From there on each entry and exit is timed by the CPU clock of the thread. That clock is a system
//! call, so it is read again after [`CLOSE`] only; in between the monotonic clock says what has been
//! added, which is cheap and by so little time cannot be far off.
//!
//! To be told costs as well. Of a component whose calls have all been shorter than two ticks lately
//! ([`CallLengths`]) nothing is told, and all of a call is taken to be the guest's.
//!
//! One thread at a time drives a store, so relaxed loads and stores suffice; others only read.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// For so long the monotonic clock says what the CPU clock would.
const CLOSE: u64 = 50_000;

/// No poll is under way.
const IDLE: u8 = 0;
/// A poll is under way, measured by the monotonic clock.
const ROUGH: u8 = 1;
/// A poll is under way, measured by the CPU clock.
const EXACT: u8 = 2;

/// After so many short calls in a row those to come are taken to be short.
const PROOF: u32 = 64;

/// After a long call, and until there have been so many short ones in a row, those to come are taken
/// to be long.
const RELIEF: u32 = 4;

/// How long the calls of one component have been of late. To be shared by its instances.
#[derive(Debug)]
pub struct CallLengths {
    short_in_a_row: AtomicU32,
}

impl Default for CallLengths {
    /// Of a component whose calls nobody has seen: they are taken to be neither short nor long.
    fn default() -> Self {
        Self {
            short_in_a_row: AtomicU32::new(RELIEF),
        }
    }
}

impl CallLengths {
    /// Whether the next call is taken to be a long one.
    pub(crate) fn are_long(&self) -> bool {
        self.short_in_a_row.load(Relaxed) < RELIEF
    }

    /// Whether the next call is taken to be a short one.
    pub(crate) fn are_short(&self) -> bool {
        self.short_in_a_row.load(Relaxed) >= PROOF
    }

    pub(crate) fn note(&self, is_short: bool) {
        let so_far = self.short_in_a_row.load(Relaxed);
        let now = match is_short {
            true => PROOF.min(so_far + 1),
            false => 0,
        };
        if now != so_far {
            self.short_in_a_row.store(now, Relaxed);
        }
    }
}

/// CPU time, in nanoseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Split {
    /// Of the guest's own code.
    pub(crate) guest: u64,
    /// Of the host, on its behalf.
    pub(crate) host: u64,
}

impl Split {
    pub(crate) fn sum(self) -> u64 {
        self.guest.saturating_add(self.host)
    }

    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            guest: self.guest.saturating_sub(before.guest),
            host: self.host.saturating_sub(before.host),
        }
    }
}

/// A [`Split`] that is read by others.
#[derive(Debug, Default)]
pub(crate) struct Counted {
    guest: AtomicU64,
    host: AtomicU64,
}

impl Counted {
    pub(crate) fn get(&self) -> Split {
        Split {
            guest: self.guest.load(Relaxed),
            host: self.host.load(Relaxed),
        }
    }

    pub(crate) fn set(&self, split: Split) {
        self.guest.store(split.guest, Relaxed);
        self.host.store(split.host, Relaxed);
    }
}

/// Measures one store. All times are in nanoseconds.
#[derive(Debug)]
pub(crate) struct Stopwatch {
    /// Ticks of the engine.
    ticks: Arc<AtomicU64>,
    /// How long one is.
    tick: u64,
    state: AtomicU8,
    /// Whether [`Self::cross`] is told of; else all is the guest's.
    is_told: AtomicBool,
    /// Whether the host runs, and not the guest's code.
    in_host: AtomicBool,
    /// Whether the next poll is measured by the CPU clock.
    exact: AtomicBool,
    /// The engine's ticks when the poll began.
    ticks_seen: AtomicU64,
    /// When the part that runs now began, by the clock that measures it.
    since: AtomicU64,
    /// What the CPU clock showed when it was read last.
    read: AtomicU64,
    /// What the monotonic clock showed then.
    read_at: AtomicU64,
    spent: Counted,
    /// What was spent when the call began.
    before: Counted,
}

impl Stopwatch {
    pub(crate) fn new(ticks: Arc<AtomicU64>, tick: u64) -> Self {
        Self {
            ticks,
            tick,
            state: AtomicU8::new(IDLE),
            is_told: AtomicBool::new(false),
            in_host: AtomicBool::new(false),
            exact: AtomicBool::new(false),
            ticks_seen: AtomicU64::new(0),
            since: AtomicU64::new(0),
            read: AtomicU64::new(0),
            read_at: AtomicU64::new(0),
            spent: Counted::default(),
            before: Counted::default(),
        }
    }

    /// Whether [`Self::cross`] is told of from now on.
    pub(crate) fn set_told(&self, is_told: bool) {
        self.is_told.store(is_told, Relaxed);
    }

    pub(crate) fn is_told(&self) -> bool {
        self.is_told.load(Relaxed)
    }

    /// Whether the call has been shorter than two ticks: more than what is measured roughly, which
    /// a busy machine can make too long.
    pub(crate) fn is_short(&self) -> bool {
        self.of_call().sum() < self.tick.saturating_mul(2)
    }

    /// What has been spent altogether, up to the last entry or exit that was timed.
    pub(crate) fn spent(&self) -> Split {
        self.spent.get()
    }

    /// What the call under way has spent.
    pub(crate) fn of_call(&self) -> Split {
        self.spent.get().since(self.before.get())
    }

    /// A call begins.
    pub(crate) fn begin_call(&self) {
        self.before.set(self.spent.get());
        if !self.runs() {
            self.exact.store(false, Relaxed);
        }
    }

    /// Whether a poll is under way.
    pub(crate) fn runs(&self) -> bool {
        self.state.load(Relaxed) != IDLE
    }

    /// A poll begins, in the host.
    pub(crate) fn begin_poll(&self) {
        self.in_host.store(self.is_told(), Relaxed);
        if self.exact.load(Relaxed) {
            self.since.store(self.read_cpu(), Relaxed);
            self.state.store(EXACT, Relaxed);
        } else {
            self.since.store(time(ClockId::Monotonic), Relaxed);
            self.ticks_seen.store(self.ticks.load(Relaxed), Relaxed);
            self.state.store(ROUGH, Relaxed);
        }
    }

    /// The poll ends.
    pub(crate) fn end_poll(&self) {
        match self.state.load(Relaxed) {
            ROUGH => {
                self.add_rough();
                if self.of_call().sum() >= self.tick {
                    self.exact.store(true, Relaxed);
                }
            }
            EXACT => self.part(self.read_cpu()),
            _ => {}
        }
        self.state.store(IDLE, Relaxed);
    }

    /// The guest's code is left for the host, or entered.
    #[inline]
    pub(crate) fn cross(&self, into_host: bool) {
        match self.state.load(Relaxed) {
            EXACT => self.part(self.about_now()),
            ROUGH if self.ticks.load(Relaxed) != self.ticks_seen.load(Relaxed) => self.be_exact(),
            _ => {}
        }
        self.in_host.store(into_host, Relaxed);
    }

    /// A tick has met the guest in a poll: counts all up to now.
    pub(crate) fn look(&self) {
        match self.state.load(Relaxed) {
            ROUGH => self.be_exact(),
            EXACT => self.part(self.read_cpu()),
            _ => {}
        }
    }

    /// The guest's code has run for `time` outside of a measured poll.
    pub(crate) fn add_guest(&self, time: u64) {
        let guest = self.spent.guest.load(Relaxed).saturating_add(time);
        self.spent.guest.store(guest, Relaxed);
    }

    /// Changes to the CPU clock.
    fn be_exact(&self) {
        self.add_rough();
        self.exact.store(true, Relaxed);
        self.since.store(self.read_cpu(), Relaxed);
        self.state.store(EXACT, Relaxed);
    }

    /// Counts what the monotonic clock shows of the poll. The machine may have run something else
    /// meanwhile, so no more than a tick.
    fn add_rough(&self) {
        let elapsed = time(ClockId::Monotonic).saturating_sub(self.since.load(Relaxed));
        self.add_guest(elapsed.min(self.tick));
    }

    /// Counts the part that ends at `now` of the CPU clock.
    fn part(&self, now: u64) {
        let since = self.since.load(Relaxed);
        let counter = match self.in_host.load(Relaxed) {
            true => &self.spent.host,
            false => &self.spent.guest,
        };
        let sum = counter
            .load(Relaxed)
            .saturating_add(now.saturating_sub(since));
        counter.store(sum, Relaxed);
        self.since.store(now.max(since), Relaxed);
    }

    fn read_cpu(&self) -> u64 {
        let now = time(ClockId::ThreadCPUTime);
        self.read.store(now, Relaxed);
        self.read_at.store(time(ClockId::Monotonic), Relaxed);
        now
    }

    /// What the CPU clock shows now, nearly.
    fn about_now(&self) -> u64 {
        let read_at = self.read_at.load(Relaxed);
        let later = time(ClockId::Monotonic).saturating_sub(read_at);
        match later < CLOSE {
            true => self.read.load(Relaxed) + later,
            false => self.read_cpu(),
        }
    }
}

fn time(clock: ClockId) -> u64 {
    let now = clock_gettime(clock);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(now.tv_nsec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}

pub(crate) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;

    use super::*;

    const MS: u64 = 1_000_000;

    fn stopwatch() -> (Stopwatch, Arc<AtomicU64>) {
        let ticks = Arc::new(AtomicU64::new(0));
        let watch = Stopwatch::new(ticks.clone(), MS);
        watch.set_told(true);
        (watch, ticks)
    }

    /// Keeps this thread computing for so much of its CPU time.
    fn compute(nanoseconds: u64) {
        let until = time(ClockId::ThreadCPUTime) + nanoseconds;
        while black_box(time(ClockId::ThreadCPUTime)) < until {}
    }

    #[test]
    fn from_the_first_tick_on_guest_and_host_are_told_apart() {
        let (watch, ticks) = stopwatch();
        watch.begin_poll();
        ticks.store(1, Relaxed);
        watch.cross(false);
        let begun = watch.spent();
        for _ in 0..10 {
            compute(2 * MS);
            watch.cross(true);
            compute(5 * MS);
            watch.cross(false);
        }
        watch.cross(true);
        watch.end_poll();
        let Split { guest, host } = watch.spent().since(begun);
        assert!((20 * MS..25 * MS).contains(&guest), "{guest}");
        assert!((50 * MS..60 * MS).contains(&host), "{host}");
    }

    #[test]
    fn many_short_crossings_add_up() {
        let (watch, ticks) = stopwatch();
        watch.begin_poll();
        ticks.store(1, Relaxed);
        watch.cross(false);
        let begun = watch.spent();
        let before = time(ClockId::ThreadCPUTime);
        for _ in 0..2_000 {
            compute(2_000);
            watch.cross(true);
            compute(8_000);
            watch.cross(false);
        }
        watch.cross(true);
        watch.end_poll();
        let all = time(ClockId::ThreadCPUTime) - before;
        let Split { guest, host } = watch.spent().since(begun);
        assert!(guest >= 4 * MS && host >= 16 * MS, "{guest} and {host}");
        assert!(guest < host, "{guest} and {host}");
        let sum = guest + host;
        assert!(
            sum >= all - all / 5 && sum < all + all / 5,
            "{sum} of {all}"
        );
    }

    #[test]
    fn before_the_first_tick_a_poll_is_the_guests_for_one_tick_at_most() {
        let (watch, _) = stopwatch();
        watch.begin_poll();
        compute(5 * MS);
        watch.cross(false);
        compute(MS);
        watch.cross(true);
        watch.end_poll();
        assert_eq!(watch.spent(), Split { guest: MS, host: 0 });
        // From then on it is exact, until another call begins.
        watch.begin_poll();
        compute(5 * MS);
        watch.end_poll();
        let host = watch.spent().host;
        assert!((5 * MS..8 * MS).contains(&host), "{host}");
        watch.begin_call();
        watch.begin_poll();
        compute(5 * MS);
        watch.end_poll();
        assert_eq!(watch.of_call(), Split { guest: MS, host: 0 });
    }

    #[test]
    fn where_nothing_is_told_all_is_the_guests() {
        let watch = Stopwatch::new(Arc::default(), MS);
        for _ in 0..3 {
            watch.begin_poll();
            compute(3 * MS);
            watch.end_poll();
        }
        let Split { guest, host } = watch.spent();
        assert_eq!(host, 0);
        assert!((7 * MS..12 * MS).contains(&guest), "{guest}");
    }

    #[test]
    fn calls_are_taken_to_be_short_after_many_that_were_and_until_one_is_not() {
        let lengths = CallLengths::default();
        assert!(!lengths.are_short() && !lengths.are_long());
        lengths.note(false);
        for _ in 1..PROOF {
            lengths.note(true);
            assert!(!lengths.are_short());
        }
        lengths.note(true);
        lengths.note(true);
        assert!(lengths.are_short());
        lengths.note(false);
        assert!(!lengths.are_short());
    }

    #[test]
    fn calls_are_taken_to_be_long_after_one_that_was_and_until_some_are_not() {
        let lengths = CallLengths::default();
        assert!(!lengths.are_long());
        lengths.note(false);
        for _ in 0..RELIEF {
            assert!(lengths.are_long());
            lengths.note(true);
        }
        assert!(!lengths.are_long() && !lengths.are_short());
        lengths.note(false);
        assert!(lengths.are_long());
    }

    #[test]
    fn time_in_which_the_thread_does_not_run_is_nobodys() {
        let (watch, ticks) = stopwatch();
        watch.begin_poll();
        ticks.store(1, Relaxed);
        watch.cross(false);
        let begun = watch.spent();
        for _ in 0..20 {
            std::thread::sleep(Duration::from_millis(2));
            watch.cross(true);
            std::thread::sleep(Duration::from_millis(2));
            watch.cross(false);
        }
        watch.end_poll();
        let spent = watch.spent().since(begun);
        assert!(spent.sum() < 20 * MS, "{spent:?}");
    }
}
