//! A bucket whose values and names are encrypted, over one that keeps them.

use vault::envelope::{self, OVERHEAD};
use vault::keyring::Keyring;

use crate::names::{MAX_KEY, Names};

/// Bytes of the longest value: what is kept has to fit into a mebibyte.
pub const MAX_VALUE: usize = (1 << 20) - 512;

const _: () = assert!(OVERHEAD <= 512);

/// A page of a listing, and where the next one begins.
pub type Page = (Vec<String>, Option<u64>);

/// The bucket that keeps what is encrypted.
pub trait Inner {
    /// What can go wrong there.
    type Error;

    fn get(&self, name: &str) -> Result<Option<Vec<u8>>, Self::Error>;
    fn set(&self, name: &str, value: &[u8]) -> Result<(), Self::Error>;
    fn delete(&self, name: &str) -> Result<(), Self::Error>;
    fn exists(&self, name: &str) -> Result<bool, Self::Error>;
    fn list(&self, cursor: Option<u64>) -> Result<Page, Self::Error>;
    fn increment(&self, name: &str, delta: u64) -> Result<u64, Self::Error>;
    fn get_many(&self, names: &[String]) -> Result<Vec<Option<Vec<u8>>>, Self::Error>;
    fn set_many(&self, values: &[(String, Vec<u8>)]) -> Result<(), Self::Error>;
    fn delete_many(&self, names: &[String]) -> Result<(), Self::Error>;
}

/// Why nothing was done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal<E> {
    /// The bucket beneath says so.
    #[error("the store beneath failed")]
    Inner(E),
    /// The value cannot be read or written.
    #[error(transparent)]
    Envelope(#[from] envelope::Failure),
    /// The key is too long to be encrypted.
    #[error("a key of {0} bytes is over the limit of {MAX_KEY} for encrypted ones")]
    LongKey(usize),
    /// The value is too long to be encrypted.
    #[error("a value of {0} bytes is over the limit of {MAX_VALUE} for encrypted ones")]
    LongValue(usize),
    /// Something is there that is neither encrypted nor a number.
    #[error("the value is not encrypted: it was not written by this driver")]
    NotEncrypted,
    /// The value was set and is encrypted, so that nobody can add to it.
    #[error("the value of this key is not a number that can be counted: it is encrypted")]
    NotANumber,
    /// The tenant wants no numbers in the clear.
    #[error(
        "numbers cannot be counted: this driver is set to refuse it, for they are not encrypted"
    )]
    NoCounters,
}

/// A bucket of one installation.
pub struct Vault<'a, I> {
    pub keys: &'a Keyring,
    /// Tells installation and bucket.
    pub place: &'a [u8],
    pub counters: bool,
    pub inner: &'a I,
}

impl<I: Inner> Vault<'_, I> {
    pub fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Refusal<I::Error>> {
        let found = self.inner.get(&self.name(key)?).map_err(Refusal::Inner)?;
        found.map(|kept| self.open(key, kept)).transpose()
    }

    pub fn set(&self, key: &str, value: &[u8]) -> Result<(), Refusal<I::Error>> {
        let (name, kept) = (self.name(key)?, self.seal(key, value)?);
        self.inner.set(&name, &kept).map_err(Refusal::Inner)
    }

    pub fn delete(&self, key: &str) -> Result<(), Refusal<I::Error>> {
        self.inner.delete(&self.name(key)?).map_err(Refusal::Inner)
    }

    pub fn exists(&self, key: &str) -> Result<bool, Refusal<I::Error>> {
        self.inner.exists(&self.name(key)?).map_err(Refusal::Inner)
    }

    /// What is beneath under names that are none of this driver's is left out.
    pub fn list(&self, cursor: Option<u64>) -> Result<Page, Refusal<I::Error>> {
        let (names, next) = self.inner.list(cursor).map_err(Refusal::Inner)?;
        let keys = match &self.keys.names {
            None => names,
            Some(secret) => {
                let secret = Names::of(secret, self.place);
                names.iter().filter_map(|name| secret.key(name)).collect()
            }
        };
        Ok((keys, next))
    }

    /// Adds to a number, which is kept as it is: only whoever keeps it can add to it with nobody in
    /// between.
    pub fn increment(&self, key: &str, delta: u64) -> Result<u64, Refusal<I::Error>> {
        if !self.counters {
            return Err(Refusal::NoCounters);
        }
        let name = self.name(key)?;
        let failed = |error| match self.inner.get(&name) {
            Ok(Some(kept)) if envelope::is_one(&kept) => Refusal::NotANumber,
            _ => Refusal::Inner(error),
        };
        self.inner.increment(&name, delta).map_err(failed)
    }

    pub fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Vec<u8>>>, Refusal<I::Error>> {
        let found = self
            .inner
            .get_many(&self.names(keys)?)
            .map_err(Refusal::Inner)?;
        let pairs = keys.iter().zip(found);
        pairs
            .map(|(key, kept)| kept.map(|kept| self.open(key, kept)).transpose())
            .collect()
    }

    pub fn set_many(&self, values: &[(String, Vec<u8>)]) -> Result<(), Refusal<I::Error>> {
        let sealed = values
            .iter()
            .map(|(key, value)| Ok((self.name(key)?, self.seal(key, value)?)));
        let sealed = sealed.collect::<Result<Vec<_>, Refusal<I::Error>>>()?;
        self.inner.set_many(&sealed).map_err(Refusal::Inner)
    }

    pub fn delete_many(&self, keys: &[String]) -> Result<(), Refusal<I::Error>> {
        self.inner
            .delete_many(&self.names(keys)?)
            .map_err(Refusal::Inner)
    }

    fn name(&self, key: &str) -> Result<String, Refusal<I::Error>> {
        match &self.keys.names {
            None => Ok(key.to_owned()),
            Some(secret) => Names::of(secret, self.place)
                .name(key)
                .ok_or(Refusal::LongKey(key.len())),
        }
    }

    fn names(&self, keys: &[String]) -> Result<Vec<String>, Refusal<I::Error>> {
        keys.iter().map(|key| self.name(key)).collect()
    }

    fn seal(&self, key: &str, value: &[u8]) -> Result<Vec<u8>, Refusal<I::Error>> {
        if value.len() > MAX_VALUE {
            return Err(Refusal::LongValue(value.len()));
        }
        Ok(envelope::seal(self.keys, &self.place_of(key), value)?)
    }

    fn open(&self, key: &str, kept: Vec<u8>) -> Result<Vec<u8>, Refusal<I::Error>> {
        if envelope::is_one(&kept) {
            return Ok(envelope::open(self.keys, &self.place_of(key), &kept)?);
        }
        if self.counters && is_number(&kept) {
            return Ok(kept);
        }
        Err(Refusal::NotEncrypted)
    }

    fn place_of(&self, key: &str) -> Vec<u8> {
        let mut place = (self.place.len() as u64).to_be_bytes().to_vec();
        place.extend_from_slice(self.place);
        place.extend_from_slice(key.as_bytes());
        place
    }
}

fn is_number(kept: &[u8]) -> bool {
    let digits = kept.strip_prefix(b"-").unwrap_or(kept);
    (1..=19).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit)
}

#[cfg(test)]
#[path = "bucket_tests.rs"]
mod tests;
