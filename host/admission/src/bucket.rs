//! Rates: so many requests a second in the long run, and so many at once after a quiet time.
//!
//! A token bucket that is kept as one number, the time at which it will be full again: no task
//! refills it, and it is exact to the nanosecond (the "generic cell rate algorithm").

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::time::Instant;

/// How often something may happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Times a second in the long run. 0: as often as one likes.
    pub per_second: u32,
    /// Times at once after a quiet time; at least 1.
    pub burst: u32,
}

impl Rate {
    /// No limit.
    pub const UNLIMITED: Self = Self {
        per_second: 0,
        burst: 1,
    };

    /// Nanoseconds in which one more is earned.
    fn interval(self) -> u64 {
        1_000_000_000 / u64::from(self.per_second.max(1))
    }
}

#[derive(Debug)]
pub(crate) struct Bucket {
    began: Instant,
    /// When it is full again, in nanoseconds since it began.
    full_at: AtomicU64,
}

impl Bucket {
    pub(crate) fn new() -> Self {
        Self {
            began: Instant::now(),
            full_at: AtomicU64::new(0),
        }
    }

    /// Takes one, or says after what time there will be one.
    pub(crate) fn take(&self, rate: Rate) -> Result<(), Duration> {
        if rate.per_second == 0 {
            return Ok(());
        }
        let now = u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let interval = rate.interval();
        let latest = now.saturating_add(interval.saturating_mul(u64::from(rate.burst.max(1))));
        let next = |full_at: u64| full_at.max(now).saturating_add(interval);
        let taken = self.full_at.fetch_update(Relaxed, Relaxed, |full_at| {
            Some(next(full_at)).filter(|next| *next <= latest)
        });
        match taken {
            Ok(_) => Ok(()),
            Err(full_at) => Err(Duration::from_nanos(next(full_at) - latest)),
        }
    }

    /// Whether nothing has been taken that has not been earned again.
    pub(crate) fn is_full(&self) -> bool {
        u128::from(self.full_at.load(Relaxed)) <= self.began.elapsed().as_nanos()
    }

    /// Puts one back that was taken for what did not happen.
    pub(crate) fn give_back(&self, rate: Rate) {
        if rate.per_second > 0 {
            let interval = rate.interval();
            let _ = self.full_at.fetch_update(Relaxed, Relaxed, |full_at| {
                Some(full_at.saturating_sub(interval))
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate {
        per_second: 10,
        burst: 3,
    };

    fn taken(bucket: &Bucket) -> usize {
        (0..100).take_while(|_| bucket.take(RATE).is_ok()).count()
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_and_then_the_rate() {
        let bucket = Bucket::new();
        assert_eq!(taken(&bucket), 3);
        tokio::time::advance(Duration::from_millis(100)).await;
        assert_eq!(taken(&bucket), 1);
        tokio::time::advance(Duration::from_millis(250)).await;
        assert_eq!(taken(&bucket), 2);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(taken(&bucket), 3, "no more than the burst is saved up");
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_as_told_gets_the_next() {
        let bucket = Bucket::new();
        taken(&bucket);
        let wait = bucket.take(RATE).expect_err("empty");
        assert_eq!(wait, Duration::from_millis(100));
        tokio::time::advance(wait).await;
        bucket.take(RATE).expect("one more");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_given_back_can_be_taken_again() {
        let bucket = Bucket::new();
        taken(&bucket);
        bucket.give_back(RATE);
        assert_eq!(taken(&bucket), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn no_rate_is_no_limit() {
        let bucket = Bucket::new();
        for _ in 0..10_000 {
            bucket.take(Rate::UNLIMITED).expect("no limit");
        }
    }
}
