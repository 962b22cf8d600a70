//! What an installation stores, and whether it may store more.

use canopy_backend::{Ledger, QuotaOf, Scope, StorageError, StorageKind};
use parking_lot::Mutex;

use crate::index::Change;

/// What an installation stores and is about to store.
pub(crate) struct Account {
    scope: Scope,
    ledger: Ledger,
    stored: Mutex<Stored>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Stored {
    /// As committed.
    bytes: u64,
    items: u64,
    /// Of bodies that are being written, without what they replace.
    in_flight: u64,
}

impl Account {
    pub(crate) fn new(scope: Scope, ledger: Ledger, (bytes, items): (u64, u64)) -> Self {
        ledger.set(scope, StorageKind::Blobs, bytes);
        Self {
            scope,
            ledger,
            stored: Mutex::new(Stored {
                bytes,
                items,
                in_flight: 0,
            }),
        }
    }

    /// Whether `change` may be committed after `before`, which is about to be. What it adds is
    /// counted for the tenant, until [`Self::committed`] or [`Self::given_up`].
    pub(crate) fn check(&self, before: &Change, change: &Change) -> Result<(), StorageError> {
        let stored = *self.stored.lock();
        let quota = self
            .ledger
            .quotas()
            .installation(self.scope, StorageKind::Blobs);
        let bytes = stored
            .bytes
            .saturating_add_signed(before.bytes + change.bytes);
        let items = stored
            .items
            .saturating_add_signed(before.items + change.items);
        if change.bytes > 0 && bytes > quota.bytes {
            return Err(exceeded(QuotaOf::InstallationBytes, quota.bytes));
        }
        if change.items > 0 && items > quota.items {
            return Err(exceeded(QuotaOf::InstallationItems, quota.items));
        }
        match u64::try_from(change.bytes) {
            Ok(more) => self.ledger.grow(self.scope, StorageKind::Blobs, more),
            Err(_) => Ok(()),
        }
    }

    /// `change` was not committed.
    pub(crate) fn given_up(&self, change: &Change) {
        self.ledger
            .shrink(self.scope, StorageKind::Blobs, change.grown);
    }

    /// `change` has been committed.
    pub(crate) fn committed(&self, change: &Change) {
        let less = change.grown.saturating_add_signed(-change.bytes);
        self.ledger.shrink(self.scope, StorageKind::Blobs, less);
        let mut stored = self.stored.lock();
        stored.bytes = stored.bytes.saturating_add_signed(change.bytes);
        stored.items = stored.items.saturating_add_signed(change.items);
    }

    /// Room for `bytes` more of a body, in the quotas of the installation and of its tenant.
    pub(crate) fn reserve(&self, bytes: u64) -> Result<(), StorageError> {
        let quota = self
            .ledger
            .quotas()
            .installation(self.scope, StorageKind::Blobs);
        let mut stored = self.stored.lock();
        let wanted = stored
            .bytes
            .saturating_add(stored.in_flight)
            .saturating_add(bytes);
        if wanted > quota.bytes {
            return Err(exceeded(QuotaOf::InstallationBytes, quota.bytes));
        }
        self.ledger.arrive(self.scope.tenant, bytes)?;
        stored.in_flight += bytes;
        Ok(())
    }

    /// A body that reserved `bytes` has ended, whichever way.
    pub(crate) fn release(&self, bytes: u64) {
        self.stored.lock().in_flight -= bytes;
        self.ledger.arrived(self.scope.tenant, bytes);
    }
}

fn exceeded(quota: QuotaOf, limit: u64) -> StorageError {
    StorageError::QuotaExceeded { quota, limit }
}
