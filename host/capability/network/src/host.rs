//! The host part of a destination, in the one form that policy and connection both use.
//!
//! Texts that some resolver or URL parser reads as an address and another as a name (`127.1`,
//! `0x7f000001`, `2130706433`) are neither here: they are refused before anything is compared.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// The longest DNS name as text (RFC 1035, section 2.3.4).
const MAX_NAME: usize = 253;
/// The longest label of a DNS name.
const MAX_LABEL: usize = 63;

/// A host: an address or a DNS name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Host {
    /// An address in canonical form: never an IPv4 address inside an IPv6 one.
    Address(IpAddr),
    /// A DNS name in lower case, without a final dot.
    Name(Box<str>),
}

/// A text that is not a host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a host: {reason}")]
pub struct InvalidHost {
    text: String,
    reason: &'static str,
}

impl InvalidHost {
    fn new(text: &str, reason: &'static str) -> Self {
        Self {
            text: text.chars().take(80).collect(),
            reason,
        }
    }
}

impl Host {
    /// The name, if this is one.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Name(name) => Some(name),
            Self::Address(_) => None,
        }
    }
}

impl From<IpAddr> for Host {
    fn from(address: IpAddr) -> Self {
        Self::Address(address.to_canonical())
    }
}

impl FromStr for Host {
    type Err = InvalidHost;

    fn from_str(text: &str) -> Result<Self, InvalidHost> {
        if let Some(inner) = text.strip_prefix('[') {
            return inner
                .strip_suffix(']')
                .and_then(|inner| inner.parse::<Ipv6Addr>().ok())
                .map(|address| IpAddr::from(address).into())
                .ok_or_else(|| InvalidHost::new(text, "between brackets an IPv6 address belongs"));
        }
        if let Ok(address) = text.parse::<Ipv4Addr>() {
            return Ok(IpAddr::from(address).into());
        }
        if !text.is_ascii() {
            return Err(InvalidHost::new(
                text,
                "write an international name in its `xn--` form",
            ));
        }
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        if name.is_empty() || name.len() > MAX_NAME {
            return Err(InvalidHost::new(text, "a name has 1 to 253 characters"));
        }
        let label_is_valid = |label: &str| {
            (1..=MAX_LABEL).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .bytes()
                    .all(|c| c.is_ascii_alphanumeric() || c == b'-' || c == b'_')
        };
        if !name.split('.').all(label_is_valid) {
            return Err(InvalidHost::new(
                text,
                "the labels of a name are letters, digits and `-`, parted by single dots",
            ));
        }
        if name.rsplit('.').next().is_some_and(reads_as_a_number) {
            return Err(InvalidHost::new(
                text,
                "a name does not end in a number; write an IPv4 address as four decimal parts",
            ));
        }
        Ok(Self::Name(name.into()))
    }
}

/// Whether an address parser could take `label` for the last part of an IPv4 address
/// (URL Standard, "ends in a number").
fn reads_as_a_number(label: &str) -> bool {
    label.bytes().all(|c| c.is_ascii_digit())
        || label
            .strip_prefix("0x")
            .is_some_and(|hex| hex.bytes().all(|c| c.is_ascii_hexdigit()))
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(IpAddr::V4(address)) => write!(f, "{address}"),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Host, InvalidHost> {
        text.parse()
    }

    #[test]
    fn one_form_for_every_spelling() {
        assert_eq!(parse("API.Example.com."), parse("api.example.com"));
        assert_eq!(parse("[::ffff:127.0.0.1]"), parse("127.0.0.1"));
        assert_eq!(parse("[2001:DB8:0::1]"), parse("[2001:db8::1]"));
        assert_eq!(parse("localhost."), Ok(Host::Name("localhost".into())));
        for text in [
            "127.0.0.1",
            "[::1]",
            "a.b",
            "xn--bcher-kva.example",
            "_dmarc.example.com",
        ] {
            assert_eq!(parse(text).expect(text).to_string(), text);
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for text in [
            "",
            ".",
            "..",
            "a..b",
            ".a",
            "a..",
            "127.1",
            "0x7f.1",
            "0x7f000001",
            "2130706433",
            "0177.0.0.1",
            "127.0.0.01",
            "1.2.3.4.5",
            "1.2.3.4.",
            "0x",
            "a.0x",
            "a.1",
            "::1",
            "[::1",
            "[127.0.0.1]",
            "[fe80::1%eth0]",
            "a b",
            "a\0b",
            "a%2eb",
            "user@host",
            "host/",
            "host?",
            "host#",
            "host:80",
            "127。0。0。1",
            "１２７.0.0.1",
            "exämple.com",
            "-a.example",
            "a-.example",
        ] {
            assert!(parse(text).is_err(), "{text:?}");
        }
        assert!(parse(&"a".repeat(64)).is_err());
        assert!(parse(&format!("{}a", "a.".repeat(127))).is_err());
    }
}
