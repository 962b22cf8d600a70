//! Making a snapshot: files go in one after the other, and the snapshot that names them last.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use canopy_ids::SnapshotId;
use time::OffsetDateTime;

use crate::chunks::ChunkWriter;
use crate::snapshot::{BackupScope, CHUNK, DATABASE_CHUNK, FORMAT, FileEntry, Snapshot};
use crate::{ArchiveError, Progress, Repository, disk};

/// A snapshot that is being made. Dropped before its end, it leaves chunks behind that the next one
/// finds, and no snapshot.
pub struct Gathering<'a> {
    repository: &'a Repository,
    id: SnapshotId,
    writer: ChunkWriter,
    progress: &'a Progress,
    taken_at: OffsetDateTime,
    scope: BackupScope,
    files: Vec<FileEntry>,
    new_bytes: u64,
    shared_bytes: u64,
}

impl<'a> Gathering<'a> {
    /// Begins the snapshot `id` of `scope`, as of now.
    pub fn begin(
        repository: &'a Repository,
        id: SnapshotId,
        scope: BackupScope,
        progress: &'a Progress,
    ) -> Result<Self, ArchiveError> {
        Ok(Self {
            writer: repository.chunk_writer()?,
            repository,
            id,
            progress,
            taken_at: OffsetDateTime::now_utc(),
            scope,
            files: Vec::new(),
            new_bytes: 0,
            shared_bytes: 0,
        })
    }

    /// Takes in the file `source`, which nobody writes to meanwhile, as `path`.
    pub fn file(&mut self, path: &str, source: &Path) -> Result<(), ArchiveError> {
        let cut = if path.ends_with(".db") {
            DATABASE_CHUNK
        } else {
            CHUNK
        };
        let failed = |error| ArchiveError::io("reading", source, error);
        let mut input = File::open(source).map_err(failed)?;
        let mut entry = FileEntry {
            path: path.to_owned(),
            size: 0,
            cut,
            chunks: Vec::new(),
        };
        let mut buffer = Vec::new();
        loop {
            self.progress.check()?;
            buffer.clear();
            let read = (&mut input)
                .take(cut)
                .read_to_end(&mut buffer)
                .map_err(failed)? as u64;
            if read == 0 {
                break;
            }
            let (hash, new) = self.writer.put(&buffer)?;
            *(if new {
                &mut self.new_bytes
            } else {
                &mut self.shared_bytes
            }) += read;
            entry.size += read;
            entry.chunks.push(hash.to_hex().to_string());
            self.progress.bytes(read);
        }
        self.progress.item();
        self.files.push(entry);
        Ok(())
    }

    /// Takes in every file below `dir`, below `prefix`, which ends with a slash.
    pub fn tree(&mut self, prefix: &str, dir: &Path) -> Result<(), ArchiveError> {
        let files = disk::files_below(dir)?;
        let sizes = files
            .iter()
            .filter_map(|(_, path)| Some(path.metadata().ok()?.len()));
        self.progress.expect(sizes.sum(), files.len() as u64);
        for (relative, path) in files {
            self.file(&format!("{prefix}{relative}"), &path)?;
        }
        Ok(())
    }

    /// Puts the snapshot into the repository. From here on it is there, also after a crash.
    pub fn finish(mut self, made_by: &str) -> Result<Snapshot, ArchiveError> {
        self.files.sort_by(|one, other| one.path.cmp(&other.path));
        let snapshot = Snapshot {
            format: FORMAT,
            id: self.id,
            scope: self.scope,
            taken_at: self.taken_at,
            finished_at: OffsetDateTime::now_utc(),
            made_by: made_by.to_owned(),
            bytes: self.new_bytes + self.shared_bytes,
            new_bytes: self.new_bytes,
            shared_bytes: self.shared_bytes,
            files: self.files,
        };
        self.progress.check()?;
        self.repository.commit(&snapshot)?;
        Ok(snapshot)
    }
}
