//! Connections: how many, from whom, with what limits, and how they end when the node stops.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::Edge;
use crate::chain::{Peer, respond};
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

/// Accepts connections until `stop`, then lets what is under way finish within the grace.
pub(crate) async fn serve<G: Guests>(
    edge: Arc<Edge<G>>,
    listener: TcpListener,
    stop: CancellationToken,
) {
    let slots = Arc::new(Semaphore::new(edge.settings.max_connections));
    let addresses = Arc::new(Addresses::new(edge.settings.max_connections_per_address));
    let builder = Arc::new(builder(&edge.settings));
    let graceful = GracefulShutdown::new();
    let connections = TaskTracker::new();
    let abort = CancellationToken::new();
    let reaper = tokio::spawn(reap(Arc::clone(&edge)));

    while let Some((stream, address, slot)) = accept(&listener, &slots, &stop).await {
        let Some(address_slot) = addresses.enter(address.ip().to_canonical()) else {
            tracing::debug!(peer = %address, "closed: too many connections from this address");
            continue;
        };
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(peer = %address, %error, "the connection is gone already");
            continue;
        }
        let settings = &edge.settings;
        let io = GuardedIo::new(
            stream,
            settings.header_timeout,
            settings.write_stall_timeout,
        );
        let peer = Peer {
            address: address.ip(),
            conflict: io.conflict(),
        };
        let service_edge = Arc::clone(&edge);
        let service = service_fn(move |request| {
            let (edge, peer) = (Arc::clone(&service_edge), peer.clone());
            async move { Ok::<_, Infallible>(respond(&edge, &peer, request).await) }
        });
        let connection = builder
            .serve_connection(TokioIo::new(io), service)
            .into_owned();
        let connection = graceful.watcher().watch(connection);
        let abort = abort.clone();
        connections.spawn(async move {
            tokio::select! {
                ended = connection => {
                    if let Err(error) = ended {
                        tracing::debug!(peer = %address, %error, "connection ended");
                    }
                }
                () = abort.cancelled() => {}
            }
            drop((slot, address_slot));
        });
    }

    drop(listener);
    let open = graceful.count();
    tracing::info!(
        connections = open,
        "no new connections; finishing what is under way"
    );
    if tokio::time::timeout(edge.settings.drain_grace, graceful.shutdown())
        .await
        .is_err()
    {
        tracing::warn!(
            connections = connections.len(),
            "the grace is over; breaking off the rest"
        );
    }
    abort.cancel();
    connections.close();
    connections.wait().await;
    reaper.abort();
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

/// How many connections each address has open.
#[derive(Debug)]
struct Addresses {
    limit: usize,
    open: Mutex<HashMap<IpAddr, usize>>,
}

struct AddressSlot {
    addresses: Arc<Addresses>,
    address: IpAddr,
}

impl Addresses {
    fn new(limit: usize) -> Self {
        Self {
            limit,
            open: Mutex::default(),
        }
    }

    fn enter(self: &Arc<Self>, address: IpAddr) -> Option<AddressSlot> {
        let mut open = self.open.lock();
        let count = open.entry(address).or_default();
        if *count >= self.limit {
            return None;
        }
        *count += 1;
        Some(AddressSlot {
            addresses: Arc::clone(self),
            address,
        })
    }
}

impl Drop for AddressSlot {
    fn drop(&mut self) {
        let mut open = self.addresses.open.lock();
        if let Some(count) = open.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.address);
            }
        }
    }
}
