//! The one thread that writes all logs of the node.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use canopy_backend::files::erase_dir;
use time::OffsetDateTime;

use crate::files::OpenLog;
use crate::queue::{Batch, Dropped, LogState, Queued, Shared};
use crate::{Level, LogError, LogOwner, Source};

/// Writes until the store closes.
pub(crate) fn run(shared: &Arc<Shared>) {
    let _end = EndAll(shared);
    let mut writer = Writer {
        shared,
        open: HashMap::new(),
        clock: 0,
    };
    while let Some((log, batch)) = shared.next_ready() {
        writer.serve(&log, batch);
    }
    for (owner, open) in &writer.open {
        if let Err(error) = open.log.sync() {
            tracing::error!(log = %owner, %error, "the newest records of a log may be lost");
        }
    }
}

/// However the writer ends, nobody goes on waiting for it.
struct EndAll<'a>(&'a Shared);

impl Drop for EndAll<'_> {
    fn drop(&mut self) {
        self.0.end_all();
    }
}

struct Writer<'a> {
    shared: &'a Arc<Shared>,
    open: HashMap<LogOwner, Used>,
    clock: u64,
}

struct Used {
    log: OpenLog,
    at: u64,
}

impl Writer<'_> {
    fn serve(&mut self, log: &Arc<LogState>, mut batch: Batch) {
        if let Some(dropped) = batch.dropped.take() {
            batch.entries.push(report(dropped));
        }
        if !batch.entries.is_empty() && batch.erase.is_empty() {
            self.write(log, &batch.entries);
        }
        for done in batch.flushed {
            // Whoever waited may have gone.
            let _ = done.send(());
        }
        for done in batch.erase {
            let _ = done.send(self.erase(log.owner));
        }
    }

    fn write(&mut self, log: &Arc<LogState>, entries: &[Queued]) {
        let result = match self.opened(log.owner) {
            Ok(_) => self.write_open(log, entries),
            Err(error) => Err((0, error)),
        };
        if let Err((written, error)) = result {
            tracing::error!(log = %log.owner, %error, "a log could not be written");
            // Opening it again finds out what the file really holds.
            self.open.remove(&log.owner);
            let lost = &entries[written..];
            if let Some(last) = lost.last() {
                let bytes = lost.iter().map(|entry| entry.message.len() as u64).sum();
                let records = lost.len() as u64;
                let lost = Dropped {
                    records,
                    bytes,
                    writer: last.writer.clone(),
                };
                log.count_lost(self.shared, log, lost);
            }
        }
    }

    fn write_open(
        &mut self,
        log: &Arc<LogState>,
        entries: &[Queued],
    ) -> Result<(), (usize, io::Error)> {
        let shared = self.shared;
        let open = self.opened(log.owner).map_err(|error| (0, error))?;
        let result = open.write(entries, &shared.settings);
        let seq = open.last_seq();
        log.progress.send_modify(|progress| progress.seq = seq);
        result
    }

    fn opened(&mut self, owner: LogOwner) -> io::Result<&mut OpenLog> {
        self.clock += 1;
        let at = self.clock;
        if !self.open.contains_key(&owner) {
            if self.open.len() >= self.shared.settings.open_files {
                let oldest = self
                    .open
                    .iter()
                    .min_by_key(|(_, used)| used.at)
                    .map(|(o, _)| *o);
                oldest.and_then(|oldest| self.open.remove(&oldest));
            }
            let log = OpenLog::open(self.shared.dir.join(owner.to_string()))?;
            self.open.insert(owner, Used { log, at });
        }
        let used = self
            .open
            .get_mut(&owner)
            .ok_or_else(|| io::Error::other("log not open"))?;
        used.at = at;
        Ok(&mut used.log)
    }

    fn erase(&mut self, owner: LogOwner) -> Result<(), LogError> {
        self.open.remove(&owner);
        erase_dir(&self.shared.dir.join(owner.to_string())).map_err(LogError::Io)
    }
}

/// The record that says how much was dropped.
fn report(dropped: Dropped) -> Queued {
    let Dropped {
        records,
        bytes,
        writer,
    } = dropped;
    Queued {
        time: OffsetDateTime::now_utc(),
        level: Level::Warn,
        source: Source::Platform,
        message: format!(
            "{records} records of {bytes} bytes were dropped: they came faster than the log takes them, or could not be written"
        ),
        context: None,
        request_id: None,
        writer,
    }
}
