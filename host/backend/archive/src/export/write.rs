//! Writing an archive from a folder of files.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read as _, Write as _};
use std::path::Path;

use canopy_ids::{Digest, DigestHasher};
use tar::{Builder, EntryType, Header};
use time::OffsetDateTime;

use super::{ArchivedFile, ExportManifest, MANIFEST, PIECE};
use crate::{ArchiveError, Progress, disk};

/// Writes the files below `folder` to an archive at `path`, whole or not at all. `manifest` says
/// everything but the files, which are filled in.
pub fn pack(
    folder: &Path,
    mut manifest: ExportManifest,
    path: &Path,
    progress: &Progress,
) -> Result<ExportManifest, ArchiveError> {
    let files = disk::files_below(folder)?;
    let mut total = 0;
    manifest.files.clear();
    for (relative, source) in &files {
        progress.check()?;
        let (size, sha256) = digest(source)?;
        total += size;
        manifest.files.push(ArchivedFile {
            path: relative.clone(),
            size,
            sha256,
        });
    }
    progress.expect(total, files.len() as u64);
    let unfinished = path.with_extension("unfinished");
    let written = write(&files, &manifest, &unfinished, progress);
    if let Err(error) = written {
        // The cause is the error above; a file that stays is removed when exports expire.
        let _ = fs::remove_file(&unfinished);
        return Err(error);
    }
    let publish = || -> io::Result<()> {
        fs::rename(&unfinished, path)?;
        match path.parent() {
            Some(parent) => File::open(parent)?.sync_all(),
            None => Ok(()),
        }
    };
    publish().map_err(|error| ArchiveError::io("writing", path, error))?;
    Ok(manifest)
}

fn write(
    files: &[(String, std::path::PathBuf)],
    manifest: &ExportManifest,
    path: &Path,
    progress: &Progress,
) -> Result<(), ArchiveError> {
    let failed = |error| ArchiveError::io("writing", path, error);
    let output = disk::create(path).map_err(failed)?;
    let mut builder = Builder::new(BufWriter::with_capacity(PIECE, output));
    let text = serde_json::to_vec_pretty(manifest)
        .map_err(|error| ArchiveError::damaged(MANIFEST, error.to_string()))?;
    let mut head = header(text.len() as u64, manifest.exported_at);
    builder
        .append_data(&mut head, MANIFEST, text.as_slice())
        .map_err(failed)?;
    for (entry, (relative, source)) in manifest.files.iter().zip(files) {
        progress.check()?;
        let input = File::open(source).map_err(|e| ArchiveError::io("reading", source, e))?;
        let mut head = header(entry.size, manifest.exported_at);
        let counted = Counted {
            input: input.take(entry.size),
            progress,
        };
        builder
            .append_data(&mut head, relative, counted)
            .map_err(failed)?;
        progress.item();
    }
    let mut output = builder.into_inner().map_err(failed)?;
    output.flush().map_err(failed)?;
    output.get_ref().sync_all().map_err(failed)
}

fn header(size: u64, at: OffsetDateTime) -> Header {
    let mut header = Header::new_ustar();
    header.set_entry_type(EntryType::Regular);
    header.set_size(size);
    header.set_mode(0o600);
    header.set_mtime(at.unix_timestamp().unsigned_abs());
    header
}

/// The length and the digest of a file.
fn digest(path: &Path) -> Result<(u64, Digest), ArchiveError> {
    let failed = |error| ArchiveError::io("reading", path, error);
    let mut input = File::open(path).map_err(failed)?;
    let mut hasher = DigestHasher::default();
    let mut buffer = vec![0; PIECE];
    let mut size = 0;
    loop {
        let read = input.read(&mut buffer).map_err(failed)?;
        if read == 0 {
            return Ok((size, hasher.finish()));
        }
        hasher.update(&buffer[..read]);
        size += read as u64;
    }
}

struct Counted<'a, R> {
    input: R,
    progress: &'a Progress,
}

impl<R: io::Read> io::Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        self.progress.bytes(read as u64);
        Ok(read)
    }
}
