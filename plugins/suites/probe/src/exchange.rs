//! Counting and swapping where an interface has neither, and has transactions: what to write in the place
//! of a value that nobody else may write meanwhile.

use crate::Fault;

/// What is to be written, if anything, and the answer.
pub type Changed<T> = Result<(Option<Vec<u8>>, T), Fault>;

/// The sum of a number in decimal digits, which is 0 where nothing is stored, and `delta`.
pub fn increment(stored: Option<Vec<u8>>, delta: i64) -> Changed<i64> {
    let number = match stored {
        None => Some(0),
        Some(bytes) => std::str::from_utf8(&bytes)
            .ok()
            .and_then(|digits| digits.parse::<i64>().ok()),
    };
    let sum = number.and_then(|number| number.checked_add(delta));
    let sum = sum.ok_or(Fault::bare("no-number"))?;
    Ok((Some(sum.to_string().into_bytes()), sum))
}

/// `value`, if what is stored is `expected`, and whether it is.
pub fn swap(stored: Option<Vec<u8>>, expected: Option<&[u8]>, value: &[u8]) -> Changed<bool> {
    let same = stored.as_deref() == expected;
    Ok((same.then(|| value.to_vec()), same))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_grows_and_what_is_none_or_too_large_is_refused() {
        let stored = |text: &str| Some(text.as_bytes().to_vec());
        assert_eq!(increment(None, 2), Ok((stored("2"), 2)));
        assert_eq!(increment(stored("-7"), 2), Ok((stored("-5"), -5)));
        for wrong in ["text", "9223372036854775807"] {
            assert_eq!(
                increment(stored(wrong), 1),
                Err(Fault::bare("no-number")),
                "{wrong}"
            );
        }
    }

    #[test]
    fn only_what_is_expected_is_swapped() {
        let stored = || Some(vec![1]);
        assert_eq!(swap(stored(), Some(&[1]), &[2]), Ok((Some(vec![2]), true)));
        assert_eq!(swap(None, None, &[2]), Ok((Some(vec![2]), true)));
        assert_eq!(swap(stored(), None, &[2]), Ok((None, false)));
        assert_eq!(swap(stored(), Some(&[3]), &[2]), Ok((None, false)));
    }
}
