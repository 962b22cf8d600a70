//! A forward proxy, through which all outgoing HTTP goes where the operator names one.
//!
//! What goes through a proxy is judged by its name, its scheme, its port and its method, and where it
//! names an address by that address. What a name resolves to is found out by the proxy, out of this
//! node's sight: it is the proxy then that must not reach inward.

use std::fmt;
use std::str::FromStr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use wasmtime_wasi_http::Error;

use crate::host::Host;

/// Bytes of a proxy's answer before the connection goes through.
const MAX_ANSWER: usize = 8 << 10;

/// A proxy, written as `http://proxy.example.com:3128`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyAddress {
    pub(crate) host: Host,
    pub(crate) port: u16,
}

/// The text of a proxy that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a proxy is written as `http://HOST:PORT`, without a path or a credential: {0}")]
pub struct InvalidProxy(String);

impl FromStr for ProxyAddress {
    type Err = InvalidProxy;

    fn from_str(text: &str) -> Result<Self, InvalidProxy> {
        let invalid = |reason: &str| InvalidProxy(reason.into());
        let place = text
            .strip_prefix("http://")
            .ok_or_else(|| invalid("it does not begin with `http://`"))?;
        let place = place.strip_suffix('/').unwrap_or(place);
        let (host, port) = place
            .rsplit_once(':')
            .ok_or_else(|| invalid("the port is missing"))?;
        let port = port.parse().ok().filter(|port| *port != 0);
        Ok(Self {
            host: host
                .parse()
                .map_err(|error| InvalidProxy(format!("{error}")))?,
            port: port.ok_or_else(|| invalid("the port is 1 to 65535"))?,
        })
    }
}

impl fmt::Display for ProxyAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}:{}", self.host, self.port)
    }
}

/// Asks a proxy to go on to `authority`, `HOST:PORT`, and returns when it has.
pub(crate) async fn tunnel(stream: &mut TcpStream, authority: &str) -> Result<(), Error> {
    let request = format!("CONNECT {authority} HTTP/1.1\r\nhost: {authority}\r\n\r\n");
    let broken = |_| Error::ConnectionTerminated;
    stream.write_all(request.as_bytes()).await.map_err(broken)?;
    let mut answer = Vec::new();
    // Byte by byte: what follows the head is the server's already.
    while !answer.ends_with(b"\r\n\r\n") {
        if answer.len() >= MAX_ANSWER {
            return Err(Error::HttpProtocolError);
        }
        answer.push(stream.read_u8().await.map_err(broken)?);
    }
    let status = answer
        .strip_prefix(b"HTTP/1.1 ")
        .or_else(|| answer.strip_prefix(b"HTTP/1.0 "))
        .and_then(|rest| rest.get(..3));
    match status {
        Some([b'2', _, _]) => Ok(()),
        Some(b"403" | b"407") => Err(Error::HttpRequestDenied),
        Some(_) => Err(Error::DestinationUnavailable),
        None => Err(Error::HttpProtocolError),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_written_as_it_is_read() {
        for text in [
            "http://proxy.example.com:3128",
            "http://10.0.0.5:80",
            "http://[::1]:8080",
        ] {
            assert_eq!(text.parse::<ProxyAddress>().expect(text).to_string(), text);
        }
        for text in [
            "",
            "proxy.example.com:3128",
            "https://proxy.example.com:3128",
            "http://proxy.example.com",
            "http://user:secret@proxy.example.com:3128",
            "http://proxy.example.com:0",
            "http://proxy.example.com:3128/path",
        ] {
            assert!(text.parse::<ProxyAddress>().is_err(), "{text}");
        }
    }
}
