//! Connections of installations' roles: kept for a while between statements, each used by one at a
//! time.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use net::Stream;

use super::places::Place;
use crate::connection::Failure;
use crate::session::Session;
use crate::settings::Settings;

/// Connections that are kept without being used.
const KEPT: usize = 8;

/// A connection that was used so lately is not asked whether it works.
const FRESH: Duration = Duration::from_millis(500);

/// After this time without use a connection is closed.
const STALE: Duration = Duration::from_secs(60);

struct Idle {
    place: Place,
    since: Instant,
    session: Session<Stream>,
}

thread_local! {
    static IDLE: RefCell<Vec<Idle>> = const { RefCell::new(Vec::new()) };
}

/// A connection, and whose it is.
pub struct Lease {
    place: Place,
    pub session: Session<Stream>,
}

impl Lease {
    /// One that was kept, if it works, or a new one.
    pub fn take(settings: &Settings, place: &Place) -> Result<Self, Failure> {
        loop {
            let kept = IDLE.with_borrow_mut(|idle| {
                idle.retain(|one| one.since.elapsed() < STALE);
                let found = idle.iter().rposition(|one| one.place == *place)?;
                Some(idle.remove(found))
            });
            let Some(mut kept) = kept else {
                return Ok(Self {
                    place: place.clone(),
                    session: place.connect(settings)?,
                });
            };
            if kept.since.elapsed() < FRESH || kept.session.is_alive() {
                return Ok(Self {
                    place: kept.place,
                    session: kept.session,
                });
            }
        }
    }

    /// Keeps it for the next; one that is dropped is closed.
    pub fn keep(self) {
        IDLE.with_borrow_mut(|idle| {
            if idle.len() >= KEPT {
                idle.remove(0);
            }
            idle.push(Idle {
                place: self.place,
                since: Instant::now(),
                session: self.session,
            });
        });
    }
}
