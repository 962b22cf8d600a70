//! How much memory SQLite may take for one piece of work.
//!
//! SQLite's own limit of memory is one for the whole process: whoever reaches it makes the
//! statements of others fail. So what SQLite allocates is counted here by thread, and a thread that
//! works within a [`Budget`] gets no more than that: SQLite then ends the statement with
//! `SQLITE_NOMEM` and goes on as if nothing had happened. Without a budget nothing is limited.
//!
//! Counted is what the thread takes less what it gives back, whoever took that, up to all that the
//! budget was. So a page of a connection's cache that another statement has read is a gain for the one
//! that throws it out: exact to the size of that cache.
//!
//! A budget can be of a [`Pool`], which others draw from too: a little is each one's own, and what it
//! needs beyond is there only as long as the pool lasts.

#![allow(
    unsafe_code,
    reason = "SQLite takes an allocator only as a table of C functions"
)]

use std::cell::{Cell, RefCell};
use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use rusqlite::ffi;

/// Bytes that are drawn from a pool at once.
const STEP: i64 = 256 << 10;

thread_local! {
    /// What this thread may take; `None` without a budget.
    static NOW: Cell<Option<Share>> = const { Cell::new(None) };
    /// Where it may have more from.
    static MORE: RefCell<Option<More>> = const { RefCell::new(None) };
}

/// Bytes that may still be taken, of so many.
#[derive(Debug, Clone, Copy)]
struct Share {
    left: i64,
    all: i64,
}

/// What may be drawn from a pool.
#[derive(Debug)]
struct More {
    pool: Arc<Pool>,
    /// What may still be drawn, and what was.
    spare: i64,
    drawn: i64,
    /// The pool had no more.
    refused: bool,
}

impl More {
    fn draw(&mut self, bytes: i64) -> Option<i64> {
        if bytes > self.spare {
            return None;
        }
        let step = bytes.max(STEP).min(self.spare);
        if !self.pool.take(step) {
            self.refused = true;
            return None;
        }
        self.spare -= step;
        self.drawn += step;
        Some(step)
    }
}

impl Drop for More {
    fn drop(&mut self) {
        self.pool.give(self.drawn);
    }
}

/// Memory that several pieces of work have together.
#[derive(Debug)]
pub struct Pool {
    left: AtomicI64,
    /// What is of this one is of that one too.
    whole: Option<Arc<Pool>>,
}

impl Pool {
    /// A pool of `bytes`.
    pub fn new(bytes: u64) -> Arc<Self> {
        Self::of(bytes, None)
    }

    /// A pool of `bytes` that are of `self` too.
    pub fn part(self: &Arc<Self>, bytes: u64) -> Arc<Self> {
        Self::of(bytes, Some(self.clone()))
    }

    fn of(bytes: u64, whole: Option<Arc<Self>>) -> Arc<Self> {
        Arc::new(Self {
            left: AtomicI64::new(i64::try_from(bytes).unwrap_or(i64::MAX)),
            whole,
        })
    }

    fn take(&self, bytes: i64) -> bool {
        let less = |left: i64| (bytes <= left).then(|| left - bytes);
        if self.left.fetch_update(Relaxed, Relaxed, less).is_err() {
            return false;
        }
        let taken = self.whole.as_ref().is_none_or(|whole| whole.take(bytes));
        if !taken {
            self.left.fetch_add(bytes, Relaxed);
        }
        taken
    }

    fn give(&self, bytes: i64) {
        self.left.fetch_add(bytes, Relaxed);
        if let Some(whole) = &self.whole {
            whole.give(bytes);
        }
    }
}

/// SQLite's own allocator, which does the work.
static ALLOCATOR: OnceLock<Allocator> = OnceLock::new();

struct Allocator(ffi::sqlite3_mem_methods);

// SAFETY: the table holds pointers to functions that may be called from any thread, and a pointer
// that SQLite's own allocators leave null.
unsafe impl Send for Allocator {}
// SAFETY: as above; nothing changes the table.
unsafe impl Sync for Allocator {}

/// Puts the counting into SQLite, before its first use in the process. Where others have used it
/// before, budgets limit nothing.
pub(crate) fn install() {
    let mut methods = ffi::sqlite3_mem_methods {
        xMalloc: None,
        xFree: None,
        xRealloc: None,
        xSize: None,
        xRoundup: None,
        xInit: None,
        xShutdown: None,
        pAppData: std::ptr::null_mut(),
    };
    // SAFETY: SQLite fills the table that is passed, or says that it is in use already.
    let found = unsafe { ffi::sqlite3_config(ffi::SQLITE_CONFIG_GETMALLOC, &mut methods) };
    if found != ffi::SQLITE_OK || methods.xMalloc.is_none() {
        return;
    }
    let counting = ffi::sqlite3_mem_methods {
        xMalloc: Some(malloc),
        xFree: Some(free),
        xRealloc: Some(realloc),
        ..methods
    };
    if ALLOCATOR.set(Allocator(methods)).is_ok() {
        // SAFETY: SQLite copies the table. Its functions live as long as the process, and those of
        // SQLite's own allocator that they call were put into `ALLOCATOR` before.
        unsafe {
            ffi::sqlite3_config(ffi::SQLITE_CONFIG_MALLOC, &counting);
        }
    }
}

/// What one piece of work may still take.
#[derive(Debug)]
pub struct Budget {
    share: Share,
    more: Option<More>,
}

impl Budget {
    /// A budget of `bytes`.
    pub fn new(bytes: u64) -> Self {
        let all = i64::try_from(bytes).unwrap_or(i64::MAX);
        Self {
            share: Share { left: all, all },
            more: None,
        }
    }

