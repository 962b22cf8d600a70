//! Limits of messages.

use std::time::Duration;

use canopy_backend::queue::QueueLimits;

/// Limits of messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageSettings {
    /// What a queue takes. Defaults: messages of 256 KiB; 10,000 of one installation that wait, and
    /// 1,000 that were given up.
    pub queue: QueueLimits,
    /// For how long a message may be held back. Default 7 days.
    pub delay_most: Duration,
    /// How often a message is delivered that its subscriber does not take. Default 8.
    pub attempts: u32,
    /// After what time it is delivered again; twice as long each further time. Default 1 s.
    pub retry_after: Duration,
    /// After what time at most. Default 10 min.
    pub retry_after_most: Duration,
    /// Deliveries of the node under way at once. Default 64.
    pub concurrency: usize,
    /// Deliveries of one tenant under way at once. Default 16.
    pub tenant_concurrency: usize,
}

impl Default for MessageSettings {
    fn default() -> Self {
        Self {
            queue: QueueLimits {
                message_bytes: 256 << 10,
                waiting: 10_000,
                dead: 1_000,
            },
            delay_most: Duration::from_secs(7 * 24 * 60 * 60),
            attempts: 8,
            retry_after: Duration::from_secs(1),
            retry_after_most: Duration::from_secs(10 * 60),
            concurrency: 64,
            tenant_concurrency: 16,
        }
    }
}

impl MessageSettings {
    /// After what time a message is delivered again that was delivered in vain `failures` times
    /// before this one; `None`: it is given up.
    pub fn retry(&self, failures: u32) -> Option<Duration> {
        if failures.saturating_add(1) >= self.attempts {
            return None;
        }
        let wait = self
            .retry_after
            .saturating_mul(2_u32.saturating_pow(failures));
        Some(wait.min(self.retry_after_most))
    }
}
