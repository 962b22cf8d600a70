//! Connections: how many, from whom, with what limits, and how they end when the node stops.

use std::any::Any;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use crate::Edge;
use crate::certificates::Certificates;
use crate::chain::{Peer, respond};
use crate::connections::{ConnectionTenant, Counted, CountedSlot};
use crate::guests::Guests;
use crate::io::GuardedIo;
use crate::reaper;
use crate::settings::EdgeSettings;

/// Time to wait after the system refused a connection for want of file descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Bytes that hyper keeps for one HTTP/1 connection: room for the largest head that the settings
/// allow, beside what arrives with it.
fn buffer_size(settings: &EdgeSettings) -> usize {
    (settings.max_header_bytes + settings.max_uri_bytes).max(8 << 10) + (8 << 10)
}

/// Where clients connect, and what they find there.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    kind: Kind,
}

#[derive(Debug, Clone)]
enum Kind {
    Plain,
    Redirect(Redirect),
    Tls(Certificates),
}

/// Where clients are sent that came without TLS.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Redirect {
    /// The port of the addresses there, unless it is the scheme's own.
    pub(crate) port: Option<u16>,
}

impl Listener {
    /// HTTP without TLS.
    pub fn plain(socket: TcpListener) -> Self {
        let kind = Kind::Plain;
        Self { socket, kind }
    }

    /// HTTP without TLS, where every request is sent to `https` at `port`, or at the scheme's own.
    pub fn redirecting(socket: TcpListener, port: Option<u16>) -> Self {
        let port = port.filter(|port| *port != 443);
        let kind = Kind::Redirect(Redirect { port });
        Self { socket, kind }
    }

    /// HTTP over TLS.
    pub fn tls(socket: TcpListener, certificates: Certificates) -> Self {
        let kind = Kind::Tls(certificates);
        Self { socket, kind }
    }
}

/// What all connections of a node have in common.
struct Front<G: Guests> {
    edge: Arc<Edge<G>>,
    slots: Arc<Semaphore>,
    addresses: Arc<Counted<IpAddr>>,
    builder: Arc<auto::Builder<TokioExecutor>>,
    graceful: GracefulShutdown,
    connections: TaskTracker,
    abort: CancellationToken,
}

/// Accepts connections until `stop`, then lets what is under way finish within the grace.
pub(crate) async fn serve<G: Guests>(
    edge: Arc<Edge<G>>,
    listeners: Vec<Listener>,
    stop: CancellationToken,
) {
    let front = Front {
        slots: Arc::new(Semaphore::new(edge.settings.max_connections)),
        addresses: Arc::default(),
        builder: Arc::new(builder(&edge.settings)),
        graceful: GracefulShutdown::new(),
        connections: TaskTracker::new(),
        abort: CancellationToken::new(),
        edge: Arc::clone(&edge),
    };
    let reaper = tokio::spawn(reap(Arc::clone(&edge)));
    let accepting = listeners
        .into_iter()
        .map(|listener| front.accept(listener, &stop));
    join_all(accepting).await;

    let Front {
        graceful,
        connections,
        abort,
        ..
    } = front;
    let open = graceful.count();
    tracing::info!(
        connections = open,
        "no new connections; finishing what is under way"
    );
    // Those that speak another protocol have left their connections' tasks.
    let sockets = &edge.sockets;
    sockets.stopping.cancel();
    sockets.tasks.close();
    let finished = async { tokio::join!(graceful.shutdown(), sockets.tasks.wait()) };
    if tokio::time::timeout(edge.settings.drain_grace, finished)
        .await
        .is_err()
    {
        tracing::warn!(
            connections = connections.len(),
            "the grace is over; breaking off the rest"
        );
    }
    abort.cancel();
    sockets.broken.cancel();
    sockets.tasks.wait().await;
    connections.close();
    connections.wait().await;
    reaper.abort();
}

/// Serves one connection that came by no listener, until it ends.
pub(crate) async fn serve_connection<G, T>(edge: Arc<Edge<G>>, stream: T, peer: IpAddr)
where
    G: Guests,
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    // Its end would tell the connection to stop.
    let graceful = GracefulShutdown::new();
    let connection = Connection {
        builder: Arc::new(builder(&edge.settings)),
        watcher: graceful.watcher(),
        address: SocketAddr::new(peer, 0),
        redirect: None,
        place: None,
        edge,
    };
    connection.serve(stream, false).await;
    drop(graceful);
}

