//! What calls of one guest that are under way keep of the host's memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::StorageError;

/// What the host keeps of a call beside what it has been handed, in bytes, on the safe side.
const CALL_BYTES: usize = 1 << 10;

/// Counts the data that a guest has handed over in calls that have not ended. A guest of WASI 0.3 can
/// have thousands of them, each with a value that it need not keep itself. Clones are the same.
#[derive(Debug, Clone)]
pub struct UnderWay(Arc<Counter>);

#[derive(Debug)]
struct Counter {
    limit: usize,
    bytes: AtomicUsize,
}

/// Data of one call; dropping it says that the call has ended.
#[derive(Debug)]
pub struct Held {
    counter: Arc<Counter>,
    bytes: usize,
}

impl UnderWay {
    /// Up to `limit` bytes together. A call that is the only one may have more.
    pub fn new(limit: usize) -> Self {
        Self(Arc::new(Counter {
            limit,
            bytes: AtomicUsize::new(0),
        }))
    }

    /// A call begins that has been handed `bytes`, and counts for 1 KiB more. [`StorageError::Busy`] where there would be too
    /// much; the guest may try again when one of its calls has ended.
    pub fn hold(&self, bytes: usize) -> Result<Held, StorageError> {
        let Counter { limit, bytes: held } = &*self.0;
        let bytes = bytes.saturating_add(CALL_BYTES);
        let more = |held: usize| {
            let sum = held.saturating_add(bytes);
            (held == 0 || sum <= *limit).then_some(sum)
        };
        match held.fetch_update(Relaxed, Relaxed, more) {
            Ok(_) => Ok(Held {
                counter: self.0.clone(),
                bytes,
            }),
            Err(_) => Err(StorageError::Busy(format!(
                "calls of this instance that are under way may have {limit} bytes together"
            ))),
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.counter.bytes.fetch_sub(self.bytes, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_have_so_much_together_and_give_it_back() {
        let under_way = UnderWay::new(10 << 10);
        let first = under_way.hold(5 << 10).expect("room");
        let second = under_way.clone().hold(3 << 10).expect("just enough");
        let refused = under_way.hold(0).expect_err("too much");
        assert!(matches!(refused, StorageError::Busy(_)));
        assert!(refused.to_string().contains("10240 bytes"), "{refused}");
        drop(second);
        under_way.hold(3 << 10).expect("there is room again");
        drop(first);
    }

    #[test]
    fn one_call_alone_may_have_more() {
        let under_way = UnderWay::new(10 << 10);
        let alone = under_way.hold(1 << 20).expect("the only one");
        under_way.hold(1).expect_err("not beside it");
        drop(alone);
        under_way.hold(1).expect("it has ended");
    }

    #[test]
    fn calls_with_little_are_limited_in_number() {
        let under_way = UnderWay::new(4 << 10);
        let calls: Vec<_> = (0..4).map(|_| under_way.hold(0)).collect();
        assert!(calls.iter().all(Result::is_ok));
        under_way.hold(0).expect_err("a fifth");
    }
}
