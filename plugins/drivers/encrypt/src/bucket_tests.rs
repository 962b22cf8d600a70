//! The driver over a bucket in memory.

use std::cell::RefCell;
use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::*;

#[derive(Default)]
struct Memory(RefCell<BTreeMap<String, Vec<u8>>>);

impl Inner for Memory {
    type Error = &'static str;

    fn get(&self, name: &str) -> Result<Option<Vec<u8>>, Self::Error> {
        Ok(self.0.borrow().get(name).cloned())
    }

    fn set(&self, name: &str, value: &[u8]) -> Result<(), Self::Error> {
        self.0.borrow_mut().insert(name.to_owned(), value.to_vec());
        Ok(())
    }

    fn delete(&self, name: &str) -> Result<(), Self::Error> {
        self.0.borrow_mut().remove(name);
        Ok(())
    }

    fn exists(&self, name: &str) -> Result<bool, Self::Error> {
        Ok(self.0.borrow().contains_key(name))
    }

    fn list(&self, _: Option<u64>) -> Result<Page, Self::Error> {
        Ok((self.0.borrow().keys().cloned().collect(), None))
    }

    fn increment(&self, name: &str, delta: u64) -> Result<u64, Self::Error> {
        let mut kept = self.0.borrow_mut();
        let value = kept.entry(name.to_owned()).or_insert_with(|| b"0".to_vec());
        let text = String::from_utf8_lossy(value).into_owned();
        let sum = text.parse::<u64>().map_err(|_| "not a number")? + delta;
        *value = sum.to_string().into_bytes();
        Ok(sum)
    }

    fn get_many(&self, names: &[String]) -> Result<Vec<Option<Vec<u8>>>, Self::Error> {
        names.iter().map(|name| self.get(name)).collect()
    }

    fn set_many(&self, values: &[(String, Vec<u8>)]) -> Result<(), Self::Error> {
        values
            .iter()
            .try_for_each(|(name, value)| self.set(name, value))
    }

    fn delete_many(&self, names: &[String]) -> Result<(), Self::Error> {
        names.iter().try_for_each(|name| self.delete(name))
    }
}

fn keys(name: &str, byte: u8, old: Option<&str>, names: bool) -> Keyring {
    let key = BASE64_STANDARD.encode([byte; 32]);
    let names = names.then(|| BASE64_STANDARD.encode([9; 32]));
    Keyring::read(&format!("{name}:{key}"), old, names.as_deref())
        .ok()
        .unwrap()
}

fn vault<'a>(keys: &'a Keyring, inner: &'a Memory) -> Vault<'a, Memory> {
    Vault {
        keys,
        place: b"i/b",
        counters: true,
        inner,
    }
}

#[test]
fn nothing_that_is_kept_can_be_read() {
    for names in [false, true] {
        let (keys, memory) = (keys("a", 1, None, names), Memory::default());
        let vault = vault(&keys, &memory);
        assert_eq!(vault.get("customer/7").unwrap(), None);
        vault.set("customer/7", b"Ada Lovelace").unwrap();
        vault
            .set_many(&[
                ("customer/8".into(), b"Grace".to_vec()),
                ("empty".into(), vec![]),
            ])
            .unwrap();
        assert_eq!(vault.get("customer/7").unwrap().unwrap(), b"Ada Lovelace");
        let wanted = ["empty", "nothing", "customer/8"].map(str::to_owned);
        assert_eq!(
            vault.get_many(&wanted).unwrap(),
            [Some(vec![]), None, Some(b"Grace".to_vec())]
        );
        let (mut listed, _) = vault.list(None).unwrap();
        listed.sort();
        assert_eq!(listed, ["customer/7", "customer/8", "empty"]);
        for (name, value) in memory.0.borrow().iter() {
            assert_eq!(
                name.contains("customer") || name == "empty",
                !names,
                "{name}"
            );
            let text = String::from_utf8_lossy(value).into_owned();
            assert!(!text.contains("Ada") && !text.contains("Grace"));
        }
        vault.delete_many(&wanted).unwrap();
        assert!(!vault.exists("customer/8").unwrap());
        vault.delete("customer/7").unwrap();
        assert!(memory.0.borrow().is_empty());
    }
}

#[test]
fn values_cannot_be_exchanged_for_one_another() {
    let (keys, memory) = (keys("a", 1, None, false), Memory::default());
    let first = vault(&keys, &memory);
    first.set("balance/ada", b"10").unwrap();
    first.set("balance/eve", b"1000000").unwrap();
    let eves = memory.get("balance/eve").unwrap().unwrap();
    memory.set("balance/ada", &eves).unwrap();
    let changed = Refusal::Envelope(envelope::Failure::Changed);
    assert_eq!(first.get("balance/ada"), Err(changed.clone()));
    let elsewhere = Vault {
        place: b"i/c",
        ..vault(&keys, &memory)
    };
    assert_eq!(elsewhere.get("balance/eve"), Err(changed));
}

#[test]
fn numbers_are_counted_in_the_clear_or_not_at_all() {
    let (keys, memory) = (keys("a", 1, None, true), Memory::default());
    let open = vault(&keys, &memory);
    assert_eq!(open.increment("n", 3).unwrap(), 3);
    assert_eq!(open.increment("n", 4).unwrap(), 7);
    assert_eq!(open.get("n").unwrap().unwrap(), b"7");
    open.set("text", b"41").unwrap();
    assert_eq!(open.increment("text", 1), Err(Refusal::NotANumber));
    assert_eq!(
        open.get("text").unwrap().unwrap(),
        b"41",
        "a refusal changes nothing"
    );
    let strict = Vault {
        counters: false,
        ..vault(&keys, &memory)
    };
    assert_eq!(strict.increment("n", 1), Err(Refusal::NoCounters));
    assert_eq!(strict.get("n"), Err(Refusal::NotEncrypted));
    let name = open.name("x").unwrap();
    memory.set(&name, b"plain").unwrap();
    assert_eq!(open.get("x"), Err(Refusal::NotEncrypted));
}

#[test]
fn keys_are_changed_without_losing_what_is_there() {
    let memory = Memory::default();
    let (before, old) = (
        keys("a", 1, None, true),
        format!("a:{}", BASE64_STANDARD.encode([1; 32])),
    );
    vault(&before, &memory).set("k", b"v").unwrap();
    let after = keys("b", 2, Some(&old), true);
    assert_eq!(vault(&after, &memory).get("k").unwrap().unwrap(), b"v");
    vault(&after, &memory).set("k", b"w").unwrap();
    let without = keys("b", 2, None, true);
    assert_eq!(vault(&without, &memory).get("k").unwrap().unwrap(), b"w");
}

#[test]
fn what_is_too_long_to_be_encrypted_is_refused() {
    let (keys, memory) = (keys("a", 1, None, true), Memory::default());
    let vault = vault(&keys, &memory);
    let long = "k".repeat(MAX_KEY + 1);
    assert_eq!(vault.get(&long), Err(Refusal::LongKey(MAX_KEY + 1)));
    let value = vec![0; MAX_VALUE + 1];
    assert_eq!(
        vault.set("k", &value),
        Err(Refusal::LongValue(MAX_VALUE + 1))
    );
    vault.set("k", &value[1..]).unwrap();
    assert!(memory.0.borrow().values().all(|kept| kept.len() <= 1 << 20));
}
