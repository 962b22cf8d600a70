//! Header fields that must not pass from one side to the other.

use std::net::IpAddr;

use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, HOST, HeaderName, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::uri::{Authority, Scheme};
use http::{HeaderMap, HeaderValue};
use ipnet::IpNet;

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

/// How many applications of this platform the request has come through; where several fields say
/// so, the most.
pub(crate) fn depth(headers: &HeaderMap) -> u32 {
    let said = headers.get_all(DEPTH).iter();
    said.filter_map(|value| value.to_str().ok()?.parse().ok())
        .max()
        .unwrap_or(0)
}

/// Makes a client's header fit for an application: nothing that speaks of the connection, nothing
/// that poses as the platform's word, and where the request comes from as the platform saw it.
/// Returns the scheme by which the client came.
pub(crate) fn clean_request(
    headers: &mut HeaderMap,
    authority: &Authority,
    peer: IpAddr,
    secure: bool,
    trusted_proxies: &[IpNet],
) -> Scheme {
    remove_hop_by_hop(headers);
    remove_posing(headers);

    let peer = peer.to_canonical();
    let trusted = trusted_proxies
        .iter()
        .any(|network| network.contains(&peer));
    if !trusted {
        for name in [FORWARDED_FOR, FORWARDED_HOST, FORWARDED_PROTO] {
            headers.remove(name);
        }
    }
    let peer = peer.to_string();
    let mut path: Vec<&str> = Vec::new();
    path.extend(
        headers
            .get_all(FORWARDED_FOR)
            .iter()
            .filter_map(|value| value.to_str().ok()),
    );
    path.push(&peer);
    let path = path.join(", ");
    let https = match headers.get(FORWARDED_PROTO) {
        Some(value) => value == "https",
        None => secure,
    };
    if let Ok(value) = HeaderValue::try_from(path) {
        headers.insert(FORWARDED_FOR, value);
    }
    if let Ok(value) = HeaderValue::try_from(authority.as_str()) {
        headers.insert(HOST, value.clone());
        headers.entry(FORWARDED_HOST).or_insert(value);
    }
    headers.insert(
        FORWARDED_PROTO,
        HeaderValue::from_static(if https { "https" } else { "http" }),
    );
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
    remove_posing(trailers);
    for name in [FORWARDED_FOR, FORWARDED_HOST, FORWARDED_PROTO] {
        trailers.remove(name);
    }
    for name in [HOST, CONTENT_LENGTH, AUTHORIZATION] {
        trailers.remove(name);
    }
}

/// Takes out what only the platform may say.
fn remove_posing(headers: &mut HeaderMap) {
    let posing: Vec<HeaderName> = headers
        .keys()
        .filter(|name| {
            POSING
                .iter()
                .any(|posing| name.as_str().starts_with(posing))
        })
        .cloned()
        .collect();
    for name in posing {
        headers.remove(name);
    }
    headers.remove(REQUEST_ID);
    headers.remove("forwarded");
    headers.remove("x-real-ip");
}

fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        // A client that names these as belonging to the connection would otherwise remove what
        // others rely on.
        if !matches!(name.as_str(), "host" | "content-length" | "authorization") {
            headers.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let peer = "10.1.2.3".parse().expect("an address");
        let authority = Authority::from_static("a.b.localhost:8080");
        let scheme = clean_request(&mut headers, &authority, peer, false, &trusted);
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
        assert_eq!(headers["x-forwarded-host"], "a.b.localhost:8080");
        assert_eq!(headers["x-forwarded-proto"], "http");
        assert_eq!(headers["x-own"], "kept");
        assert_eq!(scheme, Scheme::HTTP);
        for name in [
            "x-canopy-tenant",
            "x-canopy-caller",
            "canopy-schedule",
            "canopy-run",
            "x-request-id",
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
        assert_eq!(scheme, Scheme::HTTPS);
    }

    #[test]
    fn the_scheme_is_how_the_client_came_to_us_or_to_a_trusted_proxy() {
        let peer = "10.1.2.3".parse().expect("an address");
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
            let scheme = clean_request(&mut headers, &authority, peer, secure, proxies);
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
        assert_eq!(
            names,
            [
                "authorization",
                "host",
                "x-forwarded-for",
                "x-forwarded-host",
                "x-forwarded-proto"
            ]
        );
    }
}
