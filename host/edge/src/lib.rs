//! Listeners, HTTP limits, the chain of a request, causes to status codes.
//!
//! [`Edge::serve`] takes connections of HTTP/1.1 and HTTP/2, with TLS and without. Read `chain.rs`
//! for the way of a request and `problem.rs` for the ways in which it can end.
//!
//! What is decided, in this order, and where: how many connections there may be (`door.rs`,
//! `connections.rs`); the TLS handshake (`certificates.rs`); what every byte of a connection must
//! keep to, and that it is used (`io.rs`, `framing.rs`, `flood.rs`, `streams.rs`, `windows.rs`); then
//! each request by itself (`request.rs`, and `websocket/handshake.rs` if it asks for that); whose it is
//! (`canopy_tenant`); whether it is for an object (`objects.rs`), or who asks; whether there is room
//! (`canopy_admission`); and only then does the runtime see to it that the tenant has CPU time left,
//! load the application, and let anything of it run. Each step costs more than the one before it and
//! trusts more. `host/README.md` has a table of them, with what each refuses by.

mod body;
mod certificate;
mod certificates;
mod chain;
mod connections;
mod deliver;
mod door;
mod due;
mod flood;
mod framing;
mod guests;
mod headers;
mod invoke;
mod io;
mod listener;
mod objects;
mod problem;
mod reaper;
mod record;
mod request;
mod settings;
mod streams;
mod websocket;
mod windows;

use std::net::IpAddr;
use std::sync::Arc;

use canopy_admission::Admission;
use canopy_ids::TenantId;
use canopy_tenant::Routes;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

pub use body::patient;
pub use certificate::CertificateError;
pub use certificates::{Certificates, TlsSettings};
pub use door::{Arrival, Door, DoorSettings, Listener, Sent};
pub use guests::Guests;
pub use invoke::{Answered, Handed, Handing, Invocation, InvokeError};
pub use settings::EdgeSettings;

/// The data plane's front: takes requests and has applications answer them.
pub struct Edge<G: Guests> {
    settings: EdgeSettings,
    routes: Routes,
    admission: Admission,
    guests: G,
    reaper: reaper::Reaper<objects::Source<G::Body>>,
    /// Connections that carry requests of each tenant.
    tenants: Arc<connections::Counted<TenantId>>,
    /// Connections of the WebSocket protocol.
    sockets: websocket::Sockets,
}

impl<G: Guests> Edge<G> {
    /// An edge that routes by `routes`, admits by `admission` and lets `guests` answer.
    pub fn new(
        settings: EdgeSettings,
        routes: Routes,
        admission: Admission,
        guests: G,
    ) -> Arc<Self> {
        Arc::new(Self {
            settings,
            routes,
            admission,
            guests,
            reaper: reaper::Reaper::default(),
            tenants: Arc::default(),
            sockets: websocket::Sockets::default(),
        })
    }

    /// Serves connections of `listeners` until `stop` is cancelled, then takes no new ones, lets
    /// requests under way finish within the grace, and returns.
    pub async fn serve(self: Arc<Self>, listeners: Vec<Listener>, stop: CancellationToken) {
        listener::serve(self, listeners, stop).await;
    }

    /// Serves one connection of `peer` that came by no listener, until it ends. It counts against no
    /// limit of connections, and does not know when the node is to stop.
    pub async fn serve_connection<T>(self: Arc<Self>, stream: T, peer: IpAddr)
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        listener::serve_connection(self, stream, peer).await;
    }

    /// How many requests are under way.
    pub fn in_flight(&self) -> usize {
        self.admission.in_flight()
    }
}
