//! What admission can be told.

use std::time::Duration;

/// Limits of this node. Those of a tenant and of an installation come with the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdmissionSettings {
    /// Requests under way on this node at once. Default 512; beyond it, after waiting, `node-busy`.
    pub node_concurrency: usize,
    /// Of these, how many are kept for tenants that have few. Default 64; at most half of all.
    pub node_reserve: usize,
    /// Requests that may wait for one installation, and for one tenant. Default 256.
    pub max_waiting: usize,
    /// How long a request may wait for its turn. Default 1 s.
    pub max_wait: Duration,
    /// How long the first of those who wait for an installation, for a tenant, or of one tenant for
    /// the node, may have waited before further ones are refused at once, and those behind it that
    /// would wait in vain. In a queue that has stood for so long, no more wait than are served in
    /// this time. Default 100 ms.
    pub shed_after: Duration,
    /// What a client that is refused for want of a slot is told to wait. Default 1 s.
    pub retry_after: Duration,
}

impl Default for AdmissionSettings {
    fn default() -> Self {
        Self {
            node_concurrency: 512,
            node_reserve: 64,
            max_waiting: 256,
            max_wait: Duration::from_secs(1),
            shed_after: Duration::from_millis(100),
            retry_after: Duration::from_secs(1),
        }
    }
}
