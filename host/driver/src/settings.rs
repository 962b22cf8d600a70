//! The limits of driver instances.

use std::time::Duration;

/// What a driver instance and its callers may use. See each field for its error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DriverSettings {
    /// Calls under way or waiting for one driver instance. Default 256; beyond it
    /// [`FailureCause::QueueFull`](crate::FailureCause::QueueFull).
    pub queue: usize,
    /// Streams and futures open between one store of a driver instance and its callers. Default
    /// 64; beyond it [`FailureCause::StreamsFull`](crate::FailureCause::StreamsFull) for what a
    /// caller passes, and a trap for what the driver returns.
    pub streams: usize,
    /// Resources that one caller may hold in one store of a driver, where one counts for as many as
    /// the store has objects of the host and resources of other drivers for it. Default 500; beyond it
    /// [`FailureCause::HeldFull`](crate::FailureCause::HeldFull) for calls that give resources, and
    /// for all that give none back where it has become more by others.
    pub held: usize,
    /// How many drivers deep a call may go. Default 16; beyond it
    /// [`FailureCause::DepthLimit`](crate::FailureCause::DepthLimit).
    pub depth: usize,
    /// Time for making and instantiating a store. Default 10 s; beyond it
    /// [`FailureCause::Start`](crate::FailureCause::Start).
    pub start_timeout: Duration,
    /// Time for a driver to find out whether its configuration works. Default 20 s; beyond it
    /// [`FailureCause::Deadline`](crate::FailureCause::Deadline).
    pub check_timeout: Duration,
    /// How long a call goes on when nobody waits for it any more. Default 2 s; then its store is
    /// replaced.
    pub abandoned_grace: Duration,
    /// Time for a resource's destructor. Default 5 s; then its store is replaced.
    pub destructor_timeout: Duration,
    /// How long an instance that owns no resources is kept without a call. Default 5 min; then its
    /// store is dropped and the next call starts a fresh one.
    pub idle_timeout: Duration,
    /// Pause after a failed start or a trap that follows another, doubled with each further one.
    /// Default 100 ms; calls for which a store would have to be started within it get
    /// [`FailureCause::Restarting`](crate::FailureCause::Restarting).
    pub backoff_initial: Duration,
    /// The longest such pause. Default 30 s.
    pub backoff_max: Duration,
    /// Failed starts and traps in a row after which calls are refused until the pause is over.
    /// Default 5; then they get [`FailureCause::Unavailable`](crate::FailureCause::Unavailable), and
    /// 0 never refuses.
    pub breaker: u32,
}

impl Default for DriverSettings {
    fn default() -> Self {
        Self {
            queue: 256,
            streams: 64,
            held: 500,
            depth: 16,
            start_timeout: Duration::from_secs(10),
            check_timeout: Duration::from_secs(20),
            abandoned_grace: Duration::from_secs(2),
            destructor_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(300),
            backoff_initial: Duration::from_millis(100),
            backoff_max: Duration::from_secs(30),
            breaker: 5,
        }
    }
}
