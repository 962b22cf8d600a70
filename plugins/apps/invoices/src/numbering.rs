//! Numbers without gaps on a store that can only add.
//!
//! An invoice's number must be the next one, none may be left out and none given twice, whatever
//! dies at whatever point and however many are issued at once. `wasi:keyvalue@0.2.0-draft` has no
//! compare-and-set; its one indivisible operation is `increment`, and a plain counter leaves a gap
//! whenever a request dies between counting and using the number.
//!
//! **A register that can be written once, made of `increment`.** Stores hold such numbers in 64
//! bits with a sign and refuse a sum beyond them, leaving the value as it was. So whoever adds
//! `2^62 + x` to a fresh number first succeeds and everybody after fails, for twice `2^62` is beyond
//! the range; reading the number tells what has been written. This is [`decide`]. It needs no clock and
//! nobody to clean up: either the register has been written or it has not.
//!
//! **One register for each number.** The register of number *n* holds which invoice got *n*, in
//! which revision, dated which day: a [`Claim`], small enough for 62 bits. Everything else about
//! an issued invoice follows from it, so anybody can finish what somebody else began:
//!
//! 1. read the hint, a number up to which all is recorded, and its day;
//! 2. if this invoice is recorded as issued, it is done;
//! 3. offer a claim for the next number; the register says whose it is;
//! 4. record that invoice as issued by what the register says, ours or not;
//! 5. if the number was ours, move the hint to it; else go on at 3 with the next.
//!
//! Why there is no gap: a number's claim is offered only after the number before it was decided.
//! Why no invoice gets two numbers: the hint is read before the record. If the invoice had got a
//! number at or below the hint, its record was there before the hint moved; if above, the walk
//! comes by that register and finds it. Dying between any two steps leaves nothing that the next
//! caller does not finish. Every write can be done twice, and by two at once, with the same
//! outcome; a hint that moves back only makes the next walk longer.
//!
//! Days never go back: a claim is dated at least as late as the number before it.
//!
//! A store whose numbers wrap around, or that refuses the first addition, would break this; before
//! the first number is given, [`prove`] tries it on a register of its own.
//!
//! A number that another got costs one refused addition and two reads, so that many who issue at
//! once hardly hinder one another.

use canopy_sdk::kv;
use serde::{Deserialize, Serialize};
use time::{Date, macros::date};

/// What is added to what a register is to hold. Twice this is beyond a signed 64-bit number.
const WRITTEN: u64 = 1 << 62;

/// Days are counted from here.
const EPOCH: Date = date!(2020 - 01 - 01);

/// How many numbers one request walks over before it asks to be called again. Only others that
/// issue at the same time make the walk longer than one, or died before they moved the hint.
const MAX_WALK: usize = 1000;

const HINT: &str = "number/last";
const PROOF: &str = "number/proof";

/// What numbering needs of a store.
pub trait Registers {
    /// The value of `key`.
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, kv::Error>;
    /// Sets the value of `key`.
    fn set(&self, key: &str, value: &[u8]) -> Result<(), kv::Error>;
    /// The number at `key`.
    fn number(&self, key: &str) -> Result<Option<u64>, kv::Error>;
    /// Adds to the number at `key`, indivisibly; an error leaves it as it was.
    fn increment(&self, key: &str, delta: u64) -> Result<u64, kv::Error>;
}

impl Registers for kv::Bucket {
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, kv::Error> {
        self.get_bytes(key)
    }

    fn set(&self, key: &str, value: &[u8]) -> Result<(), kv::Error> {
        self.set_bytes(key, value)
    }

    fn number(&self, key: &str) -> Result<Option<u64>, kv::Error> {
        kv::Bucket::number(self, key)
    }

    fn increment(&self, key: &str, delta: u64) -> Result<u64, kv::Error> {
        kv::Bucket::increment(self, key, delta)
    }
}

/// Why an invoice got no number.
#[derive(Debug)]
pub enum Error {
    /// The store failed. The invoice may have got a number or not; trying again finds out and
    /// never gives a second one.
    Store(kv::Error),
    /// The store's numbers are not of the kind that this needs.
    Unsuitable,
    /// So many others issue at the same time that this one did not get its turn.
    Busy,
    /// The day is out of range, or the identifier or the revision is.
    OutOfRange,
}

impl From<kv::Error> for Error {
    fn from(error: kv::Error) -> Self {
        Self::Store(error)
    }
}

/// Which invoice got a number, in which revision, on which day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    pub invoice: u32,
    pub revision: u16,
    pub on: Date,
}

