//! Who may go on when cores are short: guests that run for long take turns, by weight.
//!
//! Threat: guests that compute keep every core busy, and whoever has most of them has most of the
//! node. What is decided, in order: (1) a guest that has run for less than two ticks of the engine
//! does not wait here, unless calls of its component have been longer of late; (2) one that has run
//! for longer needs a *place* for each further slice of [`SLICE`](crate::engine::SLICE), and there
//! are as many places as cores. It runs beside the runtime's threads, so a short request meets none
//! of these slices; (3) a free place goes to the owner who has had least CPU time for its weight, and
//! among the guests of one owner to the one that has waited longest.
//!
//! An owner's time counts from when it begins to compete: one that was quiet gets no more than its
//! share for that, and one that had the node for itself does not pay for it long ([`LAG`]).
//!
//! A place is held while the guest's future is being polled and no longer: a guest that waits in
//! the host leaves it, one that is cancelled too, and a place whose guest does not come to run is
//! taken back ([`STALE`]).

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

/// How far an owner that begins to compete may be behind the others for what it had before: one
/// second's worth of a core at the usual weight.
const LAG: u64 = 1_000_000_000;

/// The weight at which virtual time is time.
const USUAL_WEIGHT: u64 = 100;

/// A place that was given out and not used for so long goes to somebody else. Its guest is not
/// being polled, by whatever fault.
const STALE: Duration = Duration::from_millis(200);

/// The places of a node. Clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Shares(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    places: usize,
    /// How often the engine interrupts guests.
    tick: Duration,
    /// Counts how often it has.
    ticks: Arc<AtomicU64>,
    /// Whether a guest has begun to run since somebody last asked.
    has_run: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    taken: usize,
    /// Virtual time of the owner that was given a place last. Never goes back.
    now: u64,
    next_id: u64,
    /// Owners of guests that have a place or wait for one.
    owners: HashMap<u64, Owner>,
    /// Places that were given and not yet used, and since when.
    unused: HashMap<u64, Instant>,
}

#[derive(Debug)]
struct Owner {
    account: Arc<Account>,
    has: usize,
    waiting: VecDeque<oneshot::Sender<Place>>,
}

impl Owner {
    fn waiting(&self) -> usize {
        self.waiting
            .iter()
            .filter(|grant| !grant.is_closed())
            .count()
    }
}

/// The CPU time of one owner, and its weight.
#[derive(Debug)]
pub(crate) struct Account {
    id: u64,
    weight: AtomicU32,
    /// CPU time in nanoseconds, divided by the weight.
    virtual_time: AtomicU64,
}

/// Leave to run for a slice. Dropping it passes it on.
#[derive(Debug)]
pub(crate) struct Place {
    shares: Shares,
    owner: u64,
    id: u64,
    used: bool,
}

impl Account {
    /// Sets the weight for the time to come.
    pub(crate) fn set_weight(&self, weight: u32) {
        self.weight.store(weight.max(1), Relaxed);
    }

    /// Counts CPU time.
    pub(crate) fn charge(&self, nanoseconds: u64) {
        if nanoseconds > 0 {
            let weight = u64::from(self.weight.load(Relaxed));
            let virtual_time = nanoseconds.saturating_mul(USUAL_WEIGHT) / weight;
            self.virtual_time.fetch_add(virtual_time.max(1), Relaxed);
        }
    }

    pub(crate) fn virtual_time(&self) -> u64 {
        self.virtual_time.load(Relaxed)
    }
}

impl Shares {
    pub(crate) fn new(places: usize, tick: Duration) -> Self {
        Self(Arc::new(Inner {
            places: places.max(1),
            tick,
            ticks: Arc::default(),
            has_run: AtomicBool::new(false),
            state: Mutex::default(),
        }))
    }

    /// An account for one owner.
    pub(crate) fn account(&self, weight: u32) -> Arc<Account> {
        Arc::new(Account {
            id: self.0.state.lock().new_id(),
            weight: AtomicU32::new(weight.max(1)),
            virtual_time: AtomicU64::new(0),
        })
    }

    /// How often the engine interrupts guests.
    pub(crate) fn tick(&self) -> Duration {
        self.0.tick
    }

