//! Which destinations an installation may reach.
//!
//! Threat: a guest makes the node connect to where the node may and the guest may not (RFC 1918
//! networks, the metadata service of a cloud, the node's own ports, another tenant's database), by
//! an address, by one of its many spellings, or by a name that resolves to it.
//!
//! Order of evaluation, the same for every kind of connection:
//! 1. the destination is read once, into a [`Host`] and a port; what can be read in two ways is
//!    refused;
//! 2. host and port must match a rule that the tenant granted;
//! 3. a name is resolved once;
//! 4. every address that is not of the public Internet is dropped, unless the operator opened its
//!    network;
//! 5. the connection goes to an address that passed, and to nothing else.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::address::{is_never_a_destination, is_public};
use crate::host::Host;

/// The text of a grant that cannot be understood or would be too wide.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an egress rule: {reason}")]
pub struct InvalidEgressRule {
    text: String,
    reason: String,
}

impl InvalidEgressRule {
    fn new(text: &str, reason: impl Into<String>) -> Self {
        Self {
            text: text.chars().take(300).collect(),
            reason: reason.into(),
        }
    }
}

/// Why a destination may not be reached.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No grant names it.
    #[error("{host}:{port} is not among the hosts that this installation may reach")]
    NotGranted {
        /// The host asked for.
        host: Host,
        /// The port asked for.
        port: u16,
    },
    /// A grant names it, but the address is not of the public Internet and the operator did not
    /// open its network.
    #[error("{address} is not a public address, and the operator has not opened its network")]
    Prohibited {
        /// The address, in canonical form.
        address: IpAddr,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum HostPattern {
    Exactly(Host),
    /// Any name below this one, at any depth, and not this one itself.
    Below(Box<str>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum PortPattern {
    Exactly(u16),
    Any,
}

/// One grant: a host and a port, as in `api.example.com:443`, `*.example.com:443`,
/// `10.0.0.5:5432`, `[2606:4700::1111]:443` or `db.example.com:*`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EgressRule {
    host: HostPattern,
    port: PortPattern,
}

impl EgressRule {
    /// Whether this rule names `host` at `port`.
    pub fn matches(&self, host: &Host, port: u16) -> bool {
        port != 0 && self.port.matches(port) && self.matches_host(host)
    }

    fn matches_host(&self, host: &Host) -> bool {
        match (&self.host, host) {
            (HostPattern::Exactly(granted), host) => granted == host,
            (HostPattern::Below(parent), Host::Name(name)) => name
                .strip_suffix(&**parent)
                .and_then(|rest| rest.strip_suffix('.'))
                .is_some_and(|rest| !rest.is_empty()),
            (HostPattern::Below(_), Host::Address(_)) => false,
        }
    }

    /// Whether a node whose operator opened the networks `opened` can honour this rule. `Err`: the
    /// rule names an address that stays out of reach. Rules with names always pass: what a name
    /// resolves to is judged when it is used.
    pub fn check(&self, opened: &[IpNet]) -> Result<(), Refusal> {
        match self.host {
            HostPattern::Exactly(Host::Address(address)) => check_address(address, opened),
            _ => Ok(()),
        }
    }
}

impl PortPattern {
    fn matches(self, port: u16) -> bool {
        match self {
            Self::Exactly(granted) => granted == port,
            Self::Any => true,
        }
    }
}

impl FromStr for EgressRule {
    type Err = InvalidEgressRule;

    fn from_str(text: &str) -> Result<Self, InvalidEgressRule> {
        const FORM: &str = "write it as `host:port`, for example `api.example.com:443`";
        let (host, port) = text
            .rsplit_once(':')
            .ok_or_else(|| InvalidEgressRule::new(text, FORM))?;
        let port = match port {
            "*" => PortPattern::Any,
            digits if !digits.is_empty() && digits.bytes().all(|c| c.is_ascii_digit()) => {
                match digits.parse() {
                    Ok(port) if port != 0 => PortPattern::Exactly(port),
                    _ => return Err(InvalidEgressRule::new(text, "a port is 1 to 65535, or `*`")),
                }
            }
            _ => return Err(InvalidEgressRule::new(text, FORM)),
        };
        let parse = |host: &str| {
            host.parse::<Host>()
                .map_err(|error| InvalidEgressRule::new(text, error.to_string()))
        };
        let host = match host.strip_prefix("*.") {
            Some(parent) => match parse(parent)? {
                Host::Name(name) if name.contains('.') => HostPattern::Below(name),
                Host::Name(_) => {
                    let reason = "`*.` needs at least two labels after it, as in `*.example.com`";
                    return Err(InvalidEgressRule::new(text, reason));
                }
                Host::Address(_) => {
                    return Err(InvalidEgressRule::new(
                        text,
                        "`*.` is for names, not addresses",
                    ));
                }
            },
            None if host.contains('*') => {
                let reason = "`*` stands for labels at the beginning of a name, as in \
                              `*.example.com`; there is no rule for every host";
                return Err(InvalidEgressRule::new(text, reason));
            }
            None => HostPattern::Exactly(parse(host)?),
        };
        Ok(Self { host, port })
    }
}

impl fmt::Display for EgressRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            HostPattern::Exactly(host) => write!(f, "{host}:")?,
            HostPattern::Below(parent) => write!(f, "*.{parent}:")?,
        }
        match self.port {
            PortPattern::Exactly(port) => write!(f, "{port}"),
            PortPattern::Any => f.write_str("*"),
        }
    }
}

