//! How far a long piece of work is, and whether it is still wanted.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::ArchiveError;

/// How far a long piece of work is. The one who works counts; anybody looks, or takes it back.
#[derive(Debug, Default)]
pub struct Progress {
    step: Mutex<String>,
    bytes: AtomicU64,
    bytes_total: AtomicU64,
    items: AtomicU64,
    items_total: AtomicU64,
    cancelled: AtomicBool,
}

impl Progress {
    /// Says what is done now, in a few words.
    pub fn step(&self, text: impl Into<String>) {
        *self.step.lock() = text.into();
    }

    /// What is done now.
    pub fn current_step(&self) -> String {
        self.step.lock().clone()
    }

    /// More to do than was known.
    pub fn expect(&self, bytes: u64, items: u64) {
        self.bytes_total.fetch_add(bytes, Ordering::Relaxed);
        self.items_total.fetch_add(items, Ordering::Relaxed);
    }

    /// So many bytes more are done.
    pub fn bytes(&self, count: u64) {
        self.bytes.fetch_add(count, Ordering::Relaxed);
    }

    /// One item more is done.
    pub fn item(&self) {
        self.items.fetch_add(1, Ordering::Relaxed);
    }

    /// Bytes done and known to be done in all.
    pub fn byte_counts(&self) -> (u64, u64) {
        let done = self.bytes.load(Ordering::Relaxed);
        (done, self.bytes_total.load(Ordering::Relaxed).max(done))
    }

    /// Items done and known to be done in all.
    pub fn item_counts(&self) -> (u64, u64) {
        let done = self.items.load(Ordering::Relaxed);
        (done, self.items_total.load(Ordering::Relaxed).max(done))
    }

    /// Takes the work back: it ends with [`ArchiveError::Cancelled`] at the next good moment.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// Whether it was taken back.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    /// Goes on, unless it was taken back.
    pub fn check(&self) -> Result<(), ArchiveError> {
        if self.is_cancelled() {
            Err(ArchiveError::Cancelled)
        } else {
            Ok(())
        }
    }
}
