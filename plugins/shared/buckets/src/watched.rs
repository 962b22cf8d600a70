//! Compare-and-swap: a key is looked at, and written if it is still as it was.

use crate::{Fault, KeyValue};

/// A key, and the value that it had.
pub struct Watched<B: KeyValue> {
    bucket: B,
    key: String,
    found: Option<B::Found>,
}

impl<B: KeyValue> Watched<B> {
    /// Looks at a key.
    pub fn begin(bucket: B, key: String) -> Result<Self, Fault> {
        let found = bucket.find(&key)?;
        Ok(Self { bucket, key, found })
    }

    /// The value that it had.
    pub fn current(&self) -> Result<Option<Vec<u8>>, Fault> {
        self.bucket.check_caller()?;
        let value = self.found.as_ref().map(AsRef::as_ref);
        Ok(value.map(<[u8]>::to_vec))
    }

    /// Writes the key if it is as it was; otherwise it is looked at again. The value decides and not
    /// its version: one that has come back is the same.
    pub fn swap(self, value: &[u8]) -> Result<Option<Self>, Fault> {
        let Self { bucket, key, found } = self;
        if bucket.swap(&key, found.as_ref(), value)? {
            return Ok(None);
        }
        Self::begin(bucket, key).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::BTreeMap;
    use std::rc::Rc;

    use super::*;
    use crate::{Page, other};

    /// Three keys a page, numbers as decimal text.
    #[derive(Clone, Default)]
    struct Kept(Rc<RefCell<BTreeMap<String, Vec<u8>>>>);

    impl KeyValue for Kept {
        type Found = Vec<u8>;

        fn open(_: &str) -> Result<Self, Fault> {
            Ok(Self::default())
        }

        fn check_caller(&self) -> Result<(), Fault> {
            Ok(())
        }

        fn find(&self, key: &str) -> Result<Option<Vec<u8>>, Fault> {
            Ok(self.0.borrow().get(key).cloned())
        }

        fn set(&self, key: &str, value: &[u8]) -> Result<(), Fault> {
            self.0.borrow_mut().insert(key.to_owned(), value.to_vec());
            Ok(())
        }

        fn delete(&self, key: &str) -> Result<(), Fault> {
            self.0.borrow_mut().remove(key);
            Ok(())
        }

        fn exists(&self, key: &str) -> Result<bool, Fault> {
            Ok(self.0.borrow().contains_key(key))
        }

        fn page(&self, cursor: Option<u64>) -> Result<Page<u64>, Fault> {
            let from = cursor.unwrap_or(0);
            let kept = self.0.borrow();
            let skipped = usize::try_from(from).unwrap_or(usize::MAX);
            let keys: Vec<_> = kept.keys().skip(skipped).take(3).cloned().collect();
            let cursor = (keys.len() == 3).then_some(from + 3);
            Ok(Page { keys, cursor })
        }

        fn increment(&self, _: &str, _: i64) -> Result<i64, Fault> {
            Err(other("nothing is counted here"))
        }

        fn swap(&self, key: &str, expected: Option<&Vec<u8>>, value: &[u8]) -> Result<bool, Fault> {
            let is_expected = self.0.borrow().get(key) == expected;
            if is_expected {
                self.set(key, value)?;
            }
            Ok(is_expected)
        }

        fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Vec<u8>>>, Fault> {
            keys.iter().map(|key| self.find(key)).collect()
        }

        fn set_many(&self, key_values: Vec<(String, Vec<u8>)>) -> Result<(), Fault> {
            self.0.borrow_mut().extend(key_values);
            Ok(())
        }

        fn delete_many(&self, keys: Vec<String>) -> Result<(), Fault> {
            keys.iter().try_for_each(|key| self.delete(key))
        }
    }

    #[test]
    fn whoever_is_too_late_looks_again_and_writes_then() {
        let kept = Kept::default();
        let watch = || Watched::begin(kept.clone(), "k".to_owned()).unwrap();
        let (first, second) = (watch(), watch());
        assert_eq!(first.current(), Ok(None));
        assert!(first.swap(b"one").unwrap().is_none());
        let again = second.swap(b"two").unwrap().expect("it is not as it was");
        assert_eq!(again.current(), Ok(Some(b"one".to_vec())));
        assert!(again.swap(b"two").unwrap().is_none());
        assert_eq!(kept.find("k"), Ok(Some(b"two".to_vec())));
    }

    #[test]
    fn what_is_gone_or_has_come_is_not_what_it_was() {
        let kept = Kept::default();
        kept.set("k", b"one").unwrap();
        let watched = Watched::begin(kept.clone(), "k".to_owned()).unwrap();
        kept.delete("k").unwrap();
        let again = watched.swap(b"two").unwrap().expect("it is gone");
        assert_eq!(again.current(), Ok(None));
        kept.set("k", b"three").unwrap();
        assert!(again.swap(b"two").unwrap().is_some(), "it has come");
    }

    #[test]
    fn cursors_of_text_lead_where_their_numbers_do() {
        let kept = Kept::default();
        for n in 0..7 {
            kept.set(&n.to_string(), b"").unwrap();
        }
        let (mut keys, mut cursor) = (Vec::new(), None);
        loop {
            let page = kept.page_by_text(cursor).unwrap();
            keys.extend(page.keys);
            cursor = page.cursor;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(keys.concat(), "0123456");
        assert!(kept.page_by_text(Some("first".to_owned())).is_err());
    }
}
