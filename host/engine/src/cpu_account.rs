//! What the guests of one owner use of the CPU together: a budget in the course of time, and a
//! weight by which they take turns with others'.
//!
//! The budget counts all that is done for them: by their own code, by the host in their calls, and by
//! the host on threads of its own ([`CpuAccount::charge_host`]). It is a core's time that others do
//! not have, whoever's code it runs.
//!
//! The budget is a bucket that fills by so much CPU time a second. It may be overdrawn by the
//! slices that are under way; then no guest of the owner goes on until it has filled again.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::limits::LimitExceeded;
use crate::share::{Account, Place, Shares};
use crate::stopwatch::{Split, nanoseconds};

/// CPU time that guests, and the host for them, may use in the course of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CpuRate {
    /// In the long run, each second. More than a second is more than one core.
    pub per_second: Duration,
    /// At once, after a quiet time.
    pub burst: Duration,
}

/// The account of one owner. Made by [`Engine::cpu_account`](crate::Engine::cpu_account).
#[derive(Debug)]
pub struct CpuAccount {
    shares: Shares,
    turns: Arc<Account>,
    bucket: Mutex<Bucket>,
}

#[derive(Debug)]
struct Bucket {
    rate: CpuRate,
    /// Nanoseconds; below zero when overdrawn.
    level: i128,
    filled: Instant,
    /// CPU time altogether.
    used: Split,
}

impl CpuAccount {
    pub(crate) fn new(shares: &Shares, weight: u32, rate: CpuRate) -> Arc<Self> {
        Arc::new(Self {
            shares: shares.clone(),
            turns: shares.account(weight),
            bucket: Mutex::new(Bucket {
                rate,
                level: level(rate.burst),
                filled: Instant::now(),
                used: Split::default(),
            }),
        })
    }

    /// What holds from now on.
    pub fn set(&self, weight: u32, rate: CpuRate) {
        self.turns.set_weight(weight);
        let mut bucket = self.bucket.lock();
        if bucket.rate != rate {
            bucket.fill(Instant::now());
            bucket.rate = rate;
            bucket.level = bucket.level.min(level(rate.burst));
        }
    }

    /// CPU time that the owner's guests have used since the account was made.
    pub fn used(&self) -> Duration {
        Duration::from_nanos(self.bucket.lock().used.guest)
    }

    /// CPU time that the host has used for the owner's guests since the account was made.
    pub fn host_used(&self) -> Duration {
        Duration::from_nanos(self.bucket.lock().used.host)
    }

    /// How much of the burst is used at the moment.
    pub fn drawn(&self) -> Duration {
        let mut bucket = self.bucket.lock();
        bucket.fill(Instant::now());
        let drawn = level(bucket.rate.burst).saturating_sub(bucket.level);
        Duration::from_nanos(u64::try_from(drawn).unwrap_or(0))
    }

    /// Why no guest of this owner may run now, if none may.
    pub fn overdrawn(&self) -> Option<LimitExceeded> {
        let mut bucket = self.bucket.lock();
        if bucket.level > 0 {
            return None;
        }
        bucket.fill(Instant::now());
        (bucket.level <= 0).then(|| LimitExceeded::SharedCpu {
            rate: bucket.rate,
            retry_after: bucket.until_filled(),
        })
    }

    /// Counts CPU time that the host has used for the owner's guests elsewhere than in their calls.
    pub fn charge_host(&self, time: Duration) {
        self.charge(Split {
            guest: 0,
            host: nanoseconds(time),
        });
    }

    /// Counts CPU time, for the budget and for turns.
    pub(crate) fn charge(&self, spent: Split) {
        if spent != Split::default() {
            self.turns.charge(spent.sum());
            let mut bucket = self.bucket.lock();
            bucket.fill(Instant::now());
            bucket.level -= i128::from(spent.sum());
            bucket.used = Split {
                guest: bucket.used.guest.saturating_add(spent.guest),
                host: bucket.used.host.saturating_add(spent.host),
            };
        }
    }

