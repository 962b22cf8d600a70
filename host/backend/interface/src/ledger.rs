//! What tenants store in all, over all installations and kinds of storage.
//!
//! Each kind says what an installation stores when it opens it, and every change after that. What
//! nobody has opened yet is measured before a tenant's first write, so the sum is exact from then
//! on. It is kept in memory alone: a crash leaves nothing to be put right.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use canopy_ids::{InstallationId, TenantId};

use crate::{Maintenance, QuotaOf, Quotas, Scope, StorageError, StorageKind};

/// What tenants store in all. Clones are the same.
#[derive(Clone)]
pub struct Ledger(Arc<Inner>);

struct Inner {
    quotas: Arc<dyn Quotas>,
    accounts: Mutex<HashMap<TenantId, Account>>,
    /// Where data of installations may be that nobody has opened.
    unopened: Mutex<Option<Unopened>>,
    /// Held by whoever measures.
    measuring: tokio::sync::Mutex<()>,
}

#[derive(Clone)]
struct Unopened {
    folder: PathBuf,
    storages: Vec<Weak<dyn Maintenance>>,
}

#[derive(Debug, Default)]
struct Account {
    total: u64,
    /// Of bodies that are being written, and of which nothing is stored yet.
    arriving: u64,
    parts: HashMap<(InstallationId, StorageKind), u64>,
    measured: bool,
}

impl Ledger {
    /// An empty one, which holds tenants to `quotas`.
    pub fn new(quotas: Arc<dyn Quotas>) -> Self {
        Self(Arc::new(Inner {
            quotas,
            accounts: Mutex::default(),
            unopened: Mutex::default(),
            measuring: tokio::sync::Mutex::default(),
        }))
    }

    /// Has what nobody has opened yet measured by `storages`, whose data is in
    /// `<folder>/<tenant>/<installation>/`.
    pub fn measure_with(&self, folder: PathBuf, storages: &[Arc<dyn Maintenance>]) {
        let storages = storages.iter().map(Arc::downgrade).collect();
        *lock(&self.0.unopened) = Some(Unopened { folder, storages });
    }

    /// How much may be stored.
    pub fn quotas(&self) -> &dyn Quotas {
        &*self.0.quotas
    }

    /// Waits until all that `tenant` stores is known. To be called before each of its writes, and
    /// by nobody whom a measuring may wait for.
    pub async fn ready(&self, tenant: TenantId) -> Result<(), StorageError> {
        if self.is_measured(tenant) {
            return Ok(());
        }
        let _turn = self.0.measuring.lock().await;
        if self.is_measured(tenant) {
            return Ok(());
        }
        let Some(Unopened { folder, storages }) = lock(&self.0.unopened).clone() else {
            return Ok(());
        };
        let tenants_folder = folder.join(tenant.to_string());
        let installations = tokio::task::spawn_blocking(move || installations(&tenants_folder))
            .await
            .map_err(|error| StorageError::Failed(error.to_string()))?
            .map_err(|error| {
                StorageError::Failed(format!("reading {}: {error}", folder.display()))
            })?;
        for storage in storages.iter().filter_map(Weak::upgrade) {
            for installation in &installations {
                let scope = Scope {
                    tenant,
                    installation: *installation,
                };
                if self.knows(scope, storage.kind()) {
                    continue;
                }
                match storage.usage(scope).await {
                    Ok(usage) => self.set_if_unknown(scope, storage.kind(), usage.bytes),
                    // What can't be opened can't grow; the tenant's other data is not to wait.
                    Err(error) => {
                        tracing::warn!(%scope, %error, "what is stored can't be measured")
                    }
                }
            }
        }
        lock(&self.0.accounts).entry(tenant).or_default().measured = true;
        Ok(())
    }

    /// `scope` stores `bytes` of `kind`. To be said when it is opened, before anything is written.
    pub fn set(&self, scope: Scope, kind: StorageKind, bytes: u64) {
        let mut accounts = lock(&self.0.accounts);
        accounts
            .entry(scope.tenant)
            .or_default()
            .set(scope, kind, bytes);
    }

    /// `scope` is about to store `bytes` more of `kind`. If that is too much for its tenant,
    /// nothing is counted and nothing may be stored.
    pub fn grow(&self, scope: Scope, kind: StorageKind, bytes: u64) -> Result<(), StorageError> {
        let limit = self.0.quotas.tenant(scope.tenant);
        let mut accounts = lock(&self.0.accounts);
        let account = accounts.entry(scope.tenant).or_default();
        if bytes > 0 && account.total.saturating_add(bytes) > limit {
            return Err(StorageError::QuotaExceeded {
                quota: QuotaOf::TenantBytes,
                limit,
            });
        }
        let part = account.part(scope, kind);
        account.set(scope, kind, part.saturating_add(bytes));
        Ok(())
    }

