//! Which addresses the sockets of a component may use.
//!
//! A socket knows addresses and no names. What a granted name resolved to within this store may be
//! connected to at the ports that were granted for the name; what a rule names as an address, at
//! the ports of that rule. Nothing listens and nothing is bound to an address of its choice.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use parking_lot::Mutex;
use wasmtime_wasi::sockets::SocketAddrUse;

use crate::host::Host;
use crate::policy::EgressPolicy;

/// Addresses that one store remembers; older ones have to be looked up again.
const MAX_ADDRESSES: usize = 1_024;

/// What names resolved to.
#[derive(Default)]
pub(crate) struct Sockets {
    resolved: Mutex<HashMap<IpAddr, Vec<Host>>>,
}

impl Sockets {
    /// `host` resolved to `addresses`.
    pub(crate) fn remember(&self, host: &Host, addresses: &[IpAddr]) {
        let mut resolved = self.resolved.lock();
        for address in addresses {
            if resolved.len() >= MAX_ADDRESSES {
                resolved.clear();
            }
            let hosts = resolved.entry(*address).or_default();
            if !hosts.contains(host) {
                hosts.push(host.clone());
            }
        }
    }

    /// Whether `address` may be used for `purpose`.
    pub(crate) fn allow(
        &self,
        policy: &EgressPolicy,
        address: SocketAddr,
        purpose: SocketAddrUse,
    ) -> bool {
        let ip = address.ip().to_canonical();
        match purpose {
            SocketAddrUse::TcpConnect | SocketAddrUse::UdpSend | SocketAddrUse::UdpReceive => {
                let granted = |host: &Host| policy.check_host(host, address.port()).is_ok();
                policy.check_address(ip).is_ok()
                    && (granted(&Host::Address(ip))
                        || self
                            .resolved
                            .lock()
                            .get(&ip)
                            .is_some_and(|hosts| hosts.iter().any(granted)))
            }
            // What the system binds by itself before a connection.
            SocketAddrUse::TcpBind | SocketAddrUse::UdpBind => {
                ip.is_unspecified() && address.port() == 0
            }
            SocketAddrUse::TcpListen | SocketAddrUse::TcpAccept => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(rules: &[&str], opened: &[&str]) -> EgressPolicy {
        EgressPolicy::new(
            rules.iter().map(|text| text.parse().expect(text)).collect(),
            opened
                .iter()
                .map(|text| text.parse().expect(text))
                .collect(),
        )
    }

    fn connects(sockets: &Sockets, policy: &EgressPolicy, address: &str) -> bool {
        let address = address.parse().expect(address);
        let tcp = sockets.allow(policy, address, SocketAddrUse::TcpConnect);
        assert_eq!(tcp, sockets.allow(policy, address, SocketAddrUse::UdpSend));
        assert_eq!(
            tcp,
            sockets.allow(policy, address, SocketAddrUse::UdpReceive)
        );
        tcp
    }

    #[test]
    fn an_address_is_reached_by_a_rule_for_it() {
        let policy = policy(&["10.0.0.5:5432", "8.8.8.8:*"], &["10.0.0.0/8"]);
        let sockets = Sockets::default();
        assert!(connects(&sockets, &policy, "10.0.0.5:5432"));
        assert!(connects(&sockets, &policy, "[::ffff:10.0.0.5]:5432"));
        assert!(connects(&sockets, &policy, "8.8.8.8:53"));
        for address in [
            "10.0.0.5:22",
            "10.0.0.6:5432",
            "127.0.0.1:5432",
            "9.9.9.9:53",
        ] {
            assert!(!connects(&sockets, &policy, address), "{address}");
        }
    }

    #[test]
    fn an_address_is_reached_by_a_name_only_once_it_was_resolved() {
        let policy = policy(&["db.example.com:5432"], &[]);
        let sockets = Sockets::default();
        assert!(!connects(&sockets, &policy, "93.184.216.34:5432"));
        let host = "db.example.com".parse().expect("host");
        sockets.remember(&host, &["93.184.216.34".parse().expect("address")]);
        assert!(connects(&sockets, &policy, "93.184.216.34:5432"));
        assert!(!connects(&sockets, &policy, "93.184.216.34:22"));
        assert!(!connects(&sockets, &policy, "93.184.216.35:5432"));
    }

    #[test]
    fn a_name_that_resolved_to_a_private_address_opens_nothing() {
        let policy = policy(&["db.example.com:5432"], &[]);
        let sockets = Sockets::default();
        let host = "db.example.com".parse().expect("host");
        sockets.remember(&host, &["169.254.169.254".parse().expect("address")]);
        assert!(!connects(&sockets, &policy, "169.254.169.254:5432"));
    }

    #[test]
    fn nobody_listens() {
        let policy = policy(&["0.0.0.0:*", "127.0.0.1:*"], &["0.0.0.0/0"]);
        let sockets = Sockets::default();
        let allow =
            |text: &str, purpose| sockets.allow(&policy, text.parse().expect(text), purpose);
        for purpose in [SocketAddrUse::TcpListen, SocketAddrUse::TcpAccept] {
            assert!(!allow("0.0.0.0:0", purpose));
            assert!(!allow("127.0.0.1:80", purpose));
        }
        for purpose in [SocketAddrUse::TcpBind, SocketAddrUse::UdpBind] {
            assert!(allow("0.0.0.0:0", purpose));
            assert!(!allow("127.0.0.1:0", purpose));
            assert!(!allow("0.0.0.0:8080", purpose));
        }
    }
}
