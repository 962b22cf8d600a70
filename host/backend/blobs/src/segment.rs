//! Segments: the encrypted files of which objects are made.
//!
//! A segment is written once, under a name that is never used again, and never changed.
//!
//! ```text
//! header   magic 8 · version of the tenant's key 4 · salt 36                        48 bytes
//! chunk    64 KiB of content, encrypted, and its tag of 16 bytes
//! …        the last chunk holds what is left, at least one byte but for empty content
//! ```
//!
//! The key of a segment is derived from the installation's file key, the segment's name and its
//! header, so no two segments share one, and a file under another's name cannot be read. The nonce
//! of a chunk is its number and whether it is the last one, so chunks that were moved, left out or
//! cut off are found. Every chunk is checked before a byte of it is given.

mod read;
mod write;

use std::fmt;

use canopy_backend_keys::FileKey;
use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};

pub(crate) use read::{ReadError, SegmentReader};
pub(crate) use write::{SegmentWriter, Written};

/// Bytes of content of every chunk but the last.
pub(crate) const CHUNK: usize = 64 << 10;
const TAG: usize = 16;
const HEADER: usize = 48;
const MAGIC: &[u8; 8] = b"cnpyblb1";

/// What the keys of segments are derived from.
pub(crate) const PURPOSE: &str = "blobs";

/// Names a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct SegmentId(pub(crate) [u8; 16]);

impl SegmentId {
    /// A name that no other segment has.
    pub(crate) fn new() -> std::io::Result<Self> {
        let mut id = [0; 16];
        getrandom::fill(&mut id).map_err(std::io::Error::other)?;
        Ok(Self(id))
    }

    /// The segment that a file is named after.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let value = u128::from_str_radix(name, 16).ok()?;
        let id = Self(value.to_be_bytes());
        (id.to_string() == name).then_some(id)
    }
}

impl fmt::Display for SegmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

/// The first bytes of a segment's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Header([u8; HEADER]);

impl Header {
    fn new(key_version: u32) -> std::io::Result<Self> {
        let mut header = [0; HEADER];
        header[..8].copy_from_slice(MAGIC);
        header[8..12].copy_from_slice(&key_version.to_le_bytes());
        getrandom::fill(&mut header[12..]).map_err(std::io::Error::other)?;
        Ok(Self(header))
    }

    /// The version of the tenant's key, if these bytes are a header.
    fn key_version(&self) -> Option<u32> {
        let version = <[u8; 4]>::try_from(&self.0[8..12]).ok()?;
        (&self.0[..8] == MAGIC).then(|| u32::from_le_bytes(version))
    }
}

/// Bytes of the file of a segment with `size` bytes of content.
fn file_length(size: u64) -> u64 {
    HEADER as u64 + size + chunks(size) * TAG as u64
}

fn chunks(size: u64) -> u64 {
    size.div_ceil(CHUNK as u64).max(1)
}

struct Cipher(XChaCha20Poly1305);

/// A chunk is not what was written.
struct Forged;

impl Cipher {
    fn new(file_key: &FileKey, id: SegmentId, header: &Header) -> Self {
        let mut hasher = blake3::Hasher::new_keyed(file_key.bytes());
        hasher.update(b"segment").update(&id.0).update(&header.0);
        Self(XChaCha20Poly1305::new(hasher.finalize().as_bytes().into()))
    }

    /// Encrypts the content of chunk `number` at the end of `out`, from `start` on.
    fn seal(&self, number: u64, last: bool, out: &mut Vec<u8>, start: usize) {
        let nonce = nonce(number, last);
        let tag = self
            .0
            .encrypt_inout_detached(&nonce, &[], (&mut out[start..]).into());
        match tag {
            Ok(tag) => out.extend_from_slice(&tag),
            Err(_) => unreachable!("a chunk is shorter than what the cipher takes"),
        }
    }

    /// Decrypts chunk `number` in its place and gives the content.
    fn open<'a>(
        &self,
        number: u64,
        last: bool,
        chunk: &'a mut [u8],
    ) -> Result<&'a mut [u8], Forged> {
        let length = chunk.len().checked_sub(TAG).ok_or(Forged)?;
        let (content, tag) = chunk.split_at_mut(length);
        let tag = <[u8; TAG]>::try_from(&*tag).map_err(|_| Forged)?;
        let nonce = nonce(number, last);
        self.0
            .decrypt_inout_detached(&nonce, &[], (&mut *content).into(), &tag.into())
            .map_err(|_| Forged)?;
        Ok(content)
    }
}

fn nonce(number: u64, last: bool) -> XNonce {
    let mut nonce = [0; 24];
    nonce[..8].copy_from_slice(&number.to_le_bytes());
    nonce[8] = last.into();
    nonce.into()
}
