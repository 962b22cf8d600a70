//! Which destinations an installation may reach.
//!
//! Threat: a guest makes the node connect to where the node may and the guest may not (RFC 1918
//! networks, the metadata service of a cloud, the node's own ports, another tenant's database), by
//! an address, by one of its many spellings, or by a name that resolves to it.
//!
//! Order of evaluation, the same for every kind of connection:
//! 1. the destination is read once, into a [`Host`], a port and a [`Way`]; what can be read in two
//!    ways is refused;
//! 2. it must match a rule that the tenant granted;
//! 3. it must match a rule that the package's manifest asks for, so that a grant never gives more
//!    than was asked; a package that asks for nothing reaches nothing;
//! 4. it must match a rule that the operator allows, and none that the operator denies;
//! 5. a name is resolved once;
//! 6. every address is dropped that is not of the public Internet, unless the operator opened its
//!    network to all or to this installation, and every one that the operator denies;
//! 7. the connection goes to an address that passed, and to nothing else. A connection that is kept
//!    and used again is judged again.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use ipnet::IpNet;

use crate::address::{forms, is_never_a_destination, is_public};
use crate::host::Host;
use crate::rule::{EgressRule, InvalidEgressRule, Way};
use crate::tls::TlsIdentity;

/// A destination as the rule would be that names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted(String);

impl Wanted {
    fn new(host: &Host, port: u16, way: Way<'_>) -> Self {
        Self(format!("{way}{host}:{port}"))
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a destination may not be reached, with the rule that says so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No grant names it.
    #[error("no grant of the tenant names `{wanted}`{}", near(.other))]
    NotGranted {
        /// The destination.
        wanted: Wanted,
        /// A grant of its host and port for other ways or methods.
        other: Option<Box<EgressRule>>,
    },
    /// A grant names it, and the package does not ask for it.
    #[error("`{wanted}` is granted by `{grant}`, but the package does not ask for it{}", near(.other))]
    NotAsked {
        /// The destination.
        wanted: Wanted,
        /// The grant.
        grant: Box<EgressRule>,
        /// A rule of the package for its host and port, for other ways or methods.
        other: Option<Box<EgressRule>>,
    },
    /// The operator's allow-list does not name it.
    #[error("the operator's `egress.allow` does not name `{wanted}`")]
    NotAllowed {
        /// The destination.
        wanted: Wanted,
    },
    /// The operator's deny-list names it.
    #[error("the operator's `egress.deny` has `{rule}`, which names {wanted}")]
    Denied {
        /// The destination, or the address that it has.
        wanted: String,
        /// The entry of the list.
        rule: Box<Denial>,
    },
    /// The address is not of the public Internet and the operator did not open its network.
    #[error("{address} is not a public address, and the operator has not opened its network")]
    Prohibited {
        /// The address, in canonical form.
        address: IpAddr,
    },
    /// A name that is not named by a grant, the package, and the operator alike.
    #[error(
        "`{host}` is not looked up: no grant that the package asks for and the operator allows names it"
    )]
    NotLookedUp {
        /// The name.
        host: Host,
    },
    /// Nothing that a guest may do with a socket.
    #[error("a component may not {what}")]
    NotForGuests {
        /// What it tried.
        what: &'static str,
    },
}

impl Refusal {
    /// Whether it is the address that is refused, rather than what was asked for.
    pub(crate) fn is_of_address(&self) -> bool {
        match self {
            Self::Prohibited { .. } => true,
            Self::Denied { rule, .. } => rule.is_of_address(),
            _ => false,
        }
    }
}

fn near(other: &Option<Box<EgressRule>>) -> String {
    other
        .as_ref()
        .map_or_else(String::new, |rule| format!("; `{rule}` is for other ways"))
}

/// One entry of the operator's deny-list: a rule, or a network whose addresses nobody reaches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Denial {
    /// Destinations.
    Rule(EgressRule),
    /// A network.
    Network(IpNet),
}

impl Denial {
    fn is_of_address(&self) -> bool {
        match self {
            Self::Rule(rule) => rule.address().is_some(),
            Self::Network(_) => true,
        }
    }

    /// Whether it names `address`, at that port where one is given. An address that a router could
    /// translate is named by what it becomes too.
    fn names_address(&self, address: IpAddr, at: Option<(u16, Way<'_>)>) -> bool {
        forms(address).any(|address| match (self, at) {
            (Self::Network(network), _) => network.contains(&address),
            (Self::Rule(rule), Some((port, way))) => {
                rule.address().is_some() && rule.matches(&Host::Address(address), port, way)
            }
            (Self::Rule(_), None) => false,
        })
    }
}

impl FromStr for Denial {
    type Err = InvalidEgressRule;

    fn from_str(text: &str) -> Result<Self, InvalidEgressRule> {
        match text.parse() {
            Ok(network) => Ok(Self::Network(network)),
            Err(_) => EgressRule::wide(text).map(Self::Rule),
        }
    }
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rule(rule) => rule.fmt(f),
            Self::Network(network) => network.fmt(f),
        }
    }
}

/// An entry of the operator's allow-list: a rule in which `*` stands for every host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowance(pub EgressRule);

impl FromStr for Allowance {
    type Err = InvalidEgressRule;

    fn from_str(text: &str) -> Result<Self, InvalidEgressRule> {
        EgressRule::wide(text).map(Self)
    }
}

impl fmt::Display for Allowance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What the operator allows of all installations and drivers of a node together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperatorEgress {
    /// What may be reached at all. Default everything.
    pub allow: Vec<Allowance>,
    /// What may not, whatever `allow` says. Default nothing.
    pub deny: Vec<Denial>,
}

impl Default for OperatorEgress {
    fn default() -> Self {
        Self {
            allow: vec![Allowance(EgressRule::everything())],
            deny: Vec::new(),
        }
    }
}

