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
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};

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

/// ChaCha20-Poly1305 by `ring`: a body costs no more than the disk, in every build.
struct Cipher(LessSafeKey);

/// A chunk is not what was written.
struct Forged;

impl Cipher {
    fn new(file_key: &FileKey, id: SegmentId, header: &Header) -> Self {
        let mut hasher = blake3::Hasher::new_keyed(file_key.bytes());
        hasher.update(b"segment").update(&id.0).update(&header.0);
        match UnboundKey::new(&CHACHA20_POLY1305, hasher.finalize().as_bytes()) {
            Ok(key) => Self(LessSafeKey::new(key)),
            Err(_) => unreachable!("a key of this cipher has 32 bytes"),
        }
    }

    /// Encrypts the content of chunk `number` at the end of `out`, from `start` on.
    fn seal(&self, number: u64, last: bool, out: &mut Vec<u8>, start: usize) {
        let tag =
            self.0
                .seal_in_place_separate_tag(nonce(number, last), Aad::empty(), &mut out[start..]);
        match tag {
            Ok(tag) => out.extend_from_slice(tag.as_ref()),
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
        self.0
            .open_in_place(nonce(number, last), Aad::empty(), chunk)
            .map_err(|_| Forged)
    }
}

fn nonce(number: u64, last: bool) -> Nonce {
    let mut nonce = [0; 12];
    nonce[..8].copy_from_slice(&number.to_le_bytes());
    nonce[8] = last.into();
    Nonce::assume_unique_for_key(nonce)
}
