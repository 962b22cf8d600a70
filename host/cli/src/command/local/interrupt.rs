//! Being asked to end, for commands that have something to put in order first.

use tokio::signal::unix::{SignalKind, signal};

use crate::Error;

/// Ctrl-C, or being asked to end.
pub(in crate::command) struct Interrupt {
    signals: [tokio::signal::unix::Signal; 3],
}

impl Interrupt {
    /// Listens from now on.
    pub(in crate::command) fn listen() -> Result<Self, Error> {
        let listen = |kind| signal(kind).map_err(|error| Error::local("signals", error));
        let kinds = [
            SignalKind::interrupt(),
            SignalKind::terminate(),
            SignalKind::hangup(),
        ];
        let [interrupt, terminate, hangup] = kinds.map(listen);
        Ok(Self {
            signals: [interrupt?, terminate?, hangup?],
        })
    }

    /// Waits for one of them.
    pub(in crate::command) async fn wait(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.signals;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}
