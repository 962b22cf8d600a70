//! What the host keeps in memory for one guest, beside the guest's own.
//!
//! There is one account for each store. What it counts is what a guest could have the host keep in any
//! number: data of calls that are under way, results that it has not taken, values that it looked at,
//! header fields. Each kind draws from the same account, so a guest that has much of all of them has no
//! more than one that has much of one.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use tokio::sync::Notify;

use crate::StorageError;

/// What the host keeps of a call beside its data, in bytes, on the safe side.
const CALL_BYTES: usize = 1 << 10;

/// Of the limit, how much else may be kept while one call has more than all of it.
const BESIDE: usize = 8;

/// The account of one store. Clones are the same.
#[derive(Clone)]
pub struct Kept(Arc<Account>);

struct Account {
    limit: usize,
    bytes: AtomicUsize,
    /// Calls that count in `bytes`.
    calls: AtomicUsize,
    /// Those that wait for room.
    waiting: AtomicUsize,
    less: Notify,
}

/// Bytes of an account; dropping it gives them back.
pub struct Held {
    account: Arc<Account>,
    bytes: AtomicUsize,
    is_call: AtomicBool,
}

/// The account has no room for more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the host keeps as much for this instance as it may: {limit} bytes together")]
pub struct KeptFull {
    /// What it may keep.
    pub limit: usize,
}

impl From<KeptFull> for StorageError {
    fn from(full: KeptFull) -> Self {
        Self::Busy(full.to_string())
    }
}

impl Kept {
    /// An account of `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self(Arc::new(Account {
            limit,
            bytes: AtomicUsize::new(0),
            calls: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            less: Notify::new(),
        }))
    }

    /// Bytes that are kept now.
    pub fn bytes(&self) -> usize {
        self.0.bytes.load(SeqCst)
    }

    /// Something is kept that is not a call's.
    pub fn keep(&self, bytes: usize) -> Result<Held, KeptFull> {
        let held = Held::empty(&self.0, false);
        held.grow(bytes)?;
        Ok(held)
    }

    /// A call begins that has been handed `bytes`, and counts for 1 KiB more. One that is the only call
    /// may have more than the limit, where little else is kept. The guest may try again when one of its
    /// calls has ended.
    pub fn hold(&self, bytes: usize) -> Result<Held, KeptFull> {
        let held = Held::empty(&self.0, true);
        held.grow(bytes.saturating_add(CALL_BYTES))?;
        Ok(held)
    }

    /// As [`Kept::hold`], for a call that brings up to `bytes`: waits until other calls have ended, and
    /// is refused only where no other is under way.
    pub async fn room(&self, bytes: usize) -> Result<Held, KeptFull> {
        if let Ok(held) = self.hold(bytes) {
            return Ok(held);
        }
        let account = &*self.0;
        // Before it looks, so that whoever ends meanwhile wakes it.
        let waiting = Waiting::of(account);
        loop {
            let others = account.calls.load(SeqCst) > 0;
            match self.hold(bytes) {
                Ok(held) => {
                    drop(waiting);
                    // There may be room for the next one too.
                    account.wake();
                    return Ok(held);
                }
                Err(full) if !others => return Err(full),
                Err(_) => account.less.notified().await,
            }
        }
    }
}

impl PartialEq for Kept {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kept({} of {} bytes)", self.bytes(), self.0.limit)
    }
}

impl Account {
    fn wake(&self) {
        if self.waiting.load(SeqCst) > 0 {
            self.less.notify_one();
        }
    }

    /// Counts `bytes` more. `alone`: they are the only call's.
    fn add(&self, bytes: usize, alone: bool) -> Result<(), KeptFull> {
        let more = |kept: usize| {
            let sum = kept.saturating_add(bytes);
            let fits = sum <= self.limit || (alone && kept <= self.limit / BESIDE);
            fits.then_some(sum)
        };
        match self.bytes.fetch_update(SeqCst, SeqCst, more) {
            Ok(_) => Ok(()),
            Err(_) => Err(KeptFull { limit: self.limit }),
        }
    }
}

/// Counts who waits for room, as long as it waits.
struct Waiting<'a>(&'a Account);

impl<'a> Waiting<'a> {
    fn of(account: &'a Account) -> Self {
        account.waiting.fetch_add(1, SeqCst);
        Self(account)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, SeqCst);
    }
}

impl Held {
    fn empty(account: &Arc<Account>, is_call: bool) -> Self {
        if is_call {
            account.calls.fetch_add(1, SeqCst);
        }
        Self {
            account: account.clone(),
            bytes: AtomicUsize::new(0),
            is_call: AtomicBool::new(is_call),
        }
    }

    /// Holds `bytes` more.
    pub fn grow(&self, bytes: usize) -> Result<(), KeptFull> {
        let alone = self.is_call.load(SeqCst) && self.account.calls.load(SeqCst) == 1;
        self.account.add(bytes, alone)?;
        self.bytes.fetch_add(bytes, SeqCst);
        Ok(())
    }

    /// What the call had is gone, and it brings `bytes` that are kept until it has ended.
    pub fn exchange(&self, bytes: usize) -> Result<(), KeptFull> {
        let bytes = bytes.saturating_add(CALL_BYTES);
        self.shrink_to(bytes);
        let more = bytes.saturating_sub(self.bytes.load(SeqCst));
        self.account.wake();
        self.grow(more)
    }

