//! Connections of the WebSocket protocol (RFC 6455), from the handshake to the end.

mod bridge;
mod handshake;

use std::any::Any;
use std::sync::Arc;

use canopy_ids::TenantId;
use canopy_runtime::{
    Call, InstallationSpec, Socket, SocketClose, SocketIncoming, SocketMessage, SocketOpening,
};
use futures::channel::mpsc;
use http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::request::Parts;
use http::{HeaderMap, HeaderValue};
use hyper::upgrade::OnUpgrade;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::Edge;
use crate::connections::{Counted, CountedSlot};
use crate::guests::Guests;
use crate::problem::Cause;
use crate::record::Record;
use bridge::{Limits, Open};

pub(crate) use handshake::{Handshake, asks};

/// The connections of a node.
#[derive(Default)]
pub(crate) struct Sockets {
    /// Those of each tenant.
    tenants: Arc<Counted<TenantId>>,
    /// The tasks that carry them.
    pub(crate) tasks: TaskTracker,
    /// Tells them that the node stops.
    pub(crate) stopping: CancellationToken,
    /// Breaks them off.
    pub(crate) broken: CancellationToken,
}

/// A connection that an application takes, before its protocol has changed.
pub(crate) struct Taken {
    accept: HeaderValue,
    upgrade: OnUpgrade,
    socket: Socket,
    messages: mpsc::Sender<SocketMessage>,
    closed: oneshot::Sender<SocketClose>,
    limits: Limits,
    slot: Place,
}

/// A place for one more connection of a tenant.
pub(crate) type Place = CountedSlot<TenantId>;

impl Sockets {
    /// A place for one more connection of `tenant`, unless there are `limit`.
    pub(crate) fn enter(&self, tenant: TenantId, limit: usize) -> Result<Place, Cause> {
        let place = self.tenants.enter(tenant, limit);
        place.ok_or(Cause::TenantSockets { limit })
    }
}

impl Taken {
    /// The header of the answer that changes the protocol.
    pub(crate) fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(SEC_WEBSOCKET_ACCEPT, self.accept.clone());
        let subprotocol = self.socket.subprotocol().map(HeaderValue::try_from);
        if let Some(Ok(subprotocol)) = subprotocol {
            headers.insert(SEC_WEBSOCKET_PROTOCOL, subprotocol);
        }
        headers
    }
}

/// Has the application take the connection that `handshake` asks for, which has a place.
pub(crate) async fn take<G: Guests>(
    edge: &Edge<G>,
    spec: &Arc<InstallationSpec>,
    call: Call,
    mut head: Parts,
    (handshake, slot): (Handshake, Place),
) -> Result<Taken, Cause> {
    let upgrade = head.extensions.remove::<OnUpgrade>();
    let upgrade = upgrade.ok_or(Cause::Handshake("this connection keeps its protocol"))?;
    // What the handshake is made of is the platform's affair.
    for name in [
        SEC_WEBSOCKET_KEY,
        SEC_WEBSOCKET_VERSION,
        SEC_WEBSOCKET_EXTENSIONS,
        SEC_WEBSOCKET_PROTOCOL,
    ] {
        head.headers.remove(name);
    }
    let field = |(name, value): (&http::HeaderName, &HeaderValue)| {
        (name.as_str().to_owned(), value.as_bytes().to_vec())
    };
    let target = head.uri.path_and_query();
    let opening = SocketOpening {
        path_with_query: target.map_or("/", |target| target.as_str()).to_owned(),
        headers: head.headers.iter().map(field).collect(),
        origin: handshake.origin,
        subprotocols: handshake.subprotocols.clone(),
    };
    let (messages, incoming) = mpsc::channel(0);
    let (closed, ending) = oneshot::channel();
    let incoming = SocketIncoming {
        messages: incoming,
        closed: ending,
    };
    let socket = edge.guests.open_socket(spec, call, opening, incoming);
    let socket = socket.await?.map_err(Cause::SocketRefused)?;
    let spoken = |name: &str| handshake.subprotocols.iter().any(|known| known == name);
    if socket.subprotocol().is_some_and(|name| !spoken(name)) {
        return Err(Cause::SocketSubprotocol);
    }
    Ok(Taken {
        accept: handshake.accept,
        upgrade,
        socket,
        messages,
        closed,
        limits: Limits {
            message: edge.settings.websocket_message,
            idle: edge.settings.websocket_idle,
        },
        slot,
    })
}

/// Carries a connection, by a task of its own, once its protocol has changed.
pub(crate) fn carry(
    sockets: &Sockets,
    taken: Taken,
    record: Record,
    place: Option<Arc<dyn Any + Send + Sync>>,
) {
    let Taken {
        upgrade,
        socket,
        messages,
        closed,
        limits,
        slot,
        ..
    } = taken;
    let open = Open {
        socket,
        messages,
        closed,
        limits,
        record,
        _slot: slot,
        _place: place,
    };
    let (stopping, broken) = (sockets.stopping.clone(), sockets.broken.clone());
    sockets.tasks.spawn(async move {
        tokio::select! {
            () = bridge::run(upgrade, open, stopping) => {}
            () = broken.cancelled() => {}
        }
    });
}
