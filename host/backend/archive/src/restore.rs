//! Writing the files of a snapshot to a folder, and comparing them with one.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use crate::snapshot::{FileEntry, Snapshot};
use crate::{ArchiveError, Progress, Repository, disk};

/// Writes the files of `snapshot` whose paths begin with `prefix` into the folder `into`, without
/// that prefix. Every chunk is compared with its digest first, and what was written is on the disk
/// when this returns. Returns how many files there were.
pub fn materialise(
    repository: &Repository,
    snapshot: &Snapshot,
    prefix: &str,
    into: &Path,
    progress: &Progress,
) -> Result<u64, ArchiveError> {
    let files: Vec<_> = snapshot.below(prefix).collect();
    let bytes = files.iter().map(|(_, file)| file.size).sum();
    progress.expect(bytes, files.len() as u64);
    disk::make_dir(into)?;
    for (relative, file) in &files {
        // The whole path was checked when the snapshot was read; a part of it may be empty.
        let relative = disk::relative_path(relative).ok_or_else(|| {
            ArchiveError::damaged(file.path.as_str(), "it does not fit into its folder")
        })?;
        let path = into.join(relative);
        if let Some(parent) = path.parent() {
            disk::make_dir(parent)?;
        }
        write(repository, file, &path, progress)?;
        progress.item();
    }
    let sync = || -> io::Result<()> { Ok(rustix::fs::syncfs(File::open(into)?)?) };
    sync().map_err(|error| ArchiveError::io("syncing", into, error))?;
    Ok(files.len() as u64)
}

fn write(
    repository: &Repository,
    file: &FileEntry,
    path: &Path,
    progress: &Progress,
) -> Result<(), ArchiveError> {
    let failed = |error| ArchiveError::io("writing", path, error);
    let mut output = disk::create(path).map_err(failed)?;
    for (index, chunk) in file.chunks.iter().enumerate() {
        progress.check()?;
        let bytes = chunk_of(repository, file, index, chunk)?;
        output.write_all(&bytes).map_err(failed)?;
        progress.bytes(bytes.len() as u64);
    }
    Ok(())
}

fn chunk_of(
    repository: &Repository,
    file: &FileEntry,
    index: usize,
    chunk: &str,
) -> Result<Vec<u8>, ArchiveError> {
    let in_file = |error| match error {
        ArchiveError::Damaged { place, what } => ArchiveError::Damaged {
            place,
            what: format!("{what}; {} needs it", file.path),
        },
        other => other,
    };
    let bytes = repository.chunk(chunk).map_err(in_file)?;
    if bytes.len() as u64 == file.chunk_size(index) {
        Ok(bytes)
    } else {
        let what = format!("chunk {index} is {} bytes long", bytes.len());
        Err(ArchiveError::damaged(file.path.as_str(), what))
    }
}

/// The bytes of one file of `snapshot`, compared with their digests; `None` if it has no such file.
/// For small ones: it is read whole.
pub fn read_file(
    repository: &Repository,
    snapshot: &Snapshot,
    path: &str,
) -> Result<Option<Vec<u8>>, ArchiveError> {
    let Some(file) = snapshot.files.iter().find(|file| file.path == path) else {
        return Ok(None);
    };
    let mut bytes = Vec::new();
    for (index, chunk) in file.chunks.iter().enumerate() {
        bytes.extend(chunk_of(repository, file, index, chunk)?);
    }
    Ok(Some(bytes))
}

/// A file that is not as the snapshot says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The file.
    pub path: String,
    /// What differs.
    pub what: String,
}

/// Reads the files below `folder`, into which the whole of `snapshot` was written, and compares
/// each with the digests of the snapshot. What is there beside them is a difference as well.
pub fn compare(snapshot: &Snapshot, folder: &Path) -> Result<Vec<Difference>, ArchiveError> {
    let mut differences = Vec::new();
    let mut differs = |path: &str, what: &str| {
        differences.push(Difference {
            path: path.to_owned(),
            what: what.to_owned(),
        });
    };
    for file in &snapshot.files {
        let path = folder.join(&file.path);
        let mut input = match File::open(&path) {
            Ok(input) => input,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                differs(&file.path, "it is missing");
                continue;
            }
            Err(error) => return Err(ArchiveError::io("reading", &path, error)),
        };
        let failed = |error| ArchiveError::io("reading", &path, error);
        if input.metadata().map_err(failed)?.len() != file.size {
            differs(&file.path, "its length is another");
            continue;
        }
        let mut buffer = Vec::new();
        for (index, chunk) in file.chunks.iter().enumerate() {
            buffer.clear();
            (&mut input)
                .take(file.chunk_size(index))
                .read_to_end(&mut buffer)
                .map_err(failed)?;
            if blake3::hash(&buffer).to_hex().as_str() != chunk {
                differs(&file.path, "its bytes are others");
                break;
            }
        }
    }
    let known: std::collections::HashSet<&str> = snapshot
        .files
        .iter()
        .map(|file| file.path.as_str())
        .collect();
    for (relative, path) in disk::files_below(folder)? {
        if !known.contains(relative.as_str()) && fs::metadata(&path).is_ok() {
            differs(&relative, "the snapshot does not have it");
        }
    }
    Ok(differences)
}