    /// `bytes` more of a body are arriving for `tenant`. If that is too much together with all that is
    /// stored and arrives, the body can't be stored, and nothing is counted. What is stored in the end
    /// is said by [`Self::grow`].
    pub fn arrive(&self, tenant: TenantId, bytes: u64) -> Result<(), StorageError> {
        let limit = self.0.quotas.tenant(tenant);
        let mut accounts = lock(&self.0.accounts);
        let account = accounts.entry(tenant).or_default();
        let known = account.total.saturating_add(account.arriving);
        if known.saturating_add(bytes) > limit {
            return Err(StorageError::QuotaExceeded {
                quota: QuotaOf::TenantBytes,
                limit,
            });
        }
        account.arriving += bytes;
        Ok(())
    }

    /// A body of which `bytes` were counted has ended, whichever way.
    pub fn arrived(&self, tenant: TenantId, bytes: u64) {
        let mut accounts = lock(&self.0.accounts);
        let account = accounts.entry(tenant).or_default();
        account.arriving = account.arriving.saturating_sub(bytes);
    }

    /// `scope` stores `bytes` less of `kind`, or did not store what was counted.
    pub fn shrink(&self, scope: Scope, kind: StorageKind, bytes: u64) {
        let mut accounts = lock(&self.0.accounts);
        let account = accounts.entry(scope.tenant).or_default();
        let part = account.part(scope, kind);
        account.set(scope, kind, part.saturating_sub(bytes));
    }

    /// `scope` stores nothing of `kind` any more.
    pub fn remove(&self, scope: Scope, kind: StorageKind) {
        let mut accounts = lock(&self.0.accounts);
        if let Some(account) = accounts.get_mut(&scope.tenant) {
            account.set(scope, kind, 0);
            account.parts.remove(&(scope.installation, kind));
        }
    }

    /// Bytes that `tenant` stores, as far as they are known.
    pub fn total(&self, tenant: TenantId) -> u64 {
        lock(&self.0.accounts)
            .get(&tenant)
            .map_or(0, |account| account.total)
    }

    fn is_measured(&self, tenant: TenantId) -> bool {
        lock(&self.0.accounts)
            .get(&tenant)
            .is_some_and(|account| account.measured)
    }

    fn knows(&self, scope: Scope, kind: StorageKind) -> bool {
        lock(&self.0.accounts)
            .get(&scope.tenant)
            .is_some_and(|account| account.parts.contains_key(&(scope.installation, kind)))
    }

    /// Its storage may have opened it meanwhile, and counted what was written since.
    fn set_if_unknown(&self, scope: Scope, kind: StorageKind, bytes: u64) {
        let mut accounts = lock(&self.0.accounts);
        let account = accounts.entry(scope.tenant).or_default();
        if !account.parts.contains_key(&(scope.installation, kind)) {
            account.set(scope, kind, bytes);
        }
    }
}

impl std::fmt::Debug for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ledger").finish_non_exhaustive()
    }
}

impl Account {
    fn part(&self, scope: Scope, kind: StorageKind) -> u64 {
        let part = self.parts.get(&(scope.installation, kind));
        part.copied().unwrap_or(0)
    }

    fn set(&mut self, scope: Scope, kind: StorageKind, bytes: u64) {
        let before = self.parts.insert((scope.installation, kind), bytes);
        self.total = self
            .total
            .saturating_sub(before.unwrap_or(0))
            .saturating_add(bytes);
    }
}

/// The installations that have a folder in a tenant's.
fn installations(folder: &std::path::Path) -> io::Result<Vec<InstallationId>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        found.extend(
            name.to_str()
                .and_then(|name| name.parse::<InstallationId>().ok()),
        );
    }
    Ok(found)
}

