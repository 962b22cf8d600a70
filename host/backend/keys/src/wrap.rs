//! Secret bytes, and one secret under another.

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use zeroize::Zeroizing;

use crate::{KEY_BYTES, KeyError};

const NONCE_BYTES: usize = 24;

/// A key in memory, wiped when it goes.
pub(crate) struct Secret(Zeroizing<[u8; KEY_BYTES]>);

impl Secret {
    /// A new one.
    pub(crate) fn new() -> Result<Self, KeyError> {
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        random(bytes.as_mut())?;
        Ok(Self(bytes))
    }

    pub(crate) fn bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }

    /// This secret under `by`, to be opened with the same `place` alone.
    pub(crate) fn wrapped(&self, by: &Self, place: &str) -> Result<Vec<u8>, KeyError> {
        let mut nonce = [0; NONCE_BYTES];
        random(&mut nonce)?;
        let payload = Payload {
            msg: self.0.as_slice(),
            aad: place.as_bytes(),
        };
        let sealed = XChaCha20Poly1305::new(&Key::from(*by.0))
            .encrypt(&XNonce::from(nonce), payload)
            .map_err(|_| KeyError::Random("a key could not be wrapped".into()))?;
        Ok([nonce.as_slice(), &sealed].concat())
    }

    /// Opens what [`Self::wrapped`] gave. `None`: another key, another place, or other bytes.
    pub(crate) fn unwrap(wrapped: &[u8], by: &Self, place: &str) -> Option<Self> {
        let (nonce, sealed) = wrapped.split_first_chunk::<NONCE_BYTES>()?;
        let payload = Payload {
            msg: sealed,
            aad: place.as_bytes(),
        };
        let opened = XChaCha20Poly1305::new(&Key::from(*by.0))
            .decrypt(&XNonce::from(*nonce), payload)
            .ok()
            .map(Zeroizing::new)?;
        let bytes: [u8; KEY_BYTES] = opened.as_slice().try_into().ok()?;
        Some(Self(Zeroizing::new(bytes)))
    }
}

impl From<[u8; KEY_BYTES]> for Secret {
    fn from(bytes: [u8; KEY_BYTES]) -> Self {
        Self(Zeroizing::new(bytes))
    }
}

pub(crate) fn random(bytes: &mut [u8]) -> Result<(), KeyError> {
    getrandom::fill(bytes).map_err(|error| KeyError::Random(error.to_string()))
}

/// `bytes` in hexadecimal digits.
pub(crate) fn to_hex(bytes: &[u8]) -> Zeroizing<String> {
    const DIGITS: [u8; 16] = *b"0123456789abcdef";
    let mut text = Zeroizing::new(String::with_capacity(2 * bytes.len()));
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

/// The bytes of pairs of hexadecimal digits.
pub(crate) fn bytes_from_hex(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |digit: u8| char::from(digit).to_digit(16);
    let (pairs, rest) = text.as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs
        .iter()
        .map(|[high, low]| u8::try_from(digit(*high)? * 16 + digit(*low)?).ok())
        .collect()
}

/// The key of 64 hexadecimal digits.
pub(crate) fn from_hex(text: &[u8]) -> Option<Secret> {
    let bytes = Zeroizing::new(bytes_from_hex(text)?);
    let bytes: [u8; KEY_BYTES] = bytes.as_slice().try_into().ok()?;
    Some(Secret::from(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrapped_opens_under_its_key_and_in_its_place_alone() {
        let (by, other) = (Secret::new().expect("a key"), Secret::new().expect("a key"));
        let secret = Secret::new().expect("a key");
        let wrapped = secret.wrapped(&by, "here").expect("wrapped");
        let opened = Secret::unwrap(&wrapped, &by, "here").expect("opens");
        assert_eq!(opened.bytes(), secret.bytes());
        assert!(Secret::unwrap(&wrapped, &by, "there").is_none());
        assert!(Secret::unwrap(&wrapped, &other, "here").is_none());
        for index in 0..wrapped.len() {
            let mut damaged = wrapped.clone();
            damaged[index] ^= 1;
            assert!(Secret::unwrap(&damaged, &by, "here").is_none(), "{index}");
            assert!(Secret::unwrap(&wrapped[..index], &by, "here").is_none());
        }
    }

    #[test]
    fn hexadecimal_there_and_back() {
        let bytes: Vec<u8> = (0..=255).collect();
        assert_eq!(bytes_from_hex(to_hex(&bytes).as_bytes()), Some(bytes));
        for text in ["0", "0g", "+1", "é0"] {
            assert_eq!(bytes_from_hex(text.as_bytes()), None, "{text}");
        }
    }
}
