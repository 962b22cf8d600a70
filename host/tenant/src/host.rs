//! Host names in one canonical form.
//!
//! The name comes from a client and selects whose application answers, so two spellings that a
//! resolver takes for the same name must be the same here, and what no resolver takes for a name is
//! refused. In order: the port is cut off, user information and everything else outside a host is
//! refused, letters become lower case, one trailing dot falls away, and each label is checked.

use std::fmt;
use std::net::Ipv6Addr;

/// A host name as RFC 1123 writes it, in lower case and without port or trailing dot; or an IPv6
/// address in brackets.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostName(Box<str>);

/// Why a text is not the host name of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidHost {
    /// Nothing is there.
    #[error("the host name is empty")]
    Empty,
    /// Longer than any name in the DNS.
    #[error("the host name is longer than 253 characters")]
    TooLong,
    /// A character that host names don't have: user information, a path, a space, a letter outside
    /// ASCII.
    #[error("the host name has a character other than letters, digits, `-`, `_` and `.`")]
    Character,
    /// A label that is empty, longer than 63 characters, or begins or ends with a hyphen.
    #[error(
        "the host name has a label that is empty, longer than 63 characters, or has `-` at an end"
    )]
    Label,
    /// The part after the colon is not a port.
    #[error("the port is not a number up to 65535")]
    Port,
    /// Brackets without an IPv6 address in them.
    #[error("the brackets hold no IPv6 address")]
    Address,
}

impl HostName {
    /// Reads a `Host` header or the authority of a request target: a host and maybe a port.
    pub fn from_authority(text: &str) -> Result<Self, InvalidHost> {
        if text.is_empty() {
            return Err(InvalidHost::Empty);
        }
        if let Some(rest) = text.strip_prefix('[') {
            let (address, port) = rest.split_once(']').ok_or(InvalidHost::Address)?;
            let address: Ipv6Addr = address.parse().map_err(|_| InvalidHost::Address)?;
            match port.strip_prefix(':') {
                Some(port) => check_port(port)?,
                None if port.is_empty() => {}
                None => return Err(InvalidHost::Character),
            }
            return Ok(Self(format!("[{address}]").into()));
        }
        let name = match text.split_once(':') {
            Some((name, port)) => {
                check_port(port)?;
                name
            }
            None => text,
        };
        Self::from_name(name)
    }