    /// Counts how often it has.
    pub(crate) fn ticks(&self) -> &Arc<AtomicU64> {
        &self.0.ticks
    }

    /// A guest begins to run.
    pub(crate) fn runs(&self) {
        // Looked at first, so that threads seldom write to what they share.
        if !self.0.has_run.load(Relaxed) {
            self.0.has_run.store(true, Relaxed);
        }
    }

    /// Whether a guest has begun to run since this was asked last, or has a place now.
    pub(crate) fn have_run(&self) -> bool {
        self.0.has_run.swap(false, Relaxed) || self.0.state.lock().taken > 0
    }

    /// Guests that wait for a place.
    pub(crate) fn waiting(&self) -> usize {
        let state = self.0.state.lock();
        state.owners.values().map(Owner::waiting).sum()
    }

    /// Waits for a place for a guest of `account`. Dropping the future leaves the queue.
    pub(crate) fn turn(&self, account: &Arc<Account>) -> impl Future<Output = Place> + use<> {
        let (grant, granted) = oneshot::channel();
        self.0.state.lock().queue(account, grant);
        self.pass_on();
        let mut waiting = Waiting {
            shares: self.clone(),
            granted,
        };
        async move {
            loop {
                match timeout(STALE, &mut waiting.granted).await {
                    Ok(Ok(place)) => break place,
                    // Nothing drops a grant of somebody who waits.
                    Ok(Err(_)) => std::future::pending().await,
                    Err(_) => waiting.shares.take_back(),
                }
            }
        }
    }

    /// Gives free places to those who wait. One sent to a guest that has just left comes back
    /// through its own drop.
    fn pass_on(&self) {
        loop {
            let (grant, place) = {
                let mut state = self.0.state.lock();
                if state.taken >= self.0.places {
                    return;
                }
                let Some(owner) = state.neediest() else {
                    return;
                };
                let id = state.new_id();
                let Some(share) = state.owners.get_mut(&owner) else {
                    return;
                };
                let Some(grant) = share.waiting.pop_front() else {
                    return;
                };
                share.has += 1;
                let began = share.account.virtual_time();
                state.now = state.now.max(began);
                state.taken += 1;
                state.unused.insert(id, Instant::now());
                let place = Place {
                    shares: self.clone(),
                    owner,
                    id,
                    used: false,
                };
                (grant, place)
            };
            drop(grant.send(place));
        }
    }

    /// Takes back the places that nobody has used for long.
    fn take_back(&self) {
        {
            let mut state = self.0.state.lock();
            let before = state.unused.len();
            state.unused.retain(|_, since| since.elapsed() < STALE);
            state.taken -= before - state.unused.len();
        }
        self.pass_on();
    }
}

impl State {
    fn new_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    fn queue(&mut self, account: &Arc<Account>, grant: oneshot::Sender<Place>) {
        let now = self.now;
        let owner = self.owners.entry(account.id).or_insert_with(|| {
            let time = &account.virtual_time;
            let begins = time.load(Relaxed).clamp(now, now.saturating_add(LAG));
            time.store(begins, Relaxed);
            Owner {
                account: account.clone(),
                has: 0,
                waiting: VecDeque::new(),
            }
        });
        owner.waiting.push_back(grant);
    }

    /// Of the owners whose guests wait, the one that has had least. Forgets guests that wait no
    /// longer, and owners of which nothing is left.
    fn neediest(&mut self) -> Option<u64> {
        let mut found: Option<(u64, u64)> = None;
        self.owners.retain(|id, owner| {
            while owner
                .waiting
                .front()
                .is_some_and(oneshot::Sender::is_closed)
            {
                owner.waiting.pop_front();
            }
            if owner.waiting.is_empty() {
                return owner.has > 0;
            }
            let had = owner.account.virtual_time();
            if found.is_none_or(|(least, _)| had < least) {
                found = Some((had, *id));
            }
            true
        });
        found.map(|(_, id)| id)
    }
}

impl Place {
    /// The guest runs.
    pub(crate) fn begin(&mut self) {
        let mut state = self.shares.0.state.lock();
        self.used = state.unused.remove(&self.id).is_some();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        {
            let mut state = self.shares.0.state.lock();
            // One that was taken back is somebody else's already.
            if self.used || state.unused.remove(&self.id).is_some() {
                state.taken -= 1;
            }
            if let Some(share) = state.owners.get_mut(&self.owner) {
                share.has -= 1;
            }
        }
        self.shares.pass_on();
    }
}