    /// A budget of `bytes`, of which `own` are there in any case and the others as far as `pool` has
    /// them.
    pub fn of_pool(bytes: u64, own: u64, pool: &Arc<Pool>) -> Self {
        let spare = i64::try_from(bytes.saturating_sub(own)).unwrap_or(i64::MAX);
        Self {
            more: Some(More {
                pool: pool.clone(),
                spare,
                drawn: 0,
                refused: false,
            }),
            ..Self::new(bytes.min(own))
        }
    }

    /// Runs a part of the work within what is left.
    pub fn within<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let _within = Within {
            share: NOW.replace(Some(self.share)),
            more: MORE.replace(self.more.take()),
            budget: self,
        };
        work()
    }

    /// Whether the pool had no more when some was needed.
    pub fn pool_was_empty(&self) -> bool {
        self.more.as_ref().is_some_and(|more| more.refused)
    }
}

/// Puts back, at its end, what was there before.
struct Within<'a> {
    share: Option<Share>,
    more: Option<More>,
    budget: &'a mut Budget,
}

impl Drop for Within<'_> {
    fn drop(&mut self) {
        self.budget.share = NOW.replace(self.share).unwrap_or(self.budget.share);
        self.budget.more = MORE.replace(self.more.take());
    }
}

fn original() -> &'static ffi::sqlite3_mem_methods {
    match ALLOCATOR.get() {
        Some(allocator) => &allocator.0,
        None => unreachable!("the counting is put into SQLite after its allocator was noted"),
    }
}

/// Whether `bytes` more may be taken.
fn may_take(bytes: i64) -> bool {
    let Some(share) = NOW.get() else { return true };
    let missing = bytes - share.left;
    if missing <= 0 {
        return true;
    }
    let drawn = MORE.with_borrow_mut(|more| more.as_mut()?.draw(missing));
    let Some(drawn) = drawn else { return false };
    NOW.set(Some(Share {
        left: share.left + drawn,
        all: share.all + drawn,
    }));
    true
}

fn took(bytes: i64) {
    if let Some(Share { left, all }) = NOW.get() {
        let left = left.saturating_sub(bytes).min(all);
        NOW.set(Some(Share { left, all }));
    }
}

unsafe extern "C" fn malloc(bytes: c_int) -> *mut c_void {
    if !may_take(bytes.into()) {
        return std::ptr::null_mut();
    }
    // SAFETY: SQLite's own function, called as SQLite calls this one.
    let taken = unsafe { original().xMalloc.map(|malloc| malloc(bytes)) };
    let taken = taken.unwrap_or(std::ptr::null_mut());
    if !taken.is_null() {
        // SAFETY: it was allocated just now.
        took(unsafe { size(taken) });
    }
    taken
}

unsafe extern "C" fn free(memory: *mut c_void) {
    if !memory.is_null() && NOW.get().is_some() {
        // SAFETY: SQLite frees what it was given.
        took(-unsafe { size(memory) });
    }
    if let Some(free) = original().xFree {
        // SAFETY: SQLite's own function, called as SQLite calls this one.
        unsafe { free(memory) };
    }
}

unsafe extern "C" fn realloc(memory: *mut c_void, bytes: c_int) -> *mut c_void {
    // SAFETY: SQLite passes what it was given.
    let before = unsafe { size(memory) };
    if !may_take(i64::from(bytes) - before) {
        return std::ptr::null_mut();
    }
    // SAFETY: SQLite's own function, called as SQLite calls this one.
    let taken = unsafe { original().xRealloc.map(|realloc| realloc(memory, bytes)) };
    let taken = taken.unwrap_or(std::ptr::null_mut());
    if !taken.is_null() {
        // SAFETY: it was allocated just now.
        took(unsafe { size(taken) } - before);
    }
    taken
}

/// Bytes of what was allocated at `memory`.
///
/// # Safety
///
/// `memory` is null, or was allocated by SQLite's own allocator and not freed.
unsafe fn size(memory: *mut c_void) -> i64 {
    if memory.is_null() {
        return 0;
    }
    // SAFETY: as the caller says.
    let size = unsafe { original().xSize.map(|size| size(memory)) };
    size.unwrap_or(0).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether so much more can be had.
    fn take(bytes: i64) -> bool {
        let may = may_take(bytes);
        if may {
            took(bytes);
        }
        may
    }

    #[test]
    fn what_is_given_back_is_no_more_than_the_budget_was() {
        let mut budget = Budget::new(100);
        budget.within(|| took(-1_000));
        assert!(budget.within(|| take(100)));
        assert!(!budget.within(|| take(1)));
    }

    #[test]
    fn a_pool_is_for_all_and_ones_own_is_there_in_any_case() {
        let whole = Pool::new(3 << 20);
        let (one, other) = (whole.part(2 << 20), whole.part(2 << 20));
        let mut first = Budget::of_pool(4 << 20, 1 << 20, &one);
        assert!(first.within(|| take(3 << 20)));
        assert!(!first.pool_was_empty());
        assert!(!first.within(|| take(1)), "its part of the pool is empty");
        assert!(first.pool_was_empty());
        let mut second = Budget::of_pool(4 << 20, 1 << 20, &other);
        assert!(second.within(|| take(2 << 20)));
        assert!(!second.within(|| take(1)), "the whole is empty");
        let mut third = Budget::of_pool(4 << 20, 1 << 20, &one);
        assert!(third.within(|| take(1 << 20)));
        drop(first);
        assert!(second.within(|| take(1 << 20)), "what was drawn is back");
        assert!(!second.within(|| take(1 << 20)), "more than its limit");
    }
}
