//! Mail addresses, as strictly as they go into commands and headers.
//!
//! Threat: an address comes from an application's users. One with a line break or an angle bracket
//! would become a command to the server or a header of the message. So an address is taken apart
//! by a narrow grammar (RFC 5321's `Dot-string`, without quoted local parts and source routes),
//! whatever does not fit is refused, and what is sent is put together from the parts.

/// A mailbox: an address and, perhaps, whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mailbox {
    /// What to show to people; free of control characters.
    pub name: Option<String>,
    /// `local@domain`, in ASCII.
    pub address: String,
}

/// Bytes of the longest local part, domain and path (RFC 5321, section 4.5.3.1), and of a name.
const MAX_LOCAL: usize = 64;
const MAX_DOMAIN: usize = 255;
const MAX_ADDRESS: usize = 254;
const MAX_NAME: usize = 200;

impl Mailbox {
    /// Reads `local@domain` or `Name <local@domain>`.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let (name, address) = match text
            .strip_suffix('>')
            .and_then(|rest| rest.rsplit_once('<'))
        {
            Some((name, address)) => (name.trim(), address),
            None => ("", text),
        };
        let name = match name
            .strip_prefix('"')
            .and_then(|rest| rest.strip_suffix('"'))
        {
            Some(quoted) => quoted,
            None => name,
        };
        if name.len() > MAX_NAME
            || name
                .chars()
                .any(|c| c.is_control() || matches!(c, '<' | '>'))
        {
            return None;
        }
        is_address(address).then(|| Self {
            name: (!name.is_empty()).then(|| name.to_owned()),
            address: address.to_owned(),
        })
    }

    /// What follows the `@`.
    pub fn domain(&self) -> &str {
        self.address
            .rsplit_once('@')
            .map_or("", |(_, domain)| domain)
    }
}

fn is_address(text: &str) -> bool {
    text.len() <= MAX_ADDRESS
        && text
            .rsplit_once('@')
            .is_some_and(|(local, domain)| is_local(local) && is_domain(domain))
}

fn is_local(text: &str) -> bool {
    let is_text = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c);
    text.len() <= MAX_LOCAL
        && text
            .split('.')
            .all(|atom| !atom.is_empty() && atom.chars().all(is_text))
}

fn is_domain(text: &str) -> bool {
    if let Some(literal) = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
    {
        return match literal.strip_prefix("IPv6:") {
            Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
            None => literal.parse::<std::net::Ipv4Addr>().is_ok(),
        };
    }
    text.len() <= MAX_DOMAIN
        && text.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_forms_are_read() {
        let plain = Mailbox::parse(" ada+x@mail.example.com ").unwrap();
        assert_eq!(
            (plain.name.as_deref(), plain.domain()),
            (None, "mail.example.com")
        );
        for text in [
            "Ada Lövelace <ada@[192.0.2.1]>",
            "\"Ada Lövelace\" <ada@[192.0.2.1]>",
        ] {
            let named = Mailbox::parse(text).unwrap();
            assert_eq!(named.name.as_deref(), Some("Ada Lövelace"));
            assert_eq!(named.address, "ada@[192.0.2.1]");
        }
        assert_eq!(Mailbox::parse("<a@b>").unwrap().name, None);
    }

    #[test]
    fn what_could_become_a_command_or_a_header_is_refused() {
        for text in [
            "",
            "ada",
            "@example.com",
            "ada@",
            "ada@example.com>\r\nDATA",
            "ada\r\n@example.com",
            "Ada\r\nBcc: x@y.z <ada@example.com>",
            "Ada\u{0} <ada@example.com>",
            "ada@example.com> SIZE=1 <x@y.z",
            "Ada <ada@example.com> <x@y.z>",
            "a b@example.com",
            "\"a b\"@example.com",
            "@relay.example:ada@example.com",
            ".ada@example.com",
            "ada..x@example.com",
            "ada@-example.com",
            "ada@exa_mple.com",
            "ada@[300.1.1.1]",
            "ada@bücher.example",
            "ada@example.com,bob@example.com",
        ] {
            assert_eq!(Mailbox::parse(text), None, "{text:?}");
        }
        assert_eq!(Mailbox::parse(&format!("{}@b", "a".repeat(65))), None);
        assert_eq!(
            Mailbox::parse(&format!("a@{}", "b.".repeat(150) + "c")),
            None
        );
    }
}
