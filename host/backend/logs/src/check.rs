//! Reading all logs of a stopped node, to tell what is not as it was written.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use canopy_backend::Finding;

use crate::{LogRecord, files};

/// What is wrong with the logs in `dir`, one finding for a file. Records have no checksums: what
/// leaves one well-formed is not found.
pub fn check(dir: &Path) -> io::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let mut logs: Vec<_> = fs::read_dir(dir)?.collect::<Result<_, _>>()?;
    logs.sort_by_key(fs::DirEntry::file_name);
    for log in logs.iter().filter(|log| log.path().is_dir()) {
        for (_, path) in files::list(&log.path())? {
            let damaged = damaged(&path)?;
            if let [first, ..] = damaged[..] {
                let place = path.strip_prefix(dir).unwrap_or(&path);
                findings.push(Finding {
                    place: place.display().to_string(),
                    what: format!(
                        "{} lines are no records; the first is line {first}",
                        damaged.len()
                    ),
                });
            }
        }
    }
    Ok(findings)
}

/// The numbers, from 1, of the lines that are no records. A line without its end was being written.
fn damaged(path: &Path) -> io::Result<Vec<usize>> {
    let mut reader = BufReader::new(File::open(path)?);
    let (mut damaged, mut line) = (Vec::new(), Vec::new());
    for number in 1.. {
        line.clear();
        reader.read_until(b'\n', &mut line)?;
        if line.pop() != Some(b'\n') {
            break;
        }
        if serde_json::from_slice::<LogRecord>(&line).is_err() {
            damaged.push(number);
        }
    }
    Ok(damaged)
}