impl<G: Guests> Front<G> {
    /// Takes the connections of one listener until `stop`.
    async fn accept(&self, listener: Listener, stop: &CancellationToken) {
        let Listener { socket, kind } = listener;
        let tls = match &kind {
            Kind::Tls(certificates) => match certificates.server_config() {
                Ok(config) => Some((TlsAcceptor::from(config), certificates.handshake_timeout())),
                Err(error) => {
                    tracing::error!(%error, "TLS cannot be set up; this listener stays closed");
                    return;
                }
            },
            _ => None,
        };
        let redirect = match &kind {
            Kind::Redirect(redirect) => Some(*redirect),
            _ => None,
        };
        let watching = match kind {
            Kind::Tls(certificates) => {
                Some(AbortOnDropHandle::new(tokio::spawn(certificates.watch())))
            }
            _ => None,
        };
        while let Some((stream, address, slot)) = accept(&socket, &self.slots, stop).await {
            let Some(address_slot) = self.enter(address.ip().to_canonical()) else {
                tracing::debug!(peer = %address, "closed: too many connections from this address");
                continue;
            };
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(peer = %address, %error, "the connection is gone already");
                continue;
            }
            let place: Arc<dyn Any + Send + Sync> = Arc::new((slot, address_slot));
            let connection = Connection {
                place: Some(Arc::clone(&place)),
                edge: Arc::clone(&self.edge),
                builder: Arc::clone(&self.builder),
                watcher: self.graceful.watcher(),
                address,
                redirect,
            };
            let (tls, abort) = (tls.clone(), self.abort.clone());
            self.connections.spawn(async move {
                let serving = async {
                    match tls {
                        None => connection.serve(stream, false).await,
                        Some((acceptor, within)) => {
                            connection.shake_hands(stream, acceptor, within).await;
                        }
                    }
                };
                tokio::select! {
                    () = serving => {}
                    () = abort.cancelled() => {}
                }
                drop(place);
            });
        }
        drop(watching);
    }

    /// A place for one more connection from `address`. `None`: it has as many as it may.
    fn enter(&self, address: IpAddr) -> Option<Option<CountedSlot<IpAddr>>> {
        let settings = &self.edge.settings;
        let mut proxies = settings.trusted_proxies.iter();
        if proxies.any(|network| network.contains(&address)) {
            return Some(None);
        }
        let limit = settings.max_connections_per_address;
        self.addresses.enter(address, limit).map(Some)
    }
}

/// A connection that was accepted.
struct Connection<G: Guests> {
    edge: Arc<Edge<G>>,
    builder: Arc<auto::Builder<TokioExecutor>>,
    watcher: Watcher,
    address: SocketAddr,
    redirect: Option<Redirect>,
    /// Its place among the connections of the node and of its address.
    place: Option<Arc<dyn Any + Send + Sync>>,
}

impl<G: Guests> Connection<G> {
    async fn shake_hands(self, stream: TcpStream, acceptor: TlsAcceptor, within: Duration) {
        let peer = self.address;
        match tokio::time::timeout(within, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => self.serve(stream, true).await,
            Ok(Err(error)) => tracing::debug!(%peer, %error, "the TLS handshake failed"),
            Err(_) => tracing::debug!(%peer, "the TLS handshake took too long"),
        }
    }

    async fn serve<T>(self, stream: T, secure: bool)
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let Self {
            edge,
            builder,
            watcher,
            address,
            redirect,
            place,
        } = self;
        let io = GuardedIo::new(stream, edge.settings.io_limits());
        let peer = Arc::new(Peer {
            address: address.ip(),
            shown: address.ip().to_canonical().to_string().into(),
            conflict: io.conflict(),
            secure,
            redirect,
            tenant: ConnectionTenant::default(),
            place,
        });
        let service = service_fn(move |request| {
            let (edge, peer) = (Arc::clone(&edge), Arc::clone(&peer));
            async move { Ok::<_, Infallible>(respond(&edge, &peer, request).await) }
        });
        let connection = builder
            .serve_connection_with_upgrades(TokioIo::new(io), service)
            .into_owned();
        if let Err(error) = watcher.watch(connection).await {
            tracing::debug!(peer = %address, %error, "connection ended");
        }
    }
}

/// The next connection, once there is a slot for it; `None` when the node is to stop.
async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
    stop: &CancellationToken,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let next = async {
        let slot = Arc::clone(slots).acquire_owned().await.ok()?;
        loop {
            match listener.accept().await {
                Ok((stream, address)) => return Some((stream, address, slot)),
                Err(error) => {
                    tracing::warn!(%error, "could not accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    };
    tokio::select! {
        biased;
        () = stop.cancelled() => None,
        next = next => next,
    }
}

fn builder(settings: &EdgeSettings) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(settings.header_timeout)
        // Somewhat more than the limit, so that a request a little over it gets an explanation.
        .max_headers(2 * settings.max_headers)
        .max_buf_size(buffer_size(settings));
    let header_list = u32::try_from(settings.max_header_bytes + settings.max_uri_bytes);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(settings.http2_max_streams)
        .max_header_list_size(header_list.unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(20)
        .max_local_error_reset_streams(128)
        .max_send_buf_size(256 << 10)
        .keep_alive_interval(settings.http2_ping_interval)
        .keep_alive_timeout(settings.http2_ping_interval);
    builder
}

async fn reap<G: Guests>(edge: Arc<Edge<G>>) {
    let mut ticks = tokio::time::interval(reaper::INTERVAL);
    loop {
        let now = ticks.tick().await;
        edge.reaper.sweep(now.into_std());
    }
}
