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
//! The memory itself is that of the process's own allocator, as all else is (decision 0052).
//!
//! A budget can be of a [`Pool`], which others draw from too: a little is each one's own, and what it
//! needs beyond is there only as long as the pool lasts.

#![allow(
    unsafe_code,
    reason = "SQLite takes an allocator only as a table of C functions"
)]

use std::alloc::Layout;
use std::cell::{Cell, RefCell};
use std::ffi::{c_int, c_void};
use std::ptr::null_mut;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

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

/// Puts the counting into SQLite, before its first use in the process. Where others have used it
/// before, budgets limit nothing.
pub(crate) fn install() {
    let counting = ffi::sqlite3_mem_methods {
        xMalloc: Some(malloc),
        xFree: Some(free),
        xRealloc: Some(realloc),
        xSize: Some(size),
        xRoundup: Some(round_up),
        xInit: Some(begin),
        xShutdown: Some(end),
        pAppData: null_mut(),
    };
    // SAFETY: SQLite copies the table, or says that it is in use already. The functions live as long as
    // the process.
    unsafe {
        ffi::sqlite3_config(ffi::SQLITE_CONFIG_MALLOC, &counting);
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

/// What a piece of SQLite's memory is a multiple of, and lies at a multiple of.
const UNIT: usize = 8;

/// The allocator of the process has to be told how much it is given back, and SQLite asks how much it has.
/// So before each piece of memory lies its size.
const HEAD: usize = UNIT;
const _: () = assert!(size_of::<usize>() <= HEAD && align_of::<usize>() <= UNIT);

/// What is allocated for a piece of so many bytes.
fn layout(bytes: usize) -> Option<Layout> {
    Layout::from_size_align(bytes.checked_add(HEAD)?, UNIT).ok()
}

/// Puts a piece's size before it; null if there is no piece.
///
/// # Safety
///
/// `whole` is null, or as large as the layout of `bytes`.
unsafe fn piece(whole: *mut u8, bytes: usize) -> *mut c_void {
    if whole.is_null() {
        return null_mut();
    }
    // SAFETY: as the caller says, and it lies where `UNIT` asks for.
    unsafe {
        whole.cast::<usize>().write(bytes);
        whole.add(HEAD).cast()
    }
}

/// Where a piece's size lies, and what is allocated begins.
///
/// # Safety
///
/// `memory` is a piece that was allocated here and not freed.
unsafe fn whole(memory: *mut c_void) -> *mut u8 {
    // SAFETY: as the caller says.
    unsafe { memory.cast::<u8>().sub(HEAD) }
}

/// Bytes of a piece; none of null.
///
/// # Safety
///
/// `memory` is null, or a piece that was allocated here and not freed.
unsafe fn length(memory: *mut c_void) -> usize {
    if memory.is_null() {
        return 0;
    }
    // SAFETY: as the caller says.
    unsafe { whole(memory).cast::<usize>().read() }
}

/// Bytes that SQLite asks for, as it counts and as Rust does. It never asks for none.
fn asked(bytes: c_int) -> Option<(usize, Layout)> {
    let bytes = usize::try_from(round_up_to_unit(bytes)).ok()?;
    Some((bytes, layout(bytes)?))
}

fn round_up_to_unit(bytes: c_int) -> c_int {
    const BELOW: c_int = 7;
    const _: () = assert!(UNIT == 8);
    bytes.saturating_add(BELOW) & !BELOW
}

unsafe extern "C" fn malloc(bytes: c_int) -> *mut c_void {
    let Some((bytes, layout)) = asked(bytes).filter(|(bytes, _)| may_take(signed(*bytes))) else {
        return null_mut();
    };
    // SAFETY: the layout has room for a size at least.
    let taken = unsafe { piece(std::alloc::alloc(layout), bytes) };
    if !taken.is_null() {
        took(signed(bytes));
    }
    taken
}

unsafe extern "C" fn free(memory: *mut c_void) {
    // SAFETY: SQLite frees what it was given.
    let bytes = unsafe { length(memory) };
    let Some(layout) = layout(bytes).filter(|_| !memory.is_null()) else {
        return;
    };
    took(-signed(bytes));
    // SAFETY: it was allocated here, by this layout.
    unsafe { std::alloc::dealloc(whole(memory), layout) };
}

unsafe extern "C" fn realloc(memory: *mut c_void, bytes: c_int) -> *mut c_void {
    // SAFETY: SQLite passes what it was given.
    let before = unsafe { length(memory) };
    let may = |bytes: usize| may_take(signed(bytes) - signed(before));
    let Some((bytes, asked)) = asked(bytes).filter(|(bytes, _)| may(*bytes)) else {
        return null_mut();
    };
    let Some(had) = layout(before).filter(|_| !memory.is_null()) else {
        return null_mut();
    };
    // SAFETY: it was allocated here, by the layout of what it had, and its new size is a layout's.
    let taken = unsafe { piece(std::alloc::realloc(whole(memory), had, asked.size()), bytes) };
    if !taken.is_null() {
        took(signed(bytes) - signed(before));
    }
    taken
}

unsafe extern "C" fn size(memory: *mut c_void) -> c_int {
    // SAFETY: SQLite passes what it was given.
    let bytes = unsafe { length(memory) };
    c_int::try_from(bytes).unwrap_or(c_int::MAX)
}

unsafe extern "C" fn round_up(bytes: c_int) -> c_int {
    round_up_to_unit(bytes)
}

unsafe extern "C" fn begin(_: *mut c_void) -> c_int {
    ffi::SQLITE_OK
}

unsafe extern "C" fn end(_: *mut c_void) {}

fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
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
    fn a_piece_keeps_what_is_in_it_as_it_grows_and_where_it_may_not() {
        let mut budget = Budget::new(10_000);
        budget.within(|| {
            // SAFETY: as SQLite calls them.
            unsafe {
                let small = malloc(13);
                assert_eq!(size(small), 16);
                assert!(small.cast::<u64>().is_aligned());
                small.cast::<u8>().write_bytes(7, 16);
                let large = realloc(small, 9_000);
                assert_eq!(size(large), 9_000);
                assert!(realloc(large, 20_000).is_null(), "over the budget");
                let kept = std::slice::from_raw_parts(large.cast::<u8>(), 16);
                assert_eq!(kept, [7; 16]);
                assert!(malloc(2_000).is_null(), "over the budget");
                free(large);
                let again = malloc(10_000);
                assert!(!again.is_null(), "all of it was given back");
                free(again);
                free(null_mut());
            }
        });
        assert_eq!(budget.share.left, 10_000);
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
