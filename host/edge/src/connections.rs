//! How many connections there are: of each client's network, and of each tenant.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use canopy_ids::TenantId;
use parking_lot::Mutex;

/// What connections of `address` are counted for: itself, or its network of 64 bits for IPv6, of which
/// one client has all addresses (RFC 6177).
pub(crate) fn network(address: IpAddr) -> IpAddr {
    const NETWORK: u128 = u128::MAX << 64;
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & NETWORK).into(),
        address => address,
    }
}

/// Counts what is open for each key.
#[derive(Debug)]
pub(crate) struct Counted<K>(Mutex<HashMap<K, usize>>);

/// One that is counted, until it is dropped.
#[derive(Debug)]
pub(crate) struct CountedSlot<K: Eq + Hash> {
    counted: Arc<Counted<K>>,
    key: K,
}

impl<K> Default for Counted<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash + Copy> Counted<K> {
    /// One more of `key`, unless there are `limit` already.
    pub(crate) fn enter(self: &Arc<Self>, key: K, limit: usize) -> Option<CountedSlot<K>> {
        let mut open = self.0.lock();
        let count = open.get(&key).copied().unwrap_or(0);
        if count >= limit {
            return None;
        }
        open.insert(key, count + 1);
        Some(CountedSlot {
            counted: Arc::clone(self),
            key,
        })
    }
}

impl<K: Eq + Hash> Drop for CountedSlot<K> {
    fn drop(&mut self) {
        let mut open = self.counted.0.lock();
        if let Some(count) = open.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.key);
            }
        }
    }
}

/// The tenant that a connection counts for: the one of its newest request. One connection that asks
/// for many tenants takes a place of one of them only.
#[derive(Debug, Default)]
pub(crate) struct ConnectionTenant(Mutex<Option<(TenantId, CountedSlot<TenantId>)>>);

impl ConnectionTenant {
    /// Counts the connection for `tenant`; false if that has `limit` connections already.
    pub(crate) fn enter(
        &self,
        tenant: TenantId,
        counted: &Arc<Counted<TenantId>>,
        limit: usize,
    ) -> bool {
        let mut present = self.0.lock();
        if present.as_ref().is_some_and(|(known, _)| *known == tenant) {
            return true;
        }
        let slot = counted.enter(tenant, limit);
        let entered = slot.is_some();
        *present = slot.map(|slot| (tenant, slot));
        entered
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_client_has_a_whole_network_of_ipv6() {
        let of = |address: &str| network(address.parse().expect("an address"));
        assert_eq!(
            of("2001:db8:1:2::1"),
            of("2001:db8:1:2:ffff:ffff:ffff:ffff")
        );
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("::ffff:192.0.2.1"), of("::ffff:192.0.2.2"));
    }

    #[test]
    fn each_key_has_its_limit_and_leaves_nothing_behind() {
        let counted = Arc::new(Counted::default());
        let held: Vec<_> = (0..3).filter_map(|_| counted.enter(1, 2)).collect();
        assert_eq!(held.len(), 2);
        assert!(counted.enter(2, 1).is_some(), "another key");
        drop(held);
        assert!(counted.0.lock().is_empty());
    }

    #[test]
    fn a_connection_counts_once_for_the_tenant_of_its_newest_request() {
        let counted = Arc::new(Counted::default());
        let (one, two) = (TenantId::new(), TenantId::new());
        let connection = ConnectionTenant::default();
        for _ in 0..5 {
            assert!(connection.enter(one, &counted, 1));
        }
        let other = ConnectionTenant::default();
        assert!(!other.enter(one, &counted, 1), "one is at its limit");
        assert!(connection.enter(two, &counted, 1));
        assert!(other.enter(one, &counted, 1), "one has a place again");
    }
}
