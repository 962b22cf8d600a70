//! Those who wait for a slot, in the order in which they came; and who of them would wait in vain.
//!
//! Waiting helps in a burst and harms in a jam: there it makes every answer late and none more. So
//! whoever would wait in vain is refused at once. A queue tells by its pace, how many who waited were
//! served of the time in which somebody did, lately (in `shed_after`) and for longer (in ten times
//! that); and by how long they had waited.
//!
//! 1. Whoever finds nobody waiting may wait: the next slot is theirs, whatever the pace was.
//! 2. Where nobody has been served lately, nobody waits behind a first who has waited for `shed_after`;
//!    nor, where nobody has been for longer either, behind any first until there is a slot again.
//! 3. Else as many wait as will be served in half of the time that the last of them has, by both paces:
//!    they fall as well as they rise. Of a queue that has just begun no pace is known, and all may wait.
//! 4. A load that does not end is told from a burst by its trace: for ten times `shed_after` everybody
//!    who was served had waited for `shed_after`. Then the queue is kept short, at what is served in
//!    `shed_after`, until nobody has waited for as long.
//! 5. Whoever has waited for `shed_after` has the queue looked at: as many stay as will be served in
//!    time, and the first.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

/// For how many times `shed_after` everybody must have waited long before the load is one that lasts.
const LASTING: u32 = 10;

/// Of a shorter time no pace can be told.
const LEAST: Duration = Duration::from_millis(1);

/// No slot became free in time, or waiting for one would be in vain.
#[derive(Debug)]
pub(crate) struct Full;

/// Somebody's turn, once it comes.
pub(crate) type Turn<S> = oneshot::Receiver<S>;

/// Those who wait for slots of the kind `S`.
#[derive(Debug)]
pub(crate) struct Queue<S> {
    shed_after: Duration,
    waiting: VecDeque<Waiter<S>>,
    /// For how long somebody has been waiting, of all times together.
    busy: Duration,
    /// How many were served in `shed_after`, and in [`LASTING`] times that.
    served: Served,
    served_long: Served,
    /// Since when everybody who was served had waited for `shed_after`.
    long_waits: Option<Instant>,
    /// When somebody waited last.
    last: Instant,
    /// Nobody was being served when it was looked at last, and there has been no slot since.
    stuck: bool,
}

#[derive(Debug)]
struct Waiter<S> {
    since: Instant,
    grant: oneshot::Sender<S>,
}

/// How many who waited got their slot, in two windows of the time in which somebody waited: the one
/// that has begun, and the one before it.
#[derive(Debug)]
struct Served {
    window: Duration,
    since: Duration,
    now: usize,
    before: usize,
}

impl<S> Queue<S> {
    pub(crate) fn new(shed_after: Duration) -> Self {
        let shed_after = shed_after.max(LEAST);
        Self {
            shed_after,
            waiting: VecDeque::new(),
            busy: Duration::ZERO,
            served: Served::new(shed_after, Duration::ZERO),
            served_long: Served::new(shed_after * LASTING, Duration::ZERO),
            long_waits: None,
            last: Instant::now(),
            stuck: false,
        }
    }

    /// Whether nobody waits any more.
    pub(crate) fn is_empty(&mut self) -> bool {
        while self.waiting.front().is_some_and(|w| w.grant.is_closed()) {
            self.waiting.pop_front();
        }
        self.waiting.is_empty()
    }

    /// Whether `most` wait.
    pub(crate) fn has(&mut self, most: usize) -> bool {
        if self.waiting.len() >= most {
            self.waiting.retain(|waiter| !waiter.grant.is_closed());
        }
        self.waiting.len() >= most
    }

    /// Passes the time until now; whether nobody waits.
    fn pass(&mut self, now: Instant) -> bool {
        let is_empty = self.is_empty();
        if !is_empty {
            self.busy += now.duration_since(self.last);
            self.last = now;
        }
        is_empty
    }

    /// A place at the end for one who can wait until `until`.
    pub(crate) fn join(&mut self, until: Instant) -> Result<Turn<S>, Full> {
        let now = Instant::now();
        if self.pass(now) {
            let gap = now.duration_since(self.last);
            if gap >= self.shed_after {
                self.long_waits = None;
            }
            if gap >= self.served_long.window {
                self.served = Served::new(self.served.window, self.busy);
                self.served_long = Served::new(self.served_long.window, self.busy);
            }
            self.last = now;
        } else if self.is_in_vain(now, until) {
            return Err(Full);
        }
        let (grant, turn) = oneshot::channel();
        self.waiting.push_back(Waiter { since: now, grant });
        Ok(turn)
    }