impl OperatorEgress {
    fn check(&self, host: &Host, port: u16, way: Way<'_>) -> Result<(), Refusal> {
        let wanted = || Wanted::new(host, port, way);
        let allows = |allowed: &Allowance| allowed.0.matches(host, port, way);
        if !self.allow.iter().any(allows) {
            return Err(Refusal::NotAllowed { wanted: wanted() });
        }
        let denies = |denial: &&Denial| match denial {
            Denial::Rule(rule) => rule.matches(host, port, way),
            Denial::Network(_) => false,
        };
        match self.deny.iter().find(denies) {
            Some(rule) => Err(Refusal::Denied {
                wanted: format!("`{}`", wanted()),
                rule: Box::new(rule.clone()),
            }),
            None => Ok(()),
        }
    }

    fn check_address(&self, address: IpAddr, at: Option<(u16, Way<'_>)>) -> Result<(), Refusal> {
        let denies = |denial: &&Denial| denial.names_address(address, at);
        match self.deny.iter().find(denies) {
            Some(rule) => Err(Refusal::Denied {
                wanted: address.to_canonical().to_string(),
                rule: Box::new(rule.clone()),
            }),
            None => Ok(()),
        }
    }
}

/// The destinations of one installation or driver instance. The default reaches nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EgressPolicy {
    granted: Vec<EgressRule>,
    asked: Vec<EgressRule>,
    operator: Arc<OperatorEgress>,
    /// What the operator opened to every installation, and what to this one.
    opened: Arc<[IpNet]>,
    own: Vec<IpNet>,
    tls: TlsIdentity,
}

impl Default for EgressPolicy {
    fn default() -> Self {
        Self::new(Vec::new(), Arc::default())
    }
}

impl EgressPolicy {
    /// A policy of the tenant's grants, of a package that asks for every host, on a node whose
    /// operator `opened` these networks beside the public Internet.
    pub fn new(granted: Vec<EgressRule>, opened: Arc<[IpNet]>) -> Self {
        Self {
            granted,
            asked: vec![EgressRule::everything()],
            operator: Arc::default(),
            opened,
            own: Vec::new(),
            tls: TlsIdentity::default(),
        }
    }

    /// The same of a package that asks for no more than `asked`.
    pub fn asked(mut self, asked: Vec<EgressRule>) -> Self {
        self.asked = asked;
        self
    }

    /// The same on a node whose operator allows and denies as `operator` says.
    pub fn under(mut self, operator: Arc<OperatorEgress>) -> Self {
        self.operator = operator;
        self
    }

    /// The same with networks that the operator opened to this installation alone.
    pub fn opening(mut self, networks: Vec<IpNet>) -> Self {
        self.own = networks;
        self
    }

    /// The same with roots and a certificate of its own.
    pub fn speaking(mut self, tls: TlsIdentity) -> Self {
        self.tls = tls;
        self
    }

    /// What of TLS is its own.
    pub(crate) fn tls(&self) -> &TlsIdentity {
        &self.tls
    }

    /// The tenant's grants.
    pub fn rules(&self) -> &[EgressRule] {
        &self.granted
    }

    /// Steps 2 to 4: whether `host` at `port` may be asked for by `way`.
    pub fn check_host<'a>(&'a self, host: &Host, port: u16, way: Way<'_>) -> Result<(), Refusal> {
        let matching = |rules: &'a [EgressRule]| {
            let rule = rules.iter().find(|rule| rule.matches(host, port, way));
            rule.ok_or_else(|| {
                let other = rules.iter().find(|rule| rule.matches_place(host, port));
                let other = other.cloned().map(Box::new);
                (Wanted::new(host, port, way), other)
            })
        };
        let grant = matching(&self.granted)
            .map_err(|(wanted, other)| Refusal::NotGranted { wanted, other })?;
        matching(&self.asked).map_err(|(wanted, other)| Refusal::NotAsked {
            wanted,
            grant: Box::new(grant.clone()),
            other,
        })?;
        self.operator.check(host, port, way)
    }

    /// Whether some grant, some rule of the package and some of what the operator allows name
    /// `host`, at whatever port: then it may be looked up.
    pub fn names(&self, host: &Host) -> bool {
        let names = |rules: &[EgressRule]| rules.iter().any(|rule| rule.matches_host(host));
        let allowed = |allowed: &Allowance| allowed.0.matches_host(host);
        names(&self.granted) && names(&self.asked) && self.operator.allow.iter().any(allowed)
    }

    /// Step 6: whether `address` may be connected to at all.
    pub fn check_address(&self, address: IpAddr) -> Result<(), Refusal> {
        self.check_opened(address)?;
        self.operator.check_address(address, None)
    }

    /// Step 6 for one connection: whether it may go to `address` at `port`.
    pub fn check_destination(
        &self,
        address: IpAddr,
        port: u16,
        way: Way<'_>,
    ) -> Result<(), Refusal> {
        self.check_opened(address)?;
        self.operator.check_address(address, Some((port, way)))
    }

    fn check_opened(&self, address: IpAddr) -> Result<(), Refusal> {
        check_address(address, &self.opened)
            .or_else(|refusal| check_address(address, &self.own).map_err(|_| refusal))
    }
}

/// Whether `address` may be reached on a node that `opened` these networks.
pub(crate) fn check_address(address: IpAddr, opened: &[IpNet]) -> Result<(), Refusal> {
    let address = address.to_canonical();
    let is_opened = || opened.iter().any(|network| network.contains(&address));
    if !is_never_a_destination(address) && (is_public(address) || is_opened()) {
        Ok(())
    } else {
        Err(Refusal::Prohibited { address })
    }
}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;