    /// How often the engine interrupts guests.
    pub(crate) fn tick(&self) -> Duration {
        self.shares.tick()
    }

    /// Counts how often the engine has.
    pub(crate) fn ticks(&self) -> Arc<AtomicU64> {
        self.shares.ticks().clone()
    }

    /// One of the owner's guests begins to run.
    pub(crate) fn runs(&self) {
        self.shares.runs();
    }

    /// Waits for the turn of one of the owner's guests.
    pub(crate) fn turn(&self) -> impl Future<Output = Place> + use<> {
        self.shares.turn(&self.turns)
    }
}

impl Bucket {
    fn fill(&mut self, now: Instant) {
        let elapsed = level(now.saturating_duration_since(self.filled));
        let gained = elapsed * level(self.rate.per_second) / 1_000_000_000;
        self.filled = now;
        self.level = (self.level + gained).min(level(self.rate.burst));
    }

    /// When the owner's guests may run again. At least a millisecond, so that it is worth trying.
    fn until_filled(&self) -> Duration {
        let missing = -self.level + 1;
        let a_second = level(self.rate.per_second).max(1);
        let wait = missing * 1_000_000_000 / a_second;
        Duration::from_nanos(u64::try_from(wait).unwrap_or(u64::MAX)).max(Duration::from_millis(1))
    }
}

fn level(duration: Duration) -> i128 {
    i128::from(nanoseconds(duration))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(per_second: u64, burst: u64) -> Arc<CpuAccount> {
        let rate = CpuRate {
            per_second: Duration::from_millis(per_second),
            burst: Duration::from_millis(burst),
        };
        CpuAccount::new(&Shares::new(1, Duration::from_millis(1)), 100, rate)
    }

    fn milliseconds(guest: u64) -> Split {
        Split {
            guest: guest * 1_000_000,
            host: 0,
        }
    }

    #[test]
    fn an_account_is_overdrawn_when_its_burst_is_used_and_says_for_how_long() {
        let account = account(10, 50);
        account.charge(milliseconds(40));
        assert_eq!(account.overdrawn(), None);
        account.charge(milliseconds(20));
        let Some(LimitExceeded::SharedCpu { retry_after, .. }) = account.overdrawn() else {
            panic!("60 ms of 50 are used");
        };
        let wait = retry_after.as_millis();
        assert!((500..=1_001).contains(&wait), "10 ms at 10 ms/s: {wait} ms");
        assert_eq!(account.used(), Duration::from_millis(60));
    }

    #[test]
    fn what_the_host_does_is_paid_for_too() {
        let account = account(10, 50);
        account.charge(Split {
            guest: 10_000_000,
            host: 20_000_000,
        });
        assert_eq!(account.overdrawn(), None);
        account.charge_host(Duration::from_millis(30));
        assert!(account.overdrawn().is_some());
        assert_eq!(account.used(), Duration::from_millis(10));
        assert_eq!(account.host_used(), Duration::from_millis(50));
        assert_eq!(account.turns.virtual_time(), 60_000_000);
    }

    #[test]
    fn an_account_fills_by_its_rate_up_to_its_burst() {
        let account = account(500, 100);
        account.charge(milliseconds(300));
        assert!(account.overdrawn().is_some());
        {
            let mut bucket = account.bucket.lock();
            let earlier = bucket.filled - Duration::from_millis(500);
            bucket.filled = earlier;
        }
        assert_eq!(account.overdrawn(), None, "250 ms were gained");
        account.bucket.lock().filled -= Duration::from_secs(3600);
        assert!(account.drawn() <= Duration::from_millis(1));
        assert_eq!(
            account.bucket.lock().level,
            level(Duration::from_millis(100))
        );
    }

    #[test]
    fn a_lower_burst_holds_at_once() {
        let account = account(1, 1_000);
        let rate = CpuRate {
            per_second: Duration::from_millis(1),
            burst: Duration::from_millis(10),
        };
        account.set(100, rate);
        account.charge(milliseconds(11));
        assert!(account.overdrawn().is_some());
    }
}
