//! One request and its response, over a connection that is kept or new.
//!
//! A kept connection may end in the very moment in which it is used again, for no fault of this
//! request. It is then sent again, once, over a new connection, where that cannot do anything
//! twice: nothing of it had been sent, or its method is idempotent and it has no body.

use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri, Version, header};
use http_body::Body as _;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody};

use crate::body::{Held, RequestBody, ResponseBody, caused, remove};
use crate::ctx::Outlet;
use crate::fields;
use crate::gateway::Meter;
use crate::http_client::{DEPTH, Destination, Io, is_forbidden};
use crate::pool::Lease;

/// What of a request does not change with the connection that it is sent over.
struct Head {
    method: Method,
    path: PathAndQuery,
    headers: HeaderMap,
    authority: HeaderValue,
    is_tls: bool,
    /// Whether it goes to a proxy, which is told the whole address.
    is_proxied: bool,
}

impl Head {
    fn request(&self, body: RequestBody, is_http2: bool) -> Result<Request<RequestBody>, Error> {
        let mut request = Request::new(body);
        *request.method_mut() = self.method.clone();
        *request.headers_mut() = self.headers.clone();
        let is_absolute = is_http2 || self.is_proxied && !self.is_tls;
        if is_absolute {
            let scheme = if self.is_tls { "https" } else { "http" };
            *request.uri_mut() = Uri::builder()
                .scheme(scheme)
                .authority(self.authority.as_bytes())
                .path_and_query(self.path.clone())
                .build()
                .map_err(|_| Error::HttpRequestUriInvalid)?;
        } else {
            *request.uri_mut() = self.path.clone().into();
        }
        if is_http2 {
            *request.version_mut() = Version::HTTP_2;
        } else {
            *request.version_mut() = Version::HTTP_11;
            request
                .headers_mut()
                .insert(header::HOST, self.authority.clone());
        }
        Ok(request)
    }

    /// Whether sending it twice does no more than sending it once.
    fn is_repeatable(&self, body: &RequestBody) -> bool {
        self.method.is_idempotent() && body.is_end_stream()
    }
}

impl Outlet {
    pub(crate) async fn exchange(
        &self,
        request: Request<WasiBody>,
        options: RequestOptions,
        destination: Destination,
        deadline: Instant,
        held: Held,
    ) -> Result<(Response<WasiBody>, Io), Error> {
        let settings = self.settings();
        let asked = options.connect_timeout.unwrap_or(settings.connect_timeout);
        let within = asked.min(settings.connect_timeout);
        let body_limit = settings.request_body_bytes;
        let (mut head, body) = prepare(request, &destination, body_limit, self.meter())?;
        let mut body = body.sent_by(self.ended.clone());
        head.headers
            .insert(DEPTH, HeaderValue::from(self.next_depth()));

        let policy = self.policy();
        head.is_proxied = settings.proxy.is_some();
        let is_proxied = head.is_proxied;
        let is_allowed = |address: std::net::SocketAddr| {
            // Of a proxy's address nothing is to be judged; the destination was.
            if is_proxied {
                return true;
            }
            let way = destination.way();
            policy
                .check_destination(address.ip(), address.port(), way)
                .is_ok()
        };
        let pool = &self.gateway.0.pool;
        let mut kept = pool.take(&destination.origin(), is_allowed).await;
        let (response, lease) = loop {
            let mut lease = match kept.take() {
                Some(lease) => lease,
                None => self.dial(&destination, within).await?,
            };
            let again = lease.was_used() && head.is_repeatable(&body);
            let request = head.request(body, lease.is_http2())?;
            let first_byte = options
                .first_byte_timeout
                .and_then(|asked| Instant::now().checked_add(asked))
                .map_or(deadline, |asked| asked.min(deadline));
            match timeout_at(first_byte, lease.send(request)).await {
                Ok(Ok(response)) => break (response, lease),
                Ok(Err((error, unsent))) => match unsent {
                    Some(unsent) if lease.was_used() => body = unsent,
                    None if again && error.as_ref().is_some_and(has_ended) => {
                        body = RequestBody::empty(self.meter());
                    }
                    _ => return Err(error.map_or(Error::ConnectionTerminated, caused)),
                },
                Err(_) => {
                    lease.spoil();
                    return Err(match first_byte < deadline {
                        true => Error::ConnectionReadTimeout,
                        false => Error::HttpResponseTimeout,
                    });
                }
            }
        };
        if response.headers().len() > settings.response_headers {
            return Err(Error::HttpProtocolError);
        }
        let mut response = response;
        fields::count(response.headers_mut(), &self.kept)
            .map_err(|full| Error::InternalError(Some(full.to_string())))?;
        Ok(self.receive(response, lease, options, deadline, held))
    }

    fn receive(
        &self,
        response: Response<Incoming>,
        lease: Lease,
        options: RequestOptions,
        deadline: Instant,
        held: Held,
    ) -> (Response<WasiBody>, Io) {
        let settings = self.settings();
        let between = options
            .between_bytes_timeout
            .unwrap_or(settings.total_timeout);
        let limit = settings.response_body_bytes;
        let (over, is_over) = oneshot::channel::<()>();
        let connection = lease.connection();
        let response = response.map(|body| {
            let (connection, meter) = ((lease, over), self.meter());
            ResponseBody::new(body, limit, (between, deadline), meter, held, connection)
                .boxed_unsync()
        });
        // The body knows the deadline too; this ends the connection where nobody reads it.
        let io: Io = Box::new(async move {
            if timeout_at(deadline, is_over).await.is_ok() {
                return Ok(());
            }
            if let Some(connection) = connection {
                connection.abort();
            }
            Err(Error::HttpResponseTimeout)
        });
        (response, io)
    }
}

/// The request as it goes on the wire.
fn prepare(
    request: Request<WasiBody>,
    destination: &Destination,
    body_limit: u64,
    meter: Meter,
) -> Result<(Head, RequestBody), Error> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let path = if path.starts_with('/') {
        path.parse()
    } else {
        format!("/{path}").parse()
    };
    let mut headers = parts.headers;
    remove(&mut headers, is_forbidden);
    let body = RequestBody::new(body, &headers, body_limit, meter)?;
    let authority = HeaderValue::try_from(destination.authority());
    let head = Head {
        method: parts.method,
        path: path.map_err(|_| Error::HttpRequestUriInvalid)?,
        headers,
        authority: authority.map_err(|_| Error::HttpRequestUriInvalid)?,
        is_tls: destination.tls,
        is_proxied: false,
    };
    Ok((head, body))
}

/// Whether the connection ended before there was an answer.
fn has_ended(error: &hyper::Error) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};

    let cause = std::error::Error::source(error);
    let cause = cause.and_then(|cause| cause.downcast_ref::<std::io::Error>());
    let is_broken = cause.is_some_and(|cause| {
        matches!(
            cause.kind(),
            BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof
        )
    });
    is_broken || error.is_incomplete_message() || error.is_closed() || error.is_canceled()
}
