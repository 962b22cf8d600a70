//! What the service manager that started the node is told (systemd's `sd_notify`), where there is one.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::task::JoinHandle;

/// Tells that the node serves, and from then on, if the manager watches, that its runtime is alive.
/// Abort the task that comes back when the node ends.
pub(crate) fn ready() -> Option<JoinHandle<()>> {
    tell(&[NotifyState::Ready]);
    // Twice within the time after which the manager takes the node for stuck.
    let interval = sd_notify::watchdog_enabled()? / 2;
    Some(tokio::spawn(keep_telling(interval)))
}

/// Tells that the node takes no new requests and finishes those under way, which may take up to
/// `grace`.
pub(crate) fn stopping(grace: Duration) {
    let microseconds = u32::try_from(grace.as_micros()).unwrap_or(u32::MAX);
    tell(&[
        NotifyState::Stopping,
        NotifyState::ExtendTimeoutUsec(microseconds),
    ]);
}

async fn keep_telling(interval: Duration) {
    let mut ticks = tokio::time::interval(interval.max(Duration::from_millis(1)));
    loop {
        ticks.tick().await;
        tell(&[NotifyState::Watchdog]);
    }
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!("the service manager was not told: {error}");
    }
}
