//! What the edge can be told.

use std::time::Duration;

use ipnet::IpNet;

use crate::door::DoorSettings;

/// Limits of the data plane's listener. The limits of one installation come with its route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EdgeSettings {
    /// Connections open at once; further ones wait in the system's backlog.
    pub max_connections: usize,
    /// Connections open at once from one address, or one network of 64 bits of IPv6; further ones are
    /// closed at once. Proxies that are trusted carry many clients and have no such limit.
    pub max_connections_per_address: usize,
    /// Time for a client to send the head of a request, and for which an HTTP/1.1 connection may
    /// be idle between two requests.
    pub header_timeout: Duration,
    /// Time that may pass without a further byte of a request body.
    pub body_idle_timeout: Duration,
    /// Time that may pass without the client taking a further byte of what is sent to it.
    pub write_stall_timeout: Duration,
    /// Time for which the rest of a request's body is still taken, and forgotten, once the request has
    /// been answered, so that its client comes to read the answer.
    pub linger_timeout: Duration,
    /// Bytes of it that are taken.
    pub linger_bytes: usize,
    /// Time for one transfer to or from a pre-signed address. Default: 1 hour.
    pub transfer_timeout: Duration,
    /// Header fields of one request.
    pub max_headers: usize,
    /// Bytes of the header fields of one request together.
    pub max_header_bytes: usize,
    /// Bytes of a request's path and query.
    pub max_uri_bytes: usize,
    /// Requests of one HTTP/2 connection under way at once.
    pub http2_max_streams: u32,
    /// Frames a second of one HTTP/2 connection that bring no request forward, as pings and resets;
    /// five times as many at once. Beyond it the connection is closed.
    pub http2_control_frames: u32,
    /// How often a request may lead, through applications that call this node again, to a further
    /// one. Beyond it `loop-detected`.
    pub max_depth: u32,
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
    /// Connections of the WebSocket protocol of one tenant, open at once. Beyond it `tenant-websockets`.
    pub websockets: usize,
    /// Bytes of one message of a client. Beyond it the connection is closed with 1009.
    pub websocket_message: usize,
    /// How long a client may give no sign that is asked for one three times in that time. Then the
    /// connection is closed with 1008.
    pub websocket_idle: Duration,
    /// Time for requests under way to finish once the node is told to stop.
    pub drain_grace: Duration,
    /// Proxies whose `X-Forwarded-*` headers are believed.
    pub trusted_proxies: Vec<IpNet>,
}

impl Default for EdgeSettings {
    fn default() -> Self {
        Self {
            max_connections: 8192,
            max_connections_per_address: 1024,
            header_timeout: Duration::from_secs(10),
            body_idle_timeout: Duration::from_secs(20),
            write_stall_timeout: Duration::from_secs(20),
            linger_timeout: Duration::from_secs(5),
            linger_bytes: 16 << 20,
            transfer_timeout: Duration::from_secs(3600),
            max_headers: 64,
            max_header_bytes: 32 << 10,
            max_uri_bytes: 16 << 10,
            http2_max_streams: 64,
            http2_control_frames: 200,
            max_depth: 16,
            http2_ping_interval: Duration::from_secs(20),
            http2_idle_timeout: Duration::from_secs(60),
            http2_window: 1 << 20,
            http2_all_windows: 1 << 30,
            http2_send_buffer: 256 << 10,
            websockets: 256,
            websocket_message: 1 << 20,
            websocket_idle: Duration::from_secs(60),
            drain_grace: Duration::from_secs(30),
            trusted_proxies: Vec::new(),
        }
    }
}

impl EdgeSettings {
    /// What holds for connections, whatever their requests are.
    pub(crate) fn door(&self) -> DoorSettings {
        DoorSettings {
            max_connections: self.max_connections,
            max_connections_per_address: self.max_connections_per_address,
            header_timeout: self.header_timeout,
            write_stall_timeout: self.write_stall_timeout,
            linger_timeout: self.linger_timeout,
            linger_bytes: self.linger_bytes,
            // Somewhat more than the limit, so that a request a little over it gets an explanation.
            max_headers: 2 * self.max_headers,
            max_head_bytes: self.max_header_bytes + self.max_uri_bytes,
            http2_max_streams: self.http2_max_streams,
            http2_control_frames: self.http2_control_frames,
            http2_ping_interval: self.http2_ping_interval,
            http2_idle_timeout: self.http2_idle_timeout,
            http2_window: self.http2_window,
            http2_all_windows: self.http2_all_windows,
            http2_send_buffer: self.http2_send_buffer,
            trusted_proxies: self.trusted_proxies.clone(),
        }
    }
}
