//! What the stores of a driver instance have to do, and which of them are free.
//!
//! A call that any store may answer goes to the first that is free; where none is, one more store is
//! begun as far as the limit lets, and else whichever is free next takes it. What is for one store
//! alone, as a call with a resource that it owns, waits for that one. For each store all is in order
//! of arrival.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::handle::{Call, Message, Place};

/// Shared by the handles of a driver instance and the actors of its stores.
pub(crate) struct Board<C> {
    state: Mutex<State<C>>,
    limit: usize,
    /// Another instance has taken the driver's place.
    replaced: AtomicBool,
}

struct State<C> {
    /// How much has arrived.
    arrived: u64,
    open: VecDeque<(u64, Call<C>)>,
    desks: Vec<Desk<C>>,
    /// No handle is left.
    closed: bool,
}

/// What is there for one store.
struct Desk<C> {
    own: VecDeque<(u64, Message<C>)>,
    wake: Arc<Notify>,
    phase: Phase,
    /// When it was chosen last.
    chosen: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Free,
    Busy,
    /// It has open streams, and takes what is for the same caller.
    Streaming,
}

impl Phase {
    fn without_call(streams: bool) -> Self {
        match streams {
            true => Self::Streaming,
            false => Self::Free,
        }
    }
}

/// What a store is to do next.
pub(crate) enum Next<C> {
    Message(Message<C>),
    /// Wait for word.
    Wait,
    /// No handle is left, and nothing is to be done.
    Over,
}

impl<C> Board<C> {
    /// For at most `limit` stores, and at least one.
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            state: Mutex::new(State {
                arrived: 0,
                open: VecDeque::new(),
                desks: Vec::new(),
                closed: false,
            }),
            limit: limit.max(1),
            replaced: AtomicBool::new(false),
        }
    }

    /// At most how many stores there are.
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// A call for any store. The number is of a store to be begun.
    pub(crate) fn post(&self, call: Call<C>) -> Option<usize> {
        let state = &mut *self.lock();
        state.arrived += 1;
        state.open.push_back((state.arrived, call));
        let claimed = self.claim(state);
        for desk in &state.desks {
            if desk.phase == Phase::Streaming {
                desk.wake.notify_one();
            }
        }
        claimed.and_then(|(store, begun)| begun.then_some(store))
    }

    /// A call for one store.
    pub(crate) fn post_to(&self, store: usize, call: Call<C>) {
        self.lock().leave(store, Message::Call(call));
    }

    /// A resource of a store has been dropped.
    pub(crate) fn drop_resource(&self, store: usize, place: Place<C>) {
        self.lock().leave(store, Message::Drop(place));
    }

    /// Chooses a store for calls that belong together, and says whether it is to be begun.
    pub(crate) fn choose(&self) -> (usize, bool) {
        let state = &mut *self.lock();
        let (store, begun) = match self.claim(state) {
            Some((store, begun)) => (store, begun),
            None => {
                let desks = state.desks.iter().enumerate();
                let least = desks.min_by_key(|(_, desk)| (desk.own.len(), desk.chosen));
                (least.map_or(0, |(at, _)| at), false)
            }
        };
        state.arrived += 1;
        state.desks[store].chosen = state.arrived;
        (store, begun)
    }

    /// Takes what `store` is to do next, of what it may begin.
    pub(crate) fn take(
        &self,
        store: usize,
        streams: bool,
        may_begin: impl Fn(&C) -> bool,
    ) -> Next<C> {
        let state = &mut *self.lock();
        let State {
            open,
            desks,
            closed,
            ..
        } = state;
        let desk = &mut desks[store];
        let own = desk
            .own
            .iter()
            .position(|(_, message)| may_begin(message.caller()));
        let any = open
            .iter()
            .position(|(_, call)| may_begin(&call.context.caller));
        let own_first = match (own, any) {
            (Some(own), Some(any)) => desk.own[own].0 < open[any].0,
            (own, _) => own.is_some(),
        };
        let message = match (own, any) {
            (Some(own), _) if own_first => desk.own.remove(own).map(|(_, message)| message),
            (_, Some(any)) => open.remove(any).map(|(_, call)| Message::Call(call)),
            _ => None,
        };
        if let Some(message) = message {
            // Dropping a resource is soon done.
            if matches!(message, Message::Call(_)) {
                desk.phase = Phase::Busy;
            }
            return Next::Message(message);
        }
        desk.phase = Phase::without_call(streams);
        match *closed && !streams {
            true => Next::Over,
            false => Next::Wait,
        }
    }

    /// The call of a store is over but for its streams, if it has any. Said before the caller has its
    /// answer, so that what the caller asks next finds the store free.
    pub(crate) fn rest(&self, store: usize, streams: bool) {
        let state = &mut *self.lock();
        let desk = &mut state.desks[store];
        if state.open.is_empty() && desk.own.is_empty() {
            desk.phase = Phase::without_call(streams);
        }
    }

    /// By which a store gets word.
    pub(crate) fn word(&self, store: usize) -> Arc<Notify> {
        self.lock().desks[store].wake.clone()
    }

    /// No handle is left: stores end when they have done what is left.
    pub(crate) fn close(&self) {
        let state = &mut *self.lock();
        state.closed = true;
        state.wake_all();
    }

    /// Another instance has taken the driver's place: no store is kept for calls to come.
    pub(crate) fn replace(&self) {
        if !self.replaced.swap(true, Ordering::Relaxed) {
            self.lock().wake_all();
        }
    }

    /// Whether another instance has taken the driver's place.
    pub(crate) fn is_replaced(&self) -> bool {
        self.replaced.load(Ordering::Relaxed)
    }

    /// Gives word to a free store, or makes room for one that is to be begun; `None` where neither
    /// can be: the first that is free will look by itself.
    fn claim(&self, state: &mut State<C>) -> Option<(usize, bool)> {
        let free = state
            .desks
            .iter()
            .position(|desk| desk.phase == Phase::Free);
        if let Some(free) = free {
            let desk = &mut state.desks[free];
            desk.phase = Phase::Busy;
            desk.wake.notify_one();
            return Some((free, false));
        }
        let next = state.desks.len();
        if next < self.limit {
            state.desks.push(Desk::new());
            return Some((next, true));
        }
        None
    }

    fn lock(&self) -> MutexGuard<'_, State<C>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<C> State<C> {
    fn wake_all(&self) {
        for desk in &self.desks {
            desk.wake.notify_one();
        }
    }

    fn leave(&mut self, store: usize, message: Message<C>) {
        self.arrived += 1;
        let Some(desk) = self.desks.get_mut(store) else {
            return;
        };
        if desk.phase == Phase::Free && matches!(message, Message::Call(_)) {
            desk.phase = Phase::Busy;
        }
        desk.own.push_back((self.arrived, message));
        desk.wake.notify_one();
    }
}

impl<C> Desk<C> {
    /// Of a store that is about to begin and looks by itself.
    fn new() -> Self {
        Self {
            own: VecDeque::new(),
            wake: Arc::new(Notify::new()),
            phase: Phase::Busy,
            chosen: 0,
        }
    }
}
