//! Names of keys, encrypted so that the same key of the same bucket always gets the same name and
//! can be read back from it: the nonce is made of the key itself, by a keyed digest.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use hmac::{Hmac, Mac};
use sha2::Sha256;

use vault::keyring::KEY;

/// Bytes of the nonce, which stands at the front.
const NONCE: usize = 24;

/// Bytes of the longest key that has a name of at most 1,024 bytes.
pub const MAX_KEY: usize = 728;

/// The names of one bucket.
pub struct Names<'a> {
    key: &'a [u8; KEY],
    place: &'a [u8],
}

impl<'a> Names<'a> {
    /// The names at `place`, which tells installation and bucket.
    pub fn of(key: &'a [u8; KEY], place: &'a [u8]) -> Self {
        Self { key, place }
    }

    /// The name of `key`, or nothing if it is too long.
    pub fn name(&self, key: &str) -> Option<String> {
        if key.len() > MAX_KEY {
            return None;
        }
        let nonce = self.nonce(key.as_bytes());
        let payload = Payload {
            msg: key.as_bytes(),
            aad: self.place,
        };
        let sealed = self.cipher().encrypt(&XNonce::from(nonce), payload).ok()?;
        Some(BASE64_URL_SAFE_NO_PAD.encode([&nonce[..], &sealed].concat()))
    }

    /// The key that has this name, or nothing if none has.
    pub fn key(&self, name: &str) -> Option<String> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(name).ok()?;
        let (nonce, sealed) = bytes.split_at_checked(NONCE)?;
        let nonce: [u8; NONCE] = nonce.try_into().ok()?;
        let payload = Payload {
            msg: sealed,
            aad: self.place,
        };
        let key = self.cipher().decrypt(&XNonce::from(nonce), payload).ok()?;
        (self.nonce(&key) == nonce).then(|| String::from_utf8(key).ok())?
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(&self.derived(b"names", &[]).into())
    }

    fn nonce(&self, key: &[u8]) -> [u8; NONCE] {
        let digest = self.derived(b"nonce", key);
        std::array::from_fn(|index| digest[index])
    }

    /// Thirty-two bytes that only the holder of the key can tell, for one purpose.
    fn derived(&self, purpose: &[u8; 5], text: &[u8]) -> [u8; KEY] {
        let mut mac =
            <Hmac<Sha256> as hmac::KeyInit>::new_from_slice(self.key).expect("any length");
        mac.update(purpose);
        if purpose == b"nonce" {
            mac.update(&(self.place.len() as u64).to_be_bytes());
            mac.update(self.place);
        }
        mac.update(text);
        mac.finalize().into_bytes().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_one_name_and_is_read_back_from_it() {
        let names = Names::of(&[1; KEY], b"i/b");
        for key in ["", "k", "a/b", "ü\0", &"x".repeat(MAX_KEY)] {
            let name = names.name(key).unwrap();
            assert_eq!(names.name(key).unwrap(), name);
            assert_eq!(names.key(&name).as_deref(), Some(key));
            assert!(name.len() <= 1024 && name.is_ascii() && !name.contains("a/b"));
        }
        assert_eq!(names.name(&"x".repeat(MAX_KEY + 1)), None);
    }

    #[test]
    fn names_tell_nothing_to_other_buckets_and_keys() {
        let name = Names::of(&[1; KEY], b"i/b").name("k").unwrap();
        for other in [Names::of(&[1; KEY], b"i/c"), Names::of(&[2; KEY], b"i/b")] {
            assert_ne!(other.name("k").unwrap(), name);
            assert_eq!(other.key(&name), None);
        }
        for foreign in ["", "k", "AAAA", "not base64!", &name[1..]] {
            assert_eq!(Names::of(&[1; KEY], b"i/b").key(foreign), None);
        }
    }
}
