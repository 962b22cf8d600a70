//! The keys that the tenant gave.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

/// Bytes of a key.
pub const KEY: usize = 32;

/// Bytes of the longest name of a key.
const MAX_NAME: usize = 32;

/// A key and what it is called.
#[derive(Clone, PartialEq, Eq)]
pub struct Named {
    pub name: String,
    pub key: [u8; KEY],
}

/// Keys for values and perhaps one for names.
#[derive(Clone)]
pub struct Keyring {
    current: Named,
    old: Vec<Named>,
    pub names: Option<[u8; KEY]>,
}

/// Why the keys are not usable. No part of a key is told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// A key is not written as it should be.
    #[error("the secret `{0}` is not a name, a colon, and 32 bytes as base64")]
    Key(&'static str),
    /// The key for names is not written as it should be.
    #[error("the secret `name_key` is not 32 bytes as base64")]
    NameKey,
    /// Two keys go by one name.
    #[error("two keys go by the name `{0}`")]
    Twice(String),
}

impl Keyring {
    /// Reads the secrets `key`, `old_keys` and `name_key`.
    pub fn read(key: &str, old: Option<&str>, names: Option<&str>) -> Result<Self, Unusable> {
        let current = named(key).ok_or(Unusable::Key("key"))?;
        let old = old.unwrap_or_default().split(',').map(str::trim);
        let old = old.filter(|key| !key.is_empty());
        let old = old
            .map(|key| named(key).ok_or(Unusable::Key("old_keys")))
            .collect::<Result<Vec<_>, _>>()?;
        let mut seen = vec![current.name.as_str()];
        for key in &old {
            if seen.contains(&key.name.as_str()) {
                return Err(Unusable::Twice(key.name.clone()));
            }
            seen.push(&key.name);
        }
        let names = names.map(|key| bytes(key).ok_or(Unusable::NameKey));
        Ok(Self {
            names: names.transpose()?,
            current,
            old,
        })
    }

    /// The key for what is written.
    pub fn current(&self) -> &Named {
        &self.current
    }

    /// The key of that name.
    pub fn find(&self, name: &[u8]) -> Option<&Named> {
        std::iter::once(&self.current)
            .chain(&self.old)
            .find(|key| key.name.as_bytes() == name)
    }
}

fn named(text: &str) -> Option<Named> {
    let (name, key) = text.split_once(':')?;
    let sound = (1..=MAX_NAME).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    Some(Named {
        name: sound.then(|| name.to_owned())?,
        key: bytes(key)?,
    })
}

fn bytes(text: &str) -> Option<[u8; KEY]> {
    BASE64_STANDARD.decode(text).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A key of equal bytes.
    pub fn written(name: &str, byte: u8) -> String {
        format!("{name}:{}", BASE64_STANDARD.encode([byte; KEY]))
    }

    #[test]
    fn keys_are_found_by_their_names() {
        let old = format!("{}, {}", written("b", 2), written("a", 1));
        let keys = Keyring::read(&written("c", 3), Some(&old), None)
            .ok()
            .unwrap();
        assert_eq!(keys.current().name, "c");
        assert_eq!(keys.find(b"a").unwrap().key, [1; KEY]);
        assert!(keys.find(b"d").is_none() && keys.names.is_none());
    }

    #[test]
    fn keys_that_are_none_are_refused_without_being_told() {
        let good = written("a", 1);
        let short = format!("a:{}", BASE64_STANDARD.encode([1; 16]));
        for bad in ["", "a", ":", &short, "a b:AAAA", &good[2..]] {
            let refused = Keyring::read(bad, None, None).err().unwrap();
            assert_eq!(refused, Unusable::Key("key"), "{bad}");
            assert!(bad.len() < 3 || !refused.to_string().contains(bad));
        }
        assert_eq!(
            Keyring::read(&good, Some("x"), None).err(),
            Some(Unusable::Key("old_keys"))
        );
        assert_eq!(
            Keyring::read(&good, None, Some("x")).err(),
            Some(Unusable::NameKey)
        );
        let twice = Keyring::read(&good, Some(&written("a", 2)), None);
        assert_eq!(twice.err(), Some(Unusable::Twice("a".to_owned())));
    }
}
