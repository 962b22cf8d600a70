//! A bucket in front of one that keeps the data: reads are answered from memory where they can be,
//! writes go through.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::time::Duration;

use remember::{Key, Memory};

/// The bucket that keeps the data.
pub trait Inner {
    /// What can go wrong there.
    type Error;

    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Self::Error>;
    fn set(&self, key: &str, value: &[u8]) -> Result<(), Self::Error>;
    fn delete(&self, key: &str) -> Result<(), Self::Error>;
    fn exists(&self, key: &str) -> Result<bool, Self::Error>;
    fn increment(&self, key: &str, delta: u64) -> Result<u64, Self::Error>;
    fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Vec<u8>>>, Self::Error>;
    fn set_many(&self, values: &[(String, Vec<u8>)]) -> Result<(), Self::Error>;
    fn delete_many(&self, keys: &[String]) -> Result<(), Self::Error>;
}

/// A bucket of one installation.
pub struct Front<'a, I> {
    pub memory: &'a RefCell<Memory<Option<Vec<u8>>>>,
    pub installation: &'a str,
    pub bucket: &'a str,
    pub ttl: Duration,
    pub max_bytes: usize,
    /// The time, from any moment that is the same for all who share the memory.
    pub now: &'a dyn Fn() -> Duration,
    pub inner: &'a I,
}

impl<I: Inner> Front<'_, I> {
    pub fn get(&self, key: &str) -> Result<Option<Vec<u8>>, I::Error> {
        if let Some(known) = self.known(key) {
            return Ok(known);
        }
        let asked = (self.now)();
        let found = self.inner.get(key)?;
        self.remember(key, found.clone(), asked);
        Ok(found)
    }

    pub fn exists(&self, key: &str) -> Result<bool, I::Error> {
        match self.known(key) {
            Some(known) => Ok(known.is_some()),
            None => self.inner.exists(key),
        }
    }

    pub fn set(&self, key: &str, value: Vec<u8>) -> Result<(), I::Error> {
        self.forget([key]);
        let asked = (self.now)();
        self.inner.set(key, &value)?;
        self.remember(key, Some(value), asked);
        Ok(())
    }

    pub fn delete(&self, key: &str) -> Result<(), I::Error> {
        self.forget([key]);
        let asked = (self.now)();
        self.inner.delete(key)?;
        self.remember(key, None, asked);
        Ok(())
    }

    /// The sum is not remembered: what the number looks like is for whoever keeps it to say.
    pub fn increment(&self, key: &str, delta: u64) -> Result<u64, I::Error> {
        self.forget([key]);
        self.inner.increment(key, delta)
    }

    pub fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Vec<u8>>>, I::Error> {
        let mut values: Vec<_> = keys.iter().map(|key| self.known(key)).collect();
        let open: BTreeSet<&String> = keys
            .iter()
            .zip(&values)
            .filter_map(|(key, value)| value.is_none().then_some(key))
            .collect();
        if !open.is_empty() {
            let open: Vec<String> = open.into_iter().cloned().collect();
            let asked = (self.now)();
            let found = self.inner.get_many(&open)?;
            for (key, value) in open.iter().zip(&found) {
                self.remember(key, value.clone(), asked);
            }
            // What does not fit into the memory is answered all the same.
            for (key, value) in keys.iter().zip(&mut values) {
                if value.is_none() {
                    let index = open.binary_search(key).ok();
                    *value = index.and_then(|index| found.get(index).cloned());
                }
            }
        }
        Ok(values.into_iter().map(Option::flatten).collect())
    }

    pub fn set_many(&self, values: Vec<(String, Vec<u8>)>) -> Result<(), I::Error> {
        self.forget(values.iter().map(|(key, _)| key.as_str()));
        let asked = (self.now)();
        self.inner.set_many(&values)?;
        // Of a key that is there twice nobody says which value counts.
        let mut seen = BTreeSet::new();
        let twice: BTreeSet<String> = values
            .iter()
            .filter(|(key, _)| !seen.insert(key))
            .map(|(key, _)| key.clone())
            .collect();
        for (key, value) in values {
            if !twice.contains(&key) {
                self.remember(&key, Some(value), asked);
            }
        }
        Ok(())
    }

    pub fn delete_many(&self, keys: &[String]) -> Result<(), I::Error> {
        self.forget(keys.iter().map(String::as_str));
        let asked = (self.now)();
        self.inner.delete_many(keys)?;
        for key in keys {
            self.remember(key, None, asked);
        }
        Ok(())
    }

    fn key(&self, key: &str) -> Key {
        (
            self.installation.to_owned(),
            self.bucket.to_owned(),
            key.to_owned(),
        )
    }

    fn known(&self, key: &str) -> Option<Option<Vec<u8>>> {
        self.memory.borrow_mut().get(&self.key(key), (self.now)())
    }

    /// `asked` is when the question went out, after which anybody may have written.
    fn remember(&self, key: &str, value: Option<Vec<u8>>, asked: Duration) {
        let mut memory = self.memory.borrow_mut();
        memory.put(self.key(key), value, asked + self.ttl, self.max_bytes);
    }

    fn forget<'k>(&self, keys: impl IntoIterator<Item = &'k str>) {
        let mut memory = self.memory.borrow_mut();
        for key in keys {
            memory.forget(&self.key(key));
        }
    }
}

#[cfg(test)]
#[path = "front_tests.rs"]
mod tests;
