//! The clocks of guests, coarser than the node's: what a guest cannot time finely it cannot learn
//! by timing (Spectre and its kin).

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use wasmtime_wasi::{HostMonotonicClock, HostWallClock};

/// What the times of both clocks are multiples of
/// ([`RuntimeSettings::clock_grain`](crate::RuntimeSettings::clock_grain)).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Grain(u64);

impl Grain {
    /// No time is finer than `grain`, nor than a nanosecond.
    pub(crate) fn new(grain: Duration) -> Self {
        Self(nanos(grain).max(1))
    }

    fn coarse(self, time: Duration) -> u64 {
        let nanos = nanos(time);
        nanos - nanos % self.0
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// The time of day.
pub(crate) struct WallClock(pub(crate) Grain);

impl HostWallClock for WallClock {
    fn resolution(&self) -> Duration {
        Duration::from_nanos(self.0.0)
    }

    fn now(&self) -> Duration {
        let time = SystemTime::now().duration_since(UNIX_EPOCH);
        Duration::from_nanos(self.0.coarse(time.unwrap_or_default()))
    }
}

/// Time since the instance was made.
pub(crate) struct MonotonicClock(Instant, Grain);

impl MonotonicClock {
    pub(crate) fn new(grain: Grain) -> Self {
        Self(Instant::now(), grain)
    }
}

impl HostMonotonicClock for MonotonicClock {
    fn resolution(&self) -> u64 {
        self.1.0
    }

    fn now(&self) -> u64 {
        self.1.coarse(self.0.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_clock_is_finer_than_the_grain() {
        for (setting, nanos) in [(0, 1), (100_000, 100_000), (7_000_000, 7_000_000)] {
            let grain = Grain::new(Duration::from_nanos(setting));
            let (clock, wall) = (MonotonicClock::new(grain), WallClock(grain));
            assert_eq!(clock.resolution(), nanos);
            assert_eq!(wall.resolution(), Duration::from_nanos(nanos));
            for _ in 0..1000 {
                assert_eq!(clock.now() % nanos, 0);
                assert_eq!(wall.now().as_nanos() % u128::from(nanos), 0);
            }
        }
    }
}
