//! What this capability knows, and the part of a store that it works on.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use canopy_backend_logs::{Entry, Level, Log, Source};
use canopy_ids::RequestId;

use crate::lines::Lines;

/// The log of one component's store.
#[derive(Clone)]
pub struct LogCtx {
    shared: Arc<Shared>,
}

struct Shared {
    log: Log,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    request: Option<RequestId>,
    stdout: Lines,
    stderr: Lines,
}

impl LogCtx {
    /// A store whose component writes `log`.
    pub fn new(log: Log) -> Self {
        Self {
            shared: Arc::new(Shared {
                log,
                state: Mutex::default(),
            }),
        }
    }

    /// A request begins; what is written from now on belongs to it.
    pub fn begin(&self, request: RequestId) {
        self.state().request = Some(request);
    }

    /// The request is over. A line that was not ended is written as it is.
    pub fn end(&self) {
        let mut state = self.state();
        self.shared.flush(&mut state);
        state.request = None;
    }

    /// The log, for records of the platform itself.
    pub fn log(&self) -> &Log {
        &self.shared.log
    }

    /// What the component gets for its standard output.
    pub fn stdout(&self) -> Output {
        Output {
            ctx: self.clone(),
            source: Source::Stdout,
        }
    }

    /// What the component gets for its standard error.
    pub fn stderr(&self) -> Output {
        Output {
            ctx: self.clone(),
            source: Source::Stderr,
        }
    }

    pub(crate) fn append(&self, level: Level, context: &str, message: &str) {
        let request = self.state().request;
        let entry = Entry::new(level, Source::Logging, message).context(context);
        self.shared.log.append(Entry {
            request_id: request,
            ..entry
        });
    }

    pub(crate) fn write(&self, source: Source, bytes: &[u8]) {
        let mut state = self.state();
        let State {
            request,
            stdout,
            stderr,
        } = &mut *state;
        let request = *request;
        let lines = match source {
            Source::Stderr => stderr,
            _ => stdout,
        };
        lines.push(bytes, |line| self.shared.line(source, request, line));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    fn line(&self, source: Source, request: Option<RequestId>, line: &str) {
        let entry = Entry::new(Level::Info, source, line);
        self.log.append(Entry {
            request_id: request,
            ..entry
        });
    }

    fn flush(&self, state: &mut State) {
        let request = state.request;
        state
            .stdout
            .finish(|line| self.line(Source::Stdout, request, line));
        state
            .stderr
            .finish(|line| self.line(Source::Stderr, request, line));
    }
}

/// A store that is dropped in the middle of a line: what there is of it is written.
impl Drop for Shared {
    fn drop(&mut self) {
        let mut state =
            std::mem::take(self.state.get_mut().unwrap_or_else(PoisonError::into_inner));
        self.flush(&mut state);
    }
}

/// Standard output or standard error of a component.
#[derive(Clone)]
pub struct Output {
    pub(crate) ctx: LogCtx,
    pub(crate) source: Source,
}

/// The part of a store that this capability works on.
pub struct LogView<'a> {
    /// The log.
    pub ctx: &'a mut LogCtx,
}
