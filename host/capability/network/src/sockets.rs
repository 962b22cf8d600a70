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
use crate::policy::{EgressPolicy, Refusal};
use crate::rule::Way;

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
    pub(crate) fn check(
        &self,
        policy: &EgressPolicy,
        address: SocketAddr,
        purpose: SocketAddrUse,
    ) -> Result<(), Refusal> {
        let (ip, port) = (address.ip().to_canonical(), address.port());
        match purpose {
            SocketAddrUse::TcpConnect => self.destination(policy, ip, port, Way::Tcp),
            SocketAddrUse::UdpSend | SocketAddrUse::UdpReceive => {
                self.destination(policy, ip, port, Way::Udp)
            }
            // What the system binds by itself before a connection.
            SocketAddrUse::TcpBind | SocketAddrUse::UdpBind => {
                if ip.is_unspecified() && port == 0 {
                    Ok(())
                } else {
                    let what = "bind a socket to an address of its choice";
                    Err(Refusal::NotForGuests { what })
                }
            }
            SocketAddrUse::TcpListen | SocketAddrUse::TcpAccept => {
                let what = "listen for connections";
                Err(Refusal::NotForGuests { what })
            }
        }
    }

    fn destination(
        &self,
        policy: &EgressPolicy,
        ip: IpAddr,
        port: u16,
        way: Way<'_>,
    ) -> Result<(), Refusal> {
        self.granted(policy, ip, port, way)?;
        policy.check_destination(ip, port, way)
    }

    /// Whether the address is granted, or a name that it was found by.
    fn granted(
        &self,
        policy: &EgressPolicy,
        ip: IpAddr,
        port: u16,
        way: Way<'_>,
    ) -> Result<(), Refusal> {
        let refusal = match policy.check_host(&Host::Address(ip), port, way) {
            Ok(()) => return Ok(()),
            Err(refusal) => refusal,
        };
        let resolved = self.resolved.lock();
        let names = resolved.get(&ip).map_or(&[][..], Vec::as_slice);
        let mut refusals = Vec::new();
        for host in names {
            match policy.check_host(host, port, way) {
                Ok(()) => return Ok(()),
                Err(refusal) => refusals.push(refusal),
            }
        }
        // The refusal of a name says more than that of the address it led to.
        Err(refusals.pop().unwrap_or(refusal))
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
        let allow = |purpose| sockets.check(policy, address, purpose).is_ok();
        let tcp = allow(SocketAddrUse::TcpConnect);
        assert_eq!(tcp, allow(SocketAddrUse::UdpSend));
        assert_eq!(tcp, allow(SocketAddrUse::UdpReceive));
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
    fn a_rule_for_one_kind_of_socket_is_for_no_other() {
        let policy = policy(&["udp://8.8.8.8:53", "https://9.9.9.9"], &[]);
        let sockets = Sockets::default();
        let check = |text: &str, purpose| {
            let address = text.parse().expect(text);
            sockets.check(&policy, address, purpose)
        };
        assert!(check("8.8.8.8:53", SocketAddrUse::UdpSend).is_ok());
        assert!(check("8.8.8.8:53", SocketAddrUse::TcpConnect).is_err());
        let refusal = check("9.9.9.9:443", SocketAddrUse::TcpConnect).expect_err("https alone");
        assert!(
            refusal
                .to_string()
                .contains("`https://9.9.9.9:443` is for other ways")
        );
    }

    #[test]
    fn nobody_listens() {
        let policy = policy(&["0.0.0.0:*", "127.0.0.1:*"], &["0.0.0.0/0"]);
        let sockets = Sockets::default();
        let allow = |text: &str, purpose| {
            let address = text.parse().expect(text);
            sockets.check(&policy, address, purpose).is_ok()
        };
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
