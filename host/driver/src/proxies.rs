//! The resources of drivers that a component holds.
//!
//! Each is in the driver's store; the component's handle stands for a slot in this table. When the
//! slot is emptied, or the table is dropped with its store, the driver is told to drop its side.

use std::sync::{Arc, Weak};

use canopy_ids::DriverInstanceId;

use crate::error::ProxiesFull;
use crate::handle::{DriverHandle, Home, Remote, Timer};
use crate::session::{Alive, StoreLife};

/// A table of handles to resources in drivers' stores, one table per store.
pub struct Proxies<C> {
    slots: Vec<Option<Arc<Remote<C>>>>,
    free: Vec<u32>,
    limit: usize,
    /// The stores of drivers that answer this one.
    homes: Vec<(DriverInstanceId, Weak<Home>)>,
    /// Of a call that is over, for the next: the calls of a request have one deadline, and a timer that
    /// is set need not be set again.
    pub(crate) timer: Option<Timer>,
    alive: Alive,
}

impl<C> Proxies<C> {
    /// The default of [`Proxies::new`]'s limit.
    pub const DEFAULT_LIMIT: usize = 1024;

    /// An empty table for at most `limit` resources; beyond it calls that return a resource trap
    /// with [`ProxiesFull`].
    pub fn new(limit: usize) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            limit,
            homes: Vec::new(),
            timer: None,
            alive: Alive::new(),
        }
    }

    /// By which the ends of streams know whether the store, whose data this is, still is there.
    pub(crate) fn life(&self) -> StoreLife {
        self.alive.life()
    }

    /// How many resources the component holds.
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Whether the component holds none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The store of a driver for a call, where it matters which: the same as long as any call is
    /// under way or any resource is held; at first one of which a resource is held already, that
    /// another driver has handed on.
    pub(crate) fn home(&mut self, driver: &DriverHandle<C>) -> Option<Arc<Home>>
    where
        C: Clone + Send + Sync + 'static,
    {
        let id = driver.id();
        let known = self.homes.iter().find(|(known, _)| *known == id);
        if let Some(home) = known.and_then(|(_, home)| home.upgrade()) {
            return Some(home);
        }
        let held = self.slots.iter().flatten();
        let held = held.filter(|remote| remote.is_of(driver));
        let home = driver.home(held.map(|remote| remote.store()).next())?;
        self.homes
            .retain(|(known, home)| *known != id && home.strong_count() > 0);
        self.homes.push((id, Arc::downgrade(&home)));
        Some(home)
    }

    pub(crate) fn insert(&mut self, remote: Arc<Remote<C>>) -> Result<u32, ProxiesFull> {
        if let Some(rep) = self.free.pop() {
            self.slots[rep as usize] = Some(remote);
            return Ok(rep);
        }
        let full = ProxiesFull { limit: self.limit };
        if self.slots.len() >= self.limit {
            return Err(full);
        }
        let rep = u32::try_from(self.slots.len()).map_err(|_| full)?;
        self.slots.push(Some(remote));
        Ok(rep)
    }

    pub(crate) fn get(&self, rep: u32) -> Option<&Arc<Remote<C>>> {
        self.slots.get(rep as usize)?.as_ref()
    }

    pub(crate) fn remove(&mut self, rep: u32) -> Option<Arc<Remote<C>>> {
        let remote = self.slots.get_mut(rep as usize)?.take()?;
        self.free.push(rep);
        Some(remote)
    }
}

impl<C> Default for Proxies<C> {
    fn default() -> Self {
        Self::new(Self::DEFAULT_LIMIT)
    }
}
