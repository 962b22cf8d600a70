//! Installations that are ready to answer, one per generation.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use canopy_capability_identity::Installation;
use canopy_ids::InstallationId;
use parking_lot::Mutex;
use tokio::sync::OnceCell;

use crate::instance::{Idle, Program};
use crate::spec::InstallationSpec;
use crate::stores::Stores;

/// An installation's component, linked to all that it imports.
pub(crate) struct Installed {
    pub(crate) installation: Arc<Installation>,
    pub(crate) stores: Stores,
    pub(crate) program: Program,
    pub(crate) idle: Idle,
}

/// How many generations of one installation are kept: the newest, and the one before it, which
/// requests that began earlier still name.
const GENERATIONS: usize = 2;

/// Everything installed that has been asked for.
#[derive(Default)]
pub(crate) struct Cache(Mutex<HashMap<InstallationId, Vec<Slot>>>);

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
    /// Where the installation of this generation is, or will be.
    pub(crate) fn slot(&self, spec: &Arc<InstallationSpec>) -> Arc<OnceCell<Arc<Installed>>> {
        let mut installations = self.0.lock();
        let slots = installations.entry(spec.id).or_default();
        if let Some(slot) = slots.iter().find(|slot| slot.is_of(spec)) {
            return slot.cell.clone();
        }
        if slots.len() >= GENERATIONS {
            slots.remove(0);
        }
        let cell = Arc::new(OnceCell::new());
        slots.push(Slot {
            spec: spec.clone(),
            cell: cell.clone(),
        });
        cell
    }

    /// Forgets the installations that `keep` does not name.
    pub(crate) fn retain(&self, keep: impl Fn(InstallationId) -> bool) {
        self.0.lock().retain(|id, _| keep(*id));
    }

    /// Drops instances that have been waiting for a request since before `since`, and says how many
    /// they were.
    pub(crate) fn drop_idle(&self, since: Instant) -> usize {
        let installed: Vec<_> = {
            let installations = self.0.lock();
            let cells = installations
                .values()
                .flatten()
                .filter_map(|slot| slot.cell.get());
            cells.cloned().collect()
        };
        installed
            .iter()
            .map(|installed| installed.idle.drop_before(since))
            .sum()
    }
}
