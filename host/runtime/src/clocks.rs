//! The clocks of guests, coarser than the node's: what a guest cannot time finely it cannot learn
//! by timing (Spectre and its kin).

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use wasmtime_wasi::{HostMonotonicClock, HostWallClock};

/// The grain of both clocks.
pub(crate) const GRAIN: Duration = Duration::from_micros(100);

fn coarse(time: Duration) -> Duration {
    let nanos = time.as_nanos() - time.as_nanos() % GRAIN.as_nanos();
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// The time of day.
pub(crate) struct WallClock;

impl HostWallClock for WallClock {
    fn resolution(&self) -> Duration {
        GRAIN
    }

    fn now(&self) -> Duration {
        coarse(
            SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default(),
        )
    }
}

/// Time since the instance was made.
pub(crate) struct MonotonicClock(Instant);

impl MonotonicClock {
    pub(crate) fn new() -> Self {
        Self(Instant::now())
    }
}

impl HostMonotonicClock for MonotonicClock {
    fn resolution(&self) -> u64 {
        u64::try_from(GRAIN.as_nanos()).unwrap_or(u64::MAX)
    }

    fn now(&self) -> u64 {
        u64::try_from(coarse(self.0.elapsed()).as_nanos()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_clock_is_finer_than_the_grain() {
        let clock = MonotonicClock::new();
        for _ in 0..1000 {
            assert_eq!(clock.now() % clock.resolution(), 0);
            assert_eq!(WallClock.now().as_nanos() % GRAIN.as_nanos(), 0);
        }
    }
}
