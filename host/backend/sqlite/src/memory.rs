//! How much memory SQLite may take for one piece of work.
//!
//! SQLite's own limit of memory is one for the whole process: whoever reaches it makes the
//! statements of others fail. So what SQLite allocates is counted here by thread, and a thread that
//! works within a [`Budget`] gets no more than that: SQLite then ends the statement with
//! `SQLITE_NOMEM` and goes on as if nothing had happened. Without a budget nothing is limited.
//!
//! Counted is what the thread takes less what it gives back, whoever took that. So a page of a
//! connection's cache that another statement has read is a gain for the one that throws it out:
//! exact to the size of that cache.

#![allow(
    unsafe_code,
    reason = "SQLite takes an allocator only as a table of C functions"
)]

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::sync::OnceLock;

use rusqlite::ffi;

thread_local! {
    /// Bytes that this thread may still take; `None` without a budget.
    static LEFT: Cell<Option<i64>> = const { Cell::new(None) };
}

/// SQLite's own allocator, which does the work.
static ALLOCATOR: OnceLock<Allocator> = OnceLock::new();
static INSTALLED: OnceLock<bool> = OnceLock::new();

struct Allocator(ffi::sqlite3_mem_methods);

// SAFETY: the table holds pointers to functions that may be called from any thread, and a pointer
// that SQLite's own allocators leave null.
unsafe impl Send for Allocator {}
// SAFETY: as above; nothing changes the table.
unsafe impl Sync for Allocator {}

/// Puts the counting into SQLite, before its first use in the process. `false`: SQLite was in use
/// before, so budgets limit nothing.
pub fn install() -> bool {
    *INSTALLED.get_or_init(|| {
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
            return false;
        }
        let counting = ffi::sqlite3_mem_methods {
            xMalloc: Some(malloc),
            xFree: Some(free),
            xRealloc: Some(realloc),
            ..methods
        };
        if ALLOCATOR.set(Allocator(methods)).is_err() {
            return false;
        }
        // SAFETY: SQLite copies the table. Its functions live as long as the process, and those of
        // SQLite's own allocator that they call were put into `ALLOCATOR` before.
        let set = unsafe { ffi::sqlite3_config(ffi::SQLITE_CONFIG_MALLOC, &counting) };
        set == ffi::SQLITE_OK
    })
}

/// What one piece of work may still take.
#[derive(Debug)]
pub struct Budget {
    left: i64,
}

impl Budget {
    /// A budget of `bytes`.
    pub fn new(bytes: u64) -> Self {
        Self {
            left: i64::try_from(bytes).unwrap_or(i64::MAX),
        }
    }

    /// Runs a part of the work within what is left.
    pub fn within<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let _within = Within {
            outer: LEFT.replace(Some(self.left)),
            budget: self,
        };
        work()
    }
}

struct Within<'a> {
    outer: Option<i64>,
    budget: &'a mut Budget,
}

impl Drop for Within<'_> {
    fn drop(&mut self) {
        self.budget.left = LEFT.replace(self.outer).unwrap_or(self.budget.left);
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
    LEFT.get().is_none_or(|left| bytes <= left)
}

fn took(bytes: i64) {
    if let Some(left) = LEFT.get() {
        LEFT.set(Some(left.saturating_sub(bytes)));
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
    if !memory.is_null() && LEFT.get().is_some() {
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
