//! Outgoing `wasi:http`: one request, one checked destination, one deadline over everything.
//!
//! The request goes out in origin form to the address that was checked, with the host name that was
//! checked as `Host` and as TLS server name. Redirects are the guest's affair: it sees them, and
//! following one is a new request under the same policy.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::uri::{Authority, Scheme};
use http::{HeaderName, HeaderValue, Method, Request, Response, Uri, header};
use http_body_util::BodyExt;
use hyper::client::conn::http1;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use wasmtime_wasi_http::io::TokioIo;
use wasmtime_wasi_http::{
    DEFAULT_FORBIDDEN_HEADERS, Error, ForbiddenHeaderFilter, RequestOptions, WasiBody,
    WasiHttpHooks,
};

use crate::body::{RequestBody, ResponseBody, broken};
use crate::ctx::{NetworkCtx, Outlet, ResolveError};
use crate::host::Host;
use crate::policy::Refusal;
use crate::rule::Way;

/// Headers with this prefix are the platform's word, never a guest's.
const PLATFORM_HEADERS: &str = "x-canopy-";

/// Tells a node of this platform through how many applications a request has come, so that it can
/// end a circle.
const DEPTH: HeaderName = HeaderName::from_static("x-canopy-depth");

type Io = Box<dyn Future<Output = Result<(), Error>> + Send>;

impl WasiHttpHooks for NetworkCtx {
    fn forbidden_header_filter(&mut self) -> ForbiddenHeaderFilter {
        Arc::new(is_forbidden)
    }

    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Io,
    ) -> Box<dyn Future<Output = Result<(Response<WasiBody>, Io), Error>> + Send> {
        let outlet = self.outlet.clone();
        Box::new(async move { outlet.send(request, options.unwrap_or_default()).await })
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        self.outlet.settings().body_chunk_bytes
    }

    fn p3_outgoing_body_chunk_size(&mut self) -> usize {
        self.outlet.settings().body_chunk_bytes
    }
}

fn is_forbidden(name: &HeaderName) -> bool {
    DEFAULT_FORBIDDEN_HEADERS.contains(name)
        || *name == header::TE
        || name.as_str().starts_with(PLATFORM_HEADERS)
}

/// Where a request goes.
struct Destination {
    host: Host,
    port: u16,
    tls: bool,
    method: Method,
}

impl Destination {
    fn of(uri: &Uri, method: &Method) -> Result<Self, Error> {
        let tls = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            Some(scheme) if *scheme == Scheme::HTTP => false,
            _ => return Err(Error::HttpProtocolError),
        };
        let authority = uri.authority().ok_or(Error::HttpRequestUriInvalid)?;
        let host = host_of(authority).ok_or(Error::HttpRequestUriInvalid)?;
        let default = if tls { 443 } else { 80 };
        let port = match authority.port() {
            Some(port) => port.as_u16(),
            None => default,
        };
        Ok(Self {
            host,
            port,
            tls,
            method: method.clone(),
        })
    }

    fn way(&self) -> Way<'_> {
        match self.tls {
            true => Way::Https(self.method.as_str()),
            false => Way::Http(self.method.as_str()),
        }
    }

    /// The value of the `Host` header.
    fn authority(&self) -> String {
        match (self.tls, self.port) {
            (true, 443) | (false, 80) => self.host.to_string(),
            (_, port) => format!("{}:{port}", self.host),
        }
    }
}

/// The host of an authority that is a host, and a port in digits if there is one; nothing else.
fn host_of(authority: &Authority) -> Option<Host> {
    let rest = authority.as_str().strip_prefix(authority.host())?;
    let port_is_plain = match rest.strip_prefix(':') {
        Some(port) => authority.port_u16().is_some() && port.bytes().all(|c| c.is_ascii_digit()),
        None => rest.is_empty(),
    };
    if port_is_plain {
        authority.host().parse().ok()
    } else {
        None
    }
}

