//! How a driver instance is: what failed, what is tried again and when.
//!
//! A store that has failed is replaced by the next call. Where that fails as well, with no call
//! answered in between, there is a pause before a store is started, doubled with each further
//! failure. After so many failures in a row the circuit is open: calls are refused at once until the
//! pause is over, then one is let through to try, and the first that is answered closes it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use crate::error::{Cause, FailureCause};
use crate::settings::DriverSettings;

/// How a driver instance is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DriverState {
    /// No store is there; the next call starts one.
    Idle,
    /// A store is being started.
    Starting,
    /// It answers.
    Ready,
    /// It has failed, and no store is started for a while.
    BackingOff,
    /// It has failed so often that calls are refused.
    Broken,
}

/// What is known of a driver instance.
#[derive(Debug, Clone)]
pub struct DriverHealth {
    /// How it is.
    pub state: DriverState,
    /// Stores that are there.
    pub stores: usize,
    /// Stores that there may be.
    pub max_stores: usize,
    /// Calls under way or waiting.
    pub calls: usize,
    /// Stores that were replaced because they failed.
    pub restarts: u64,
    /// Failures since a call was answered last.
    pub failures: u32,
    /// Until when no store is started, or no call answered.
    pub retry_at: Option<SystemTime>,
    /// The last failure, and when that was.
    pub last_failure: Option<(SystemTime, String)>,
}

/// Shared by all stores of a driver instance.
pub(crate) struct Supervision {
    watch: Mutex<Watch>,
    backoff_initial: Duration,
    backoff_max: Duration,
    breaker: u32,
}

#[derive(Default)]
struct Watch {
    /// In a row.
    failures: u32,
    pause_until: Option<Instant>,
    last: Option<(SystemTime, Cause)>,
    /// A call has been let through an open circuit.
    is_tried: bool,
    live: usize,
    starting: usize,
    restarts: u64,
}

impl Watch {
    fn pause(&self) -> Option<Duration> {
        let pause = self.pause_until?.saturating_duration_since(Instant::now());
        (!pause.is_zero()).then_some(pause)
    }
}

impl Supervision {
    pub(crate) fn new(settings: &DriverSettings) -> Self {
        Self {
            watch: Mutex::default(),
            backoff_initial: settings.backoff_initial,
            backoff_max: settings.backoff_max,
            breaker: settings.breaker,
        }
    }

    /// Refuses a call where the circuit is open and it is not time to try.
    pub(crate) fn check(&self) -> Result<(), FailureCause> {
        self.refuse(&self.lock())
    }

    /// The same, and lets the call through that is to try. [`Supervision::answered`],
    /// [`Supervision::failed`] or [`Supervision::ended`] says what became of it.
    pub(crate) fn admit(&self) -> Result<(), FailureCause> {
        let mut watch = self.lock();
        self.refuse(&watch)?;
        watch.is_tried = self.is_open(&watch);
        Ok(())
    }

    fn refuse(&self, watch: &Watch) -> Result<(), FailureCause> {
        let pause = watch.pause();
        match &watch.last {
            Some((_, last)) if self.is_open(watch) && (pause.is_some() || watch.is_tried) => {
                Err(FailureCause::Unavailable {
                    failures: watch.failures,
                    retry_after: pause.unwrap_or(self.backoff_initial),
                    last: last.clone(),
                })
            }
            _ => Ok(()),
        }
    }

    fn is_open(&self, watch: &Watch) -> bool {
        self.breaker > 0 && watch.failures >= self.breaker
    }

    /// A store is about to be started, unless it is too early.
    pub(crate) fn begin_start(&self) -> Result<(), FailureCause> {
        let mut watch = self.lock();
        if let (Some(retry_after), Some((_, last))) = (watch.pause(), &watch.last) {
            let last = last.clone();
            return Err(FailureCause::Restarting { retry_after, last });
        }
        watch.starting += 1;
        Ok(())
    }

    /// The start is over.
    pub(crate) fn end_start(&self, is_live: bool) {
        let mut watch = self.lock();
        watch.starting -= 1;
        watch.live += usize::from(is_live);
    }

    /// A store is gone; whether because it failed.
    pub(crate) fn gone(&self, has_failed: bool) {
        let mut watch = self.lock();
        watch.live -= 1;
        watch.restarts += u64::from(has_failed);
    }

    /// A call was answered.
    pub(crate) fn answered(&self) {
        let mut watch = self.lock();
        watch.failures = 0;
        watch.pause_until = None;
        watch.is_tried = false;
    }

