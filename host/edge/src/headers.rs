//! Header fields that must not pass from one side to the other.

use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, HOST, HeaderName, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::uri::{Authority, Scheme};
use http::{HeaderMap, HeaderValue};
use ipnet::IpNet;

use crate::chain::Peer;

/// Names the request, in every response and in every log.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What the names of fields begin with by which the platform speaks: to itself, and in calls of its
/// own to applications.
const POSING: [&str; 2] = ["x-canopy-", "canopy-"];

/// How many applications of this platform a request has come through, set by the platform's own
/// sender of outgoing requests. Whoever forges it shortens only the way of a request of his own.
const DEPTH: HeaderName = HeaderName::from_static("x-canopy-depth");

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Where a request comes from, as the last proxy says.
const FORWARDED: [HeaderName; 3] = [FORWARDED_FOR, FORWARDED_HOST, FORWARDED_PROTO];

/// Fields that speak of one connection and not of the message (RFC 9110, section 7.6.1).
const HOP_BY_HOP: [HeaderName; 9] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("http2-settings"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// What others rely on: a client that named these as belonging to the connection would remove it, and
/// in trailers they come too late.
const CLIENTS_WORD: [HeaderName; 3] = [HOST, CONTENT_LENGTH, AUTHORIZATION];

/// How many applications of this platform the request has come through; where several fields say
/// so, the most.
pub(crate) fn depth(headers: &HeaderMap) -> u32 {
    let said = headers.get_all(DEPTH).iter();
    said.filter_map(|value| value.to_str().ok()?.parse().ok())
        .max()
        .unwrap_or(0)
}

/// Makes a client's header fit for an application: nothing that speaks of the connection, nothing
/// that poses as the platform's word, and where the request comes from as the platform saw it. For
/// which host and by which scheme it came the request says itself, so fields that repeat it are left
/// to proxies: each field costs an application thousands of instructions. Returns that scheme.
pub(crate) fn clean_request(
    headers: &mut HeaderMap,
    authority: &Authority,
    peer: &Peer,
    trusted_proxies: &[IpNet],
) -> Scheme {
    remove_hop_by_hop(headers);
    let address = peer.address.to_canonical();
    let trusted = trusted_proxies
        .iter()
        .any(|network| network.contains(&address));
    remove_where(headers, |name| {
        is_posing(name) || (!trusted && FORWARDED.contains(name))
    });

    let before = headers.get_all(FORWARDED_FOR).iter();
    let mut path: Vec<&str> = before.filter_map(|value| value.to_str().ok()).collect();
    path.push(&peer.shown);
    if let Ok(value) = HeaderValue::try_from(path.join(", ")) {
        headers.insert(FORWARDED_FOR, value);
    }
    let https = match headers.get(FORWARDED_PROTO) {
        Some(value) => value == "https",
        None => peer.secure,
    };
    if let Ok(value) = HeaderValue::try_from(authority.as_str()) {
        headers.insert(HOST, value);
    }
    if https { Scheme::HTTPS } else { Scheme::HTTP }
}

/// Makes an application's header fit for a client.
pub(crate) fn clean_response(headers: &mut HeaderMap) {
    remove_hop_by_hop(headers);
    headers.remove(REQUEST_ID);
}

/// Makes the trailers of either side fit for the other: they are read after everything has been
/// decided, so what decides is not allowed in them.
pub(crate) fn clean_trailers(trailers: &mut HeaderMap) {
    remove_hop_by_hop(trailers);
    remove_where(trailers, |name| {
        is_posing(name) || FORWARDED.contains(name) || CLIENTS_WORD.contains(name)
    });
}

/// Takes out the fields that `goes` names. Most messages have none, and cost no more than a look.
fn remove_where(headers: &mut HeaderMap, goes: impl Fn(&HeaderName) -> bool) {
    let going: Vec<HeaderName> = headers.keys().filter(|name| goes(name)).cloned().collect();
    for name in going {
        headers.remove(name);
    }
}

/// Whether only the platform may say this.
fn is_posing(name: &HeaderName) -> bool {
    let name = name.as_str();
    matches!(name, "x-request-id" | "forwarded" | "x-real-ip")
        || POSING.iter().any(|posing| name.starts_with(posing))
}

fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .filter(|name| !CLIENTS_WORD.contains(name))
        .collect();
    remove_where(headers, |name| {
        HOP_BY_HOP.contains(name) || named.contains(name)
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connections::ConnectionTenant;
    use crate::io::LengthConflict;

    fn peer(secure: bool) -> Peer {
        Peer {
            address: "10.1.2.3".parse().expect("an address"),
            shown: "10.1.2.3".into(),
            conflict: LengthConflict::default(),
            secure,
            redirect: None,
            tenant: ConnectionTenant::default(),
            place: None,
        }
    }

    fn cleaned(fields: &[(&str, &str)], trusted: &[&str]) -> (HeaderMap, Scheme) {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            let name: HeaderName = name.parse().expect("a name");
            headers.append(name, value.parse().expect("a value"));
        }
        let trusted: Vec<IpNet> = trusted
            .iter()
            .map(|n| n.parse().expect("a network"))
            .collect();
        let authority = Authority::from_static("a.b.localhost:8080");
        let scheme = clean_request(&mut headers, &authority, &peer(false), &trusted);
        (headers, scheme)
    }

    #[test]
    fn nobody_poses_as_the_platform() {
        let (headers, scheme) = cleaned(
            &[
                ("X-Canopy-Tenant", "acme"),
                ("x-canopy-caller", "root"),
                ("Canopy-Schedule", "nightly"),
                ("canopy-run", "run_1"),
                ("x-request-id", "req_1"),
                ("x-forwarded-for", "1.2.3.4"),
                ("x-forwarded-proto", "https"),
                ("x-forwarded-host", "evil"),
                ("forwarded", "for=1.2.3.4"),
                ("x-real-ip", "1.2.3.4"),
                ("x-own", "kept"),
            ],
            &[],
        );
        assert_eq!(headers["x-forwarded-for"], "10.1.2.3");
        assert_eq!(headers["host"], "a.b.localhost:8080");
        assert_eq!(headers["x-own"], "kept");
        assert_eq!(scheme, Scheme::HTTP);
        for name in [
            "x-canopy-tenant",
            "x-canopy-caller",
            "canopy-schedule",
            "canopy-run",
            "x-request-id",
            "x-forwarded-host",
            "x-forwarded-proto",
            "forwarded",
            "x-real-ip",
        ] {
            assert!(!headers.contains_key(name), "{name}");
        }
    }

    #[test]
    fn a_trusted_proxy_is_believed() {
        let (headers, scheme) = cleaned(
            &[
                ("x-forwarded-for", "1.2.3.4"),
                ("x-forwarded-proto", "https"),
            ],
            &["10.0.0.0/8"],
        );
        assert_eq!(headers["x-forwarded-for"], "1.2.3.4, 10.1.2.3");
        assert_eq!(headers["x-forwarded-proto"], "https");
        assert_eq!(scheme, Scheme::HTTPS);
    }

    #[test]
    fn the_scheme_is_how_the_client_came_to_us_or_to_a_trusted_proxy() {
        let authority = Authority::from_static("a.b.localhost");
        let proxies = ["10.0.0.0/8".parse().expect("a network")];
        for (said, secure, proxies, expected) in [
            (None, true, &[][..], Scheme::HTTPS),
            (None, false, &[][..], Scheme::HTTP),
            (Some("http"), true, &[][..], Scheme::HTTPS),
            (Some("https"), false, &[][..], Scheme::HTTP),
            (Some("http"), true, &proxies[..], Scheme::HTTP),
            (Some("https"), false, &proxies[..], Scheme::HTTPS),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(said) = said {
                headers.insert(FORWARDED_PROTO, HeaderValue::from_static(said));
            }
            let scheme = clean_request(&mut headers, &authority, &peer(secure), proxies);
            assert_eq!(scheme, expected, "{said:?} {secure}");
        }
    }

    #[test]
    fn the_depth_is_the_most_that_is_said() {
        let mut headers = HeaderMap::new();
        assert_eq!(depth(&headers), 0);
        for value in ["3", "x", "17", "-1", "99999999999"] {
            headers.append(DEPTH, HeaderValue::from_static(value));
        }
        assert_eq!(depth(&headers), 17);
    }

    #[test]
    fn what_speaks_of_the_connection_ends_here() {
        let (headers, _) = cleaned(
            &[
                ("connection", "close, X-Secret, host, authorization"),
                ("x-secret", "1"),
                ("authorization", "Basic eDp5"),
                ("te", "trailers"),
                ("transfer-encoding", "chunked"),
                ("upgrade", "h2c"),
                ("keep-alive", "timeout=5"),
                ("proxy-authorization", "Basic eDp5"),
            ],
            &[],
        );
        let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["authorization", "host", "x-forwarded-for"]);
    }
}
