//! Sealing secrets: XChaCha20-Poly1305 under a key that is in a file of its own.
//!
//! A sealed secret names its owner and key in the authenticated data, so that one that is moved to
//! another row does not open. The nonce is random: 192 bits leave no room for a repetition.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};

use crate::StoreError;

const FORMAT: u8 = 1;
const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 24;

pub(crate) struct Sealer(XChaCha20Poly1305);

impl Sealer {
    /// Reads the key from `path`, or makes one if `create` and there is none.
    pub(crate) fn open(path: &Path, create: bool) -> Result<Self, StoreError> {
        let failed = |action: &str, error: &dyn std::fmt::Display| {
            StoreError::Failed(format!("{action} the key file {}: {error}", path.display()))
        };
        let mut file = match OpenOptions::new().read(true).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound && create => {
                make(path).map_err(|error| failed("making", &error))?;
                OpenOptions::new()
                    .read(true)
                    .open(path)
                    .map_err(|e| failed("opening", &e))?
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let advice = "it is missing, and without it no secret in the database can be read; \
                              restore it from your backup";
                return Err(failed("opening", &advice));
            }
            Err(error) => return Err(failed("opening", &error)),
        };
        let mode = file
            .metadata()
            .map_err(|error| failed("reading", &error))?
            .mode();
        if mode & 0o077 != 0 {
            return Err(failed(
                "using",
                &"other users can read it; run `chmod 600` on it",
            ));
        }
        let mut key = [0; KEY_BYTES];
        let mut rest = Vec::new();
        file.read_exact(&mut key)
            .map_err(|error| failed("reading", &error))?;
        file.take(1)
            .read_to_end(&mut rest)
            .map_err(|error| failed("reading", &error))?;
        if !rest.is_empty() {
            return Err(failed("using", &"it is longer than a key"));
        }
        Ok(Self(XChaCha20Poly1305::new(&Key::from(key))))
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

/// Writes a new key so that it is there whole or not at all.
fn make(path: &Path) -> io::Result<()> {
    let mut key = [0; KEY_BYTES];
    getrandom::fill(&mut key).map_err(|error| io::Error::other(error.to_string()))?;
    let unfinished = path.with_extension("new");
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&unfinished)?;
    file.write_all(&key)?;
    file.sync_all()?;
    fs::rename(&unfinished, path)?;
    match path.parent() {
        Some(directory) => fs::File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
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
        let sealer = Sealer::open(&folder.path().join("key"), true).expect("a key");
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

    #[test]
    fn a_key_that_others_can_read_or_that_is_missing_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("key");
        assert!(Sealer::open(&path, false).is_err());
        Sealer::open(&path, true).expect("a key");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("chmod");
        let error = Sealer::open(&path, true).err().expect("refused");
        assert!(error.to_string().contains("chmod 600"), "{error}");
    }
}
