//! Outgoing `wasi:http`: one request, one checked destination, one deadline over everything.
//!
//! The request goes out in origin form to the address that was checked, with the host name that was
//! checked as `Host` and as TLS server name. Redirects are the guest's affair: it sees them, and
//! following one is a new request under the same policy.

use std::sync::Arc;

use http::uri::{Authority, Scheme};
use http::{HeaderName, Method, Request, Response, Uri, header};
use tokio::time::{Instant, timeout_at};
use wasmtime_wasi_http::{
    DEFAULT_FORBIDDEN_HEADERS, Error, ForbiddenHeaderFilter, RequestOptions, WasiBody,
    WasiHttpHooks,
};

use crate::account::OverQuota;
use crate::ctx::{NetworkCtx, Outlet};
use crate::host::Host;
use crate::policy::Refusal;
use crate::pool::Origin;
use crate::rule::Way;

/// Headers with this prefix are the platform's word, never a guest's.
const PLATFORM_HEADERS: &str = "x-canopy-";

/// Tells a node of this platform through how many applications a request has come, so that it can
/// end a circle.
pub(crate) const DEPTH: HeaderName = HeaderName::from_static("x-canopy-depth");

pub(crate) type Io = Box<dyn Future<Output = Result<(), Error>> + Send>;

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
        // One is on its way and one waits.
        let kept = self.p2_outgoing_body_buffer_chunks() + 1;
        self.next_chunk(kept)
    }

    fn p3_outgoing_body_chunk_size(&mut self) -> usize {
        self.shared_chunk()
    }
}

pub(crate) fn is_forbidden(name: &HeaderName) -> bool {
    DEFAULT_FORBIDDEN_HEADERS.contains(name)
        || *name == header::TE
        || name.as_str().starts_with(PLATFORM_HEADERS)
}

/// Where a request goes.
pub(crate) struct Destination {
    pub(crate) host: Host,
    pub(crate) port: u16,
    pub(crate) tls: bool,
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

    pub(crate) fn way(&self) -> Way<'_> {
        match self.tls {
            true => Way::Https(self.method.as_str()),
            false => Way::Http(self.method.as_str()),
        }
    }

    /// What requests must have in common with this one to share its connection.
    pub(crate) fn origin(&self) -> Origin {
        Origin {
            host: self.host.clone(),
            port: self.port,
            tls: self.tls,
        }
    }

    /// The value of the `Host` header.
    pub(crate) fn authority(&self) -> String {
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
        self.may_begin().map_err(over)?;
        let held = (permit, self.open().map_err(over)?);
        let deadline = Instant::from_std(self.deadline());
        let exchange = self.exchange(request, options, destination, deadline, held);
        match timeout_at(deadline, exchange).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Error::HttpResponseTimeout),
        }
    }

    /// Steps 2 to 4 of the policy, and step 6 where no name is to be resolved.
    fn check(&self, destination: &Destination) -> Result<(), Error> {
        let Destination { host, port, .. } = destination;
        let (policy, way) = (self.policy(), destination.way());
        let granted = policy.check_host(host, *port, way);
        let verdict = match host {
            Host::Address(address) => {
                granted.and_then(|()| policy.check_destination(*address, *port, way))
            }
            Host::Name(_) => granted,
        };
        verdict.map_err(|refusal| self.refused(&refusal))
    }

    /// What the guest is told of `refusal`, which is written down.
    pub(crate) fn refused(&self, refusal: &Refusal) -> Error {
        self.record(refusal);
        match refusal.is_of_address() {
            true => Error::DestinationIpProhibited,
            false => Error::HttpRequestDenied,
        }
    }
}

/// What a guest is told of a quota of its tenant.
pub(crate) fn over(quota: OverQuota) -> Error {
    match quota {
        OverQuota::Connections { .. }
        | OverQuota::Rate { .. }
        | OverQuota::Lookups { .. }
        | OverQuota::NodeLookups { .. } => Error::ConnectionLimitReached,
        OverQuota::Bytes { .. } => Error::InternalError(Some(quota.to_string())),
    }
}