const REVISION_BITS: u32 = 15;
const DAY_BITS: u32 = 16;

/// The largest identifier and the last revision that fit.
pub const MAX_INVOICE: u32 = (1 << 31) - 1;
pub const MAX_REVISION: u16 = (1 << REVISION_BITS) - 1;

impl Claim {
    fn pack(self) -> Option<u64> {
        let day = u16::try_from((self.on - EPOCH).whole_days()).ok()?;
        if self.invoice > MAX_INVOICE || self.revision > MAX_REVISION {
            return None;
        }
        let high = u64::from(self.invoice) << REVISION_BITS | u64::from(self.revision);
        Some(high << DAY_BITS | u64::from(day))
    }

    fn unpack(bits: u64) -> Option<Self> {
        let low = |bits: u64, count: u32| u16::try_from(bits & ((1 << count) - 1)).ok();
        Some(Self {
            invoice: u32::try_from(bits >> (DAY_BITS + REVISION_BITS)).ok()?,
            revision: low(bits >> DAY_BITS, REVISION_BITS)?,
            on: EPOCH + time::Duration::days(low(bits, DAY_BITS)?.into()),
        })
    }
}

/// A number up to which every invoice is recorded, and its day.
#[derive(Serialize, Deserialize)]
struct Hint {
    number: u64,
    on: Date,
}

/// Writes `value` into the register `key` if nothing has been written, and returns what is in it.
fn decide(store: &impl Registers, key: &str, value: u64) -> Result<u64, Error> {
    match store.increment(key, WRITTEN + value) {
        Ok(sum) if sum == WRITTEN + value => Ok(value),
        Ok(_) => Err(Error::Unsuitable),
        // Refused because it has been written, or failed: the register itself tells.
        Err(error) => match store.number(key)? {
            Some(sum) if sum >= WRITTEN => Ok(sum - WRITTEN),
            _ => Err(error.into()),
        },
    }
}

/// Tries whether the store's numbers make registers. Two different values are offered to one; a
/// store that is fit keeps the first. Every call offers the same, so that it can be repeated.
fn prove(store: &impl Registers) -> Result<(), Error> {
    let first = decide(store, PROOF, 1);
    match (first, decide(store, PROOF, 2)) {
        (Ok(1), Ok(1)) => Ok(()),
        (Err(Error::Store(error)), _) => match store.increment(PROOF, 0) {
            // The store counts, it only does not take what registers need.
            Ok(_) => Err(Error::Unsuitable),
            Err(_) => Err(Error::Store(error)),
        },
        (_, Err(Error::Store(error))) => Err(Error::Store(error)),
        _ => Err(Error::Unsuitable),
    }
}

/// Gives `claim.invoice` the next number, or finds the one that it has, and records it. `recorded`
/// tells the number that an invoice is recorded with; `record` records one.
pub fn issue<S: Registers>(
    store: &S,
    claim: Claim,
    recorded: impl Fn(u32) -> Result<Option<u64>, kv::Error>,
    record: impl Fn(u64, Claim) -> Result<(), kv::Error>,
) -> Result<u64, Error> {
    let hint = match store.get(HINT)? {
        Some(bytes) => serde_json::from_slice(&bytes).map_err(|error| {
            Error::Store(kv::Error::Mismatch {
                key: HINT.to_owned(),
                reason: error.to_string(),
            })
        })?,
        None => {
            prove(store)?;
            Hint {
                number: 0,
                on: EPOCH,
            }
        }
    };
    if let Some(number) = recorded(claim.invoice)? {
        return Ok(number);
    }
    let mut latest = hint.on;
    for number in hint.number + 1..=hint.number + MAX_WALK as u64 {
        let offer = Claim {
            on: claim.on.max(latest),
            ..claim
        };
        let offer = offer.pack().ok_or(Error::OutOfRange)?;
        let decided = decide(store, &format!("number/{number}"), offer)?;
        let owner = Claim::unpack(decided).ok_or(Error::Unsuitable)?;
        latest = owner.on;
        if owner.invoice == claim.invoice {
            record(number, owner)?;
            let hint = serde_json::to_vec(&Hint { number, on: latest }).unwrap_or_default();
            store.set(HINT, &hint)?;
            return Ok(number);
        }
        if recorded(owner.invoice)?.is_none() {
            record(number, owner)?;
        }
    }
    Err(Error::Busy)
}

#[cfg(test)]
#[path = "numbering_tests.rs"]
mod tests;