impl Outlet {
    async fn send(
        self: Arc<Self>,
        request: Request<WasiBody>,
        options: RequestOptions,
    ) -> Result<(Response<WasiBody>, Io), Error> {
        let settings = self.settings();
        if request.method() == Method::CONNECT {
            return Err(Error::HttpRequestMethodInvalid);
        }
        let path = request
            .uri()
            .path_and_query()
            .map_or("/", |path| path.as_str());
        if path.len() > settings.uri_bytes {
            return Err(Error::HttpRequestUriTooLong);
        }
        let destination = Destination::of(request.uri(), request.method())?;
        self.check(&destination)?;
        let permit = self.admit().ok_or(Error::ConnectionLimitReached)?;
        let deadline = Instant::from_std(self.deadline());
        let exchange = self.exchange(request, options, destination, deadline, permit);
        match timeout_at(deadline, exchange).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Error::HttpResponseTimeout),
        }
    }

    /// Steps 1 to 4 of the policy, and step 6 where no name is to be resolved.
    fn check(&self, destination: &Destination) -> Result<(), Error> {
        let Destination { host, port, .. } = destination;
        let (policy, way) = (self.policy(), destination.way());
        let verdict = match host {
            Host::Address(address) => policy.check_destination(*address, *port, way),
            Host::Name(_) => Ok(()),
        };
        verdict
            .and_then(|()| policy.check_host(host, *port, way))
            .map_err(|refusal| self.refused(&refusal))
    }

    /// What the guest is told of `refusal`, which is written down.
    fn refused(&self, refusal: &Refusal) -> Error {
        self.record(refusal);
        match refusal.is_of_address() {
            true => Error::DestinationIpProhibited,
            false => Error::HttpRequestDenied,
        }
    }

    async fn exchange(
        &self,
        request: Request<WasiBody>,
        options: RequestOptions,
        destination: Destination,
        deadline: Instant,
        permit: OwnedSemaphorePermit,
    ) -> Result<(Response<WasiBody>, Io), Error> {
        let settings = self.settings();
        let within = options
            .connect_timeout
            .map_or(settings.connect_timeout, |asked| {
                asked.min(settings.connect_timeout)
            });
        let stream = self.connect(&destination, within).await?;
        let (mut sender, connection) = http1::Builder::new()
            .max_buf_size(settings.response_header_bytes.max(8 << 10))
            .max_headers(settings.response_headers)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| broken(&error))?;

        let mut request = prepare(request, &destination, settings.request_body_bytes)?;
        request
            .headers_mut()
            .insert(DEPTH, HeaderValue::from(self.next_depth()));
        let first_byte = options
            .first_byte_timeout
            .and_then(|asked| Instant::now().checked_add(asked))
            .map_or(deadline, |asked| asked.min(deadline));
        let mut connection = Box::pin(connection);
        let mut response = Box::pin(sender.send_request(request));
        let answered = async {
            tokio::select! {
                biased;
                outcome = &mut response => (outcome, false),
                // The connection may end with the answer already read.
                ended = &mut connection => match ended {
                    Ok(()) => (response.await, true),
                    Err(error) => (Err(error), true),
                },
            }
        };
        let (response, ended) = match timeout_at(first_byte, answered).await {
            Ok((Ok(response), ended)) => (response, ended),
            Ok((Err(error), _)) => return Err(caused(error)),
            Err(_) if first_byte < deadline => return Err(Error::ConnectionReadTimeout),
            Err(_) => return Err(Error::HttpResponseTimeout),
        };
        let between = options
            .between_bytes_timeout
            .unwrap_or(settings.total_timeout);
        let limit = settings.response_body_bytes;
        let response = response
            .map(|body| ResponseBody::new(body, limit, between, deadline, permit).boxed_unsync());
        let io: Io = Box::new(async move {
            // The body knows the deadline too; this ends the connection where nobody reads it.
            match ended {
                true => Ok(()),
                false => match timeout_at(deadline, connection).await {
                    Ok(outcome) => outcome.map_err(caused),
                    Err(_) => Err(Error::HttpResponseTimeout),
                },
            }
        });
        Ok((response, io))
    }

    async fn connect(
        &self,
        destination: &Destination,
        within: Duration,
    ) -> Result<Box<dyn Stream>, Error> {
        let Destination {
            host, port, tls, ..
        } = destination;
        let addresses = self
            .resolve(host, Some((*port, destination.way())), within)
            .await
            .map_err(|error| match error {
                ResolveError::Refused(refusal) => self.refused(&refusal),
                ResolveError::Timeout => Error::DnsTimeout,
                ResolveError::NotFound(error) => {
                    tracing::debug!(%host, "look-up failed: {error}");
                    Error::DnsError {
                        rcode: Some("name not found".into()),
                        info_code: None,
                    }
                }
            })?;
        let mut failure = Error::DestinationNotFound;
        for address in addresses {
            let address = SocketAddr::new(address, *port);
            match tokio::time::timeout(within, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    // Small requests should not wait for an acknowledgement of the last one.
                    let _ = stream.set_nodelay(true);
                    return match tls {
                        true => self.handshake(host, stream, within).await,
                        false => Ok(Box::new(stream)),
                    };
                }
                Ok(Err(error)) => failure = unconnected(&error),
                Err(_) => failure = Error::ConnectionTimeout,
            }
        }
        Err(failure)
    }

    async fn handshake(
        &self,
        host: &Host,
        stream: TcpStream,
        within: Duration,
    ) -> Result<Box<dyn Stream>, Error> {
        let name = match host {
            Host::Address(address) => ServerName::from(*address),
            Host::Name(name) => {
                ServerName::try_from(name.to_string()).map_err(|_| Error::HttpRequestUriInvalid)?
            }
        };
        let connector = TlsConnector::from(self.gateway.0.network.0.tls.clone());
        match tokio::time::timeout(within, connector.connect(name, stream)).await {
            Ok(Ok(stream)) => Ok(Box::new(stream)),
            Ok(Err(error)) => Err(untrusted(&error)),
            Err(_) => Err(Error::ConnectionTimeout),
        }
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// The request as it goes on the wire.
fn prepare(
    request: Request<WasiBody>,
    destination: &Destination,
    body_limit: u64,
) -> Result<Request<RequestBody>, Error> {
    let (mut parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let path = if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("/{path}")
    };
    parts.uri = path.parse().map_err(|_| Error::HttpRequestUriInvalid)?;
    parts.version = http::Version::HTTP_11;
    parts.extensions.clear();
    let forbidden: Vec<_> = parts
        .headers
        .keys()
        .filter(|name| is_forbidden(name))
        .cloned()
        .collect();
    for name in forbidden {
        parts.headers.remove(name);
    }
    let host =
        HeaderValue::try_from(destination.authority()).map_err(|_| Error::HttpRequestUriInvalid)?;
    parts.headers.insert(header::HOST, host);
    Ok(Request::from_parts(
        parts,
        RequestBody::new(body, body_limit),
    ))
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

/// The guest's own body may be what broke the exchange off; then its error is the one to tell.
fn caused(error: hyper::Error) -> Error {
    let own = std::error::Error::source(&error).and_then(|cause| cause.downcast_ref::<Error>());
    match own {
        Some(Error::HttpRequestBodySize(size)) => Error::HttpRequestBodySize(*size),
        Some(_) => Error::ConnectionTerminated,
        None => broken(&error),
    }
}