    /// Reads a host name that stands alone, as a custom domain does.
    pub fn from_name(text: &str) -> Result<Self, InvalidHost> {
        let name = text.strip_suffix('.').unwrap_or(text);
        if name.is_empty() {
            return Err(InvalidHost::Empty);
        }
        if name.len() > 253 {
            return Err(InvalidHost::TooLong);
        }
        let allowed = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.');
        if !name.bytes().all(allowed) {
            return Err(InvalidHost::Character);
        }
        for label in name.split('.') {
            let misplaced = label.starts_with('-') || label.ends_with('-');
            if label.is_empty() || label.len() > 63 || misplaced {
                return Err(InvalidHost::Label);
            }
        }
        Ok(Self(name.to_ascii_lowercase().into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this name is `parent` or ends in `.parent`.
    pub fn is_within(&self, parent: &HostName) -> bool {
        self.0
            .strip_suffix(parent.as_str())
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    }
}

fn check_port(text: &str) -> Result<(), InvalidHost> {
    let digits = text.bytes().all(|c| c.is_ascii_digit());
    if digits && (text.is_empty() || text.parse::<u16>().is_ok()) {
        Ok(())
    } else {
        Err(InvalidHost::Port)
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn host(text: &str) -> Result<String, InvalidHost> {
        HostName::from_authority(text).map(|host| host.to_string())
    }

    #[test]
    fn case_port_and_trailing_dot_make_no_difference() {
        for text in [
            "invoices.acme.localhost",
            "Invoices.ACME.localhost",
            "invoices.acme.localhost:8080",
            "invoices.acme.localhost.",
            "invoices.acme.localhost.:65535",
            "invoices.acme.localhost:",
        ] {
            assert_eq!(
                host(text).as_deref(),
                Ok("invoices.acme.localhost"),
                "{text}"
            );
        }
    }

    #[test]
    fn addresses_are_names_that_no_installation_has() {
        assert_eq!(host("127.0.0.1:8080").as_deref(), Ok("127.0.0.1"));
        assert_eq!(host("[::1]:8080").as_deref(), Ok("[::1]"));
        assert_eq!(host("[0:0:0:0:0:0:0:1]").as_deref(), Ok("[::1]"));
    }

    #[test]
    fn hostile_names_are_refused() {
        let label = "a".repeat(64);
        let long = ["a"; 128].join(".");
        for (text, expected) in [
            ("", InvalidHost::Empty),
            (".", InvalidHost::Empty),
            (":80", InvalidHost::Empty),
            ("a..b", InvalidHost::Label),
            (".a", InvalidHost::Label),
            ("a..", InvalidHost::Label),
            ("-a.b", InvalidHost::Label),
            ("a-.b", InvalidHost::Label),
            (label.as_str(), InvalidHost::Label),
            (long.as_str(), InvalidHost::TooLong),
            ("evil@acme.localhost", InvalidHost::Character),
            ("evil:x@acme.localhost", InvalidHost::Port),
            ("acme.localhost/x", InvalidHost::Character),
            ("acme.localhost#x", InvalidHost::Character),
            ("acme.localhost, globex.localhost", InvalidHost::Character),
            ("acme .localhost", InvalidHost::Character),
            ("acme\t.localhost", InvalidHost::Character),
            ("acme%2elocalhost", InvalidHost::Character),
            ("acme\0.localhost", InvalidHost::Character),
            ("acme\u{3002}localhost", InvalidHost::Character),
            ("\u{430}cme.localhost", InvalidHost::Character),
            ("*.localhost", InvalidHost::Character),
            ("acme.localhost:80:81", InvalidHost::Port),
            ("acme.localhost:65536", InvalidHost::Port),
            ("acme.localhost:+80", InvalidHost::Port),
            ("acme.localhost:8o", InvalidHost::Port),
            ("::1", InvalidHost::Port),
            ("[::1", InvalidHost::Address),
            ("[acme.localhost]", InvalidHost::Address),
            ("[fe80::1%25lo]", InvalidHost::Address),
            ("[::1]x", InvalidHost::Character),
            ("[::1]:x", InvalidHost::Port),
        ] {
            assert_eq!(host(text), Err(expected), "{text:?}");
        }
    }

    #[test]
    fn within_goes_by_whole_labels() {
        let parent = HostName::from_name("apps.example.com").expect("a name");
        for (name, expected) in [
            ("apps.example.com", true),
            ("a.b.apps.example.com", true),
            ("evilapps.example.com", false),
            ("example.com", false),
        ] {
            assert_eq!(
                HostName::from_name(name).expect(name).is_within(&parent),
                expected,
                "{name}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_text_is_refused_or_comes_out_canonical(text in any::<String>()) {
            if let Ok(name) = HostName::from_authority(&text) {
                let again = HostName::from_authority(name.as_str());
                prop_assert_eq!(again.as_ref(), Ok(&name));
                prop_assert!(name.as_str().len() <= 253);
                prop_assert!(!name.as_str().bytes().any(|c| c.is_ascii_uppercase()));
            }
        }

        #[test]
        fn every_spelling_of_a_name_is_that_name(
            name in "[a-z][a-z0-9]{0,9}(\\.[a-z][a-z0-9]{0,9}){0,3}",
            port in proptest::option::of(any::<u16>()),
            dot in any::<bool>(),
            upper in any::<bool>(),
        ) {
            let mut text = if upper { name.to_ascii_uppercase() } else { name.clone() };
            if dot {
                text.push('.');
            }
            if let Some(port) = port {
                text.push_str(&format!(":{port}"));
            }
            prop_assert_eq!(host(&text), Ok(name));
        }
    }
}
