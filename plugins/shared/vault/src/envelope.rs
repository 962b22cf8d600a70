//! A value as it is kept: encrypted under a key of its own, which is encrypted under the tenant's.
//!
//! | bytes | |
//! | --- | --- |
//! | 4 | `CnE` and the version of this form, 1 |
//! | 1, then that many | the name of the tenant's key |
//! | 24 + 48 | a random nonce, and the data key under the tenant's key |
//! | 24 + n + 16 | a random nonce, and the value under the data key |
//!
//! Both are bound to all that comes before them and to the place of the value, which whoever keeps
//! it cannot change. Nonces of 24 bytes may be drawn at random as often as one likes.

use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};

use crate::keyring::{KEY, Keyring};

const MAGIC: &[u8; 4] = b"CnE\x01";
const NONCE: usize = 24;
const TAG: usize = 16;

/// The most bytes by which a value grows.
pub const OVERHEAD: usize = MAGIC.len() + 1 + 32 + NONCE + KEY + TAG + NONCE + TAG;

/// Why a value cannot be read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Its key is not among those of the tenant.
    #[error("the value is under the key `{0}`, which this driver does not have")]
    UnknownKey(String),
    /// It is not what was written at this place.
    #[error("the value is not what was written here: it was damaged, changed, or moved")]
    Changed,
    /// The system has no random numbers.
    #[error("there are no random numbers to make a key of")]
    NoRandomness,
}

/// Whether `kept` is a value in this form.
pub fn is_one(kept: &[u8]) -> bool {
    kept.starts_with(MAGIC)
}

/// Encrypts `value` for `place`.
pub fn seal(keys: &Keyring, place: &[u8], value: &[u8]) -> Result<Vec<u8>, Failure> {
    let tenants = keys.current();
    let mut out = Vec::with_capacity(value.len() + OVERHEAD);
    out.extend_from_slice(MAGIC);
    // Names of keys are at most 32 bytes long.
    out.push(u8::try_from(tenants.name.len()).map_err(|_| Failure::Changed)?);
    out.extend_from_slice(tenants.name.as_bytes());
    let data_key: [u8; KEY] = random()?;
    append(&mut out, &tenants.key, place, &data_key)?;
    append(&mut out, &data_key, place, value)?;
    Ok(out)
}

/// What was sealed for `place`.
pub fn open(keys: &Keyring, place: &[u8], kept: &[u8]) -> Result<Vec<u8>, Failure> {
    let rest = kept.strip_prefix(MAGIC).ok_or(Failure::Changed)?;
    let (&length, rest) = rest.split_first().ok_or(Failure::Changed)?;
    let (name, _) = rest
        .split_at_checked(length.into())
        .ok_or(Failure::Changed)?;
    let tenants = keys
        .find(name)
        .ok_or_else(|| Failure::UnknownKey(String::from_utf8_lossy(name).into_owned()))?;
    let head = MAGIC.len() + 1 + name.len();
    let inner = head + NONCE + KEY + TAG;
    let data_key = part(kept, head, inner, &tenants.key, place)?;
    let data_key = data_key.try_into().map_err(|_| Failure::Changed)?;
    part(kept, inner, kept.len(), &data_key, place)
}

/// Appends a nonce and `text` under `key`, bound to what `out` holds so far.
fn append(out: &mut Vec<u8>, key: &[u8; KEY], place: &[u8], text: &[u8]) -> Result<(), Failure> {
    let nonce: [u8; NONCE] = random()?;
    let bound = bound(out, place);
    let payload = Payload {
        msg: text,
        aad: &bound,
    };
    let sealed = XChaCha20Poly1305::new(&(*key).into()).encrypt(&XNonce::from(nonce), payload);
    out.extend_from_slice(&nonce);
    // Only a text beyond all memory is too long.
    out.extend_from_slice(&sealed.map_err(|_| Failure::Changed)?);
    Ok(())
}

/// What stands from `from` to `to`.
fn part(
    kept: &[u8],
    from: usize,
    to: usize,
    key: &[u8; KEY],
    place: &[u8],
) -> Result<Vec<u8>, Failure> {
    let (before, sealed) = kept
        .get(..to)
        .and_then(|kept| kept.split_at_checked(from))
        .ok_or(Failure::Changed)?;
    let (nonce, sealed) = sealed.split_at_checked(NONCE).ok_or(Failure::Changed)?;
    let nonce: [u8; NONCE] = nonce.try_into().map_err(|_| Failure::Changed)?;
    let bound = bound(before, place);
    let payload = Payload {
        msg: sealed,
        aad: &bound,
    };
    XChaCha20Poly1305::new(&(*key).into())
        .decrypt(&XNonce::from(nonce), payload)
        .map_err(|_| Failure::Changed)
}

/// Both, so that neither could be longer at the cost of the other.
fn bound(before: &[u8], place: &[u8]) -> Vec<u8> {
    let mut bound = (before.len() as u64).to_be_bytes().to_vec();
    bound.extend_from_slice(before);
    bound.extend_from_slice(place);
    bound
}

/// Bytes that nobody can guess.
pub fn random<const N: usize>() -> Result<[u8; N], Failure> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|_| Failure::NoRandomness)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::prelude::BASE64_STANDARD;

    use super::*;

    fn keys(current: (&str, u8), old: &[(&str, u8)]) -> Keyring {
        let one =
            |(name, byte): &(&str, u8)| format!("{name}:{}", BASE64_STANDARD.encode([*byte; KEY]));
        let old: Vec<String> = old.iter().map(one).collect();
        Keyring::read(&one(&current), Some(&old.join(",")), None)
            .ok()
            .unwrap()
    }

    #[test]
    fn what_is_sealed_is_opened_and_never_looks_the_same() {
        let keys = keys(("a", 1), &[]);
        for value in [&b""[..], b"secret-word", &[0; 4096]] {
            let (one, two) = (
                seal(&keys, b"p", value).unwrap(),
                seal(&keys, b"p", value).unwrap(),
            );
            assert_ne!(one, two);
            assert!(is_one(&one) && one.len() <= value.len() + OVERHEAD);
            assert!(!String::from_utf8_lossy(&one).contains("secret-word"));
            assert_eq!(open(&keys, b"p", &one).unwrap(), value);
        }
    }

    #[test]
    fn any_change_is_noticed() {
        let keys = keys(("a", 1), &[]);
        let sealed = seal(&keys, b"place", b"value").unwrap();
        for index in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[index] ^= 1;
            assert!(open(&keys, b"place", &changed).is_err(), "byte {index}");
            assert!(
                open(&keys, b"place", &sealed[..index]).is_err(),
                "length {index}"
            );
        }
        assert_eq!(open(&keys, b"other", &sealed), Err(Failure::Changed));
        assert_eq!(
            open(&keys, b"place", &[&sealed[..], b"x"].concat()),
            Err(Failure::Changed)
        );
    }

    #[test]
    fn the_key_can_be_changed_while_old_ones_are_kept() {
        let before = seal(&keys(("a", 1), &[]), b"p", b"v").unwrap();
        assert_eq!(
            open(&keys(("b", 2), &[("a", 1)]), b"p", &before).unwrap(),
            b"v"
        );
        assert_eq!(
            open(&keys(("b", 2), &[]), b"p", &before),
            Err(Failure::UnknownKey("a".to_owned()))
        );
        assert_eq!(
            open(&keys(("a", 3), &[]), b"p", &before),
            Err(Failure::Changed)
        );
    }
}
