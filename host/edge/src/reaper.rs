//! Ends responses whose time is over though nobody asks them for more: those of clients that take
//! nothing, on connections that are otherwise well.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use http_body::Body;
use parking_lot::Mutex;

use crate::body::Open;

/// How often it looks. A response is over its time by no more than this.
pub(crate) const INTERVAL: Duration = Duration::from_millis(250);

pub(crate) struct Reaper<B: Body>(Mutex<Vec<Watched<B>>>);

struct Watched<B: Body> {
    until: Instant,
    response: Weak<Open<B>>,
}

impl<B: Body> Default for Reaper<B> {
    fn default() -> Self {
        Self(Mutex::new(Vec::new()))
    }
}

impl<B: Body> Reaper<B> {
    /// Sees to it that `response` ends by `until`.
    pub(crate) fn watch(&self, response: &Arc<Open<B>>, until: Instant) {
        self.0.lock().push(Watched {
            until,
            response: Arc::downgrade(response),
        });
    }

    /// Ends what is over its time and forgets what has ended.
    pub(crate) fn sweep(&self, now: Instant) {
        let mut late = Vec::new();
        self.0.lock().retain(|watched| {
            if watched.until <= now {
                late.extend(watched.response.upgrade());
                return false;
            }
            watched.response.strong_count() > 0
        });
        // Ending a response runs whatever its drop does, so not under the lock.
        for response in late {
            response.end();
        }
    }
}
