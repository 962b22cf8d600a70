//! The door: how many connections there are, from whom, with what limits, and how they end when the node
//! stops. Applications and the control API are behind one each.

use std::any::Any;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use ipnet::IpNet;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use crate::certificates::Certificates;
use crate::connections::{Counted, CountedSlot, network};
use crate::io::{GuardedIo, IoLimits, LengthConflict};
use crate::streams::followed;
use crate::windows::{Window, Windows};

/// Time to wait after the system refused a connection for want of file descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Streams of one HTTP/2 connection that its client reset before anybody took note of them, and those
/// that were reset for what its client did wrong; beyond either the connection is closed. No client
/// that means well comes near them, and what one may reset in the course of time is limited by
/// [`DoorSettings::http2_control_frames`].
const RESET_UNSEEN: usize = 20;
const RESET_FOR_ERRORS: usize = 128;

/// Limits of the connections through one door.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DoorSettings {
    /// Connections open at once; further ones wait in the system's backlog.
    pub max_connections: usize,
    /// Connections open at once from one address, or one network of 64 bits of IPv6; further ones are
    /// closed at once. Proxies that are trusted carry many clients and have no such limit.
    pub max_connections_per_address: usize,
    /// Time for a client to send the head of a request, and for which an HTTP/1.1 connection may
    /// be idle between two requests.
    pub header_timeout: Duration,
    /// Time that may pass without the client taking a further byte of what is sent to it.
    pub write_stall_timeout: Duration,
    /// Time for which the rest of a request's body is still taken, and forgotten, once the request has
    /// been answered, so that its client comes to read the answer.
    pub linger_timeout: Duration,
    /// Bytes of it that are taken.
    pub linger_bytes: usize,
    /// Header fields of one request; beyond it the connection answers by itself, with 431.
    pub max_headers: usize,
    /// Bytes of one request's head.
    pub max_head_bytes: usize,
    /// Requests of one HTTP/2 connection under way at once.
    pub http2_max_streams: u32,
    /// Frames a second of one HTTP/2 connection that bring no request forward, as pings and resets;
    /// five times as many at once. Beyond it the connection is closed.
    pub http2_control_frames: u32,
    /// Time between two liveness checks of an HTTP/2 connection, and for the answer to one.
    pub http2_ping_interval: Duration,
    /// Time after which an HTTP/2 connection is closed on which nothing goes on: no request is being
    /// answered, and of no answer the client takes anything.
    pub http2_idle_timeout: Duration,
    /// Bytes of bodies that a client may send over one HTTP/2 connection ahead of whoever takes them,
    /// half as many on one stream. At least 65,535 and 32,767.
    pub http2_window: usize,
    /// The same of all connections together. As it is used up, each further one has less, and the
    /// least at last.
    pub http2_all_windows: usize,
    /// Bytes of one response that wait for an HTTP/2 client to take them.
    pub http2_send_buffer: usize,
    /// Proxies that carry many clients each.
    pub trusted_proxies: Vec<IpNet>,
}

impl DoorSettings {
    fn io_limits(&self) -> IoLimits {
        IoLimits {
            first_bytes: self.header_timeout,
            write_stall: self.write_stall_timeout,
            control_frames: self.http2_control_frames,
            linger: self.linger_timeout,
            linger_bytes: self.linger_bytes,
        }
    }

    fn builder(&self) -> auto::Builder<TokioExecutor> {
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(self.header_timeout)
            .max_headers(self.max_headers)
            // Room for the largest head, beside what arrives with it.
            .max_buf_size(self.max_head_bytes.max(8 << 10) + (8 << 10));
        let header_list = u32::try_from(self.max_head_bytes);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(self.http2_max_streams)
            .max_header_list_size(header_list.unwrap_or(u32::MAX))
            .max_pending_accept_reset_streams(RESET_UNSEEN)
            .max_local_error_reset_streams(RESET_FOR_ERRORS)
            .max_send_buf_size(self.http2_send_buffer)
            .keep_alive_interval(self.http2_ping_interval)
            .keep_alive_timeout(self.http2_ping_interval);
        builder
    }

