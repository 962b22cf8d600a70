//! What a request asks for, checked before anything else looks at it.
//!
//! In order: a declared length must be one; `CONNECT`, `TRACE`, `OPTIONS *` and changes of protocol
//! are refused; path, query and header fields are within limits; and the request names exactly one
//! host, be it in its target or in its `Host` field.

use canopy_tenant::{HostName, InvalidHost};
use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING, UPGRADE};
use http::uri::{Authority, PathAndQuery};
use http::{HeaderMap, Method, Request, Uri, Version};

use crate::door::Redirect;
use crate::io::LengthConflict;
use crate::problem::Cause;
use crate::settings::EdgeSettings;
use crate::websocket;

/// Checks a request and returns the host it is for, as name and as the client wrote it.
pub(crate) fn check<B>(
    request: &Request<B>,
    settings: &EdgeSettings,
    conflict: &LengthConflict,
) -> Result<(HostName, Authority), Cause> {
    let headers = request.headers();
    if request.version() < Version::HTTP_2
        && headers.contains_key(TRANSFER_ENCODING)
        && conflict.found()
    {
        return Err(Cause::TwoLengths);
    }
    if matches!(*request.method(), Method::CONNECT | Method::TRACE) {
        return Err(Cause::Method(request.method().to_string()));
    }
    let mut protocols = headers.get_all(UPGRADE).iter();
    if let Some(protocol) = protocols.find(|value| *value != "h2c")
        && !websocket::asks(headers)
    {
        return Err(Cause::Upgrade(
            String::from_utf8_lossy(protocol.as_bytes()).into_owned(),
        ));
    }
    let uri = request.uri();
    if uri.path() == "*" {
        return Err(Cause::Asterisk);
    }
    let actual = uri
        .path_and_query()
        .map_or(0, |target| target.as_str().len());
    if actual > settings.max_uri_bytes {
        return Err(Cause::UriTooLong {
            actual,
            limit: settings.max_uri_bytes,
        });
    }
    check_size(headers, settings)?;
    host(uri, headers)
}

fn check_size(headers: &HeaderMap, settings: &EdgeSettings) -> Result<(), Cause> {
    if headers.len() > settings.max_headers {
        return Err(Cause::HeadersTooLarge {
            what: "fields",
            limit: settings.max_headers,
        });
    }
    let bytes: usize = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 4)
        .sum();
    if bytes > settings.max_header_bytes {
        return Err(Cause::HeadersTooLarge {
            what: "bytes",
            limit: settings.max_header_bytes,
        });
    }
    Ok(())
}

/// The host that the request is for. A target that names one and a `Host` field must agree: a
/// proxy before us may have decided by the one, and the application may look at the other.
fn host(uri: &Uri, headers: &HeaderMap) -> Result<(HostName, Authority), Cause> {
    let mut fields = headers.get_all(HOST).iter();
    let field = fields.next();
    if fields.next().is_some() {
        return Err(Cause::TwoHosts);
    }
    let field = match field {
        Some(value) => {
            let text = value.to_str().map_err(|_| InvalidHost::Character)?;
            Some((HostName::from_authority(text)?, text))
        }
        None => None,
    };
    let target = match uri.authority() {
        Some(authority) => Some((HostName::from_authority(authority.as_str())?, authority)),
        None => None,
    };
    match (target, field) {
        (Some((target, _)), Some((field, _))) if target != field => Err(Cause::TwoHosts),
        (Some((name, authority)), _) => Ok((name, authority.clone())),
        (None, Some((name, text))) => {
            let authority = text.parse().map_err(|_| InvalidHost::Character)?;
            Ok((name, authority))
        }
        (None, None) => Err(Cause::NoHost),
    }
}

/// Sends a request to the same address by `https`.
pub(crate) fn secure_address(authority: &Authority, uri: &Uri, redirect: Redirect) -> Cause {
    let host = authority.host();
    let target = uri.path_and_query().map_or("/", PathAndQuery::as_str);
    let location = match redirect.port {
        Some(port) => format!("https://{host}:{port}{target}"),
        None => format!("https://{host}{target}"),
    };
    Cause::NotSecure { location }
}

/// The length that the request's header declares.
pub(crate) fn declared_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(
        build: impl FnOnce(http::request::Builder) -> http::request::Builder,
    ) -> Result<String, Cause> {
        let request = build(Request::builder()).body(()).expect("a request");
        check(
            &request,
            &EdgeSettings::default(),
            &LengthConflict::default(),
        )
        .map(|(name, _)| name.to_string())
    }

    #[test]
    fn the_host_comes_from_the_target_or_the_field() {
        let name = checked(|r| r.uri("/x").header(HOST, "A.B.localhost:8080"));
        assert_eq!(name.expect("valid"), "a.b.localhost");
        let name = checked(|r| r.uri("http://a.b.localhost/x"));
        assert_eq!(name.expect("valid"), "a.b.localhost");
        let name = checked(|r| {
            r.uri("http://a.b.localhost:8080/x")
                .header(HOST, "A.B.localhost.")
        });
        assert_eq!(name.expect("valid"), "a.b.localhost");
    }

    #[test]
    fn no_host_or_two_are_refused() {
        assert!(matches!(checked(|r| r.uri("/")), Err(Cause::NoHost)));
        let two = checked(|r| r.uri("/").header(HOST, "a").header(HOST, "a"));
        assert!(matches!(two, Err(Cause::TwoHosts)));
        let differing = checked(|r| r.uri("http://a/").header(HOST, "b"));
        assert!(matches!(differing, Err(Cause::TwoHosts)));
        let hostile = checked(|r| r.uri("/").header(HOST, "a@b"));
        assert!(matches!(hostile, Err(Cause::InvalidHost(_))));
    }

    #[test]
    fn tunnels_upgrades_and_server_wide_requests_are_refused() {
        let connect = checked(|r| r.method("CONNECT").uri("a.b:443"));
        assert!(matches!(connect, Err(Cause::Method(_))));
        let trace = checked(|r| r.method("TRACE").uri("/").header(HOST, "a"));
        assert!(matches!(trace, Err(Cause::Method(_))));
        let other = checked(|r| r.uri("/").header(HOST, "a").header(UPGRADE, "h3"));
        assert!(matches!(other, Err(Cause::Upgrade(_))));
        checked(|r| r.uri("/").header(HOST, "a").header(UPGRADE, "websocket"))
            .expect("the handshake decides");
        let options = checked(|r| r.method("OPTIONS").uri("*").header(HOST, "a"));
        assert!(matches!(options, Err(Cause::Asterisk)));
        // A server may go on in HTTP/1.1 where a client offers HTTP/2 (RFC 9110, section 7.8).
        checked(|r| r.uri("/").header(HOST, "a").header(UPGRADE, "h2c")).expect("served");
    }

    #[test]
    fn what_is_too_long_is_refused() {
        let long = format!("/{}", "x".repeat(16 << 10));
        let uri = checked(|r| r.uri(long).header(HOST, "a"));
        assert!(matches!(uri, Err(Cause::UriTooLong { .. })));
        let header = checked(|r| {
            r.uri("/")
                .header(HOST, "a")
                .header("x", "y".repeat(33 << 10))
        });
        assert!(matches!(
            header,
            Err(Cause::HeadersTooLarge { what: "bytes", .. })
        ));
        let fields = checked(|mut r| {
            for number in 0..65 {
                r = r.header(format!("x-{number}"), "y");
            }
            r.uri("/").header(HOST, "a")
        });
        assert!(matches!(
            fields,
            Err(Cause::HeadersTooLarge { what: "fields", .. })
        ));
    }
}
