//! Reading a log from its files, while it is written and rotated.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::sync::Arc;

use crate::files;
use crate::lines::LinesFromEnd;
use crate::queue::Shared;
use crate::{LogError, LogOwner, LogRecord};

/// Bytes of lines in one page, at least one line: what one reader may hold in memory.
const PAGE_BYTES: usize = 4 << 20;
/// How often a reading begins anew because a file it was to read had been rotated away.
const ATTEMPTS: usize = 5;

/// Which records to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogRange {
    /// The oldest of those after this number; 0: from the beginning.
    After(u64),
    /// The newest.
    Last,
}

/// Some consecutive records of a log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogPage {
    /// The records, oldest first.
    pub records: Vec<LogRecord>,
    /// Where to go on: read [`LogRange::After`] this for what follows.
    pub last: u64,
    /// Whether more records follow already.
    pub more: bool,
    /// Lines in between that could not be read, as after a fault of the disk.
    pub damaged: usize,
}

/// Reads one page. What is queued and not yet written is not in it.
pub(crate) async fn page(
    shared: &Arc<Shared>,
    owner: LogOwner,
    range: LogRange,
    limit: usize,
) -> Result<LogPage, LogError> {
    let dir = shared.dir.join(owner.to_string());
    let limit = limit.clamp(1, shared.settings.page_records);
    let read = move || {
        for _ in 1..ATTEMPTS {
            match read_once(&dir, range, limit) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                result => return result,
            }
        }
        read_once(&dir, range, limit)
    };
    match tokio::task::spawn_blocking(read).await {
        Ok(result) => result.map_err(LogError::Io),
        Err(_) => Err(LogError::Closed),
    }
}

fn read_once(dir: &Path, range: LogRange, limit: usize) -> io::Result<LogPage> {
    match range {
        LogRange::After(after) => read_after(dir, after, limit),
        LogRange::Last => read_last(dir, limit),
    }
}

fn read_after(dir: &Path, after: u64, limit: usize) -> io::Result<LogPage> {
    let files = files::list(dir)?;
    let start = files.partition_point(|(first, _)| *first <= after.saturating_add(1));
    let mut page = LogPage {
        last: after,
        ..LogPage::default()
    };
    let mut bytes = 0;
    let mut line = Vec::new();
    for (_, path) in &files[start.saturating_sub(1)..] {
        let mut reader = BufReader::new(File::open(path)?);
        loop {
            line.clear();
            reader.read_until(b'\n', &mut line)?;
            // A line without its end is still being written.
            if line.pop() != Some(b'\n') {
                break;
            }
            match files::seq_of(&line) {
                Some(seq) if seq <= page.last => continue,
                Some(_) if page.records.len() == limit || bytes > PAGE_BYTES => {
                    page.more = true;
                    return Ok(page);
                }
                _ => {}
            }
            bytes += line.len();
            page.take(&line);
        }
    }
    Ok(page)
}

fn read_last(dir: &Path, limit: usize) -> io::Result<LogPage> {
    let mut tail: Vec<Vec<u8>> = Vec::new();
    let mut bytes = 0;
    'files: for (_, path) in files::list(dir)?.iter().rev() {
        let mut lines = LinesFromEnd::open(path)?;
        while let Some(line) = lines.next()? {
            if tail.len() == limit || bytes > PAGE_BYTES {
                break 'files;
            }
            bytes += line.len();
            tail.push(line);
        }
    }
    let mut page = LogPage::default();
    for line in tail.iter().rev() {
        page.take(line);
    }
    Ok(page)
}

impl LogPage {
    fn take(&mut self, line: &[u8]) {
        match serde_json::from_slice::<LogRecord>(line) {
            Ok(record) => {
                self.last = record.seq;
                self.records.push(record);
            }
            Err(_) => self.damaged += 1,
        }
    }
}
