//! The way of a request, step by step. `host/README.md` numbers the steps and says why they are in
//! this order.

use std::any::Any;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use canopy_admission::{Allowance, Ask, Rate};
use canopy_runtime::{Call, InstallationSpec, RESERVED_PATHS, RequestBody, ServeError};
use canopy_tenant::authenticate;
use http::header::CONTENT_LENGTH;
use http::request::Parts;
use http::{Method, Request, Response, StatusCode, Uri};
use http_body::Body;
use http_body_util::{BodyExt, Empty};

use crate::Edge;
use crate::body::{ClientBody, Received, ResponseBody};
use crate::connections::ConnectionTenant;
use crate::door::Redirect;
use crate::guests::Guests;
use crate::headers::{self, REQUEST_ID, clean_request, clean_response};
use crate::io::LengthConflict;
use crate::objects::{self, Source};
use crate::problem::{Cause, Problem};
use crate::record::{Outcome, Record};
use crate::request;
use crate::websocket::{self, Handshake, Taken};

/// What the connection knows about every request that comes over it.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) address: IpAddr,
    /// The address as it is written down.
    pub(crate) shown: Arc<str>,
    pub(crate) conflict: LengthConflict,
    /// Whether it came by TLS.
    pub(crate) secure: bool,
    /// Where it is to go if this is no place to be answered.
    pub(crate) redirect: Option<Redirect>,
    /// The tenant that it counts for.
    pub(crate) tenant: ConnectionTenant,
    /// Its place among the connections of the node and of its address.
    pub(crate) place: Option<Arc<dyn Any + Send + Sync>>,
}

/// Time beyond an installation's deadline for its own end to be noticed first, which says more
/// about the cause than the edge can.
pub(crate) const DEADLINE_SLACK: Duration = Duration::from_millis(500);

/// Answers a request, whatever comes of it.
pub(crate) async fn respond<G, B>(
    edge: &Edge<G>,
    peer: &Peer,
    request: Request<B>,
) -> Response<ResponseBody<Source<G::Body>>>
where
    G: Guests,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut record = Record::begin(&request, Some(&peer.shown));
    let head_only = request.method() == Method::HEAD;
    match answer(edge, peer, &mut record, request).await {
        Ok(Answered::Response(answer)) => sent(edge, record, answer, head_only),
        Ok(Answered::Socket(taken)) => switched(edge, peer, record, taken),
        Err(cause) => refused(record, &cause, head_only),
    }
}

/// An application's response and when it must have ended.
struct Answer<B> {
    response: Response<Source<B>>,
    deadline: Instant,
}

/// What an application answers with.
enum Answered<B> {
    Response(Answer<B>),
    /// It takes the connection.
    Socket(Box<Taken>),
}

