//! The handshake: an HTTP/1.1 request that asks for another protocol on its connection.
//!
//! Threat: what follows a handshake is no HTTP any more, so whoever takes something for a handshake that
//! is none, or leaves out a part, lets a client's bytes pass by all that looks at requests. What is not
//! exactly a handshake is refused.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{
    CONNECTION, CONTENT_LENGTH, ORIGIN, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Version};
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

use crate::problem::Cause;

/// The one version of the protocol there is.
const VERSION: &str = "13";
/// Digits of a key: 16 bytes in base64.
const KEY: usize = 24;
/// Subprotocols that one client may name.
const MAX_SUBPROTOCOLS: usize = 32;

/// What a client asks for, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Handshake {
    /// What proves to the client that it was understood.
    pub(crate) accept: HeaderValue,
    /// Where the page comes from that asks.
    pub(crate) origin: Option<String>,
    /// The subprotocols that the client speaks.
    pub(crate) subprotocols: Vec<String>,
}

/// What proves that a handshake with this key was understood (section 4.2.2, with its constant).
fn proof(key: &str) -> String {
    let text = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes()))
}

/// Whether a request asks for the WebSocket protocol, rightly or not.
pub(crate) fn asks(headers: &HeaderMap) -> bool {
    tokens(headers, UPGRADE).any(|token| token.eq_ignore_ascii_case("websocket"))
}

impl Handshake {
    /// Reads a request that asks for the protocol.
    pub(crate) fn read<B>(request: &Request<B>) -> Result<Self, Cause> {
        let headers = request.headers();
        let refused = |why: &'static str| Err(Cause::Handshake(why));
        if request.version() != Version::HTTP_11 {
            return refused("the handshake of WebSocket is one of HTTP/1.1");
        }
        if *request.method() != Method::GET {
            return refused("the handshake of WebSocket is a GET");
        }
        if headers.contains_key(TRANSFER_ENCODING)
            || headers
                .get(CONTENT_LENGTH)
                .is_some_and(|length| length != "0")
        {
            return refused("the handshake of WebSocket has no body");
        }
        if tokens(headers, UPGRADE).count() != 1 {
            return refused("one protocol can be asked for");
        }
        if !tokens(headers, CONNECTION).any(|token| token.eq_ignore_ascii_case("upgrade")) {
            return refused("`Connection: Upgrade` is missing");
        }
        match one(headers, SEC_WEBSOCKET_VERSION) {
            Some(VERSION) => {}
            _ => return Err(Cause::SocketVersion),
        }
        let Some(key) = one(headers, SEC_WEBSOCKET_KEY).filter(|key| is_key(key)) else {
            return refused("`Sec-WebSocket-Key` is not 16 bytes in base64");
        };
        let accept = HeaderValue::try_from(proof(key));
        let Ok(accept) = accept else {
            return refused("`Sec-WebSocket-Key` cannot be answered");
        };
        let origin = match headers.contains_key(ORIGIN) {
            false => None,
            true => match one(headers, ORIGIN) {
                Some(origin) => Some(origin.to_owned()),
                None => return refused("`Origin` is not one text"),
            },
        };
        let mut subprotocols: Vec<String> = Vec::new();
        for name in tokens(headers, SEC_WEBSOCKET_PROTOCOL) {
            if !is_token(name) || subprotocols.iter().any(|known| known == name) {
                return refused("`Sec-WebSocket-Protocol` is no list of different names");
            }
            if subprotocols.len() == MAX_SUBPROTOCOLS {
                return refused("`Sec-WebSocket-Protocol` names more than 32");
            }
            subprotocols.push(name.to_owned());
        }
        Ok(Self {
            accept,
            origin,
            subprotocols,
        })
    }
}

/// The members of a list; what is no text makes it end with an empty one, which is none.
fn tokens(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    let values = headers.get_all(name).into_iter();
    let texts = values.map(|value| value.to_str().unwrap_or_default());
    texts.flat_map(|text| text.split(',').map(str::trim))
}

/// The value of a field that is there once.
fn one(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    let mut values = headers.get_all(name).into_iter();
    let value = values.next()?.to_str().ok()?.trim();
    values.next().is_none().then_some(value)
}

