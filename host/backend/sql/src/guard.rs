//! What watches over one connection: what its statements may do, for how long, and for whom.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use rusqlite::Connection;
use rusqlite::hooks::{AuthContext, Authorization};

use crate::policy;

/// Instructions of SQLite's machine between two looks at the clock: some ten microseconds.
const STEPS: std::ffi::c_int = 1_000;

/// Says that nobody waits for a statement any more.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cancel(Arc<Flag>);

#[derive(Debug, Default)]
struct Flag {
    cancelled: AtomicBool,
    parent: Option<Cancel>,
}

impl Cancel {
    /// One that is cancelled together with this one, and alone.
    pub(crate) fn child(&self) -> Self {
        Self(Arc::new(Flag {
            cancelled: AtomicBool::new(false),
            parent: Some(self.clone()),
        }))
    }

    pub(crate) fn cancel(&self) {
        self.0.cancelled.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.0.cancelled.load(Ordering::Relaxed)
            || self.0.parent.as_ref().is_some_and(Self::is_cancelled)
    }

    /// Cancels when it is dropped.
    pub(crate) fn on_drop(&self) -> CancelOnDrop {
        CancelOnDrop(Some(self.clone()))
    }
}

#[derive(Debug)]
pub(crate) struct CancelOnDrop(Option<Cancel>);

impl CancelOnDrop {
    /// What was waited for is there.
    pub(crate) fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        if let Some(cancel) = &self.0 {
            cancel.cancel();
        }
    }
}

/// The state that a connection's hooks share with whoever uses it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Guard(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// Whether what is compiled and run comes from an application.
    guest: bool,
    deadline: Option<Instant>,
    cancel: Cancel,
    refusal: Option<String>,
}

impl Guard {
    /// Puts hooks on `conn` that ask this guard.
    pub(crate) fn watch(&self, conn: &mut Connection) -> rusqlite::Result<()> {
        let state = self.0.clone();
        conn.authorizer(Some(move |context: AuthContext<'_>| {
            let mut state = state.lock();
            if !state.guest {
                return Authorization::Allow;
            }
            match policy::refusal(&context) {
                None => Authorization::Allow,
                Some(refusal) => {
                    state.refusal.get_or_insert(refusal);
                    Authorization::Deny
                }
            }
        }))?;
        let state = self.0.clone();
        conn.progress_handler(
            STEPS,
            Some(move || {
                let state = state.lock();
                state.cancel.is_cancelled()
                    || state
                        .deadline
                        .is_some_and(|deadline| Instant::now() >= deadline)
            }),
        )
    }

    /// From now on until the returned value is dropped, what runs on the connection is an
    /// application's.
    pub(crate) fn guest(&self, cancel: &Cancel) -> GuestTime<'_> {
        let mut state = self.0.lock();
        state.guest = true;
        state.refusal = None;
        state.cancel = cancel.clone();
        GuestTime(self)
    }

    /// Ends what runs on the connection at `deadline`.
    pub(crate) fn until(&self, deadline: Option<Instant>) {
        self.0.lock().deadline = deadline;
    }

    /// Why the statement was refused that was compiled last.
    pub(crate) fn refusal(&self) -> Option<String> {
        self.0.lock().refusal.clone()
    }
}

pub(crate) struct GuestTime<'a>(&'a Guard);

impl Drop for GuestTime<'_> {
    fn drop(&mut self) {
        let mut state = self.0.0.lock();
        state.guest = false;
        state.deadline = None;
        state.cancel = Cancel::default();
    }
}