impl Serialize for EgressRule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for EgressRule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// The destinations of one installation or driver instance. The default reaches nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EgressPolicy {
    rules: Vec<EgressRule>,
    opened: Arc<[IpNet]>,
}

impl EgressPolicy {
    /// A policy of the tenant's `rules` on a node whose operator `opened` these networks beside the
    /// public Internet.
    pub fn new(rules: Vec<EgressRule>, opened: Arc<[IpNet]>) -> Self {
        Self { rules, opened }
    }

    /// The tenant's rules.
    pub fn rules(&self) -> &[EgressRule] {
        &self.rules
    }

    /// Whether nothing can be reached.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Step 2: whether a rule names `host` at `port`.
    pub fn check_host(&self, host: &Host, port: u16) -> Result<(), Refusal> {
        if self.rules.iter().any(|rule| rule.matches(host, port)) {
            Ok(())
        } else {
            Err(Refusal::NotGranted {
                host: host.clone(),
                port,
            })
        }
    }

    /// Whether some rule names `host`, at whatever port.
    pub fn names(&self, host: &Host) -> bool {
        self.rules.iter().any(|rule| rule.matches_host(host))
    }

    /// Step 4: whether `address` may be connected to at all.
    pub fn check_address(&self, address: IpAddr) -> Result<(), Refusal> {
        check_address(address, &self.opened)
    }
}

