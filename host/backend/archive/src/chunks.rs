//! Chunks: the bytes of files in pieces, each in a file that is named by their blake3 digest.

use std::collections::HashSet;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use blake3::Hash;

use crate::ArchiveError;
use crate::disk;

const UNFINISHED: &str = "unfinished-";

/// The chunks of a repository.
#[derive(Debug, Clone)]
pub(crate) struct Chunks {
    dir: PathBuf,
}

/// What a sweep removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// How many chunks.
    pub chunks: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Chunks {
    pub(crate) fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    fn path(&self, hash: &Hash) -> PathBuf {
        let hex = hash.to_hex();
        self.dir.join(&hex[..2]).join(hex.as_str())
    }

    /// The chunk with this digest; anything else under its name is an error.
    pub(crate) fn read(&self, hash: &Hash) -> Result<Vec<u8>, ArchiveError> {
        let path = self.path(hash);
        let place = || format!("chunk {}", hash.to_hex());
        match fs::read(&path) {
            Ok(bytes) if blake3::hash(&bytes) == *hash => Ok(bytes),
            Ok(_) => Err(ArchiveError::damaged(place(), "its digest is another")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(ArchiveError::damaged(place(), "it is missing"))
            }
            Err(error) => Err(ArchiveError::io("reading", &path, error)),
        }
    }

    /// The digests of all chunks that are there, whether or not their bytes are right.
    pub(crate) fn all(&self) -> Result<Vec<(Hash, u64)>, ArchiveError> {
        let mut found = Vec::new();
        self.each(|name, path| {
            if let Ok(hash) = Hash::from_hex(name) {
                let size = fs::metadata(path)
                    .map_err(|error| ArchiveError::io("reading", path, error))?
                    .len();
                found.push((hash, size));
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// Removes every chunk but those in `kept`, and what an interrupted backup left unfinished.
    pub(crate) fn sweep(&self, kept: &HashSet<Hash>) -> Result<Swept, ArchiveError> {
        let mut swept = Swept::default();
        self.each(|name, path| {
            let keep = match Hash::from_hex(name) {
                Ok(hash) => kept.contains(&hash),
                Err(_) => !name.starts_with(UNFINISHED),
            };
            if keep {
                return Ok(());
            }
            let size = fs::metadata(path).map_or(0, |metadata| metadata.len());
            fs::remove_file(path).map_err(|error| ArchiveError::io("removing", path, error))?;
            swept.chunks += 1;
            swept.bytes += size;
            Ok(())
        })?;
        Ok(swept)
    }

    fn each(
        &self,
        mut visit: impl FnMut(&str, &Path) -> Result<(), ArchiveError>,
    ) -> Result<(), ArchiveError> {
        for (relative, path) in disk::files_below(&self.dir)? {
            let name = relative.rsplit('/').next().unwrap_or(&relative);
            visit(name, &path)?;
        }
        Ok(())
    }
}

/// Puts chunks into a repository.
pub(crate) struct ChunkWriter {
    chunks: Chunks,
    /// Chunks that are there for certain: a complete snapshot names them, or they were compared.
    known: HashSet<Hash>,
    folders: HashSet<u8>,
}

impl ChunkWriter {
    pub(crate) fn new(chunks: Chunks, known: HashSet<Hash>) -> Self {
        Self {
            chunks,
            known,
            folders: HashSet::new(),
        }
    }

    /// Puts a chunk in. The flag says whether it had to be written.
    ///
    /// It is on the disk for good only once the file system has been synced, so one that an
    /// interrupted backup left behind is compared before it counts.
    pub(crate) fn put(&mut self, bytes: &[u8]) -> Result<(Hash, bool), ArchiveError> {
        let hash = blake3::hash(bytes);
        if self.known.contains(&hash) {
            return Ok((hash, false));
        }
        let path = self.chunks.path(&hash);
        let there = path.exists() && self.chunks.read(&hash).is_ok();
        if !there {
            self.write(&hash, &path, bytes)?;
        }
        self.known.insert(hash);
        Ok((hash, !there))
    }

    fn write(&mut self, hash: &Hash, path: &Path, bytes: &[u8]) -> Result<(), ArchiveError> {
        let first = hash.as_bytes()[0];
        let folder = self.chunks.dir.join(format!("{first:02x}"));
        if !self.folders.contains(&first) {
            disk::make_dir(&folder)?;
            self.folders.insert(first);
        }
        let unfinished = folder.join(format!("{UNFINISHED}{}", hash.to_hex()));
        let write = || -> io::Result<()> {
            disk::create(&unfinished)?.write_all(bytes)?;
            fs::rename(&unfinished, path)
        };
        write().map_err(|error| {
            // It was never there under its name; the sweep takes it if this cannot.
            let _ = fs::remove_file(&unfinished);
            ArchiveError::io("writing", path, error)
        })
    }
}
