//! One egress rule: what a tenant grants, what a package asks for, what an operator allows or denies.
//!
//! ```text
//! [METHOD[,METHOD] ][SCHEME://]HOST[:PORT]
//!
//! api.example.com:443                 every kind of connection to that host and port
//! *.example.com:*                     any name below, at any port
//! https://api.example.com             by https alone, at its own port 443
//! GET,HEAD https://api.example.com    to read, and nothing else
//! tcp://10.0.0.5:5432                 by a socket alone
//! ```
//!
//! A rule without a scheme is for every kind of connection; one with methods is for `http` and
//! `https`, since nothing holds a socket to a method. `*` for every host is for packages, which may
//! leave it to their configuration, and for operators; a grant names its hosts.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::host::Host;
use crate::policy::{Refusal, check_address};

/// Methods that one rule may name.
const MAX_METHODS: usize = 16;

/// The text of a rule that cannot be understood or would be too wide.
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

/// By what a destination is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way<'a> {
    /// A request without TLS, with this method.
    Http(&'a str),
    /// A request with TLS, with this method.
    Https(&'a str),
    /// A TCP socket.
    Tcp,
    /// A UDP socket.
    Udp,
}

impl<'a> Way<'a> {
    fn scheme(self) -> Scheme {
        match self {
            Self::Http(_) => Scheme::Http,
            Self::Https(_) => Scheme::Https,
            Self::Tcp => Scheme::Tcp,
            Self::Udp => Scheme::Udp,
        }
    }

    fn method(self) -> Option<&'a str> {
        match self {
            Self::Http(method) | Self::Https(method) => Some(method),
            Self::Tcp | Self::Udp => None,
        }
    }
}

impl fmt::Display for Way<'_> {
    /// What stands before the host in the rule that would name it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(method) = self.method() {
            write!(f, "{} ", method.chars().take(32).collect::<String>())?;
        }
        write!(f, "{}://", self.scheme().as_str())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Scheme {
    Http,
    Https,
    Tcp,
    Udp,
}

impl Scheme {
    const ALL: [Self; 4] = [Self::Http, Self::Https, Self::Tcp, Self::Udp];

    fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }

    fn has_methods(self) -> bool {
        matches!(self, Self::Http | Self::Https)
    }

    fn port(self) -> Option<u16> {
        match self {
            Self::Http => Some(80),
            Self::Https => Some(443),
            Self::Tcp | Self::Udp => None,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum HostPattern {
    Exactly(Host),
    /// Any name below this one, at any depth, and not this one itself.
    Below(Box<str>),
    /// Every host.
    Any,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum PortPattern {
    Exactly(u16),
    Any,
}

impl PortPattern {
    fn matches(self, port: u16) -> bool {
        match self {
            Self::Exactly(named) => named == port,
            Self::Any => true,
        }
    }
}

/// One rule, as in `api.example.com:443`, `https://*.example.com`, `GET https://10.0.0.5:8443`,
/// `[2606:4700::1111]:443` or `tcp://db.example.com:*`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EgressRule {
    /// In alphabetical order, each once; none for every method.
    methods: Vec<Box<str>>,
    scheme: Option<Scheme>,
    host: HostPattern,
    port: PortPattern,
}

impl EgressRule {
    /// Reads a rule of a package or an operator, in which `*` may stand for every host, and alone
    /// for every destination.
    pub fn wide(text: &str) -> Result<Self, InvalidEgressRule> {
        Self::read(text, true)
    }

    /// The rule for every destination, `*`.
    pub fn everything() -> Self {
        Self {
            methods: Vec::new(),
            scheme: None,
            host: HostPattern::Any,
            port: PortPattern::Any,
        }
    }

    /// Whether this rule names `host` at `port`, reached by `way`.
    pub fn matches(&self, host: &Host, port: u16, way: Way<'_>) -> bool {
        port != 0 && self.port.matches(port) && self.matches_way(way) && self.matches_host(host)
    }

    pub(crate) fn matches_host(&self, host: &Host) -> bool {
        match (&self.host, host) {
            (HostPattern::Any, _) => true,
            (HostPattern::Exactly(named), host) => named == host,
            (HostPattern::Below(parent), Host::Name(name)) => is_below(name, parent),
            (HostPattern::Below(_), Host::Address(_)) => false,
        }
    }

    /// Whether it names `host` and `port`, if perhaps for other ways.
    pub(crate) fn matches_place(&self, host: &Host, port: u16) -> bool {
        self.port.matches(port) && self.matches_host(host)
    }

    fn matches_way(&self, way: Way<'_>) -> bool {
        self.has_scheme(way.scheme())
            && (self.methods.is_empty()
                || way
                    .method()
                    .is_some_and(|method| self.methods.iter().any(|named| **named == *method)))
    }

    fn has_scheme(&self, scheme: Scheme) -> bool {
        match self.scheme {
            Some(own) => own == scheme,
            None => self.methods.is_empty() || scheme.has_methods(),
        }
    }

    /// Whether some destination is named by both.
    pub fn overlaps(&self, other: &Self) -> bool {
        let ports = match (self.port, other.port) {
            (PortPattern::Exactly(a), PortPattern::Exactly(b)) => a == b,
            _ => true,
        };
        let schemes = Scheme::ALL
            .into_iter()
            .any(|scheme| self.has_scheme(scheme) && other.has_scheme(scheme));
        let methods = self.methods.is_empty()
            || other.methods.is_empty()
            || self.methods.iter().any(|one| other.methods.contains(one));
        let hosts = match (&self.host, &other.host) {
            (HostPattern::Any, _) | (_, HostPattern::Any) => true,
            (HostPattern::Exactly(host), _) => other.matches_host(host),
            (_, HostPattern::Exactly(host)) => self.matches_host(host),
            (HostPattern::Below(a), HostPattern::Below(b)) => {
                a == b || is_below(a, b) || is_below(b, a)
            }
        };
        ports && schemes && methods && hosts
    }

    /// Whether a node whose operator opened the networks `opened` can honour this rule. `Err`: the
    /// rule names an address that stays out of reach. Rules with names always pass: what a name
    /// resolves to is judged when it is used.
    pub fn check(&self, opened: &[IpNet]) -> Result<(), Refusal> {
        match self.address() {
            Some(address) => check_address(address, opened),
            None => Ok(()),
        }
    }

    /// The address that it names, if it names one.
    pub(crate) fn address(&self) -> Option<IpAddr> {
        match self.host {
            HostPattern::Exactly(Host::Address(address)) => Some(address),
            _ => None,
        }
    }

    fn read(text: &str, is_wide: bool) -> Result<Self, InvalidEgressRule> {
        const FORM: &str = "write it as `host:port`, for example `api.example.com:443`, or with a \
                            scheme, as `https://api.example.com`";
        let invalid = |reason: &str| InvalidEgressRule::new(text, reason);
        if is_wide && text == "*" {
            return Ok(Self::everything());
        }
        let (methods, rest) = match text.split_once(' ') {
            Some((methods, rest)) => (read_methods(text, methods)?, rest),
            None => (Vec::new(), text),
        };
        let (scheme, rest) = match rest.split_once("://") {
            Some((scheme, rest)) => {
                let known = Scheme::ALL
                    .into_iter()
                    .find(|known| known.as_str() == scheme);
                let known = known.ok_or_else(|| {
                    invalid("a scheme is `http`, `https`, `tcp` or `udp`, in lower case")
                })?;
                (Some(known), rest)
            }
            None => (None, rest),
        };
        if !methods.is_empty() && scheme.is_some_and(|scheme| !scheme.has_methods()) {
            return Err(invalid("only `http` and `https` have methods"));
        }
        let split = match rest.ends_with(']') {
            true => None,
            false => rest.rsplit_once(':'),
        };
        let (host, port) = match (split, scheme.and_then(Scheme::port)) {
            (Some((host, port)), _) => (host, read_port(text, port, FORM)?),
            (None, Some(port)) => (rest, PortPattern::Exactly(port)),
            (None, None) => return Err(invalid(FORM)),
        };
        Ok(Self {
            methods,
            scheme,
            host: read_host(text, host, is_wide)?,
            port,
        })
    }
}

fn is_below(name: &str, parent: &str) -> bool {
    name.strip_suffix(parent)
        .and_then(|rest| rest.strip_suffix('.'))
        .is_some_and(|rest| !rest.is_empty())
}

fn read_methods(text: &str, methods: &str) -> Result<Vec<Box<str>>, InvalidEgressRule> {
    let mut read: Vec<Box<str>> = Vec::new();
    for method in methods.split(',') {
        let is_token = !method.is_empty()
            && method.len() <= 32
            && method.bytes().all(|c| c.is_ascii_uppercase() || c == b'-');
        if !is_token || method == "CONNECT" {
            let reason = "before the space stand methods of HTTP in capitals, with commas between \
                          them, as in `GET,HEAD https://api.example.com`";
            return Err(InvalidEgressRule::new(text, reason));
        }
        read.push(method.into());
    }
    read.sort();
    read.dedup();
    if read.len() > MAX_METHODS {
        let reason = format!("it names {} methods; at most {MAX_METHODS}", read.len());
        return Err(InvalidEgressRule::new(text, reason));
    }
    Ok(read)
}

fn read_port(text: &str, port: &str, form: &str) -> Result<PortPattern, InvalidEgressRule> {
    match port {
        "*" => Ok(PortPattern::Any),
        digits if !digits.is_empty() && digits.bytes().all(|c| c.is_ascii_digit()) => {
            match digits.parse() {
                Ok(port) if port != 0 => Ok(PortPattern::Exactly(port)),
                _ => Err(InvalidEgressRule::new(text, "a port is 1 to 65535, or `*`")),
            }
        }
        _ => Err(InvalidEgressRule::new(text, form)),
    }
}

fn read_host(text: &str, host: &str, is_wide: bool) -> Result<HostPattern, InvalidEgressRule> {
    let parse = |host: &str| {
        host.parse::<Host>()
            .map_err(|error| InvalidEgressRule::new(text, error.to_string()))
    };
    match host.strip_prefix("*.") {
        Some(parent) => match parse(parent)? {
            Host::Name(name) if name.contains('.') => Ok(HostPattern::Below(name)),
            Host::Name(_) => Err(InvalidEgressRule::new(
                text,
                "`*.` needs at least two labels after it, as in `*.example.com`",
            )),
            Host::Address(_) => Err(InvalidEgressRule::new(
                text,
                "`*.` is for names, not addresses",
            )),
        },
        None if host == "*" && is_wide => Ok(HostPattern::Any),
        None if host.contains('*') => {
            let reason = "`*` stands for labels at the beginning of a name, as in \
                          `*.example.com`; there is no rule for every host";
            Err(InvalidEgressRule::new(text, reason))
        }
        None => Ok(HostPattern::Exactly(parse(host)?)),
    }
}

impl FromStr for EgressRule {
    type Err = InvalidEgressRule;

    fn from_str(text: &str) -> Result<Self, InvalidEgressRule> {
        Self::read(text, false)
    }
}

impl fmt::Display for EgressRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::everything() {
            return f.write_str("*");
        }
        if !self.methods.is_empty() {
            write!(f, "{} ", self.methods.join(","))?;
        }
        if let Some(scheme) = self.scheme {
            write!(f, "{}://", scheme.as_str())?;
        }
        match &self.host {
            HostPattern::Exactly(host) => write!(f, "{host}:")?,
            HostPattern::Below(parent) => write!(f, "*.{parent}:")?,
            HostPattern::Any => f.write_str("*:")?,
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

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str) -> EgressRule {
        text.parse().expect(text)
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
            "https://api.example.com:443",
            "GET,HEAD https://api.example.com:443",
            "POST api.example.com:8080",
            "tcp://db.example.com:*",
            "udp://[2606:4700::1111]:53",
        ] {
            assert_eq!(rule(text).to_string(), text);
            assert_eq!(EgressRule::wide(text), Ok(rule(text)));
        }
        for (text, canonical) in [
            ("API.Example.com.:443", "api.example.com:443"),
            ("[::ffff:10.0.0.5]:1", "10.0.0.5:1"),
            ("https://api.example.com", "https://api.example.com:443"),
            ("http://[2606:4700::1111]", "http://[2606:4700::1111]:80"),
            (
                "HEAD,GET,HEAD https://*.example.com:*",
                "GET,HEAD https://*.example.com:*",
            ),
        ] {
            assert_eq!(rule(text).to_string(), canonical);
        }
        for text in ["*", "*:443", "https://*:443", "GET https://*:*"] {
            assert_eq!(EgressRule::wide(text).expect(text).to_string(), text);
        }
        let all = EgressRule::wide("*:*").expect("a rule");
        assert_eq!(all, EgressRule::everything());
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
            "*",
            "*:443",
            "*:*",
            "https://*",
            "*.:443",
            "*.com:443",
            "*.*.example.com:443",
            "a*.example.com:443",
            "*.10.0.0.1:1",
            "ftp://example.com:443",
            "HTTPS://example.com:443",
            "tcp://example.com",
            "GET tcp://example.com:1",
            "get https://example.com",
            "GET,,HEAD https://example.com",
            "GET  https://example.com",
            "CONNECT https://example.com",
            " https://example.com",
            "https://example.com:443/path",
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
    fn a_rule_names_its_scheme_and_methods_alone() {
        let host: Host = "a.example.com".parse().expect("a host");
        let matches = |text: &str, way| rule(text).matches(&host, 443, way);
        for way in [Way::Http("GET"), Way::Https("PUT"), Way::Tcp, Way::Udp] {
            assert!(matches("a.example.com:443", way), "{way:?}");
        }
        assert!(matches("https://a.example.com", Way::Https("DELETE")));
        assert!(!matches("https://a.example.com", Way::Http("GET")));
        assert!(!matches("https://a.example.com", Way::Tcp));
        assert!(matches("GET https://a.example.com", Way::Https("GET")));
        assert!(!matches("GET https://a.example.com", Way::Https("POST")));
        assert!(!matches("GET https://a.example.com", Way::Https("get")));
        assert!(matches("GET a.example.com:443", Way::Http("GET")));
        assert!(!matches("GET a.example.com:443", Way::Tcp));
        assert!(matches("udp://a.example.com:443", Way::Udp));
        assert!(!matches("udp://a.example.com:443", Way::Tcp));
    }

    #[test]
    fn rules_overlap_where_both_name_something() {
        let wide = |text: &str| EgressRule::wide(text).expect(text);
        for (a, b, expected) in [
            ("*", "tcp://db.example.com:5432", true),
            ("*:443", "https://a.example.com", true),
            ("*:443", "a.example.com:80", false),
            ("*.example.com:*", "a.b.example.com:1", true),
            ("*.example.com:*", "*.b.example.com:1", true),
            ("*.example.com:*", "example.com:1", false),
            ("*.example.com:*", "*.example.org:*", false),
            ("https://a.example.com", "tcp://a.example.com:443", false),
            ("GET a.example.com:443", "tcp://a.example.com:443", false),
            ("GET a.example.com:443", "POST a.example.com:443", false),
            (
                "GET,PUT a.example.com:443",
                "PUT,POST a.example.com:443",
                true,
            ),
        ] {
            assert_eq!(wide(a).overlaps(&wide(b)), expected, "{a} {b}");
            assert_eq!(wide(b).overlaps(&wide(a)), expected, "{b} {a}");
        }
    }
}
