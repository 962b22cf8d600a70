//! Reading an archive that somebody sent.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read, Write as _};
use std::path::Path;

use canopy_ids::DigestHasher;
use tar::{Archive, Entries, Entry};

use super::{ArchivedFile, ExportManifest, MANIFEST, MANIFEST_BYTES, PIECE};
use crate::{ArchiveError, Progress, disk};

type Input = BufReader<File>;

fn open(path: &Path) -> Result<Archive<Input>, ArchiveError> {
    let file = File::open(path).map_err(|error| ArchiveError::io("reading", path, error))?;
    Ok(Archive::new(BufReader::with_capacity(PIECE, file)))
}

fn entries(archive: &mut Archive<Input>) -> Result<Entries<'_, Input>, ArchiveError> {
    // Raw: no extension may give an entry another name, size or shape than its header says.
    let entries = archive.entries().map_err(|error| broken(&error))?;
    Ok(entries.raw(true))
}

fn broken(error: &std::io::Error) -> ArchiveError {
    ArchiveError::damaged("the archive", error.to_string())
}

/// What the archive at `path` says about itself, before anything else of it is read.
pub fn read_manifest(path: &Path) -> Result<ExportManifest, ArchiveError> {
    first(&mut entries(&mut open(path)?)?)
}

fn first(entries: &mut Entries<'_, Input>) -> Result<ExportManifest, ArchiveError> {
    let no_archive = |why: &str| {
        ArchiveError::damaged("the archive", format!("it is no export of a tenant: {why}"))
    };
    let entry = entries.next().ok_or_else(|| no_archive("it is empty"))?;
    let mut entry = entry.map_err(|error| no_archive(&error.to_string()))?;
    if name(&entry)? != MANIFEST {
        return Err(no_archive("its first file is not manifest.json"));
    }
    let size = entry
        .header()
        .entry_size()
        .map_err(|error| broken(&error))?;
    if size > MANIFEST_BYTES {
        return Err(ArchiveError::damaged(
            MANIFEST,
            format!("it is longer than {MANIFEST_BYTES} bytes"),
        ));
    }
    let mut text = Vec::new();
    entry
        .read_to_end(&mut text)
        .map_err(|error| broken(&error))?;
    ExportManifest::decode(&text)
}

/// Writes the files of the archive at `path` into the empty folder `into`. Every file must be the
/// one that the manifest says; the first that is not is named in the error.
pub fn unpack(
    path: &Path,
    into: &Path,
    progress: &Progress,
) -> Result<ExportManifest, ArchiveError> {
    let mut archive = open(path)?;
    let mut entries = entries(&mut archive)?;
    let manifest = first(&mut entries)?;
    let mut missing: HashMap<&str, &ArchivedFile> = manifest
        .files
        .iter()
        .map(|file| (file.path.as_str(), file))
        .collect();
    let bytes = manifest.files.iter().map(|file| file.size).sum();
    progress.expect(bytes, missing.len() as u64);
    for entry in entries {
        let mut entry = entry.map_err(|error| {
            let what = match manifest
                .files
                .iter()
                .find(|f| missing.contains_key(&*f.path))
            {
                Some(next) => format!("{error}; {} was expected here", next.path),
                None => error.to_string(),
            };
            ArchiveError::damaged("the archive", what)
        })?;
        let name = name(&entry)?;
        let file = missing.remove(name.as_str()).ok_or_else(|| {
            ArchiveError::damaged(
                name.as_str(),
                "the manifest does not name it, or it is there twice",
            )
        })?;
        take(&mut entry, file, into, progress)?;
        progress.item();
    }
    // The order of a map is nobody's; the first that is missing is what helps.
    if let Some(lost) = manifest
        .files
        .iter()
        .find(|file| missing.contains_key(file.path.as_str()))
    {
        return Err(ArchiveError::damaged(lost.path.as_str(), "it is missing"));
    }
    Ok(manifest)
}

fn name(entry: &Entry<'_, Input>) -> Result<String, ArchiveError> {
    let path = entry.path_bytes();
    let name = String::from_utf8_lossy(&path).into_owned();
    if entry.header().entry_type() != tar::EntryType::Regular {
        return Err(ArchiveError::damaged(name, "it is no regular file"));
    }
    Ok(name)
}

fn take(
    entry: &mut Entry<'_, Input>,
    file: &ArchivedFile,
    into: &Path,
    progress: &Progress,
) -> Result<(), ArchiveError> {
    let damaged = |what: &str| ArchiveError::damaged(file.path.as_str(), what);
    let relative =
        disk::relative_path(&file.path).ok_or_else(|| damaged("its path leads elsewhere"))?;
    let path = into.join(relative);
    if let Some(parent) = path.parent() {
        disk::make_dir(parent)?;
    }
    let failed = |error| ArchiveError::io("writing", &path, error);
    let mut output = disk::create(&path).map_err(failed)?;
    let mut hasher = DigestHasher::default();
    let mut buffer = vec![0; PIECE];
    let mut size = 0;
    loop {
        progress.check()?;
        let read = entry
            .read(&mut buffer)
            .map_err(|error| damaged(&error.to_string()))?;
        if read == 0 {
            break;
        }
        size += read as u64;
        if size > file.size {
            return Err(damaged("it is longer than the manifest says"));
        }
        hasher.update(&buffer[..read]);
        output.write_all(&buffer[..read]).map_err(failed)?;
        progress.bytes(read as u64);
    }
    if size != file.size {
        return Err(damaged("it is shorter than the manifest says"));
    }
    if hasher.finish() != file.sha256 {
        return Err(damaged("its SHA-256 is another than the manifest says"));
    }
    Ok(())
}
