//! Sealing secrets: XChaCha20-Poly1305 under a key of the node, which the operator's key wraps.
//!
//! A sealed secret names its owner and key in the authenticated data, so that one that is moved to
//! another row does not open. The nonce is random: 192 bits leave no room for a repetition.

use canopy_backend_keys::FileKey;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};

use crate::StoreError;

const FORMAT: u8 = 1;
const NONCE_BYTES: usize = 24;

pub(crate) struct Sealer(XChaCha20Poly1305);

impl Sealer {
    pub(crate) fn new(key: &FileKey) -> Self {
        Self(XChaCha20Poly1305::new(&Key::from(*key.bytes())))
    }

    pub(crate) fn seal(&self, place: &Place<'_>, text: &[u8]) -> Result<Vec<u8>, StoreError> {
        let mut nonce = [0; NONCE_BYTES];
        random(&mut nonce)?;
        let payload = Payload {
            msg: text,
            aad: &place.bytes(),
        };
        let sealed = self
            .0
            .encrypt(&XNonce::from(nonce), payload)
            .map_err(|_| StoreError::Failed("a secret could not be sealed".into()))?;
        let mut whole = Vec::with_capacity(1 + NONCE_BYTES + sealed.len());
        whole.push(FORMAT);
        whole.extend_from_slice(&nonce);
        whole.extend_from_slice(&sealed);
        Ok(whole)
    }

    pub(crate) fn open_sealed(
        &self,
        place: &Place<'_>,
        sealed: &[u8],
    ) -> Result<Vec<u8>, StoreError> {
        let damaged = || StoreError::Corrupt(format!("the sealed {place} cannot be opened"));
        let (format, rest) = sealed.split_first().ok_or_else(damaged)?;
        let (nonce, text) = rest
            .split_first_chunk::<NONCE_BYTES>()
            .ok_or_else(damaged)?;
        if *format != FORMAT {
            return Err(damaged());
        }
        let payload = Payload {
            msg: text,
            aad: &place.bytes(),
        };
        self.0
            .decrypt(&XNonce::from(*nonce), payload)
            .map_err(|_| damaged())
    }
}

/// Where a sealed text belongs.
pub(crate) struct Place<'a> {
    pub(crate) kind: &'static str,
    pub(crate) owner: &'a str,
    pub(crate) key: &'a str,
}

impl Place<'_> {
    fn bytes(&self) -> Vec<u8> {
        [self.kind, self.owner, self.key].join("\0").into_bytes()
    }
}

impl std::fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} `{}` of {}", self.kind, self.key, self.owner)
    }
}

pub(crate) fn random(bytes: &mut [u8]) -> Result<(), StoreError> {
    getrandom::fill(bytes)
        .map_err(|error| StoreError::Failed(format!("the system gives no random bytes: {error}")))
}

#[cfg(test)]
mod tests {
    use canopy_backend_keys::{Keyring, OperatorKey};

    use super::*;

    fn place(key: &'static str) -> Place<'static> {
        Place {
            kind: "secret",
            owner: "ins_1",
            key,
        }
    }

    #[test]
    fn what_is_sealed_opens_in_its_place_only() {
        let folder = tempfile::tempdir().expect("a folder");
        let operator = OperatorKey::generate().expect("a key");
        let ring = Keyring::open(operator, folder.path()).expect("a ring");
        let sealer = Sealer::new(&ring.node_key("secrets"));
        let sealed = sealer.seal(&place("a"), b"canary").expect("sealed");
        assert!(!sealed.windows(6).any(|window| window == b"canary"));
        assert_eq!(
            sealer.open_sealed(&place("a"), &sealed).expect("opens"),
            b"canary"
        );
        assert!(sealer.open_sealed(&place("b"), &sealed).is_err());
        for index in 0..sealed.len() {
            let mut damaged = sealed.clone();
            damaged[index] ^= 1;
            assert!(
                sealer.open_sealed(&place("a"), &damaged).is_err(),
                "byte {index}"
            );
        }
        assert!(sealer.open_sealed(&place("a"), &sealed[..10]).is_err());
    }
}
