//! The files of one log: `<owner>/<number of its first record>.ndjson`, the newest being written.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use canopy_backend::files::create_dir;
use canopy_ids::RequestId;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::lines::LinesFromEnd;
use crate::queue::Queued;
use crate::{Level, LogContext, LogSettings, Source};

/// A record as a line of a file; reads back as a [`crate::LogRecord`].
#[derive(Serialize)]
struct Line<'a> {
    seq: u64,
    #[serde(with = "time::serde::rfc3339")]
    time: OffsetDateTime,
    level: Level,
    source: Source,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<RequestId>,
    #[serde(flatten)]
    writer: &'a LogContext,
}

/// The number of a line, without the rest of it.
#[derive(Deserialize)]
struct Number {
    seq: u64,
}

pub(crate) fn seq_of(line: &[u8]) -> Option<u64> {
    serde_json::from_slice::<Number>(line)
        .ok()
        .map(|number| number.seq)
}

/// The files of the log in `dir`, oldest first, each with the number of its first record.
pub(crate) fn list(dir: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut files = Vec::new();
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(files),
        entries => entries?,
    };
    for entry in entries {
        let path = entry?.path();
        let first = path
            .file_name()
            .and_then(|name| name.to_str())
            .and_then(|name| name.strip_suffix(".ndjson"))
            .and_then(|number| number.parse().ok());
        if let Some(first) = first {
            files.push((first, path));
        }
    }
    files.sort();
    Ok(files)
}

/// A log open for writing.
#[derive(Debug)]
pub(crate) struct OpenLog {
    dir: PathBuf,
    files: Vec<(u64, PathBuf)>,
    current: Option<File>,
    length: u64,
    next_seq: u64,
}

impl OpenLog {
    pub(crate) fn open(dir: PathBuf) -> io::Result<Self> {
        create_dir(&dir)?;
        let files = list(&dir)?;
        let mut log = Self {
            dir,
            files,
            current: None,
            length: 0,
            next_seq: 1,
        };
        if let Some((first, path)) = log.files.last() {
            let file = OpenOptions::new().read(true).write(true).open(path)?;
            let mut lines = LinesFromEnd::open(path)?;
            file.set_len(lines.whole())?;
            log.length = lines.whole();
            log.next_seq = next_seq(*first, &mut lines)?;
            log.current = Some(file);
        }
        Ok(log)
    }

    /// The number of the newest record; 0: there is none.
    pub(crate) fn last_seq(&self) -> u64 {
        self.next_seq - 1
    }

    /// Writes `entries` in order, and says how many were written before an error, if one occurred.
    pub(crate) fn write(
        &mut self,
        entries: &[Queued],
        settings: &LogSettings,
    ) -> Result<(), (usize, io::Error)> {
        let mut buffer = Vec::new();
        let mut written = 0;
        let mut seq = self.next_seq;
        for entry in entries {
            let start = buffer.len();
            let line = Line {
                seq,
                time: entry.time,
                level: entry.level,
                source: entry.source,
                message: &entry.message,
                context: entry.context.as_deref(),
                request_id: entry.request_id,
                writer: &entry.writer,
            };
            serde_json::to_writer(&mut buffer, &line).map_err(|error| (written, error.into()))?;
            buffer.push(b'\n');
            let length = self.length + buffer.len() as u64;
            if self.current.is_none()
                || (length > settings.file_bytes && length > (buffer.len() - start) as u64)
            {
                let line = buffer.split_off(start);
                let done = usize::try_from(seq - self.next_seq).unwrap_or(0);
                self.write_buffer(&buffer, seq)
                    .map_err(|error| (written, error))?;
                written += done;
                self.begin_file(settings)
                    .map_err(|error| (written, error))?;
                buffer = line;
            }
            seq += 1;
        }
        self.write_buffer(&buffer, seq)
            .map_err(|error| (written, error))
    }

    fn write_buffer(&mut self, buffer: &[u8], next_seq: u64) -> io::Result<()> {
        if buffer.is_empty() {
            return Ok(());
        }
        let Some(file) = &self.current else {
            return Err(io::Error::other("no file is open"));
        };
        if let Err(error) = file.write_all_at(buffer, self.length) {
            // What a failed write left behind would stand in the way of the next one.
            file.set_len(self.length)?;
            return Err(error);
        }
        self.length += buffer.len() as u64;
        self.next_seq = next_seq;
        Ok(())
    }

    fn begin_file(&mut self, settings: &LogSettings) -> io::Result<()> {
        if let Some(full) = self.current.take() {
            full.sync_data()?;
        }
        let path = self.dir.join(format!("{:020}.ndjson", self.next_seq));
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path)?;
        self.current = Some(file);
        self.length = 0;
        self.files.push((self.next_seq, path));
        while self.files.len() > settings.files {
            let (_, oldest) = self.files.remove(0);
            fs::remove_file(oldest)?;
        }
        Ok(())
    }

    /// Puts what has been written on the disk.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.current.as_ref().map_or(Ok(()), File::sync_data)
    }
}

/// The number after the last one of `lines`, the file of which begins with record `first`.
fn next_seq(first: u64, lines: &mut LinesFromEnd) -> io::Result<u64> {
    let mut damaged = 0;
    while let Some(line) = lines.next()? {
        match seq_of(&line) {
            Some(seq) => return Ok(seq + 1 + damaged),
            None => damaged += 1,
        }
    }
    Ok(first + damaged)
}