    /// Whether it is of no use to wait behind those who do.
    fn is_in_vain(&mut self, now: Instant, until: Instant) -> bool {
        if self.stuck {
            return true;
        }
        let first = self.waiting.front();
        let is_late = first.is_some_and(|w| now.duration_since(w.since) >= self.shed_after);
        let half = until.saturating_duration_since(now) / 2;
        let lately = self.served.lately(self.busy, half);
        let longer = self.served_long.lately(self.busy, half);
        let most = match (self.served.is_any(), self.served_long.is_any()) {
            _ if self.is_lasting(now) => self.served_long.lately(self.busy, self.shed_after),
            (true, _) => return self.waiting.len() >= lately.min(longer).max(1),
            (false, true) => longer,
            (false, false) => usize::MAX,
        };
        is_late || self.waiting.len() >= most.max(1)
    }

    fn is_lasting(&self, now: Instant) -> bool {
        let lasts = |since: Instant| now.duration_since(since) >= self.shed_after * LASTING;
        self.long_waits.is_some_and(lasts)
    }

    /// There is a slot: who gets it, if anybody waits.
    pub(crate) fn next(&mut self) -> Option<oneshot::Sender<S>> {
        self.moved();
        if self.is_empty() {
            return None;
        }
        let now = Instant::now();
        self.pass(now);
        let waiter = self.waiting.pop_front()?;
        self.served.count(self.busy);
        self.served_long.count(self.busy);
        if now.duration_since(waiter.since) >= self.shed_after {
            self.long_waits.get_or_insert(now);
        } else if !self.is_lasting(now) {
            self.long_waits = None;
        }
        Some(waiter.grant)
    }

    /// There was a slot.
    pub(crate) fn moved(&mut self) {
        self.stuck = false;
    }

    /// Refuses those who would wait in vain, from the end. For one who has waited for `shed_after`
    /// and can do so until `until`.
    pub(crate) fn shed(&mut self, until: Instant) {
        let now = Instant::now();
        self.waiting.retain(|waiter| !waiter.grant.is_closed());
        self.pass(now);
        let left = until.saturating_duration_since(now);
        let lately = self.served.lately(self.busy, left);
        let longer = self.served_long.lately(self.busy, left);
        let hope = match self.served.is_any() {
            true => lately,
            false => longer,
        };
        self.stuck = !self.served.is_any() && !self.served_long.is_any();
        // The first may be the next to be served whatever the pace was.
        self.waiting.truncate(hope.max(1));
    }
}

impl Served {
    fn new(window: Duration, since: Duration) -> Self {
        Self {
            window,
            since,
            now: 0,
            before: 0,
        }
    }

    fn turn_over(&mut self, busy: Duration) {
        let age = busy.saturating_sub(self.since);
        if age >= self.window {
            self.before = if age < 2 * self.window { self.now } else { 0 };
            self.now = 0;
            self.since = busy;
        }
    }

    fn count(&mut self, busy: Duration) {
        self.turn_over(busy);
        self.now += 1;
    }

    /// Whether there were any.
    fn is_any(&self) -> bool {
        self.now + self.before > 0
    }

    /// How many are served in `time`, at the pace of a window; of the first one, at its pace so far.
    fn lately(&mut self, busy: Duration, time: Duration) -> usize {
        self.turn_over(busy);
        let (served, over) = match self.before {
            0 => (self.now, busy.saturating_sub(self.since).max(LEAST)),
            before => (self.now.max(before), self.window),
        };
        let served = served as u128 * time.as_nanos() / over.as_nanos();
        usize::try_from(served).unwrap_or(usize::MAX)
    }
}