async fn answer<G, B>(
    edge: &Edge<G>,
    peer: &Peer,
    record: &mut Record,
    request: Request<B>,
) -> Result<Answered<G::Body>, Cause>
where
    G: Guests,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    // What is asked for, and of which host? If it is another protocol, is all there that it takes?
    let (host, authority) = request::check(&request, &edge.settings, &peer.conflict)?;
    let handshake = match websocket::asks(request.headers()) {
        true => Some(Handshake::read(&request)?),
        false => None,
    };
    let (mut head, body) = request.into_parts();

    // Which installation answers for this host?
    let snapshot = edge.routes.current();
    let route = snapshot
        .route(&host)
        .ok_or_else(|| Cause::UnknownHost(host.as_str().to_owned()))?;
    let spec = Arc::clone(&route.spec);
    record.installation = Some(Arc::clone(&spec));

    // Must it come by TLS?
    if let Some(redirect) = peer.redirect {
        return Err(request::secure_address(&authority, &head.uri, redirect));
    }

    // Has it come here through too many applications, or over too many connections?
    let depth = headers::depth(&head.headers);
    let deepest = edge.settings.max_depth;
    if depth > deepest {
        return Err(Cause::Loop { limit: deepest });
    }
    let tenant = &spec.tenant;
    let limit = tenant.limits.connections;
    if !peer.tenant.enter(tenant.id, &edge.tenants, limit) {
        return Err(Cause::TenantConnections { limit });
    }

    // What is reserved on every host name no application sees: it leaves here, for `object` below.
    if head.uri.path().starts_with(RESERVED_PATHS) {
        drop(snapshot);
        let object = object(edge, record, &spec, head, body).await;
        return object.map(Answered::Response);
    }

    // Who calls, and may they?
    let caller = authenticate(&snapshot, route, head.uri.path(), &mut head.headers)?;
    record.caller = caller.kind;
    drop(snapshot);

    // Is the body in its limit, as far as it says? Has the tenant a place for another protocol's
    // connection?
    let limits = &spec.component.limits;
    let limit = limits.request_body_bytes;
    if request::declared_length(&head.headers).is_some_and(|length| length > limit) {
        return Err(Cause::BodyTooLarge { limit });
    }
    let place = |handshake| {
        let place = edge.sockets.enter(tenant.id, edge.settings.websockets);
        place.map(|place| (handshake, place))
    };
    let handshake = handshake.map(place).transpose()?;

    // Is there room?
    let permit = edge.admission.admit(&ask(&spec)).await?;

    // The request as the application is to see it.
    let proxies = &edge.settings.trusted_proxies;
    let scheme = clean_request(&mut head.headers, &authority, peer, proxies);
    let mut uri = head.uri.into_parts();
    uri.scheme = Some(scheme);
    uri.authority = Some(authority);
    if uri.path_and_query.is_none() {
        uri.path_and_query = Some(http::uri::PathAndQuery::from_static("/"));
    }
    head.uri = Uri::from_parts(uri).map_err(|error| ServeError::Internal(error.to_string()))?;
    head.headers.insert(REQUEST_ID, record.shown_id());
    let deadline = record.arrived + limits.wall;
    let call = Call::new(record.id, caller, deadline)
        .at_depth(depth)
        .holding(permit);
    record.spent = Some(call.spent.clone());

    // Another protocol is taken, or not, and goes its own way.
    if let Some(handshake) = handshake {
        let taken = websocket::take(edge, &spec, call, head, handshake).await?;
        return Ok(Answered::Socket(Box::new(taken)));
    }
    let received = Arc::new(Received::default());
    record.received = Some(Arc::clone(&received));
    let body: RequestBody = if body.is_end_stream() {
        Empty::new().map_err(|never| match never {}).boxed_unsync()
    } else {
        let idle = edge.settings.body_idle_timeout;
        ClientBody::new(body, limit, idle, Arc::clone(&received)).boxed_unsync()
    };

    // Call it, if the tenant has CPU time left. A body over its limit is the client's fault, whatever
    // the application makes of it.
    let response = tokio::select! {
        biased;
        () = received.over_limit() => return Err(Cause::BodyTooLarge { limit }),
        response = edge.guests.serve(&spec, call, Request::from_parts(head, body)) => {
            if received.is_over_limit() {
                return Err(Cause::BodyTooLarge { limit });
            }
            response?
        }
    };
    if response.status().is_informational() {
        return Err(Cause::Informational(response.status()));
    }
    Ok(Answered::Response(Answer {
        response: response.map(Source::Guest),
        deadline: record.arrived + limits.wall.max(limits.stream),
    }))
}