    /// The call has ended, and no more than `bytes` of what it brought are kept from now on.
    pub fn settle(&self, bytes: usize) {
        if self.is_call.swap(false, SeqCst) {
            self.account.calls.fetch_sub(1, SeqCst);
        }
        self.shrink_to(bytes);
        // Who waits for calls to end may wait for nobody now.
        self.account.wake();
    }

    fn shrink_to(&self, bytes: usize) {
        let before = self.bytes.fetch_min(bytes, SeqCst);
        self.account
            .bytes
            .fetch_sub(before.saturating_sub(bytes), SeqCst);
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Held({} bytes)", self.bytes.load(SeqCst))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if *self.is_call.get_mut() {
            self.account.calls.fetch_sub(1, SeqCst);
        }
        let bytes = *self.bytes.get_mut();
        // One that was refused has taken nothing.
        if bytes > 0 {
            self.account.bytes.fetch_sub(bytes, SeqCst);
            self.account.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn calls_have_so_much_together_and_give_it_back() {
        let kept = Kept::new(10 << 10);
        let first = kept.hold(5 << 10).expect("room");
        let second = kept.clone().hold(3 << 10).expect("just enough");
        let refused = StorageError::from(kept.hold(0).expect_err("too much"));
        assert!(matches!(refused, StorageError::Busy(_)));
        assert!(refused.to_string().contains("10240 bytes"), "{refused}");
        drop(second);
        kept.hold(3 << 10).expect("there is room again");
        drop(first);
        assert_eq!(kept.bytes(), 0);
    }

    #[test]
    fn one_call_alone_may_have_more() {
        let kept = Kept::new(10 << 10);
        let alone = kept.hold(1 << 20).expect("the only one");
        kept.hold(1).expect_err("not beside it");
        kept.keep(1).expect_err("nor anything else");
        drop(alone);
        kept.hold(1).expect("it has ended");
    }

    #[test]
    fn one_call_alone_has_no_more_where_much_else_is_kept() {
        let kept = Kept::new(10 << 10);
        let little = kept.keep(1 << 10).expect("room");
        kept.hold(1 << 20).expect("little else is kept");
        let much = kept.keep(1 << 10).expect("room");
        kept.hold(1 << 20).expect_err("too much else is kept");
        kept.hold(7 << 10).expect("all together are in the limit");
        drop((little, much));
    }

    #[test]
    fn calls_with_little_are_limited_in_number() {
        let kept = Kept::new(4 << 10);
        let calls: Vec<_> = (0..4).map(|_| kept.hold(0)).collect();
        assert!(calls.iter().all(Result::is_ok));
        kept.hold(0).expect_err("a fifth");
    }

    #[test]
    fn what_is_held_grows_and_shrinks() {
        let kept = Kept::new(10 << 10);
        let held = kept.keep(1).expect("room");
        held.grow(10 << 10).expect_err("one byte too many");
        held.grow((10 << 10) - 1).expect("all of it");
        held.settle(100);
        held.settle(200);
        assert_eq!(kept.bytes(), 100);
        drop(held);
        assert_eq!(kept.bytes(), 0);
    }

    #[test]
    fn what_a_call_brings_takes_the_place_of_what_it_had() {
        let kept = Kept::new(10 << 10);
        let (call, _other) = (kept.hold(5 << 10), kept.hold(1 << 10));
        let call = call.expect("room");
        call.exchange(7 << 10).expect("room");
        assert_eq!(kept.bytes(), 10 << 10);
        call.exchange(8 << 10).expect_err("too much");
        call.exchange(0).expect("nothing");
        assert_eq!(kept.bytes(), 3 << 10);
    }

    #[tokio::test]
    async fn who_reads_waits_for_room() {
        let kept = Kept::new(10 << 10);
        let first = kept.room(7 << 10).await.expect("room");
        let mut second = Box::pin(kept.room(7 << 10));
        let mut third = Box::pin(kept.room(1 << 10));
        assert!(second.as_mut().now_or_never().is_none());
        let third_now = third.as_mut().now_or_never();
        let third = third_now.expect("it fits beside the first").expect("room");
        drop(first);
        let second = second.await.expect("room again");
        drop((second, third));
        let _much = kept.keep(9 << 10).expect("room");
        kept.room(7 << 10)
            .await
            .expect_err("nobody is there to be waited for");
    }

    #[tokio::test]
    async fn nobody_waits_for_what_a_call_has_brought() {
        let kept = Kept::new(10 << 10);
        let brought = kept.room(8 << 10).await.expect("room");
        let waits = kept.room(8 << 10);
        let ended = async {
            brought.settle(7 << 10);
        };
        let (refused, ()) = futures::join!(waits, ended);
        refused.expect_err("no call is under way any more");
        assert_eq!(kept.bytes(), 7 << 10);
    }

    #[tokio::test]
    async fn all_who_wait_have_their_turn() {
        let kept = Kept::new(10 << 10);
        let large = kept.room(20 << 10).await.expect("alone");
        let readers = (0..100).map(|number| {
            let kept = kept.clone();
            tokio::spawn(async move {
                let held = kept.room((number % 12) << 10).await;
                tokio::task::yield_now().await;
                held.map(drop)
            })
        });
        let readers: Vec<_> = readers.collect();
        tokio::task::yield_now().await;
        drop(large);
        for reader in readers {
            reader.await.expect("it ended").expect("it had room");
        }
        assert_eq!(kept.bytes(), 0);
    }
}
