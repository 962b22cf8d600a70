//! Listeners, HTTP limits, the chain of a request, causes to status codes.
//!
//! [`Edge::serve`] takes connections of HTTP/1.1 and of HTTP/2 with prior knowledge from one
//! listener. Read `chain.rs` for the way of a request and `problem.rs` for the ways in which it can
//! end.

mod body;
mod chain;
mod framing;
mod guests;
mod headers;
mod io;
mod listener;
mod objects;
mod problem;
mod reaper;
mod record;
mod request;
mod settings;

use std::sync::Arc;

use canopy_admission::Admission;
use canopy_tenant::Routes;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use guests::Guests;
pub use io::GuardedIo;
pub use settings::EdgeSettings;

/// The data plane's front: takes requests and has applications answer them.
pub struct Edge<G: Guests> {
    settings: EdgeSettings,
    routes: Routes,
    admission: Admission,
    guests: G,
    reaper: reaper::Reaper<objects::Source<G::Body>>,
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
        })
    }

    /// Serves connections of `listener` until `stop` is cancelled, then takes no new ones, lets
    /// requests under way finish within the grace, and returns.
    pub async fn serve(self: Arc<Self>, listener: TcpListener, stop: CancellationToken) {
        listener::serve(self, listener, stop).await;
    }

    /// How many requests are under way.
    pub fn in_flight(&self) -> usize {
        self.admission.in_flight()
    }
}