/// Sixteen bytes in base64: 22 digits, of which the last has four bits that say nothing, and padding.
fn is_key(key: &str) -> bool {
    let digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    key.len() == KEY && key.ends_with("==") && key.as_bytes()[..KEY - 2].iter().all(digit)
}

/// A name as RFC 9110 has it, section 5.6.2.
fn is_token(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn request() -> http::request::Builder {
        Request::get("/chat")
            .header(CONNECTION, "keep-alive, Upgrade")
            .header(UPGRADE, "WebSocket")
            .header(SEC_WEBSOCKET_VERSION, "13")
            .header(SEC_WEBSOCKET_KEY, "dGhlIHNhbXBsZSBub25jZQ==")
    }

    fn read(request: http::request::Builder) -> Result<Handshake, Cause> {
        Handshake::read(&request.body(()).expect("a request"))
    }

    #[test]
    fn the_example_of_the_standard_is_understood() {
        let asked = request()
            .header(ORIGIN, "http://example.com")
            .header(SEC_WEBSOCKET_PROTOCOL, "chat, superchat");
        let handshake = read(asked).expect("a handshake");
        assert_eq!(handshake.accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(handshake.origin.as_deref(), Some("http://example.com"));
        assert_eq!(handshake.subprotocols, ["chat", "superchat"]);
    }

    #[test]
    fn what_is_not_quite_a_handshake_is_refused() {
        let without = |name: HeaderName| {
            let mut request = request();
            request.headers_mut().expect("headers").remove(name);
            request
        };
        let with =
            |name: HeaderName, value: &'static str| without(name.clone()).header(name, value);
        for (what, asked) in [
            ("a POST", request().method(Method::POST)),
            ("HTTP/1.0", request().version(Version::HTTP_10)),
            ("HTTP/2", request().version(Version::HTTP_2)),
            ("a body", request().header(CONTENT_LENGTH, "3")),
            ("chunks", request().header(TRANSFER_ENCODING, "chunked")),
            ("no connection", without(CONNECTION)),
            ("another connection", with(CONNECTION, "close")),
            ("two protocols", request().header(UPGRADE, "h2c")),
            ("no key", without(SEC_WEBSOCKET_KEY)),
            (
                "two keys",
                request().header(SEC_WEBSOCKET_KEY, "dGhlIHNhbXBsZSBub25jZQ=="),
            ),
            (
                "a short key",
                with(SEC_WEBSOCKET_KEY, "dGhlIHNhbXBsZSBub25j"),
            ),
            (
                "no base64",
                with(SEC_WEBSOCKET_KEY, "dGhlIHNhbXBsZSBub25j!Q=="),
            ),
            (
                "a name twice",
                request().header(SEC_WEBSOCKET_PROTOCOL, "a, a"),
            ),
            ("no name", request().header(SEC_WEBSOCKET_PROTOCOL, "a,, b")),
        ] {
            let refused = read(asked).expect_err(what);
            assert!(matches!(refused, Cause::Handshake(_)), "{what}: {refused}");
        }
        for asked in [
            without(SEC_WEBSOCKET_VERSION),
            with(SEC_WEBSOCKET_VERSION, "8"),
            with(SEC_WEBSOCKET_VERSION, "13, 8"),
        ] {
            assert!(matches!(read(asked), Err(Cause::SocketVersion)));
        }
    }

    #[test]
    fn who_asks_for_something_else_does_not_ask_for_this() {
        assert!(asks(request().headers_ref().expect("headers")));
        for protocol in ["h2c", "websockets", ""] {
            let mut headers = HeaderMap::new();
            headers.insert(UPGRADE, HeaderValue::from_static(protocol));
            assert!(!asks(&headers), "{protocol}");
        }
    }

    proptest! {
        #[test]
        fn no_values_make_it_panic(
            name in 0_usize..6, value in proptest::collection::vec(any::<u8>(), 0..60)
        ) {
            let names = [
                CONNECTION, UPGRADE, SEC_WEBSOCKET_VERSION, SEC_WEBSOCKET_KEY,
                SEC_WEBSOCKET_PROTOCOL, ORIGIN,
            ];
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                let _ = read(request().header(names[name].clone(), value.clone()));
                let mut replaced = request();
                replaced.headers_mut().expect("headers").insert(names[name].clone(), value);
                let _ = read(replaced);
            }
        }
    }
}
