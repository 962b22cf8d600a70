//! Room in the pool: instances and stores of drivers that wait make it for whoever needs it.

use std::time::Instant;

use canopy_ids::TenantId;

use crate::driver::Handle;
use crate::instance::Idle;
use crate::runtime::Inner;

/// What is ended at once when somebody needs room: more than one component needs for its parts, and
/// little enough for the others to stay warm.
const ROOM: usize = 4;

/// What waits for calls to come, several of the same.
trait Waiting {
    /// Since when the one that has waited longest does so.
    fn since(&self) -> Option<Instant>;

    /// Ends that one. Whether there was one.
    fn end_one(&self) -> bool;
}

impl Waiting for Idle {
    fn since(&self) -> Option<Instant> {
        self.oldest()
    }

    fn end_one(&self) -> bool {
        self.drop_oldest()
    }
}

impl Waiting for Handle {
    fn since(&self) -> Option<Instant> {
        self.idle_since()
    }

    fn end_one(&self) -> bool {
        self.end_idle()
    }
}

impl Inner {
    /// Ends some of what waits of `tenant`. Whether there was anything.
    pub(crate) fn make_own_room(&self, tenant: TenantId) -> bool {
        self.end_waiting(|owner| owner == tenant)
    }

    /// The same, and if nothing of its own waits, of anybody's.
    pub(crate) fn make_room(&self, tenant: TenantId) -> bool {
        self.make_own_room(tenant) || self.make_any_room()
    }

    /// The same of anybody's.
    pub(crate) fn make_any_room(&self) -> bool {
        self.end_waiting(|_| true)
    }

    /// Ends up to [`ROOM`] of what has waited longest, of the tenants that are meant.
    fn end_waiting(&self, is_meant: impl Fn(TenantId) -> bool) -> bool {
        let mut installed = self.installed.ready();
        installed.retain(|one| is_meant(one.stores.tenant()));
        let drivers = self.drivers.running(is_meant);
        let instances = installed.iter().flat_map(|one| one.idle());
        let waiting: Vec<&dyn Waiting> = instances
            .map(|idle| idle as &dyn Waiting)
            .chain(drivers.iter().map(|driver| driver as &dyn Waiting))
            .collect();
        let mut ended = 0;
        while ended < ROOM {
            let oldest = waiting
                .iter()
                .filter_map(|one| Some((one.since()?, one)))
                .min_by_key(|(since, _)| *since);
            let Some((_, oldest)) = oldest else {
                break;
            };
            ended += usize::from(oldest.end_one());
        }
        ended > 0
    }
}