fn check_address(address: IpAddr, opened: &[IpNet]) -> Result<(), Refusal> {
    let address = address.to_canonical();
    let is_opened = || opened.iter().any(|network| network.contains(&address));
    if !is_never_a_destination(address) && (is_public(address) || is_opened()) {
        Ok(())
    } else {
        Err(Refusal::Prohibited { address })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str) -> EgressRule {
        text.parse().expect(text)
    }

    fn host(text: &str) -> Host {
        text.parse().expect(text)
    }

    fn policy(rules: &[&str], opened: &[&str]) -> EgressPolicy {
        let opened = opened
            .iter()
            .map(|text| text.parse().expect(text))
            .collect();
        EgressPolicy::new(rules.iter().map(|text| rule(text)).collect(), opened)
    }

    #[test]
    fn rules_are_written_as_they_are_read() {
        for text in [
            "api.example.com:443",
            "*.example.com:443",
            "10.0.0.5:5432",
            "127.0.0.1:*",
            "[2606:4700::1111]:443",
            "localhost:8080",
        ] {
            assert_eq!(rule(text).to_string(), text);
        }
        assert_eq!(
            rule("API.Example.com.:443").to_string(),
            "api.example.com:443"
        );
        assert_eq!(rule("[::ffff:10.0.0.5]:1").to_string(), "10.0.0.5:1");
    }

    #[test]
    fn other_texts_are_refused_with_a_reason() {
        for text in [
            "",
            "example.com",
            "example.com:",
            "example.com:0",
            "example.com:65536",
            "example.com:+80",
            "example.com:https",
            ":443",
            "*:443",
            "*:*",
            "*.:443",
            "*.com:443",
            "*.*.example.com:443",
            "a*.example.com:443",
            "*.10.0.0.1:1",
            "https://example.com:443",
            "user@example.com:443",
            "127.1:80",
            "2130706433:80",
            "::1:443",
            "exämple.com:443",
        ] {
            let error = text.parse::<EgressRule>().expect_err(text);
            assert!(!error.reason.is_empty());
        }
    }

    #[test]
    fn nothing_is_reachable_by_default() {
        let policy = EgressPolicy::default();
        assert!(policy.check_host(&host("example.com"), 443).is_err());
        assert!(
            policy
                .check_address("127.0.0.1".parse().expect("address"))
                .is_err()
        );
    }

    #[test]
    fn a_rule_names_its_host_and_port_alone() {
        let policy = policy(&["api.example.com:443", "db.example.com:*"], &[]);
        assert!(policy.check_host(&host("api.example.com"), 443).is_ok());
        assert!(policy.check_host(&host("API.EXAMPLE.COM."), 443).is_ok());
        assert!(policy.check_host(&host("db.example.com"), 1).is_ok());
        for (name, port) in [
            ("api.example.com", 80),
            ("api.example.com", 0),
            ("db.example.com", 0),
            ("example.com", 443),
            ("x.api.example.com", 443),
            ("api.example.com.evil.test", 443),
            ("evilapi.example.com", 443),
        ] {
            assert!(
                policy.check_host(&host(name), port).is_err(),
                "{name}:{port}"
            );
        }
    }

    #[test]
    fn a_wildcard_names_what_is_below_and_nothing_beside() {
        let policy = policy(&["*.example.com:443"], &[]);
        assert!(policy.check_host(&host("a.example.com"), 443).is_ok());
        assert!(policy.check_host(&host("a.b.example.com"), 443).is_ok());
        for name in [
            "example.com",
            "evilexample.com",
            "a.example.com.evil.test",
            "8.8.8.8",
        ] {
            assert!(policy.check_host(&host(name), 443).is_err(), "{name}");
        }
    }

    #[test]
    fn a_grant_of_a_private_address_needs_the_operator_too() {
        let address = "127.0.0.1".parse().expect("address");
        let alone = policy(&["127.0.0.1:*"], &[]);
        assert!(alone.check_host(&host("127.0.0.1"), 80).is_ok());
        assert_eq!(
            alone.check_address(address),
            Err(Refusal::Prohibited { address })
        );
        assert!(rule("127.0.0.1:*").check(&[]).is_err());

        let opened = policy(&["127.0.0.1:*"], &["127.0.0.0/8"]);
        assert!(opened.check_address(address).is_ok());
        assert!(
            opened
                .check_address("::ffff:127.0.0.1".parse().expect("address"))
                .is_ok()
        );
        assert!(
            opened
                .check_address("10.0.0.1".parse().expect("address"))
                .is_err()
        );
        assert!(
            opened
                .check_address("::1".parse().expect("address"))
                .is_err()
        );
        assert!(
            rule("127.0.0.1:*")
                .check(&["127.0.0.0/8".parse().expect("network")])
                .is_ok()
        );
    }

    #[test]
    fn what_is_no_destination_cannot_be_opened() {
        let policy = policy(&[], &["0.0.0.0/0", "::/0"]);
        for text in ["0.0.0.0", "::", "224.0.0.1", "255.255.255.255", "ff02::1"] {
            assert!(
                policy.check_address(text.parse().expect(text)).is_err(),
                "{text}"
            );
        }
    }

    #[test]
    fn an_ipv4_grant_is_not_reached_by_a_translated_address() {
        let policy = policy(&["127.0.0.1:80"], &["127.0.0.0/8"]);
        for text in ["[64:ff9b::7f00:1]", "[::127.0.0.1]", "[2002:7f00:1::]"] {
            let host = host(text);
            assert!(policy.check_host(&host, 80).is_err(), "{text}");
            let Host::Address(address) = host else {
                unreachable!("an address")
            };
            assert!(policy.check_address(address).is_err(), "{text}");
        }
    }
}
