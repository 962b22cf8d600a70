//! The driver over a bucket in memory that counts what it is asked.

use std::cell::Cell;
use std::collections::BTreeMap;

use super::*;

#[derive(Default)]
struct Kept {
    values: RefCell<BTreeMap<String, Vec<u8>>>,
    asked: Cell<u32>,
    broken: Cell<bool>,
}

impl Kept {
    fn ask(&self) -> Result<(), &'static str> {
        self.asked.set(self.asked.get() + 1);
        if self.broken.get() {
            Err("broken")
        } else {
            Ok(())
        }
    }
}

impl Inner for Kept {
    type Error = &'static str;

    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Self::Error> {
        self.ask()?;
        Ok(self.values.borrow().get(key).cloned())
    }

    /// Takes the value even if it says that it failed, as a server may whose answer is lost.
    fn set(&self, key: &str, value: &[u8]) -> Result<(), Self::Error> {
        self.values
            .borrow_mut()
            .insert(key.to_owned(), value.to_vec());
        self.ask()
    }

    fn delete(&self, key: &str) -> Result<(), Self::Error> {
        self.values.borrow_mut().remove(key);
        self.ask()
    }

    fn exists(&self, key: &str) -> Result<bool, Self::Error> {
        self.ask()?;
        Ok(self.values.borrow().contains_key(key))
    }

    fn increment(&self, key: &str, delta: u64) -> Result<u64, Self::Error> {
        self.ask()?;
        let mut values = self.values.borrow_mut();
        let value = values
            .entry(key.to_owned())
            .or_insert_with(|| b"0".to_vec());
        let sum = String::from_utf8_lossy(value)
            .parse::<u64>()
            .map_err(|_| "no number")?
            + delta;
        *value = sum.to_string().into_bytes();
        Ok(sum)
    }

    fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Vec<u8>>>, Self::Error> {
        self.ask()?;
        let values = self.values.borrow();
        Ok(keys.iter().map(|key| values.get(key).cloned()).collect())
    }

    fn set_many(&self, values: &[(String, Vec<u8>)]) -> Result<(), Self::Error> {
        self.values.borrow_mut().extend(values.iter().cloned());
        self.ask()
    }

    fn delete_many(&self, keys: &[String]) -> Result<(), Self::Error> {
        self.values
            .borrow_mut()
            .retain(|key, _| !keys.contains(key));
        self.ask()
    }
}

/// Runs `test` with a bucket of `i1`, one of `i2`, what keeps the data, and the clock.
fn fronts(test: impl Fn(&Front<'_, Kept>, &Front<'_, Kept>, &Kept, &Cell<u64>)) {
    let (memory, inner, clock) = (RefCell::default(), Kept::default(), Cell::new(0));
    let now = || Duration::from_millis(clock.get());
    let front = |installation| Front {
        memory: &memory,
        installation,
        bucket: "b",
        ttl: Duration::from_millis(100),
        max_bytes: 1 << 16,
        now: &now,
        inner: &inner,
    };
    test(&front("i1"), &front("i2"), &inner, &clock);
}

fn keys<const N: usize>(keys: [&str; N]) -> [String; N] {
    keys.map(str::to_owned)
}

#[test]
fn what_was_read_or_written_is_not_asked_for_again_for_a_while() {
    fronts(|front, _, inner, clock| {
        assert_eq!(front.get("k").unwrap(), None);
        assert_eq!(front.get("k").unwrap(), None);
        assert!(!front.exists("k").unwrap());
        assert_eq!(inner.asked.get(), 1, "that there is none is remembered");
        front.set("k", b"v".to_vec()).unwrap();
        assert_eq!(front.get("k").unwrap().unwrap(), b"v");
        assert!(front.exists("k").unwrap());
        assert_eq!(inner.asked.get(), 2, "a write is remembered");
        inner.set("k", b"by another").unwrap();
        assert_eq!(front.get("k").unwrap().unwrap(), b"v");
        clock.set(100);
        assert_eq!(front.get("k").unwrap().unwrap(), b"by another");
    });
}

#[test]
fn every_write_goes_through_and_a_failed_one_is_forgotten() {
    fronts(|front, _, inner, _| {
        front.set("k", b"v".to_vec()).unwrap();
        assert_eq!(inner.values.borrow()["k"], b"v");
        inner.broken.set(true);
        assert!(front.set("k", b"w".to_vec()).is_err());
        assert!(front.get("k").is_err(), "nobody knows what it is now");
        inner.broken.set(false);
        assert_eq!(front.get("k").unwrap().unwrap(), b"w");
        inner.broken.set(true);
        assert!(front.delete("k").is_err() && front.set_many(vec![("k".into(), vec![])]).is_err());
        inner.broken.set(false);
        assert_eq!(front.get("k").unwrap().unwrap(), b"");
        front.delete("k").unwrap();
        assert_eq!(front.get("k").unwrap(), None);
    });
}

#[test]
fn numbers_are_always_counted_beneath() {
    fronts(|front, _, inner, _| {
        assert_eq!(front.get("n").unwrap(), None);
        assert_eq!(front.increment("n", 2).unwrap(), 2);
        assert_eq!(front.get("n").unwrap().unwrap(), b"2");
        assert_eq!(inner.increment("n", 5).unwrap(), 7);
        assert_eq!(front.increment("n", 1).unwrap(), 8);
    });
}

#[test]
fn batches_ask_only_for_what_is_not_known() {
    fronts(|front, _, inner, _| {
        let given = [("a", "1"), ("b", "2")];
        let given = given.map(|(key, value)| (key.to_owned(), value.as_bytes().to_vec()));
        front.set_many(given.to_vec()).unwrap();
        inner.set("c", b"3").unwrap();
        let before = inner.asked.get();
        let expected = [
            Some(b"1".to_vec()),
            Some(b"3".to_vec()),
            None,
            Some(b"3".to_vec()),
        ];
        let wanted = keys(["a", "c", "d", "c"]);
        assert_eq!(front.get_many(&wanted).unwrap(), expected);
        assert_eq!(front.get_many(&wanted).unwrap(), expected);
        assert_eq!(inner.asked.get(), before + 1);
        front.delete_many(&keys(["a", "c"])).unwrap();
        assert_eq!(
            front.get_many(&keys(["a", "b"])).unwrap(),
            [None, Some(b"2".to_vec())]
        );
        assert_eq!(inner.asked.get(), before + 2);
    });
}

#[test]
fn what_does_not_fit_is_answered_all_the_same() {
    fronts(|front, _, inner, _| {
        let large = vec![7; 1 << 17];
        front.set("large", large.clone()).unwrap();
        assert_eq!(front.get("large").unwrap().unwrap(), large);
        assert_eq!(front.get_many(&keys(["large"])).unwrap(), [Some(large)]);
        assert_eq!(inner.asked.get(), 3);
    });
}

#[test]
fn what_one_installation_wrote_is_not_known_of_anothers() {
    fronts(|mine, others, inner, _| {
        mine.set("k", b"v".to_vec()).unwrap();
        inner.values.borrow_mut().clear();
        assert_eq!(others.get("k").unwrap(), None);
        assert_eq!(mine.get("k").unwrap().unwrap(), b"v");
    });
}