    fn windows(&self) -> Arc<Windows> {
        let (most, all) = (self.http2_window, self.http2_all_windows);
        Windows::new(most, all, self.max_connections)
    }
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

/// A connection that has come through the door.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// Where it comes from.
    pub address: IpAddr,
    /// Whether by TLS.
    pub secure: bool,
    pub(crate) redirect: Option<Redirect>,
    pub(crate) conflict: LengthConflict,
    /// Its place among the connections of the door and of its address, if it came by a listener.
    pub(crate) place: Option<Arc<dyn Any + Send + Sync>>,
}

/// The body of a response.
pub trait Sent:
    Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + Unpin + 'static
{
}

impl<B> Sent for B where
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>
        + Send
        + Unpin
        + 'static
{
}

/// What all connections have in common.
pub struct Door {
    settings: DoorSettings,
    slots: Arc<Semaphore>,
    addresses: Arc<Counted<IpAddr>>,
    windows: Arc<Windows>,
    builder: Arc<auto::Builder<TokioExecutor>>,
    connections: TaskTracker,
    /// Tells connections to finish what is under way, and breaks them off. Each has children of its
    /// own: asking whether it is cancelled takes a lock.
    stopping: CancellationToken,
    broken: CancellationToken,
}

impl Door {
    /// A door that nobody has come through.
    pub fn new(settings: DoorSettings) -> Self {
        Self {
            slots: Arc::new(Semaphore::new(settings.max_connections)),
            addresses: Arc::default(),
            windows: settings.windows(),
            builder: Arc::new(settings.builder()),
            connections: TaskTracker::new(),
            stopping: CancellationToken::new(),
            broken: CancellationToken::new(),
            settings,
        }
    }

    /// Takes the connections of one listener until `stop`, each with a service of its own.
    pub async fn accept<S, B>(
        &self,
        listener: Listener,
        stop: &CancellationToken,
        service: impl Fn(Arrival) -> S + Clone + Send + 'static,
    ) where
        S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Send + 'static,
        S::Future: Send + 'static,
        B: Sent,
    {
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
        while let Some((stream, address, slot)) = next(&socket, &self.slots, stop).await {
            let Some(address_slot) = self.enter(address.ip().to_canonical()) else {
                tracing::debug!(peer = %address, "closed: too many connections from this network");
                continue;
            };
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(peer = %address, %error, "the connection is gone already");
                continue;
            }
            let place: Arc<dyn Any + Send + Sync> = Arc::new((slot, address_slot));
            let connection = Connection {
                builder: Arc::clone(&self.builder),
                stopping: self.stopping.child_token(),
                limits: self.settings.io_limits(),
                idle: self.settings.http2_idle_timeout,
                window: self.windows.open(),
                address,
                redirect,
                place: Some(Arc::clone(&place)),
            };
            let (tls, service) = (tls.clone(), service.clone());
            let broken = self.broken.child_token();
            self.connections.spawn(async move {
                let serving = async {
                    match tls {
                        None => connection.serve(stream, false, service).await,
                        Some((acceptor, within)) => {
                            connection
                                .shake_hands(stream, acceptor, within, service)
                                .await;
                        }
                    }
                };
                tokio::select! {
                    () = serving => {}
                    () = broken.cancelled() => {}
                }
                drop(place);
            });
        }
        drop(watching);
    }

    /// Serves one connection of `peer` that came by no listener, until it ends.
    pub(crate) async fn serve_one<T, S, B>(
        settings: &DoorSettings,
        stream: T,
        peer: IpAddr,
        service: impl Fn(Arrival) -> S,
    ) where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
        S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Send + 'static,
        S::Future: Send + 'static,
        B: Sent,
    {
        let connection = Connection {
            builder: Arc::new(settings.builder()),
            stopping: CancellationToken::new(),
            limits: settings.io_limits(),
            idle: settings.http2_idle_timeout,
            window: settings.windows().open(),
            address: SocketAddr::new(peer, 0),
            redirect: None,
            place: None,
        };
        connection.serve(stream, false, service).await;
    }

    /// How many connections are open.
    pub fn open(&self) -> usize {
        self.connections.len()
    }

    /// Lets requests under way end, and `also` whatever has left its connection's task, within `grace`;
    /// then breaks off what is left, which `broken` is told. `what` names the door in the log.
    pub async fn close(
        self,
        grace: Duration,
        what: &'static str,
        also: impl Future<Output = ()>,
        broken: impl FnOnce(),
    ) {
        let Self {
            connections,
            stopping,
            broken: abort,
            ..
        } = self;
        stopping.cancel();
        connections.close();
        let finished = async { tokio::join!(connections.wait(), also) };
        if tokio::time::timeout(grace, finished).await.is_err() {
            let connections = connections.len();
            tracing::warn!(
                connections,
                "{what}: the grace is over; breaking off the rest"
            );
        }
        abort.cancel();
        broken();
        connections.wait().await;
    }

    /// A place for one more connection from `address`. `None`: it has as many as it may.
    fn enter(&self, address: IpAddr) -> Option<Option<CountedSlot<IpAddr>>> {
        let mut proxies = self.settings.trusted_proxies.iter();
        if proxies.any(|network| network.contains(&address)) {
            return Some(None);
        }
        let limit = self.settings.max_connections_per_address;
        self.addresses.enter(network(address), limit).map(Some)
    }
}

