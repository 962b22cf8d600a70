//! Another key for a file.

use std::fs::{self, File};
use std::path::Path;
use std::time::Duration;

use canopy_backend::files::sync_dir;
use canopy_backend_keys::FileKeys;
use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};

use crate::OpenError;
use crate::fault::{die, is_fatal};
use crate::library::connect;
use crate::open::{begin_log, beside, configure, create, key_of, remove, set_key};

/// Memory for pages while a file is copied.
const CACHE_BYTES: u64 = 1 << 20;
/// Pages that are copied at once.
const STEP_PAGES: i32 = 1024;

/// Encrypts the file `path`, which nobody has open, with the newest of `keys`. Returns whether it
/// was encrypted with another before. The new file is written beside the old one and takes its
/// place whole: after a crash there is one or the other.
pub fn rekey(path: &Path, keys: &FileKeys) -> Result<bool, OpenError> {
    let unfinished = beside(path, ".rekey");
    remove(&unfinished)?;
    let Some(key) = key_of(path, keys)? else {
        return Ok(false);
    };
    if key.version() == keys.newest().version() {
        return Ok(false);
    }
    let written = write(path, &unfinished, keys);
    if written.is_err() {
        // The error is what counts; what is left is removed by the next attempt.
        let _ = remove(&unfinished);
    }
    written?;
    let folder = path.parent().unwrap_or(Path::new("."));
    // The old log must be gone for good before there is a file that it does not belong to.
    sync_dir(folder)?;
    fs::rename(&unfinished, path)?;
    sync_dir(folder)?;
    Ok(true)
}

fn write(path: &Path, unfinished: &Path, keys: &FileKeys) -> Result<(), OpenError> {
    let closed = |(_, error): (Connection, rusqlite::Error)| OpenError::from(error);
    let key = key_of(path, keys)?.unwrap_or(keys.newest());
    let source = connect(path)?;
    set_key(&source, key)?;
    configure(&source, CACHE_BYTES)?;
    match source.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())) {
        Err(error) if is_fatal(&error) => {
            die(&path.display().to_string(), "a checkpoint failed", &error)
        }
        copied => copied?,
    }

    create(unfinished)?;
    let mut target = connect(unfinished)?;
    set_key(&target, keys.newest())?;
    configure(&target, CACHE_BYTES)?;
    {
        let backup = Backup::new(&source, &mut target)?;
        loop {
            match backup.step(STEP_PAGES)? {
                StepResult::Done => break,
                StepResult::More => {}
                _ => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }
    begin_log(&target)?;
    target.close().map_err(closed)?;
    source.close().map_err(closed)?;
    File::open(unfinished)?.sync_all()?;
    Ok(())
}
