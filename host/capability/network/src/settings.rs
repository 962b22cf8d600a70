//! Limits of outgoing connections.

use std::time::Duration;

use crate::proxy::ProxyAddress;

/// What the guests of a node may use of its network. Each limit has an error of its own, as
/// `wasi:http` names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkSettings {
    /// Time for one look-up, one connection and one TLS handshake, each. A guest can ask for less,
    /// not for more. Default 10 s; beyond it `connection-timeout` (`DNS-timeout`).
    pub connect_timeout: Duration,
    /// Time from a request to the end of its response. Default 60 s, and never beyond the deadline
    /// of the call that the guest serves; beyond it `HTTP-response-timeout`.
    pub total_timeout: Duration,
    /// Requests and look-ups of one instance under way at once. Default 16; beyond it
    /// `connection-limit-reached` (`temporary-resolver-failure`).
    pub concurrent: usize,
    /// Requests, look-ups and new sockets of one instance during one call. Default 100; beyond it
    /// `connection-limit-reached` (`temporary-resolver-failure`, `new-socket-limit`).
    pub per_call: usize,
    /// Names of one tenant that are looked up at once; each takes a thread until the system's resolver
    /// has answered or given up. Default 8; beyond it a look-up waits, and ends with
    /// `connection-limit-reached` (`temporary-resolver-failure`) when its time is over.
    pub tenant_lookups: usize,
    /// Names of the node that are looked up at once, likewise. Default 64.
    pub lookups: usize,
    /// Bytes of one request's body. Default 64 MiB; beyond it `HTTP-request-body-size`.
    pub request_body_bytes: u64,
    /// Bytes of one response's body. Default 256 MiB; beyond it `HTTP-response-body-size`.
    pub response_body_bytes: u64,
    /// Bytes of a path with its query. Default 16 KiB; beyond it `HTTP-request-URI-too-long`.
    pub uri_bytes: usize,
    /// Bytes of a response's status line and headers. Default 32 KiB; beyond it
    /// `HTTP-protocol-error`.
    pub response_header_bytes: usize,
    /// Headers of a response. Default 128; beyond it `HTTP-protocol-error`.
    pub response_headers: usize,
    /// Bytes that one write to an outgoing body may bring. Default 128 KiB; a longer write is
    /// split.
    pub body_chunk_bytes: usize,
    /// Bytes that bodies made by one call may keep unsent in WASI 0.2, where each has a buffer. Default
    /// 512 KiB; as it is used up further bodies take less at once, [`LEAST_CHUNK`] at last. Those of
    /// WASI 0.3 that are under way at once share a fourth of it.
    pub body_buffer_bytes: usize,
    /// The proxy through which all outgoing HTTP goes. Default none.
    pub proxy: Option<ProxyAddress>,
    /// Whether requests by TLS may use HTTP/2. Default yes.
    pub http2: bool,
    /// Time without use after which a connection is closed. Default 30 s.
    pub idle_time: Duration,
    /// Age beyond which no further request begins on a connection, so that its name is looked up
    /// again. Default 5 min.
    pub connection_age: Duration,
    /// Connections of one installation or driver instance that lie idle; beyond it the oldest is
    /// closed. Default 16; 0 keeps none.
    pub idle_per_owner: usize,
    /// Connections of a node that lie idle; beyond it none is kept. Default 256.
    pub idle_per_node: usize,
    /// Records of refusals that the log of one installation or driver instance gets in a minute.
    /// Default 60; further ones are counted, and the next minute's first record says how many.
    pub refusal_records: usize,
    /// Certificates (DER) that are trusted beside the roots of the public web, as of a company's
    /// own authority. Default none.
    pub trusted_certificates: Vec<Vec<u8>>,
}

/// What a body takes at once when there are many.
pub const LEAST_CHUNK: usize = 4 << 10;

impl Default for NetworkSettings {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            total_timeout: Duration::from_secs(60),
            concurrent: 16,
            per_call: 100,
            tenant_lookups: 8,
            lookups: 64,
            request_body_bytes: 64 << 20,
            response_body_bytes: 256 << 20,
            uri_bytes: 16 << 10,
            response_header_bytes: 32 << 10,
            response_headers: 128,
            body_chunk_bytes: 128 << 10,
            body_buffer_bytes: 512 << 10,
            proxy: None,
            http2: true,
            idle_time: Duration::from_secs(30),
            connection_age: Duration::from_secs(300),
            idle_per_owner: 16,
            idle_per_node: 256,
            refusal_records: 60,
            trusted_certificates: Vec::new(),
        }
    }
}