    /// A call ended in a way that says nothing about the driver.
    pub(crate) fn ended(&self) {
        self.lock().is_tried = false;
    }

    /// The driver trapped, or could not be started.
    pub(crate) fn failed(&self, cause: &Cause, in_start: bool) {
        let mut watch = self.lock();
        watch.failures = watch.failures.saturating_add(1);
        watch.is_tried = false;
        watch.last = Some((SystemTime::now(), cause.clone()));
        // The first trap may have been for what the call asked, and costs nobody else a pause.
        let repeated = watch.failures.saturating_sub(u32::from(!in_start));
        watch.pause_until = (repeated > 0).then(|| {
            let factor = 1_u32.checked_shl(repeated - 1).unwrap_or(u32::MAX);
            let pause = self.backoff_initial.saturating_mul(factor);
            Instant::now() + pause.min(self.backoff_max)
        });
    }

    /// How it is, beside what is not known here.
    pub(crate) fn health(&self, calls: usize, max_stores: usize) -> DriverHealth {
        let watch = self.lock();
        let pause = watch.pause();
        let state = if self.is_open(&watch) {
            DriverState::Broken
        } else if pause.is_some() && watch.live == 0 {
            DriverState::BackingOff
        } else if watch.live > 0 {
            DriverState::Ready
        } else if watch.starting > 0 {
            DriverState::Starting
        } else {
            DriverState::Idle
        };
        let last = watch.last.as_ref();
        DriverHealth {
            state,
            stores: watch.live,
            max_stores,
            calls,
            restarts: watch.restarts,
            failures: watch.failures,
            retry_at: pause.map(|pause| SystemTime::now() + pause),
            last_failure: last.map(|(at, cause)| (*at, cause.to_string())),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Watch> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cause() -> Cause {
        Cause::new(wasmtime::Error::msg("on purpose"))
    }

    fn supervision(backoff_initial: Duration) -> Supervision {
        Supervision::new(&DriverSettings {
            backoff_initial,
            breaker: 3,
            ..DriverSettings::default()
        })
    }

    #[test]
    fn the_first_trap_costs_no_pause_and_a_second_does() {
        let watch = supervision(Duration::from_secs(60));
        watch.failed(&cause(), false);
        assert!(watch.begin_start().is_ok());
        watch.end_start(true);
        watch.failed(&cause(), false);
        let refused = watch.begin_start();
        assert!(matches!(refused, Err(FailureCause::Restarting { .. })));
        assert!(watch.check().is_ok(), "stores that are there go on");
        watch.answered();
        assert!(watch.begin_start().is_ok());
    }

    #[test]
    fn a_failed_start_costs_a_pause_at_once() {
        let watch = supervision(Duration::from_secs(60));
        watch.failed(&cause(), true);
        assert!(watch.begin_start().is_err());
    }

    #[test]
    fn an_open_circuit_lets_one_call_try() {
        let watch = supervision(Duration::ZERO);
        for _ in 0..3 {
            assert!(watch.admit().is_ok());
            watch.failed(&cause(), false);
        }
        assert_eq!(watch.health(0, 1).state, DriverState::Broken);
        assert!(watch.admit().is_ok(), "the one that tries");
        let refused = watch.admit();
        assert!(
            matches!(refused, Err(FailureCause::Unavailable { failures: 3, .. })),
            "no other meanwhile"
        );
        watch.ended();
        assert!(watch.admit().is_ok(), "it said nothing, so another tries");
        watch.answered();
        assert!(watch.admit().is_ok() && watch.admit().is_ok(), "closed");
        assert_eq!(watch.health(0, 1).failures, 0);
    }

    #[test]
    fn an_open_circuit_refuses_until_its_pause_is_over() {
        let watch = supervision(Duration::from_secs(60));
        for _ in 0..3 {
            watch.failed(&cause(), false);
        }
        let Err(FailureCause::Unavailable { retry_after, .. }) = watch.check() else {
            panic!("let through");
        };
        assert!(retry_after > Duration::from_secs(20), "{retry_after:?}");
        assert!(watch.health(0, 1).retry_at.is_some());
    }

    #[test]
    fn pauses_have_an_end() {
        let watch = supervision(Duration::from_secs(1));
        for _ in 0..100 {
            watch.failed(&cause(), true);
        }
        let Err(FailureCause::Unavailable { retry_after, .. }) = watch.check() else {
            panic!("let through");
        };
        assert!(retry_after <= DriverSettings::default().backoff_max);
    }
}
