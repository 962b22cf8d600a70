//! What the installations and drivers of one tenant use of the network together: connections open and
//! names looked up at once, requests and connections a second, bytes a day.
//!
//! Each node counts for itself, and in memory: a day's bytes begin anew when the node starts.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use canopy_ids::TenantId;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::lookups::places;

/// What one tenant may use of the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TenantEgress {
    /// Requests under way and connections of sockets, at once. Default 256.
    pub connections: usize,
    /// Requests, look-ups and new sockets a second; as many may come at once after a quiet second. Default 500.
    pub requests_per_second: u32,
    /// Bytes of bodies and sockets, both ways, in one day (UTC). Default 100 GiB.
    pub bytes_per_day: u64,
}

impl Default for TenantEgress {
    fn default() -> Self {
        Self {
            connections: 256,
            requests_per_second: 500,
            bytes_per_day: 100 << 30,
        }
    }
}

/// What one tenant uses of the network now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EgressUsage {
    /// Requests under way and connections of sockets.
    pub connections: usize,
    /// Bytes of this day.
    pub bytes_today: u64,
}

/// Which limit of a tenant, or of the node for all of them, is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OverQuota {
    /// As many connections as it may have are open.
    #[error("the tenant has {limit} outgoing connections open, as many as its plan allows")]
    Connections {
        /// So many.
        limit: usize,
    },
    /// As many requests as may come in a second have come.
    #[error("the tenant makes more than the {per_second} outgoing requests a second of its plan")]
    Rate {
        /// So many.
        per_second: u32,
    },
    /// The day's bytes are used up.
    #[error("the tenant has sent and received the {limit} bytes a day of its plan")]
    Bytes {
        /// So many.
        limit: u64,
    },
    /// As many of its names as may be are being looked up.
    #[error(
        "{limit} names are being looked up for the tenant, as many as `egress.tenant_lookups` allows"
    )]
    Lookups {
        /// So many.
        limit: usize,
    },
    /// As many names as may be are being looked up on the node.
    #[error("{limit} names are being looked up on the node, as many as `egress.lookups` allows")]
    NodeLookups {
        /// So many.
        limit: usize,
    },
}

/// The accounts of a node's tenants.
pub(crate) struct Accounts {
    all: Mutex<HashMap<TenantId, Arc<Account>>>,
    /// Names of one tenant that are looked up at once.
    lookups: usize,
}

impl Accounts {
    /// Accounts of tenants for which so many names at once may be looked up.
    pub(crate) fn new(lookups: usize) -> Self {
        Self {
            all: Mutex::default(),
            lookups,
        }
    }

    /// The account of `tenant`, which has these limits from now on.
    pub(crate) fn of(&self, tenant: TenantId, limits: TenantEgress) -> Arc<Account> {
        let mut accounts = self.all.lock();
        // What nobody holds and has counted nothing today says nothing.
        if accounts.len() >= 1_024 {
            accounts.retain(|_, account| Arc::strong_count(account) > 1 || account.today() > 0);
        }
        let new = || Arc::new(Account::new(self.lookups));
        let account = accounts.entry(tenant).or_insert_with(new);
        *account.limits.lock() = limits;
        account.clone()
    }

    pub(crate) fn usage(&self, tenant: TenantId) -> EgressUsage {
        let account = self.all.lock().get(&tenant).cloned();
        account.map_or_else(EgressUsage::default, |account| EgressUsage {
            connections: account.open.load(Ordering::Relaxed),
            bytes_today: account.today(),
        })
    }
}

/// What one tenant uses, and may.
pub(crate) struct Account {
    limits: Mutex<TenantEgress>,
    open: AtomicUsize,
    rate: Mutex<Rate>,
    day: Mutex<Day>,
    /// Places for its look-ups, and how many there are.
    pub(crate) lookups: Arc<Semaphore>,
    pub(crate) lookups_limit: usize,
}

