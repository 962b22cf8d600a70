//! Stores of a driver instance that wait for a call, own nothing of anybody's, and can be ended by
//! whoever needs what they have.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::handle::Info;
use crate::host::DriverHost;
use crate::live::Live;

/// The stores of one driver instance that wait, the one that has waited longest first.
pub(crate) struct Resting<D: DriverHost> {
    info: Arc<Info>,
    stores: Mutex<Vec<Rested<D>>>,
}

struct Rested<D: DriverHost> {
    store: usize,
    since: Instant,
    live: Live<D>,
}

impl<D: DriverHost> Resting<D> {
    pub(crate) fn new(info: Arc<Info>) -> Self {
        Self {
            info,
            stores: Mutex::new(Vec::new()),
        }
    }

    /// Keeps what `store` runs until it is taken, or ended.
    pub(crate) fn put(&self, store: usize, live: Live<D>) {
        let since = Instant::now();
        self.lock().push(Rested { store, since, live });
    }

    /// What `store` runs, if it has not been ended.
    pub(crate) fn take(&self, store: usize) -> Option<Live<D>> {
        let mut stores = self.lock();
        let at = stores.iter().position(|rested| rested.store == store)?;
        Some(stores.remove(at).live)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Rested<D>>> {
        self.stores.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The same, without what the stores hold.
pub(crate) trait Rest: Send + Sync {
    /// Since when the one that has waited longest does so.
    fn since(&self) -> Option<Instant>;

    /// Ends that one. Whether there was one.
    fn end_one(&self) -> bool;
}

impl<D: DriverHost> Rest for Resting<D> {
    fn since(&self) -> Option<Instant> {
        self.lock().first().map(|rested| rested.since)
    }

    fn end_one(&self) -> bool {
        let mut stores = self.lock();
        if stores.is_empty() {
            return false;
        }
        let ended = stores.remove(0);
        // What ends with it may look for room as well.
        drop(stores);
        drop(ended);
        self.info.supervision.gone(false);
        true
    }
}
