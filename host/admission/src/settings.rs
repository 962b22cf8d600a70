//! What admission can be told.

use std::time::Duration;

/// Limits of this node. The limit of one installation comes with the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdmissionSettings {
    /// Requests under way on this node at once.
    pub node_concurrency: usize,
    /// Requests of one tenant under way at once.
    pub tenant_concurrency: usize,
    /// Requests that may wait for one installation, and for one tenant.
    pub max_waiting: usize,
    /// How long a request may wait.
    pub max_wait: Duration,
    /// What a refused client is told to wait before it tries again.
    pub retry_after: Duration,
}

impl Default for AdmissionSettings {
    fn default() -> Self {
        Self {
            node_concurrency: 512,
            tenant_concurrency: 128,
            max_waiting: 256,
            max_wait: Duration::from_secs(1),
            retry_after: Duration::from_secs(1),
        }
    }
}
