//! Connections of applications' clients: what is served over each, and how they end when the node stops.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;

use futures::future::join_all;
use http::Request;
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

use crate::Edge;
use crate::body::ResponseBody;
use crate::chain::{Peer, respond};
use crate::connections::ConnectionTenant;
use crate::door::{Arrival, Door, Listener};
use crate::guests::Guests;
use crate::objects::Source;
use crate::reaper;

/// Accepts connections until `stop`, then lets what is under way finish within the grace.
pub(crate) async fn serve<G: Guests>(
    edge: Arc<Edge<G>>,
    listeners: Vec<Listener>,
    stop: CancellationToken,
) {
    let door = Door::new(edge.settings.door());
    let reaper = tokio::spawn(reap(Arc::clone(&edge)));
    let accepting = listeners.into_iter().map(|listener| {
        let edge = Arc::clone(&edge);
        let service = move |arrival| answers(Arc::clone(&edge), arrival);
        door.accept(listener, &stop, service)
    });
    join_all(accepting).await;

    tracing::info!(
        connections = door.open(),
        "no new connections; finishing what is under way"
    );
    // Those that speak another protocol have left their connections' tasks.
    let sockets = &edge.sockets;
    sockets.stopping.cancel();
    sockets.tasks.close();
    let grace = edge.settings.drain_grace;
    let broken = || sockets.broken.cancel();
    door.close(grace, "applications", sockets.tasks.wait(), broken)
        .await;
    sockets.tasks.wait().await;
    reaper.abort();
}

/// Serves one connection that came by no listener, until it ends.
pub(crate) async fn serve_connection<G, T>(edge: Arc<Edge<G>>, stream: T, peer: IpAddr)
where
    G: Guests,
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let service = |arrival| answers(Arc::clone(&edge), arrival);
    Door::serve_one(&edge.settings.door(), stream, peer, service).await;
}

/// What answers the requests of one connection.
fn answers<G: Guests>(
    edge: Arc<Edge<G>>,
    arrival: Arrival,
) -> impl Service<
    Request<Incoming>,
    Response = http::Response<ResponseBody<Source<G::Body>>>,
    Error = Infallible,
    Future: Send + 'static,
> + Send
+ 'static {
    let peer = Arc::new(Peer {
        address: arrival.address,
        shown: arrival.address.to_canonical().to_string().into(),
        conflict: arrival.conflict,
        secure: arrival.secure,
        redirect: arrival.redirect,
        tenant: ConnectionTenant::default(),
        place: arrival.place,
    });
    service_fn(move |request| {
        let (edge, peer) = (Arc::clone(&edge), Arc::clone(&peer));
        async move { Ok::<_, Infallible>(respond(&edge, &peer, request).await) }
    })
}

async fn reap<G: Guests>(edge: Arc<Edge<G>>) {
    let mut ticks = tokio::time::interval(reaper::INTERVAL);
    loop {
        let now = ticks.tick().await;
        edge.reaper.sweep(now.into_std());
    }
}
