//! Following a log while it is written.

use std::sync::Arc;

use tokio::sync::watch;

use crate::queue::{Progress, Shared};
use crate::read::{self, LogRange};
use crate::{LogError, LogOwner, LogRecord};

/// Follows one log. It holds no records, so a slow follower costs nobody memory; one that is
/// slower than the rotation of files misses the records that have gone, which their numbers show.
#[derive(Debug)]
pub struct LogSubscription {
    shared: Arc<Shared>,
    owner: LogOwner,
    progress: watch::Receiver<Progress>,
    after: u64,
    /// What is on disk from before this process is not in `progress`.
    caught_up: bool,
}

impl LogSubscription {
    pub(crate) fn new(
        shared: Arc<Shared>,
        owner: LogOwner,
        progress: watch::Receiver<Progress>,
        after: u64,
    ) -> Self {
        Self {
            shared,
            owner,
            progress,
            after,
            caught_up: false,
        }
    }

    /// Waits for the next records, oldest first, never none. `Ok(None)`: the log was erased or the
    /// store closed. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Result<Option<Vec<LogRecord>>, LogError> {
        loop {
            let progress = *self.progress.borrow_and_update();
            if !self.caught_up || progress.seq > self.after {
                let limit = self.shared.settings.page_records;
                let range = LogRange::After(self.after);
                let page = read::page(&self.shared, self.owner, range, limit).await?;
                self.caught_up = !page.more;
                if !page.records.is_empty() {
                    self.after = page.last;
                    return Ok(Some(page.records));
                }
                self.after = self.after.max(progress.seq);
            }
            if progress.ended || self.progress.changed().await.is_err() {
                return Ok(None);
            }
        }
    }
}
