//! Numbers on a service that has none: a sum is written on the condition that the number is still
//! what it was when it was read.

use std::cell::RefCell;

use crate::service::{Condition, Failure, Service, Transport};
use crate::settings::Settings;

/// How often a sum is tried to be written before others are let go first for good.
const ATTEMPTS: usize = 32;

/// Why nothing was counted.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The service failed.
    #[error(transparent)]
    Failed(#[from] Failure),
    /// The value is something else.
    #[error("the value of this key is not a number")]
    NotANumber,
    /// The sum does not fit.
    #[error("the sum is beyond a 64-bit signed number")]
    Overflow,
    /// Others were faster, time after time.
    #[error("too many count on this key at the same time; try again")]
    Contended,
    /// The service would lose what others count.
    #[error(
        "this S3 service takes no conditions on writing, so that nothing can be counted on it and nothing written on one"
    )]
    Unsuitable,
}

/// Adds `delta` to the number that `object` holds, and returns the sum.
pub fn increment<T: Transport>(
    service: &Service<'_, T>,
    object: &str,
    delta: i64,
) -> Result<i64, Refusal> {
    for _ in 0..ATTEMPTS {
        let found = service.get(object)?;
        let number = match &found {
            None => 0,
            Some((value, _)) => number(value).ok_or(Refusal::NotANumber)?,
        };
        let sum = number.checked_add(delta).ok_or(Refusal::Overflow)?;
        let condition = match &found {
            None => Condition::Absent,
            Some((_, etag)) => Condition::Unchanged(etag),
        };
        if service.put(object, sum.to_string().as_bytes(), condition)? {
            return Ok(sum);
        }
    }
    Err(Refusal::Contended)
}

/// A number is kept as its decimal text, so that any engine reads what another wrote.
fn number(value: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(value).ok()?;
    let digits = text.strip_prefix('-').unwrap_or(text);
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

thread_local! {
    /// For which service it has been proved that it honours conditions.
    static PROVED: RefCell<Option<Settings>> = const { RefCell::new(None) };
}

/// Tries whether the service honours conditions, unless it has been tried.
pub fn prove_once<T: Transport>(service: &Service<'_, T>) -> Result<(), Refusal> {
    if PROVED.with_borrow(|proved| proved.as_ref() != Some(service.settings)) {
        // Beside the tenants' own, which are a level deeper.
        prove(service, &format!("{}/conditions", service.settings.prefix))?;
        PROVED.set(Some(service.settings.clone()));
    }
    Ok(())
}

/// Tries on `object`, which holds nothing else, whether the service honours both conditions: one
/// that ignores them answers as if they held.
pub fn prove<T: Transport>(service: &Service<'_, T>, object: &str) -> Result<(), Refusal> {
    service.put(object, b"", Condition::Always)?;
    let never = "\"00000000000000000000000000000000\"";
    for condition in [Condition::Unchanged(never), Condition::Absent] {
        match service.put(object, b"", condition) {
            Ok(false) => {}
            Ok(true)
            | Err(Failure::Refused {
                status: 400 | 501, ..
            }) => {
                return Err(Refusal::Unsuitable);
            }
            Err(failure) => return Err(failure.into()),
        }
    }
    Ok(())
}
