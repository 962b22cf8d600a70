//! Until when a call may go on.
//!
//! Every call has until its deadline. An application that is allowed to stream has longer once its
//! answer has begun: as long as pieces of it are taken without long pauses, up to an end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::time::sleep_until;

use crate::error::ServeError;
use crate::spec::Limits;

/// Until when one call may go on. Clones are the same.
#[derive(Clone)]
pub(crate) struct Pace(Arc<Inner>);

struct Inner {
    until: Mutex<Instant>,
    deadline: Instant,
    wall: Duration,
    /// Where the application may stream.
    stream: Option<Stream>,
}

struct Stream {
    limit: Duration,
    idle: Duration,
    end: Instant,
}

impl Pace {
    /// For a call that must be over at `deadline`, unless its answer streams.
    pub(crate) fn new(deadline: Instant, limits: &Limits) -> Self {
        let stream = (limits.stream > limits.wall).then(|| Stream {
            limit: limits.stream,
            idle: limits.stream_idle,
            // Its deadline is as long after its arrival as `wall` says.
            end: deadline + (limits.stream - limits.wall),
        });
        Self(Arc::new(Inner {
            until: Mutex::new(deadline),
            deadline,
            wall: limits.wall,
            stream,
        }))
    }

    /// When all of it must be over, however well it goes.
    pub(crate) fn end(&self) -> Instant {
        let Inner {
            stream, deadline, ..
        } = &*self.0;
        stream.as_ref().map_or(*deadline, |stream| stream.end)
    }

    /// The answer has begun, or a piece of it has been taken.
    pub(crate) fn go_on(&self) {
        if let Some(stream) = &self.0.stream {
            let next = (tokio::time::Instant::now().into_std() + stream.idle).min(stream.end);
            let mut until = self.0.until.lock();
            *until = next.max(*until);
        }
    }

    /// Ends when the time is over, and says which.
    pub(crate) async fn over(&self) -> ServeError {
        loop {
            let until = *self.0.until.lock();
            sleep_until(until.into()).await;
            if *self.0.until.lock() == until {
                return self.cause(until);
            }
        }
    }

    fn cause(&self, until: Instant) -> ServeError {
        match &self.0.stream {
            Some(stream) if until >= stream.end => ServeError::StreamEnd {
                limit: stream.limit,
            },
            Some(stream) if until > self.0.deadline => {
                ServeError::StreamIdle { limit: stream.idle }
            }
            _ => ServeError::Wall { limit: self.0.wall },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn limits(stream: u64) -> Limits {
        Limits {
            wall: 10 * SECOND,
            stream: Duration::from_secs(stream),
            stream_idle: 20 * SECOND,
            ..Limits::default()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_does_not_stream_has_its_deadline() {
        for stream in [0, 60] {
            let begun = tokio::time::Instant::now();
            let pace = Pace::new(begun.into_std() + 10 * SECOND, &limits(stream));
            let cause = pace.over().await;
            assert!(matches!(cause, ServeError::Wall { .. }), "{cause}");
            assert_eq!(begun.elapsed().as_secs(), 10);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_has_begun_has_longer_between_its_pieces_but_not_for_ever() {
        for (stream, expected) in [(60, 20), (15, 15)] {
            let begun = tokio::time::Instant::now();
            let pace = Pace::new(begun.into_std() + 10 * SECOND, &limits(stream));
            pace.go_on();
            let cause = pace.over().await;
            let (idle, end) = (
                matches!(cause, ServeError::StreamIdle { .. }),
                matches!(cause, ServeError::StreamEnd { .. }),
            );
            assert_eq!((idle, end), (stream == 60, stream == 15), "{cause}");
            assert_eq!(begun.elapsed().as_secs(), expected);
        }
    }
}
