//! What every driver refuses in the same words, and numbers with and without a sign.

use crate::{Fault, other};

/// Bytes of the longest key.
pub const MAX_KEY: usize = 1024;

/// Bytes of the longest value.
pub const MAX_VALUE: usize = 1 << 20;

/// Bytes of the longest name of a bucket.
pub const MAX_BUCKET: usize = 64;

/// Whether a text has nothing that could blur the borders between it and what stands beside it.
pub fn is_sound(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

/// Whether this is a name of a bucket.
pub fn is_bucket(name: &str) -> bool {
    name.len() <= MAX_BUCKET && is_sound(name)
}

/// Refuses a key that is too long.
pub fn check_key(key: &str) -> Result<(), Fault> {
    within("key", key.len(), MAX_KEY)
}

/// Refuses a value that is too long.
pub fn check_value(value: &[u8]) -> Result<(), Fault> {
    within("value", value.len(), MAX_VALUE)
}

fn within(what: &str, bytes: usize, most: usize) -> Result<(), Fault> {
    if bytes > most {
        return Err(other(format!(
            "a {what} of {bytes} bytes is over the limit of {most}"
        )));
    }
    Ok(())
}

/// Refuses a batch of more than `most` keys.
pub fn check_count(count: usize, most: usize) -> Result<(), Fault> {
    if count > most {
        return Err(other(format!(
            "a batch of {count} keys is over the limit of {most}"
        )));
    }
    Ok(())
}

/// A step that has no sign, as one that has.
pub fn step(delta: u64) -> Result<i64, Fault> {
    i64::try_from(delta).map_err(|_| other(format!("an increment of {delta} is over {}", i64::MAX)))
}

/// A sum for whoever has no sign to tell it by.
pub fn unsigned(sum: i64) -> Result<u64, Fault> {
    u64::try_from(sum).map_err(|_| other(format!("the number is {sum}, below zero")))
}

/// A cursor that is a number, from its text.
pub fn number(cursor: Option<&str>) -> Result<Option<u64>, Fault> {
    let number = cursor.map(str::parse).transpose();
    number.map_err(|_| other("this is no cursor of a listing"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_or_too_much_is_refused_with_its_limit() {
        assert_eq!(check_key(&"k".repeat(MAX_KEY)), Ok(()));
        let refused = check_key(&"k".repeat(MAX_KEY + 1));
        assert_eq!(
            refused,
            Err(other("a key of 1025 bytes is over the limit of 1024"))
        );
        assert!(check_value(&vec![0; MAX_VALUE]).is_ok());
        assert!(check_value(&vec![0; MAX_VALUE + 1]).is_err());
        assert!(check_count(3, 3).is_ok() && check_count(4, 3).is_err());
    }

    #[test]
    fn names_that_could_be_something_else_are_no_buckets() {
        for name in ["default", "a.b-c_D9", &"x".repeat(MAX_BUCKET)] {
            assert!(is_bucket(name), "{name}");
        }
        for name in [
            "",
            "a:b",
            "a/b",
            "a}",
            "a b",
            "ü",
            "a\0",
            &"x".repeat(MAX_BUCKET + 1),
        ] {
            assert!(!is_bucket(name), "{name}");
        }
    }

    #[test]
    fn steps_and_sums_without_a_sign_end_where_those_with_one_do() {
        assert_eq!(step(i64::MAX.unsigned_abs()), Ok(i64::MAX));
        assert!(step(i64::MAX.unsigned_abs() + 1).is_err());
        assert_eq!(unsigned(7), Ok(7));
        assert_eq!(unsigned(-7), Err(other("the number is -7, below zero")));
    }

    #[test]
    fn only_numbers_are_cursors() {
        assert_eq!(number(None), Ok(None));
        assert_eq!(number(Some("12")), Ok(Some(12)));
        for wrong in ["", "-1", "a", "18446744073709551616"] {
            assert!(number(Some(wrong)).is_err(), "{wrong}");
        }
    }
}
