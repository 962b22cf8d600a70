//! The store of all logs of a node, and the handle with which one of them is written.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use canopy_backend::files::{create_dir, finish_erasures};

use crate::queue::{LogState, Shared};
use crate::read::{self, LogPage, LogRange};
use crate::subscription::LogSubscription;
use crate::{Entry, LogContext, LogOwner, LogSettings, writer};

/// Why logs could not be opened, read or erased.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// A setting can't work.
    #[error("log settings: {0}")]
    Settings(&'static str),
    /// The folder of logs can't be used.
    #[error("the folder of logs {} can't be used: {error}", dir.display())]
    Dir {
        /// The folder.
        dir: PathBuf,
        /// Why.
        #[source]
        error: io::Error,
    },
    /// A file failed.
    #[error("a log file failed: {0}")]
    Io(#[source] io::Error),
    /// The store has been closed.
    #[error("the store of logs has been closed")]
    Closed,
}

/// All logs of a node. Clones are the same store; the last one that goes closes it.
#[derive(Debug, Clone)]
pub struct LogStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl LogStore {
    /// Opens the logs in `dir`, which is made if it does not exist. One process at a time may do
    /// so.
    pub fn open(dir: impl AsRef<Path>, settings: LogSettings) -> Result<Self, LogError> {
        if let Some(fault) = settings.fault() {
            return Err(LogError::Settings(fault));
        }
        let dir = dir.as_ref().to_path_buf();
        let failed = |error| LogError::Dir {
            dir: dir.clone(),
            error,
        };
        create_dir(&dir).map_err(failed)?;
        finish_erasures(&dir).map_err(failed)?;
        let shared = Arc::new(Shared::new(dir.clone(), settings));
        let of_thread = shared.clone();
        let thread = std::thread::Builder::new()
            .name("canopy-logs".into())
            .spawn(move || writer::run(&of_thread))
            .map_err(failed)?;
        Ok(Self {
            inner: Arc::new(Inner {
                shared,
                thread: Some(thread),
            }),
        })
    }

    /// The handle with which `context` writes the log of `owner`. Cheap; keep one per installation
    /// or one per request. Of an erased log it takes nothing.
    pub fn log(&self, owner: impl Into<LogOwner>, context: impl Into<Arc<LogContext>>) -> Log {
        let state = self.inner.shared.log(owner.into());
        Log {
            shared: self.inner.shared.clone(),
            state,
            context: context.into(),
        }
    }

    /// Up to `limit` records of the log of `owner`, oldest first, including all appended before.
    /// At least one is read and at most [`LogSettings::page_records`].
    pub async fn read(
        &self,
        owner: impl Into<LogOwner>,
        range: LogRange,
        limit: usize,
    ) -> Result<LogPage, LogError> {
        let owner = owner.into();
        self.inner.shared.flush(owner).await;
        read::page(&self.inner.shared, owner, range, limit).await
    }

    /// Follows the log of `owner` from the record after number `after`.
    pub fn subscribe(&self, owner: impl Into<LogOwner>, after: u64) -> LogSubscription {
        let owner = owner.into();
        let progress = self.inner.shared.log(owner).progress.subscribe();
        LogSubscription::new(self.inner.shared.clone(), owner, progress, after)
    }

    /// Ends when everything appended to the log of `owner` before has reached its file.
    pub async fn flush(&self, owner: impl Into<LogOwner>) {
        self.inner.shared.flush(owner.into()).await;
    }

    /// Removes the log of `owner`. Nothing is appended to it any more, by whatever handle, and
    /// whoever follows it is told that it ended. Idempotent.
    pub async fn erase(&self, owner: impl Into<LogOwner>) -> Result<(), LogError> {
        self.inner.shared.erase(owner.into()).await
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shared.close();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the writer of logs panicked");
        }
    }
}

/// The handle with which one installation, or one driver instance, writes its log.
#[derive(Debug, Clone)]
pub struct Log {
    shared: Arc<Shared>,
    state: Arc<LogState>,
    context: Arc<LogContext>,
}

impl Log {
    /// Appends one record. Never waits: what a limit of [`LogSettings`] does not allow is dropped
    /// and counted, and the count becomes a record.
    pub fn append(&self, entry: Entry<'_>) {
        self.shared.append(&self.state, &entry, &self.context);
    }

    /// Appends each line of a text of several lines, as of a backtrace, as a record of its own;
    /// at most `limit` lines, the last of which says how many more there were.
    pub fn append_lines(&self, entry: Entry<'_>, limit: usize) {
        let mut lines = entry.message.lines();
        for message in lines.by_ref().take(limit.saturating_sub(1)) {
            self.append(Entry { message, ..entry });
        }
        let rest: Vec<&str> = lines.collect();
        match rest.as_slice() {
            [] => {}
            [message] => self.append(Entry { message, ..entry }),
            more => {
                let message = format!("… ({} more lines cut off)", more.len());
                self.append(Entry {
                    message: &message,
                    ..entry
                });
            }
        }
    }

    /// Who writes with this handle.
    pub fn context(&self) -> &LogContext {
        &self.context
    }
}