/// A connection that was accepted.
struct Connection {
    builder: Arc<auto::Builder<TokioExecutor>>,
    stopping: CancellationToken,
    limits: IoLimits,
    /// Time for which it may go unused, if it is one of HTTP/2.
    idle: Duration,
    window: Window,
    address: SocketAddr,
    redirect: Option<Redirect>,
    place: Option<Arc<dyn Any + Send + Sync>>,
}

impl Connection {
    async fn shake_hands<S, B>(
        self,
        stream: TcpStream,
        acceptor: TlsAcceptor,
        within: Duration,
        service: impl Fn(Arrival) -> S,
    ) where
        S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Send + 'static,
        S::Future: Send + 'static,
        B: Sent,
    {
        let peer = self.address;
        match tokio::time::timeout(within, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => self.serve(stream, true, service).await,
            Ok(Err(error)) => tracing::debug!(%peer, %error, "the TLS handshake failed"),
            Err(_) => tracing::debug!(%peer, "the TLS handshake took too long"),
        }
    }

    async fn serve<T, S, B>(self, stream: T, secure: bool, service: impl Fn(Arrival) -> S)
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
        S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Send + 'static,
        S::Future: Send + 'static,
        B: Sent,
    {
        let Self {
            builder,
            stopping,
            limits,
            idle,
            window,
            address,
            redirect,
            place,
        } = self;
        let io = GuardedIo::new(stream, limits);
        let streams = io.streams();
        let service = service(Arrival {
            address: address.ip(),
            secure,
            redirect,
            conflict: io.conflict(),
            place,
        });
        let service = followed(service, Arc::clone(&streams));
        let mut builder = auto::Builder::clone(&builder);
        builder
            .http2()
            .initial_connection_window_size(window.connection())
            .initial_stream_window_size(window.stream());
        let connection = builder.serve_connection_with_upgrades(TokioIo::new(io), service);
        let mut connection = pin!(connection);
        let (mut told, mut patience) = (false, idle);
        loop {
            tokio::select! {
                biased;
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        tracing::debug!(peer = %address, %error, "connection ended");
                    }
                    return;
                }
                () = stopping.cancelled(), if !told => {}
                () = streams.unused_for(patience) => {
                    if told {
                        tracing::debug!(peer = %address, "closed: nothing goes on on it");
                        return;
                    }
                    // It has been told that no further request is answered, and should go.
                    patience = limits.write_stall;
                }
            }
            told = true;
            streams.use_now();
            connection.as_mut().graceful_shutdown();
        }
    }
}

/// The next connection, once there is a slot for it; `None` when the node is to stop.
async fn next(
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