/// Answers for an object of the installation, to whoever has its address.
async fn object<G, B>(
    edge: &Edge<G>,
    record: &mut Record,
    spec: &Arc<InstallationSpec>,
    head: Parts,
    body: B,
) -> Result<Answer<G::Body>, Cause>
where
    G: Guests,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    // Is the address right, and does it allow this?
    let addresses = edge.guests.addresses().ok_or(Cause::NothingHere)?;
    let asked = objects::verify(addresses, spec, &head).await?;
    let limit = asked.limit;

    // Is there room?
    let permit = edge.admission.admit(&ask(spec)).await?;

    // Do it.
    let received = Arc::new(Received::default());
    record.received = Some(Arc::clone(&received));
    let idle = edge.settings.body_idle_timeout;
    let body = ClientBody::new(body, limit, idle, Arc::clone(&received)).boxed_unsync();
    let deadline = record.arrived + edge.settings.transfer_timeout;
    let answer = objects::answer(addresses, asked, &head, body, deadline, permit).await;
    if received.is_over_limit() {
        return Err(Cause::BodyTooLarge { limit });
    }
    Ok(Answer {
        response: answer?.map(Source::Object),
        deadline,
    })
}

/// What admission is asked for a request of this installation.
pub(crate) fn ask(spec: &InstallationSpec) -> Ask {
    let (own, tenant) = (&spec.component.limits, &spec.tenant.limits);
    Ask {
        tenant: spec.tenant.id,
        installation: spec.id,
        of_tenant: Allowance {
            concurrency: tenant.concurrency,
            rate: Rate {
                per_second: tenant.requests_per_second,
                burst: tenant.burst,
            },
        },
        of_installation: Allowance {
            concurrency: own.concurrency,
            rate: Rate {
                per_second: own.requests_per_second,
                burst: own.burst,
            },
        },
        weight: tenant.weight,
    }
}

/// Sends an application's response, and has it ended if the client does not take it in time.
fn sent<G: Guests>(
    edge: &Edge<G>,
    mut record: Record,
    answer: Answer<G::Body>,
    head_only: bool,
) -> Response<ResponseBody<Source<G::Body>>> {
    let (mut head, body) = answer.response.into_parts();
    clean_response(&mut head.headers);
    head.headers.insert(REQUEST_ID, record.shown_id());
    record.status = Some(head.status);

    let no_body = head_only
        || matches!(
            head.status,
            StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
        );
    let length = if no_body {
        Some(0)
    } else {
        let declared = head
            .headers
            .get(CONTENT_LENGTH)
            .and_then(|value| value.to_str().ok());
        declared
            .and_then(|value| value.parse().ok())
            .or_else(|| body.size_hint().exact())
    };
    let body = ResponseBody::open(body, record, length);
    if let ResponseBody::Open(open) = &body {
        edge.reaper.watch(open, answer.deadline + DEADLINE_SLACK);
    }
    Response::from_parts(head, body)
}

/// Changes the protocol, and lets the connection be carried for as long as it lasts.
fn switched<G: Guests>(
    edge: &Edge<G>,
    peer: &Peer,
    mut record: Record,
    taken: Box<Taken>,
) -> Response<ResponseBody<Source<G::Body>>> {
    let mut response = Response::new(ResponseBody::Switched);
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *response.headers_mut() = taken.headers();
    response.headers_mut().insert(REQUEST_ID, record.shown_id());
    record.status = Some(response.status());
    websocket::carry(&edge.sockets, *taken, record, peer.place.clone());
    response
}

/// Tells the client why no application answers, and the log more than that.
fn refused<B: Body>(
    mut record: Record,
    cause: &Cause,
    head_only: bool,
) -> Response<ResponseBody<B>> {
    if let Cause::Serve(error) = cause {
        record.failure(error);
    }
    let problem = Problem::from(cause);
    if let Cause::Object(_) | Cause::Address(_) = cause
        && problem.status.is_server_error()
    {
        tracing::error!(request_id = %record.id, error = %cause, "an object was not served");
    }
    record.status = Some(problem.status);
    record.code = Some(problem.code);
    record.outcome = Outcome::Complete;
    let mut response = problem.response(record.id);
    response.headers_mut().insert(REQUEST_ID, record.shown_id());
    record.bytes_sent = if head_only {
        0
    } else {
        response.body().len() as u64
    };
    response.map(|body| ResponseBody::Whole(Some(body), Box::new(record)))
}
