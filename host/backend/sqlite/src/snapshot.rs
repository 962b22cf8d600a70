//! A copy of a database as it is at one moment, made while it is read and written.
//!
//! SQLite's own ways of copying encrypt every page anew, so no two copies would share a byte. This
//! one copies the file: all that was committed is brought into it, and then a reading that needs
//! nothing but the file keeps checkpoints away from it. What is written meanwhile goes to the
//! write-ahead log alone.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use canopy_backend::files::sync_dir;
use rusqlite::Connection;

use crate::OpenError;

/// One moment of a database. As long as it exists the log grows, so it should be copied and
/// dropped.
#[derive(Debug)]
pub struct Snapshot {
    path: PathBuf,
    /// Its reading keeps the file as it is.
    _reader: Connection,
}

impl Snapshot {
    /// The present moment of the database at `path`. `writer` is the only connection that writes
    /// to it, and the caller holds it still; `reader` is another connection, with no reading under
    /// way. May wait for readings under way.
    pub fn take(path: &Path, writer: &Connection, reader: Connection) -> Result<Self, OpenError> {
        let sql = "PRAGMA wal_checkpoint(FULL)";
        let (busy, log, copied) = writer.query_row(sql, [], |row| {
            Ok((
                row.get::<_, i64>(0)?,
                row.get::<_, i64>(1)?,
                row.get::<_, i64>(2)?,
            ))
        })?;
        if busy != 0 || log != copied {
            let waiting = "readings went on for too long; try again";
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, waiting).into());
        }
        reader.execute_batch("BEGIN; SELECT count(*) FROM sqlite_schema")?;
        Ok(Self {
            path: path.to_owned(),
            _reader: reader,
        })
    }

    /// Its bytes in the file.
    pub fn size(&self) -> io::Result<u64> {
        Ok(fs::metadata(&self.path)?.len())
    }

    /// Copies it to the new file `into`, and puts that on the disk.
    pub fn copy(&self, into: &Path) -> io::Result<()> {
        let copy = || {
            fs::copy(&self.path, into)?;
            File::open(into)?.sync_all()?;
            into.parent().map_or(Ok(()), sync_dir)
        };
        let copied = copy();
        if copied.is_err() {
            // The error is what counts; an empty file would look like a copy.
            let _ = fs::remove_file(into);
        }
        copied
    }
}
