//! Stored data in forms that outlive the platform: written for an export, read for an import.

use std::path::Path;

use async_trait::async_trait;

use crate::{Scope, StorageError, StorageKind, Usage};

/// One kind of storage that can give its data away in the form that `docs/export-format.md`
/// describes, and take it in again. Nothing in that form is encrypted.
#[async_trait]
pub trait Portable: Send + Sync + 'static {
    /// Which kind it is.
    fn kind(&self) -> StorageKind;
    /// Writes all that `scope` stores, as it is at one moment, into the empty folder `into`, while
    /// guests go on reading and writing. Nothing stored: nothing written.
    async fn export(&self, scope: Scope, into: &Path) -> Result<Usage, StorageError>;
    /// Takes in what [`Portable::export`] wrote, for a scope that stores nothing yet. On an error
    /// part of it may be stored; the caller erases the scope.
    async fn import(&self, scope: Scope, from: &Path) -> Result<Usage, StorageError>;
}