/// A place among a tenant's open connections.
pub(crate) struct Place(Arc<Account>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Account {
    fn new(lookups: usize) -> Self {
        Self {
            limits: Mutex::default(),
            open: AtomicUsize::new(0),
            rate: Mutex::default(),
            day: Mutex::default(),
            lookups: places(lookups),
            lookups_limit: lookups,
        }
    }

    /// A request, a look-up or a new socket may begin.
    pub(crate) fn begin(&self) -> Result<(), OverQuota> {
        let limits = *self.limits.lock();
        let limit = limits.bytes_per_day;
        if self.today() >= limit {
            return Err(OverQuota::Bytes { limit });
        }
        let per_second = limits.requests_per_second;
        match self.rate.lock().take(Instant::now(), per_second) {
            true => Ok(()),
            false => Err(OverQuota::Rate { per_second }),
        }
    }

    /// Takes a place among the open connections.
    pub(crate) fn open(self: &Arc<Self>) -> Result<Place, OverQuota> {
        let limit = self.limits.lock().connections;
        let one_more = |open: usize| (open < limit).then_some(open + 1);
        self.open
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more)
            .map(|_| Place(self.clone()))
            .map_err(|_| OverQuota::Connections { limit })
    }

    /// So many bytes have gone one way or the other. `Err`: they were the last.
    pub(crate) fn count(&self, bytes: u64) -> Result<(), OverQuota> {
        let limit = self.limits.lock().bytes_per_day;
        match self.day.lock().add(today(), bytes) > limit {
            true => Err(OverQuota::Bytes { limit }),
            false => Ok(()),
        }
    }

    fn today(&self) -> u64 {
        self.day.lock().add(today(), 0)
    }
}

fn today() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs() / 86_400)
}

/// The bytes of one day.
#[derive(Default)]
struct Day {
    number: u64,
    bytes: u64,
}

impl Day {
    /// Adds `bytes` of the day `number`, and gives that day's sum.
    fn add(&mut self, number: u64, bytes: u64) -> u64 {
        if number != self.number {
            *self = Self { number, bytes: 0 };
        }
        self.bytes = self.bytes.saturating_add(bytes);
        self.bytes
    }
}

/// When the next request may come if they came evenly; as many as fit into a second may come early.
#[derive(Default)]
struct Rate {
    next: Option<Instant>,
}

impl Rate {
    fn take(&mut self, now: Instant, per_second: u32) -> bool {
        let interval = Duration::from_secs(1) / per_second.max(1);
        let next = self.next.map_or(now, |next| next.max(now)) + interval;
        let is_early = next > now + Duration::from_secs(1) + interval / 2;
        if !is_early {
            self.next = Some(next);
        }
        !is_early
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(limits: TenantEgress) -> Arc<Account> {
        Accounts::new(1).of(TenantId::new(), limits)
    }

    #[test]
    fn a_second_has_so_many_requests_early_or_evenly() {
        let (mut rate, start) = (Rate::default(), Instant::now());
        let taken = (0..10).filter(|_| rate.take(start, 4)).count();
        assert_eq!(taken, 4);
        let later = start + Duration::from_millis(250);
        assert!(rate.take(later, 4));
        assert!(!rate.take(later, 4));
        let rested = start + Duration::from_secs(60);
        assert_eq!((0..10).filter(|_| rate.take(rested, 4)).count(), 4);
    }

    #[test]
    fn a_day_has_so_many_bytes() {
        let mut day = Day::default();
        assert_eq!(day.add(7, 10), 10);
        assert_eq!(day.add(7, 5), 15);
        assert_eq!(day.add(8, 1), 1);
        let account = account(TenantEgress {
            bytes_per_day: 10,
            ..TenantEgress::default()
        });
        account.begin().expect("none are used");
        account.count(10).expect("the last ones");
        assert_eq!(account.begin(), Err(OverQuota::Bytes { limit: 10 }));
        assert_eq!(account.count(1), Err(OverQuota::Bytes { limit: 10 }));
    }

    #[test]
    fn places_come_back_and_limits_change() {
        let accounts = Accounts::new(1);
        let tenant = TenantId::new();
        let limits = |connections| TenantEgress {
            connections,
            ..TenantEgress::default()
        };
        let account = accounts.of(tenant, limits(1));
        let place = account.open().expect("a place");
        assert!(account.open().is_err());
        assert_eq!(accounts.usage(tenant).connections, 1);
        let same = accounts.of(tenant, limits(2));
        let second = same.open().expect("another place");
        assert!(account.open().is_err());
        drop((place, second));
        assert_eq!(accounts.usage(tenant), EgressUsage::default());
    }
}