/// A guest that waits; leaves the queue when it is cancelled.
struct Waiting {
    shares: Shares,
    granted: oneshot::Receiver<Place>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.granted.close();
        let mut state = self.shares.0.state.lock();
        for owner in state.owners.values_mut() {
            owner.waiting.retain(|grant| !grant.is_closed());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    const SLICE: u64 = 10_000_000;
    const TICK: Duration = Duration::from_millis(1);

    /// Takes turns for ever, and counts them.
    async fn runs(shares: Shares, account: Arc<Account>, slices: Arc<AtomicUsize>) {
        let mut turn = Box::pin(shares.turn(&account));
        loop {
            let mut place = turn.await;
            // As guests do, behind whatever has become ready meanwhile.
            tokio::task::yield_now().await;
            place.begin();
            slices.fetch_add(1, Relaxed);
            account.charge(SLICE);
            turn = Box::pin(shares.turn(&account));
            drop(place);
        }
    }

    async fn until(done: impl Fn() -> bool) {
        while !done() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn slices_go_by_weight_and_not_by_the_number_of_guests() {
        let shares = Shares::new(1, TICK);
        let count = || Arc::new(AtomicUsize::new(0));
        let (light, heavy) = (shares.account(100), shares.account(300));
        let (of_light, of_heavy) = (count(), count());
        let mut guests = Vec::new();
        for _ in 0..5 {
            let guest = runs(shares.clone(), light.clone(), of_light.clone());
            guests.push(tokio::spawn(guest));
        }
        let guest = runs(shares.clone(), heavy.clone(), of_heavy.clone());
        guests.push(tokio::spawn(guest));
        until(|| of_light.load(Relaxed) + of_heavy.load(Relaxed) >= 400).await;
        let (light, heavy) = (of_light.load(Relaxed), of_heavy.load(Relaxed));
        assert!(heavy.abs_diff(3 * light) <= 8, "{heavy} to {light}");

        // One that comes later gets its share from then on and nothing for the time before.
        let late = shares.account(400);
        let of_late = count();
        guests.push(tokio::spawn(runs(shares.clone(), late, of_late.clone())));
        let before = of_light.load(Relaxed) + of_heavy.load(Relaxed);
        until(|| of_late.load(Relaxed) >= 200).await;
        let others = of_light.load(Relaxed) + of_heavy.load(Relaxed) - before;
        assert!(others.abs_diff(200) <= 8, "{others} to 200");
        for guest in guests {
            guest.abort();
            assert!(guest.await.expect_err("it ran for ever").is_cancelled());
        }
        assert_eq!(shares.waiting(), 0);
        assert_eq!(shares.0.state.lock().taken, 0);
    }

    #[tokio::test]
    async fn one_that_had_the_node_for_itself_is_not_shut_out_for_it() {
        let shares = Shares::new(1, TICK);
        let count = || Arc::new(AtomicUsize::new(0));
        let (old, new) = (shares.account(100), shares.account(100));
        // An hour.
        old.charge(3_600_000_000_000);
        let (of_old, of_new) = (count(), count());
        let guests = [(old, &of_old), (new, &of_new)]
            .map(|(account, slices)| tokio::spawn(runs(shares.clone(), account, slices.clone())));
        until(|| of_old.load(Relaxed) >= 10).await;
        let new = of_new.load(Relaxed);
        // A second's worth of slices ahead, and as many as the other had meanwhile.
        assert!(new <= 100 + 12, "{new}");
        for guest in guests {
            guest.abort();
        }
    }

    #[tokio::test]
    async fn a_place_that_nobody_uses_goes_to_somebody_else() {
        let shares = Shares::new(1, TICK);
        let account = shares.account(100);
        // It has its place, and does not come to run.
        let mut late = shares.turn(&account).await;
        let mut place = shares.turn(&account).await;
        place.begin();
        drop(place);
        late.begin();
        drop(late);
        assert_eq!(shares.0.state.lock().taken, 0);
        assert!(shares.0.state.lock().unused.is_empty());
    }
}
