//! The control API's connections. `axum::serve` sets no timers, so a client that sends its head
//! byte by byte would hold a connection for good.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

/// Limits of the control API's listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiSettings {
    /// Connections at once; further ones wait.
    pub(crate) max_connections: usize,
    /// Time for a client to send the head of a request, and to take what is sent to it.
    pub(crate) timeout: Duration,
    /// Header fields of one request.
    pub(crate) max_headers: usize,
    /// Time for requests under way to finish at the end.
    pub(crate) drain_grace: Duration,
}

impl Default for ApiSettings {
    fn default() -> Self {
        Self {
            max_connections: 1024,
            timeout: Duration::from_secs(20),
            max_headers: 64,
            drain_grace: Duration::from_secs(10),
        }
    }
}

/// Bytes that hyper keeps for one connection, which bounds the head of a request.
const BUFFER_BYTES: usize = 64 << 10;

/// HTTP/2 frames a second that bring no request forward; see `edge.http2_control_frames`.
const CONTROL_FRAMES: u32 = 200;

/// Serves `router` until `stop`, then lets requests under way finish.
pub(crate) async fn serve(
    settings: ApiSettings,
    router: Router,
    listener: TcpListener,
    stop: CancellationToken,
) {
    let slots = Arc::new(Semaphore::new(settings.max_connections));
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(settings.timeout)
        .max_headers(settings.max_headers)
        .max_buf_size(BUFFER_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(64)
        .max_header_list_size(32 << 10);
    let builder = Arc::new(builder);
    let graceful = GracefulShutdown::new();

    loop {
        let next = async {
            let slot = Arc::clone(&slots).acquire_owned().await;
            (listener.accept().await, slot)
        };
        let (accepted, slot) = tokio::select! {
            () = stop.cancelled() => break,
            next = next => next,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "could not accept a connection to the API");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let limits = canopy_edge::IoLimits {
            first_bytes: settings.timeout,
            write_stall: settings.timeout,
            control_frames: CONTROL_FRAMES,
        };
        let io = canopy_edge::GuardedIo::new(stream, limits);
        let router = router.clone();
        let service = service_fn(move |request: Request<hyper::body::Incoming>| {
            router.clone().oneshot(request.map(Body::new))
        });
        let connection = builder
            .serve_connection(TokioIo::new(io), service)
            .into_owned();
        let connection = graceful.watcher().watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection to the API ended");
            }
            drop(slot);
        });
    }
    drop(listener);
    if tokio::time::timeout(settings.drain_grace, graceful.shutdown())
        .await
        .is_err()
    {
        tracing::warn!("requests to the API were broken off");
    }
}
