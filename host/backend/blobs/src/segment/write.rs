//! Writing a segment: into a temporary file that gets its name when all of it is on the disk.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use canopy_backend::files::sync_dir;
use canopy_backend_keys::FileKey;

use super::{CHUNK, Cipher, Header, SegmentId, TAG};
use crate::folder::Folder;

/// A segment that is on the disk under its name.
#[derive(Debug, Clone)]
pub(crate) struct Written {
    pub(crate) id: SegmentId,
    pub(crate) size: u64,
    /// Of the content.
    pub(crate) hash: [u8; 32],
    pub(crate) key_version: u32,
}

/// A segment being written. What is dropped unfinished leaves no file.
pub(crate) struct SegmentWriter {
    folder: Folder,
    file: File,
    path: PathBuf,
    renamed: bool,
    id: SegmentId,
    key_version: u32,
    cipher: Cipher,
    /// Content of the chunk that has begun; a full one waits, as it may be the last.
    chunk: Vec<u8>,
    /// Encrypted chunks on their way to the file.
    sealed: Vec<u8>,
    next: u64,
    size: u64,
    hash: blake3::Hasher,
}

impl SegmentWriter {
    pub(crate) fn create(folder: &Folder, file_key: &FileKey) -> io::Result<Self> {
        let id = SegmentId::new()?;
        let header = Header::new(file_key.version())?;
        let path = folder.incoming(id);
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        let begun = file.write_all(&header.0);
        let writer = Self {
            folder: folder.clone(),
            file,
            path,
            renamed: false,
            id,
            key_version: file_key.version(),
            cipher: Cipher::new(file_key, id, &header),
            chunk: Vec::with_capacity(CHUNK + TAG),
            sealed: Vec::new(),
            next: 0,
            size: 0,
            hash: blake3::Hasher::new(),
        };
        begun.map(|()| writer)
    }

    pub(crate) fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        self.hash.update(bytes);
        self.size += bytes.len() as u64;
        while !bytes.is_empty() {
            if self.chunk.len() == CHUNK {
                self.seal(false);
            }
            let (now, later) = bytes.split_at(bytes.len().min(CHUNK - self.chunk.len()));
            self.chunk.extend_from_slice(now);
            bytes = later;
        }
        self.file.write_all(&self.sealed)?;
        self.sealed.clear();
        Ok(())
    }

    fn seal(&mut self, last: bool) {
        let start = self.sealed.len();
        self.sealed.extend_from_slice(&self.chunk);
        self.chunk.clear();
        self.cipher.seal(self.next, last, &mut self.sealed, start);
        self.next += 1;
    }

    /// Puts the segment on the disk, and then under its name. Nothing refers to it yet.
    pub(crate) fn finish(mut self) -> io::Result<Written> {
        self.seal(true);
        self.file.write_all(&self.sealed)?;
        self.file.sync_all()?;
        let named = self.folder.object(self.id);
        fs::rename(&self.path, &named)?;
        self.path = named;
        sync_dir(&self.folder.objects())?;
        self.renamed = true;
        Ok(Written {
            id: self.id,
            size: self.size,
            hash: *self.hash.finalize().as_bytes(),
            key_version: self.key_version,
        })
    }
}

impl Drop for SegmentWriter {
    fn drop(&mut self) {
        if !self.renamed
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "an unfinished file stays until the next start");
        }
    }
}
