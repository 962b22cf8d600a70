//! From a destination to a connection that takes requests: look up, connect, agree on TLS and on the
//! version of HTTP.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use wasmtime_wasi_http::Error;

use crate::body::broken;
use crate::ctx::{Outlet, ResolveError};
use crate::host::Host;
use crate::http_client::{Destination, over};
use crate::lookups::LookupError;
use crate::pool::{Lease, Sender};
use crate::proxy::{ProxyAddress, tunnel};

/// What one stream and one connection of HTTP/2 may send before it is read.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
/// A connection of HTTP/2 that carries requests is asked for a sign of life.
const PING_INTERVAL: Duration = Duration::from_secs(15);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection before HTTP.
struct Connected {
    stream: Box<dyn Stream>,
    address: SocketAddr,
    is_http2: bool,
}

impl Outlet {
    /// A new connection to `destination`.
    pub(crate) async fn dial(
        &self,
        destination: &Destination,
        within: Duration,
    ) -> Result<Lease, Error> {
        let connected = self.connect(destination, within).await?;
        let origin = destination.origin();
        let settings = self.settings();
        let Connected {
            stream,
            address,
            is_http2,
        } = connected;
        let stream = TokioIo::new(stream);
        let pool = &self.gateway.0.pool;
        if is_http2 {
            let header_bytes = u32::try_from(settings.response_header_bytes).unwrap_or(u32::MAX);
            let handshake = http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .initial_stream_window_size(STREAM_WINDOW)
                .initial_connection_window_size(CONNECTION_WINDOW)
                .max_header_list_size(header_bytes)
                .keep_alive_interval(PING_INTERVAL)
                .keep_alive_timeout(PING_TIMEOUT)
                .handshake(stream);
            let (sender, connection) = match tokio::time::timeout(within, handshake).await {
                Ok(outcome) => outcome.map_err(|error| broken(&error))?,
                Err(_) => return Err(Error::ConnectionTimeout),
            };
            Ok(pool.admit(origin, address, Sender::Http2(sender), connection))
        } else {
            let (sender, connection) = http1::Builder::new()
                .max_buf_size(settings.response_header_bytes.max(8 << 10))
                .max_headers(settings.response_headers)
                .handshake(stream)
                .await
                .map_err(|error| broken(&error))?;
            Ok(pool.admit(origin, address, Sender::Http1(sender), connection))
        }
    }

    async fn connect(
        &self,
        destination: &Destination,
        within: Duration,
    ) -> Result<Connected, Error> {
        let Destination {
            host, port, tls, ..
        } = destination;
        let proxy = self.settings().proxy.as_ref();
        let (addresses, next) = match proxy {
            None => (self.addresses(destination, within).await?, *port),
            Some(proxy) => (self.addresses_of(proxy, within).await?, proxy.port),
        };
        let mut failure = Error::DestinationNotFound;
        for address in addresses {
            let address = SocketAddr::new(address, next);
            match tokio::time::timeout(within, TcpStream::connect(address)).await {
                Ok(Ok(mut stream)) => {
                    // Small requests should not wait for an acknowledgement of the last one.
                    let _ = stream.set_nodelay(true);
                    if proxy.is_some() && *tls {
                        let authority = format!("{host}:{port}");
                        match tokio::time::timeout(within, tunnel(&mut stream, &authority)).await {
                            Ok(outcome) => outcome?,
                            Err(_) => return Err(Error::ConnectionTimeout),
                        }
                    }
                    return match tls {
                        true => self.handshake(host, address, stream, within).await,
                        false => Ok(Connected {
                            stream: Box::new(stream),
                            address,
                            is_http2: false,
                        }),
                    };
                }
                Ok(Err(error)) => failure = unconnected(&error),
                Err(_) => failure = Error::ConnectionTimeout,
            }
        }
        Err(failure)
    }

    /// The addresses of `destination` that the policy lets through.
    async fn addresses(
        &self,
        destination: &Destination,
        within: Duration,
    ) -> Result<Vec<IpAddr>, Error> {
        let Destination { host, port, .. } = destination;
        self.resolve(host, Some((*port, destination.way())), within)
            .await
            .map_err(|error| match error {
                ResolveError::Refused(refusal) => self.refused(&refusal),
                ResolveError::NotLookedUp(LookupError::Busy(quota)) => over(quota),
                ResolveError::NotLookedUp(LookupError::Timeout) => Error::DnsTimeout,
                ResolveError::NotLookedUp(LookupError::Failed(error)) => {
                    tracing::debug!(%host, "look-up failed: {error}");
                    Error::DnsError {
                        rcode: Some("name not found".into()),
                        info_code: None,
                    }
                }
            })
    }

    /// The addresses of the operator's proxy, which stand under no policy.
    async fn addresses_of(
        &self,
        proxy: &ProxyAddress,
        within: Duration,
    ) -> Result<Vec<IpAddr>, Error> {
        let name = match &proxy.host {
            Host::Address(address) => return Ok(vec![*address]),
            Host::Name(name) => name,
        };
        let found = self.addresses_of_name(name, within).await;
        found.map_err(|error| match error {
            LookupError::Busy(quota) => over(quota),
            LookupError::Timeout => Error::DnsTimeout,
            LookupError::Failed(error) => {
                tracing::warn!(proxy = %proxy, "look-up failed: {error}");
                Error::DestinationUnavailable
            }
        })
    }

    async fn handshake(
        &self,
        host: &Host,
        address: SocketAddr,
        stream: TcpStream,
        within: Duration,
    ) -> Result<Connected, Error> {
        let name = match host {
            Host::Address(address) => ServerName::from(*address),
            Host::Name(name) => {
                ServerName::try_from(name.to_string()).map_err(|_| Error::HttpRequestUriInvalid)?
            }
        };
        let tls = self
            .gateway
            .0
            .tls()
            .map_err(|_| Error::ConfigurationError)?;
        let connector = TlsConnector::from(tls.http.clone());
        match tokio::time::timeout(within, connector.connect(name, stream)).await {
            Ok(Ok(stream)) => Ok(Connected {
                is_http2: stream.get_ref().1.alpn_protocol() == Some(b"h2"),
                stream: Box::new(stream),
                address,
            }),
            Ok(Err(error)) => Err(untrusted(&error)),
            Err(_) => Err(Error::ConnectionTimeout),
        }
    }
}

fn unconnected(error: &io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Error::ConnectionRefused,
        io::ErrorKind::TimedOut => Error::ConnectionTimeout,
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            Error::DestinationIpUnroutable
        }
        _ => Error::DestinationUnavailable,
    }
}

fn untrusted(error: &io::Error) -> Error {
    let cause = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match cause {
        Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented) => {
            Error::TlsCertificateError
        }
        Some(rustls::Error::AlertReceived(alert)) => Error::TlsAlertReceived {
            alert_id: Some(u8::from(*alert)),
            alert_message: alert.as_str().map(Into::into),
        },
        _ => Error::TlsProtocolError,
    }
}
