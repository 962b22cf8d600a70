//! Reading a segment, from any byte on.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use bytes::{Bytes, BytesMut};
use canopy_backend_keys::FileKey;

use super::{CHUNK, Cipher, HEADER, Header, SegmentId, TAG, chunks, file_length};
use crate::folder::Folder;

/// Chunks read at once.
const CHUNKS_AT_ONCE: u64 = 4;

/// Why a segment cannot be read.
#[derive(Debug)]
pub(crate) enum ReadError {
    /// It is not what was written; what is wrong.
    Damaged(&'static str),
    /// The disk, or the key.
    Failed(String),
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::Damaged("its file is missing"),
            io::ErrorKind::UnexpectedEof => Self::Damaged("its file is too short"),
            _ => Self::Failed(error.to_string()),
        }
    }
}

/// A part of a segment being read.
pub(crate) struct SegmentReader {
    file: File,
    cipher: Cipher,
    size: u64,
    /// Where the next byte is, and where the part ends.
    at: u64,
    end: u64,
    /// Of the whole content, which is read if the part is all of it.
    hash: Option<(blake3::Hasher, [u8; 32])>,
}

impl SegmentReader {
    /// Begins to read the bytes from `start` to `end` of a segment of `size` bytes whose content
    /// has this hash. `key` gives the file key of a version.
    pub(crate) fn open(
        folder: &Folder,
        id: SegmentId,
        size: u64,
        hash: [u8; 32],
        (start, end): (u64, u64),
        key: impl FnOnce(u32) -> Result<Option<FileKey>, ReadError>,
    ) -> Result<Self, ReadError> {
        let file = File::open(folder.object(id))?;
        let mut header = Header([0; HEADER]);
        file.read_exact_at(&mut header.0, 0)?;
        let version = header
            .key_version()
            .ok_or(ReadError::Damaged("its header is not one"))?;
        if file.metadata()?.len() != file_length(size) {
            return Err(ReadError::Damaged("its file has another length"));
        }
        let key = key(version)?.ok_or_else(|| {
            ReadError::Failed(format!("version {version} of the tenant's key is missing"))
        })?;
        Ok(Self {
            cipher: Cipher::new(&key, id, &header),
            file,
            size,
            at: start,
            end,
            hash: (start == 0 && end == size).then(|| (blake3::Hasher::new(), hash)),
        })
    }

    /// The next bytes; none at the end.
    pub(crate) fn next(&mut self) -> Result<Option<Bytes>, ReadError> {
        let first = self.at / CHUNK as u64;
        let wanted = self.end.div_ceil(CHUNK as u64);
        let empty = self.size == 0 && self.hash.is_some();
        if self.at >= self.end && !empty {
            return Ok(None);
        }
        let all = chunks(self.size);
        let until = wanted.max(1).min(first + CHUNKS_AT_ONCE).min(all);
        let from = first * (CHUNK + TAG) as u64;
        let length = file_length(self.size) - HEADER as u64;
        let to = (until * (CHUNK + TAG) as u64).min(length);
        let mut read = BytesMut::zeroed(usize::try_from(to - from).unwrap_or(usize::MAX));
        self.file.read_exact_at(&mut read, HEADER as u64 + from)?;

        // The contents move together over the tags.
        let mut kept = 0;
        for number in first..until {
            let at = usize::try_from(number - first).unwrap_or(usize::MAX) * (CHUNK + TAG);
            let chunk_end = read.len().min(at + CHUNK + TAG);
            let content = self
                .cipher
                .open(number, number + 1 == all, &mut read[at..chunk_end])
                .map_err(|_| ReadError::Damaged("a chunk is not what was written"))?;
            let content = content.len();
            read.copy_within(at..at + content, kept);
            kept += content;
        }
        read.truncate(kept);
        let chunk_start = first * CHUNK as u64;
        let skip = usize::try_from(self.at - chunk_start).unwrap_or(usize::MAX);
        let stop = (self.end - chunk_start).min(kept as u64);
        let bytes = read
            .freeze()
            .slice(skip..usize::try_from(stop).unwrap_or(usize::MAX));
        self.at += bytes.len() as u64;
        self.compare(&bytes)?;
        Ok((!bytes.is_empty()).then_some(bytes))
    }

    /// Looks at the hash before the last bytes are given.
    fn compare(&mut self, bytes: &[u8]) -> Result<(), ReadError> {
        let Some((hasher, expected)) = &mut self.hash else {
            return Ok(());
        };
        hasher.update(bytes);
        if self.at == self.end {
            let right = hasher.finalize() == *expected;
            self.hash = None;
            if !right {
                return Err(ReadError::Damaged("its content has another checksum"));
            }
        }
        Ok(())
    }
}
