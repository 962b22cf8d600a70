//! Installations that are ready to answer, one per generation, and as many as there is room for.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use canopy_capability_identity::Installation;
use canopy_ids::InstallationId;
use parking_lot::Mutex;
use tokio::sync::OnceCell;

use crate::instance::{Idle, Program, Work};
use crate::spec::InstallationSpec;
use crate::stores::Stores;

/// An installation's component, linked to all that it imports.
pub(crate) struct Installed {
    pub(crate) installation: Arc<Installation>,
    pub(crate) stores: Stores,
    /// How it answers requests, where it does.
    pub(crate) requests: Option<Way>,
    /// How it takes connections of the WebSocket protocol, where it does.
    pub(crate) sockets: Option<Way>,
    /// How it takes messages, where it does.
    pub(crate) messages: Option<Way>,
}

impl Installed {
    /// How it does `work`, where it does.
    pub(crate) fn way(&self, work: &Work) -> Option<&Way> {
        match work {
            Work::Request(_) => self.requests.as_ref(),
            Work::Socket(..) => self.sockets.as_ref(),
            Work::Message(_) => self.messages.as_ref(),
        }
    }

    /// Its instances that wait, whatever for.
    pub(crate) fn idle(&self) -> impl Iterator<Item = &Idle> {
        let ways = [&self.requests, &self.sockets, &self.messages];
        ways.into_iter().flatten().map(|way| &way.idle)
    }
}

/// One of the ways in which a component is called. Instances that wait for one do nothing else.
pub(crate) struct Way {
    pub(crate) program: Program,
    pub(crate) idle: Idle,
}

impl Way {
    /// A way that nobody has gone yet.
    pub(crate) fn new(program: Program) -> Self {
        Self {
            program,
            idle: Idle::default(),
        }
    }
}

/// How many generations of one installation are kept: the newest, and the one before it, which
/// requests that began earlier still name.
const GENERATIONS: usize = 2;

/// What of the installations is forgotten at once when there are too many, so that looking for those
/// that were not asked for longest costs little for each: one part in so many.
const FORGOTTEN: usize = 16;

/// Everything installed that has been asked for, but for what was not asked for longest.
pub(crate) struct Cache {
    most: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    installations: HashMap<InstallationId, Kept>,
    /// Counts what is asked for.
    asked: u64,
}

/// The generations of one installation.
#[derive(Default)]
struct Kept {
    slots: Vec<Slot>,
    /// When it was asked for last.
    asked: u64,
}

struct Slot {
    spec: Arc<InstallationSpec>,
    cell: Arc<OnceCell<Arc<Installed>>>,
}

impl Slot {
    fn is_of(&self, spec: &Arc<InstallationSpec>) -> bool {
        Arc::ptr_eq(&self.spec, spec)
            || (self.spec.generation == spec.generation
                && self.spec.bindings.len() == spec.bindings.len()
                && self
                    .spec
                    .bindings
                    .iter()
                    .zip(&spec.bindings)
                    .all(|(ours, theirs)| ours.0 == theirs.0 && ours.1.is(theirs.1)))
    }
}

impl Cache {
    /// For `most` installations.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            most: most.max(1),
            state: Mutex::default(),
        }
    }

    /// How many installations there are.
    pub(crate) fn len(&self) -> usize {
        self.state.lock().installations.len()
    }

    /// Instances that wait for a request.
    pub(crate) fn waiting(&self) -> usize {
        let ready = self.ready();
        ready.iter().flat_map(|one| one.idle()).map(Idle::len).sum()
    }

    /// Where the installation of this generation is, or will be.
    pub(crate) fn slot(&self, spec: &Arc<InstallationSpec>) -> Arc<OnceCell<Arc<Installed>>> {
        let (cell, forgotten) = {
            let mut state = self.state.lock();
            state.asked += 1;
            let asked = state.asked;
            let is_new = !state.installations.contains_key(&spec.id);
            let full = is_new && state.installations.len() >= self.most;
            let forgotten = match full {
                true => state.forget((self.most / FORGOTTEN).max(1)),
                false => Vec::new(),
            };
            let kept = state.installations.entry(spec.id).or_default();
            kept.asked = asked;
            (kept.cell(spec), forgotten)
        };
        // Instances that waited end here, and not under the lock.
        drop(forgotten);
        cell
    }

    /// Forgets the installations that `keep` does not name.
    pub(crate) fn retain(&self, keep: impl Fn(InstallationId) -> bool) {
        let mut state = self.state.lock();
        state.installations.retain(|id, _| keep(*id));
    }

    /// Drops instances that have been waiting for a request since before `since`.
    pub(crate) fn drop_idle(&self, since: Instant) {
        for installed in self.ready() {
            installed.idle().for_each(|idle| idle.drop_before(since));
        }
    }

    /// Those that are ready.
    pub(crate) fn ready(&self) -> Vec<Arc<Installed>> {
        let state = self.state.lock();
        let slots = state.installations.values().flat_map(|kept| &kept.slots);
        slots.filter_map(|slot| slot.cell.get()).cloned().collect()
    }
}

impl State {
    /// Takes out the `count` installations that were not asked for longest.
    fn forget(&mut self, count: usize) -> Vec<Kept> {
        let mut by_age: Vec<_> = self
            .installations
            .iter()
            .map(|(id, kept)| (kept.asked, *id))
            .collect();
        by_age.sort_unstable_by_key(|(asked, _)| *asked);
        by_age
            .iter()
            .take(count)
            .filter_map(|(_, id)| self.installations.remove(id))
            .collect()
    }
}

impl Kept {
    fn cell(&mut self, spec: &Arc<InstallationSpec>) -> Arc<OnceCell<Arc<Installed>>> {
        if let Some(slot) = self.slots.iter().find(|slot| slot.is_of(spec)) {
            return slot.cell.clone();
        }
        if self.slots.len() >= GENERATIONS {
            self.slots.remove(0);
        }
        let cell = Arc::new(OnceCell::new());
        self.slots.push(Slot {
            spec: spec.clone(),
            cell: cell.clone(),
        });
        cell
    }
}
