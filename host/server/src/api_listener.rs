//! The control API's connections: through a door like that of the applications, with limits of its own.

use std::future::ready;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use canopy_edge::{Door, DoorSettings, Listener, patient};
use hyper::body::Incoming;
use hyper::service::service_fn;
use ipnet::IpNet;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

/// Limits of the control API's listener. Those of the same name of the applications' are meant alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiSettings {
    /// Connections at once; further ones wait.
    pub(crate) max_connections: usize,
    /// Connections at once from one address; further ones are closed.
    pub(crate) max_connections_per_address: usize,
    /// Time for a client to send the head of a request, and for which a connection may be idle.
    pub(crate) header_timeout: Duration,
    /// Time that may pass without a further byte of a request body.
    pub(crate) body_idle_timeout: Duration,
    /// Time that may pass without the client taking a further byte of what is sent to it.
    pub(crate) write_stall_timeout: Duration,
    /// Time for which the rest of a body is still taken whose request has been answered.
    pub(crate) linger_timeout: Duration,
    /// Bytes of it that are taken.
    pub(crate) linger_bytes: usize,
    /// Header fields of one request.
    pub(crate) max_headers: usize,
    /// Bytes of one request's head.
    pub(crate) max_header_bytes: usize,
    /// Requests of one HTTP/2 connection under way at once.
    pub(crate) http2_max_streams: u32,
    /// Frames a second of one HTTP/2 connection that bring no request forward.
    pub(crate) http2_control_frames: u32,
    /// Time between two liveness checks of an HTTP/2 connection, and for the answer to one.
    pub(crate) http2_ping_interval: Duration,
    /// Time after which an HTTP/2 connection is closed on which nothing goes on.
    pub(crate) http2_idle_timeout: Duration,
    /// Bytes of bodies that a client may send over one HTTP/2 connection ahead of what is read.
    pub(crate) http2_window: usize,
    /// The same of all connections together.
    pub(crate) http2_all_windows: usize,
    /// Bytes of one response that wait for an HTTP/2 client to take them.
    pub(crate) http2_send_buffer: usize,
    /// Time for requests under way to finish at the end.
    pub(crate) drain_grace: Duration,
}

impl Default for ApiSettings {
    fn default() -> Self {
        Self {
            max_connections: 1024,
            max_connections_per_address: 256,
            header_timeout: Duration::from_secs(20),
            body_idle_timeout: Duration::from_secs(20),
            write_stall_timeout: Duration::from_secs(20),
            linger_timeout: Duration::from_secs(5),
            linger_bytes: 16 << 20,
            max_headers: 64,
            max_header_bytes: 32 << 10,
            http2_max_streams: 64,
            http2_control_frames: 200,
            http2_ping_interval: Duration::from_secs(20),
            http2_idle_timeout: Duration::from_secs(60),
            http2_window: 1 << 20,
            http2_all_windows: 128 << 20,
            http2_send_buffer: 256 << 10,
            drain_grace: Duration::from_secs(10),
        }
    }
}

/// Serves `router` until `stop`, then lets requests under way finish.
pub(crate) async fn serve(
    settings: ApiSettings,
    trusted_proxies: Vec<IpNet>,
    router: Router,
    listener: Listener,
    stop: CancellationToken,
) {
    let door = Door::new(DoorSettings {
        max_connections: settings.max_connections,
        max_connections_per_address: settings.max_connections_per_address,
        header_timeout: settings.header_timeout,
        write_stall_timeout: settings.write_stall_timeout,
        linger_timeout: settings.linger_timeout,
        linger_bytes: settings.linger_bytes,
        max_headers: settings.max_headers,
        max_head_bytes: settings.max_header_bytes,
        http2_max_streams: settings.http2_max_streams,
        http2_control_frames: settings.http2_control_frames,
        http2_ping_interval: settings.http2_ping_interval,
        http2_idle_timeout: settings.http2_idle_timeout,
        http2_window: settings.http2_window,
        http2_all_windows: settings.http2_all_windows,
        http2_send_buffer: settings.http2_send_buffer,
        trusted_proxies,
    });
    let idle = settings.body_idle_timeout;
    let service = move |_| {
        let router = router.clone();
        service_fn(move |request: Request<Incoming>| {
            let request = request.map(|body| Body::new(patient(body, idle)));
            router.clone().oneshot(request)
        })
    };
    door.accept(listener, &stop, service).await;
    door.close(settings.drain_grace, "the API", ready(()), || {})
        .await;
}

#[cfg(test)]
mod tests {
    use axum::routing::{get, post};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    /// An API with short times that takes two connections of one address, and where it is.
    async fn api() -> (std::net::SocketAddr, CancellationToken) {
        let settings = ApiSettings {
            max_connections_per_address: 2,
            header_timeout: Duration::from_millis(300),
            body_idle_timeout: Duration::from_millis(300),
            ..ApiSettings::default()
        };
        let take = |body: Body| async move {
            match axum::body::to_bytes(body, 1 << 20).await {
                Ok(body) => body.len().to_string(),
                Err(error) => error.to_string(),
            }
        };
        let router = Router::new()
            .route("/", get(|| async { "hello" }))
            .route("/", post(take));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let stop = CancellationToken::new();
        let listener = Listener::plain(listener);
        tokio::spawn(serve(settings, Vec::new(), router, listener, stop.clone()));
        (address, stop)
    }

    /// Sends `text` and reads until the connection ends.
    async fn exchange(stream: &mut TcpStream, text: &str) -> String {
        let _ = stream.write_all(text.as_bytes()).await;
        let mut all = Vec::new();
        let read = stream.read_to_end(&mut all);
        let ended = tokio::time::timeout(Duration::from_secs(20), read).await;
        let _ = ended.expect("the connection ends");
        String::from_utf8_lossy(&all).into_owned()
    }

    #[tokio::test]
    async fn one_address_has_so_many_connections() {
        let (address, _stop) = api().await;
        let connect = || async { TcpStream::connect(address).await.expect("connected") };
        let (first, _second) = (connect().await, connect().await);
        let request = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        assert_eq!(exchange(&mut connect().await, request).await, "");
        drop(first);
        let answered = loop {
            let answer = exchange(&mut connect().await, request).await;
            if !answer.is_empty() {
                break answer;
            }
        };
        assert!(answered.ends_with("hello"), "{answered}");
    }

    #[tokio::test]
    async fn a_head_or_a_body_that_does_not_come_is_not_waited_for() {
        let (address, _stop) = api().await;
        let mut stream = TcpStream::connect(address).await.expect("connected");
        let answer = exchange(&mut stream, "GET / HTTP/1.1\r\nhost:").await;
        assert!(!answer.contains("hello"), "{answer}");
        let mut stream = TcpStream::connect(address).await.expect("connected");
        let body = "POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 9\r\n\r\nx";
        let answer = exchange(&mut stream, body).await;
        assert!(answer.contains("in time"), "{answer}");
    }
}
