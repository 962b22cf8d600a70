//! A memory of what was read and written: bounded in bytes and in time, the longest unused forgotten first.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

/// What an entry takes besides its key and its value, in the tables here.
const ENTRY: usize = 160;

/// Whose key it is: installation, bucket and key.
pub type Key = (String, String, String);

/// What takes memory.
pub trait Weighed {
    /// Bytes of it beside its own.
    fn weight(&self) -> usize;
}

impl Weighed for Option<Vec<u8>> {
    fn weight(&self) -> usize {
        self.as_ref().map_or(0, Vec::len)
    }
}

struct Entry<V> {
    value: V,
    until: Duration,
    used: u64,
}

/// A memory of values. Times are counted from any moment, the same for all calls.
pub struct Memory<V> {
    entries: HashMap<Key, Entry<V>>,
    /// The entries by when they were last used.
    order: BTreeMap<u64, Key>,
    bytes: usize,
    uses: u64,
}

impl<V> Default for Memory<V> {
    fn default() -> Self {
        Self {
            entries: HashMap::new(),
            order: BTreeMap::new(),
            bytes: 0,
            uses: 0,
        }
    }
}

fn size(key: &Key, value: &impl Weighed) -> usize {
    // A key is in both tables.
    2 * (key.0.len() + key.1.len() + key.2.len()) + value.weight() + ENTRY
}

impl<V: Weighed + Clone> Memory<V> {
    /// What is known of `key`.
    pub fn get(&mut self, key: &Key, now: Duration) -> Option<V> {
        if self.entries.get(key)?.until <= now {
            self.forget(key);
            return None;
        }
        self.uses += 1;
        let entry = self.entries.get_mut(key)?;
        if let Some(key) = self.order.remove(&entry.used) {
            self.order.insert(self.uses, key);
        }
        entry.used = self.uses;
        Some(entry.value.clone())
    }

    /// Remembers this of `key` until `until`, within `most` bytes. What does not fit by itself is not
    /// remembered.
    pub fn put(&mut self, key: Key, value: V, until: Duration, most: usize) {
        self.forget(&key);
        let size = size(&key, &value);
        if size > most {
            return;
        }
        while self.bytes + size > most {
            let Some((_, oldest)) = self.order.first_key_value() else {
                break;
            };
            self.forget(&oldest.clone());
        }
        self.uses += 1;
        self.bytes += size;
        self.order.insert(self.uses, key.clone());
        let used = self.uses;
        self.entries.insert(key, Entry { value, until, used });
    }

    /// Forgets what is known of `key`.
    pub fn forget(&mut self, key: &Key) {
        if let Some(entry) = self.entries.remove(key) {
            self.order.remove(&entry.used);
            self.bytes -= size(key, &entry.value);
        }
    }

    /// Forgets all that is known of keys whose first two parts are these.
    pub fn forget_all(&mut self, first: &str, second: &str) {
        self.forget_where(|key| key.0 == first && key.1 == second);
    }

    /// Forgets all that is known of keys whose first part is this.
    pub fn forget_of(&mut self, first: &str) {
        self.forget_where(|key| key.0 == first);
    }

    fn forget_where(&mut self, of: impl Fn(&Key) -> bool) {
        let keys = self.entries.keys().filter(|key| of(key));
        let keys: Vec<Key> = keys.cloned().collect();
        for key in keys {
            self.forget(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        ("i".to_owned(), "b".to_owned(), name.to_owned())
    }

    const fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn what_is_remembered_is_forgotten_in_time() {
        let mut memory = Memory::default();
        memory.put(key("k"), Some(b"v".to_vec()), at(10), 1 << 16);
        memory.put(key("none"), None, at(20), 1 << 16);
        assert_eq!(memory.get(&key("k"), at(9)), Some(Some(b"v".to_vec())));
        assert_eq!(memory.get(&key("k"), at(10)), None);
        assert_eq!(memory.get(&key("none"), at(10)), Some(None));
        assert_eq!(memory.get(&key("other"), at(0)), None);
        assert_eq!(memory.entries.len(), 1);
    }

    #[test]
    fn all_of_a_kind_are_forgotten_together() {
        let mut memory = Memory::default();
        memory.put(key("a"), Some(Vec::new()), at(10), 1 << 16);
        let other = ("i".to_owned(), "c".to_owned(), "a".to_owned());
        memory.put(other.clone(), None, at(10), 1 << 16);
        memory.forget_all("i", "b");
        assert_eq!(memory.get(&key("a"), at(0)), None);
        assert_eq!(memory.get(&other, at(0)), Some(None));
        memory.forget_of("i");
        assert_eq!(memory.get(&other, at(0)), None);
    }

    #[test]
    fn the_longest_unused_goes_first() {
        let mut memory = Memory::default();
        let most = 3 * size(&key("a"), &Some(vec![0; 100]));
        for name in ["a", "b", "c"] {
            memory.put(key(name), Some(vec![0; 100]), at(10), most);
        }
        memory.get(&key("a"), at(0));
        memory.put(key("d"), Some(vec![0; 100]), at(10), most);
        let known = ["a", "b", "c", "d"].map(|name| memory.get(&key(name), at(0)).is_some());
        assert_eq!(known, [true, false, true, true]);
    }

    #[test]
    fn the_count_of_bytes_is_exact_whatever_happens() {
        let mut memory = Memory::default();
        for round in 0..2000_usize {
            let name = format!("{}", round * 7 % 50);
            match round % 5 {
                0 => memory.forget(&key(&name)),
                1 => drop(memory.get(&key(&name), at(round as u64))),
                _ => memory.put(
                    key(&name),
                    Some(vec![0; round % 300]),
                    at(round as u64 + 30),
                    4000,
                ),
            }
            let counted: usize = memory
                .entries
                .iter()
                .map(|(key, entry)| size(key, &entry.value))
                .sum();
            assert_eq!(memory.bytes, counted);
            assert!(counted <= 4000 && memory.order.len() == memory.entries.len());
        }
        memory.put(key("large"), Some(vec![0; 5000]), at(9999), 4000);
        assert_eq!(memory.get(&key("large"), at(0)), None);
    }
}