/// Waits for one's turn until `until`, and has the queue looked at each time that `shed_after` is over.
pub(crate) async fn wait<S>(
    mut turn: Turn<S>,
    until: Instant,
    shed_after: Duration,
    look: impl Fn(),
) -> Result<S, Full> {
    loop {
        let next = Instant::now() + shed_after.max(LEAST);
        match timeout_at(until.min(next), &mut turn).await {
            Ok(Ok(slot)) => return Ok(slot),
            Err(_) if next < until => look(),
            Ok(Err(_)) | Err(_) => {
                turn.close();
                return Err(Full);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHED: Duration = Duration::from_millis(100);

    fn later(milliseconds: u64) -> Instant {
        Instant::now() + Duration::from_millis(milliseconds)
    }

    async fn pass(milliseconds: u64) {
        tokio::time::advance(Duration::from_millis(milliseconds)).await;
    }

    /// Of a hundred, those who may wait for a second.
    fn joined(queue: &mut Queue<()>) -> Vec<Turn<()>> {
        (0..100)
            .filter_map(|_| queue.join(later(1000)).ok())
            .collect()
    }

    /// Serves the first `count` of those who wait.
    fn serve(queue: &mut Queue<()>, count: usize) {
        for _ in 0..count {
            let grant = queue.next().expect("somebody waits");
            grant.send(()).expect("and goes on waiting");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn of_a_burst_all_may_wait() {
        let mut queue = Queue::new(SHED);
        assert_eq!(joined(&mut queue).len(), 100);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_joins_where_nobody_has_been_served_for_long() {
        let mut queue = Queue::new(SHED);
        let _first = queue.join(later(1000)).expect("nobody waits");
        pass(99).await;
        let _second = queue.join(later(1000)).expect("the first has just come");
        pass(1).await;
        assert!(joined(&mut queue).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_queue_that_stands_still_has_one_at_a_time_until_there_is_a_slot() {
        let mut queue = Queue::new(SHED);
        let turns = joined(&mut queue);
        pass(100).await;
        queue.shed(later(900));
        assert!(queue.has(1) && !queue.has(2));
        drop(turns);
        for _ in 0..5 {
            let held = joined(&mut queue);
            assert_eq!(held.len(), 1, "the next first, and nobody behind");
            pass(50).await;
            drop(held);
            assert!(queue.is_empty());
        }
        queue.moved();
        assert_eq!(joined(&mut queue).len(), 100);
    }

    #[tokio::test(start_paused = true)]
    async fn as_many_wait_as_will_be_served_in_half_of_their_time() {
        let mut queue = Queue::new(SHED);
        let _turns: Vec<_> = (0..5).map(|_| queue.join(later(1000))).collect();
        pass(60).await;
        serve(&mut queue, 3);
        pass(39).await;
        // Three in a tenth of a second are fifteen in half of one, of whom two wait already.
        assert_eq!(joined(&mut queue).len(), 13);
    }

    #[tokio::test(start_paused = true)]
    async fn under_a_load_that_lasts_the_queue_is_short_until_it_has_ended() {
        let mut queue = Queue::new(SHED);
        let mut turns = Vec::new();
        // Ten are served in each tenth of a second, and but for the first ten all wait for longer.
        for _ in 0..12 {
            turns.extend(joined(&mut queue));
            serve(&mut queue, 10);
            pass(100).await;
        }
        let late = joined(&mut queue);
        assert!(late.is_empty(), "the first has waited for long");
        drop(turns);
        let short = joined(&mut queue);
        assert_eq!(short.len(), 10, "what is served in a tenth of a second");
        serve(&mut queue, 10);
        drop(short);
        pass(99).await;
        assert_eq!(joined(&mut queue).len(), 10, "a gap is no end");
        pass(100).await;
        assert_eq!(joined(&mut queue).len(), 50, "it has ended");
    }

    #[tokio::test(start_paused = true)]
    async fn bursts_after_each_other_are_no_load_that_lasts() {
        let mut queue = Queue::new(SHED);
        for _ in 0..10 {
            let turns: Vec<_> = (0..40).map(|_| queue.join(later(1000))).collect();
            assert!(
                turns.iter().all(Result::is_ok),
                "of a burst nobody is refused"
            );
            for _ in 0..8 {
                pass(50).await;
                serve(&mut queue, 5);
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_left_does_not_count() {
        let mut queue = Queue::new(SHED);
        let first = queue.join(later(1000)).expect("nobody waits");
        let second = queue.join(later(1000)).expect("new");
        pass(100).await;
        drop((first, second));
        assert!(queue.next().is_none());
        assert_eq!(joined(&mut queue).len(), 100);
    }
}