/// Nothing panics while it is held, so what a panic elsewhere poisoned is whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use async_trait::async_trait;

    use super::*;
    use crate::{Finding, StorageQuota, Usage};

    fn ledger(tenant_bytes: u64) -> Ledger {
        Ledger::new(Arc::new(StorageQuota {
            tenant_bytes,
            ..StorageQuota::default()
        }))
    }

    fn scope(tenant: TenantId) -> Scope {
        Scope {
            tenant,
            installation: InstallationId::new(),
        }
    }

    fn is_full(result: Result<(), StorageError>, expected: u64) -> bool {
        matches!(
            result,
            Err(StorageError::QuotaExceeded { quota: QuotaOf::TenantBytes, limit }) if limit == expected
        )
    }

    #[test]
    fn installations_and_kinds_of_a_tenant_share_its_quota_and_others_do_not() {
        let ledger = ledger(100);
        let tenant = TenantId::new();
        let (one, two, other) = (scope(tenant), scope(tenant), scope(TenantId::new()));
        ledger.set(one, StorageKind::KeyValue, 40);
        ledger.grow(two, StorageKind::Blobs, 50).expect("fits");
        ledger
            .grow(other, StorageKind::Blobs, 100)
            .expect("is another's");
        assert!(is_full(ledger.grow(one, StorageKind::Sql, 11), 100));
        assert_eq!(ledger.total(tenant), 90);
        ledger.grow(one, StorageKind::Sql, 10).expect("to the byte");
        ledger.shrink(two, StorageKind::Blobs, 30);
        ledger.set(one, StorageKind::KeyValue, 20);
        assert_eq!(ledger.total(tenant), 50);
        ledger.remove(one, StorageKind::KeyValue);
        ledger.remove(one, StorageKind::KeyValue);
        assert_eq!(ledger.total(tenant), 30);
        ledger.grow(one, StorageKind::KeyValue, 70).expect("fits");
    }

    #[test]
    fn a_quota_that_was_lowered_lets_nothing_grow() {
        let ledger = ledger(10);
        let scope = scope(TenantId::new());
        ledger.set(scope, StorageKind::Sql, 40);
        assert!(is_full(ledger.grow(scope, StorageKind::Sql, 1), 10));
        ledger.grow(scope, StorageKind::Sql, 0).expect("no growth");
        ledger.shrink(scope, StorageKind::Sql, 31);
        ledger.grow(scope, StorageKind::Sql, 1).expect("fits again");
    }

    #[test]
    fn what_arrives_is_held_against_what_is_stored_and_what_arrives_elsewhere() {
        let ledger = ledger(100);
        let tenant = TenantId::new();
        ledger.set(scope(tenant), StorageKind::Blobs, 40);
        ledger.arrive(tenant, 30).expect("fits");
        assert!(is_full(ledger.arrive(tenant, 31), 100));
        ledger.arrive(tenant, 30).expect("to the byte");
        assert!(is_full(ledger.arrive(tenant, 1), 100));
        ledger.arrive(TenantId::new(), 100).expect("another's");
        assert_eq!(ledger.total(tenant), 40, "nothing of it is stored yet");
        ledger.arrived(tenant, 60);
        assert!(is_full(ledger.arrive(tenant, 61), 100));
        ledger.arrive(tenant, 60).expect("fits again");
    }

    /// Stores 7 bytes for everybody, and fails for one.
    struct Seven {
        fails: InstallationId,
        asked: AtomicUsize,
    }

    #[async_trait]
    impl Maintenance for Seven {
        fn kind(&self) -> StorageKind {
            StorageKind::Blobs
        }

        async fn usage(&self, scope: Scope) -> Result<Usage, StorageError> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            if scope.installation == self.fails {
                return Err(StorageError::Damaged("a page".into()));
            }
            Ok(Usage { bytes: 7, items: 1 })
        }

        async fn copy(&self, _: Scope, _: &Path) -> Result<(), StorageError> {
            Ok(())
        }

        async fn restore(&self, _: Scope, _: &Path) -> Result<(), StorageError> {
            Ok(())
        }

        async fn check(&self, _: Scope) -> Result<Vec<Finding>, StorageError> {
            Ok(Vec::new())
        }

        async fn rekey(&self, _: Scope) -> Result<(), StorageError> {
            Ok(())
        }

        async fn erase(&self, _: Scope) -> Result<(), StorageError> {
            Ok(())
        }

        async fn erase_tenant(&self, _: TenantId) -> Result<(), StorageError> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn what_nobody_opened_is_measured_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let tenant = TenantId::new();
        let scopes: Vec<_> = (0..4).map(|_| scope(tenant)).collect();
        for scope in &scopes {
            fs::create_dir_all(folder.path().join(scope.to_string())).expect("made");
        }
        fs::write(folder.path().join(tenant.to_string()).join("key"), "").expect("written");
        let seven = Arc::new(Seven {
            fails: scopes[3].installation,
            asked: AtomicUsize::new(0),
        });
        let ledger = ledger(1000);
        let storages: [Arc<dyn Maintenance>; 1] = [seven.clone()];
        ledger.measure_with(folder.path().into(), &storages);
        ledger.set(scopes[0], StorageKind::Blobs, 100);
        for _ in 0..2 {
            ledger.ready(tenant).await.expect("measured");
            assert_eq!(ledger.total(tenant), 114);
            assert_eq!(seven.asked.load(Ordering::Relaxed), 3);
        }
        ledger.ready(TenantId::new()).await.expect("has no folder");
    }
}
