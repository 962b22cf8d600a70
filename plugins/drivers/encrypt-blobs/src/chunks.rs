//! Content as it is kept: chunks of 64 KiB, each encrypted under the object's data key.
//!
//! The key is used for one content alone, so the nonce of a chunk is its number and whether it is the
//! last: a chunk that was moved, doubled or cut off does not decrypt. Every content has a last chunk,
//! the empty one, too.

use chacha20poly1305::aead::{Aead as _, KeyInit as _};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use vault::keyring::KEY;

/// Bytes of content in one chunk; the last may have fewer.
pub const CHUNK: u64 = 64 << 10;

/// Bytes by which a chunk grows.
const TAG: u64 = 16;

/// Bytes of a chunk as it is kept.
pub const KEPT: u64 = CHUNK + TAG;

/// It is not what was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Changed;

/// How long a content of `size` bytes is as it is kept.
pub fn kept_size(size: u64) -> u64 {
    size.saturating_add(count(size).saturating_mul(TAG))
}

/// How long the content is that is kept in `kept` bytes, unless none is.
pub fn size(kept: u64) -> Option<u64> {
    let chunks = kept.div_ceil(KEPT);
    let size = kept.checked_sub(chunks.checked_mul(TAG)?)?;
    (chunks > 0 && kept_size(size) == kept).then_some(size)
}

/// How many chunks a content of `size` bytes has.
pub fn count(size: u64) -> u64 {
    size.div_ceil(CHUNK).max(1)
}

/// The chunks of one content.
pub struct Chunks {
    cipher: XChaCha20Poly1305,
}

impl Chunks {
    pub fn of(key: &[u8; KEY]) -> Self {
        Self {
            cipher: XChaCha20Poly1305::new(&(*key).into()),
        }
    }

    pub fn seal(&self, number: u64, last: bool, content: &[u8]) -> Result<Vec<u8>, Changed> {
        // Only a content beyond all memory is too long.
        let sealed = self.cipher.encrypt(&nonce(number, last), content);
        sealed.map_err(|_| Changed)
    }

    pub fn open(&self, number: u64, last: bool, kept: &[u8]) -> Result<Vec<u8>, Changed> {
        let opened = self.cipher.decrypt(&nonce(number, last), kept);
        opened.map_err(|_| Changed)
    }
}

fn nonce(number: u64, last: bool) -> XNonce {
    let mut nonce = [0; 24];
    nonce[..8].copy_from_slice(&number.to_be_bytes());
    nonce[8] = u8::from(last);
    nonce.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_of_a_content_is_told_by_that_of_what_is_kept() {
        for size_of in [
            0,
            1,
            CHUNK - 1,
            CHUNK,
            CHUNK + 1,
            10 * CHUNK,
            10 * CHUNK + 7,
        ] {
            assert_eq!(size(kept_size(size_of)), Some(size_of));
        }
        for wrong in [0, 1, TAG - 1, KEPT + 1, KEPT + TAG] {
            assert_eq!(size(wrong), None, "{wrong}");
        }
        // The largest is a length as any other.
        assert_eq!(size(u64::MAX).map(kept_size), Some(u64::MAX));
    }

    #[test]
    fn a_chunk_is_opened_in_its_own_place_alone() {
        let chunks = Chunks::of(&[7; KEY]);
        let kept = chunks.seal(3, false, b"content").unwrap();
        assert_eq!(chunks.open(3, false, &kept).unwrap(), b"content");
        for (number, last) in [(3, true), (2, false), (4, false)] {
            assert_eq!(chunks.open(number, last, &kept), Err(Changed));
        }
        assert_eq!(Chunks::of(&[8; KEY]).open(3, false, &kept), Err(Changed));
        for at in 0..kept.len() {
            let mut kept = kept.clone();
            kept[at] ^= 1;
            assert_eq!(chunks.open(3, false, &kept), Err(Changed));
        }
        assert_eq!(chunks.open(3, false, &kept[..10]), Err(Changed));
    }
}
