//! Which indexes are open: bounded in number, for each tenant and for all, opened by the first who
//! needs one, closed when they are not used or their place is.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use canopy_backend::files::{erase_dir, finish_erasures, replace_dir};
use canopy_backend::{CpuPayers, Ledger, Scope, StorageError, StorageKind};
use canopy_backend_keys::Keyring;
use canopy_ids::TenantId;
use parking_lot::Mutex;
use tokio::sync::OnceCell;

use crate::folder::Folder;
use crate::settings::BlobSettings;
use crate::store::{Parts, Store};

/// Time between two looks whether an index is not used any more. Whoever uses one tells nobody when
/// it is done.
const LOOK: Duration = Duration::from_millis(5);
/// Time between two looks for abandoned uploads in what stays open.
const UPLOAD_SWEEP: Duration = Duration::from_secs(3600);

/// The open store of an installation, or the opening of it.
type Slot = Arc<OnceCell<Arc<Store>>>;

pub(crate) struct Pool {
    /// Where the folders of tenants are.
    pub(crate) root: PathBuf,
    pub(crate) settings: Arc<BlobSettings>,
    pub(crate) keyring: Keyring,
    pub(crate) ledger: Ledger,
    pub(crate) payers: Arc<CpuPayers>,
    places: Mutex<Places>,
}

#[derive(Default)]
struct Places {
    slots: HashMap<Scope, Slot>,
    /// What was opened since the process began: left-overs are gone there.
    swept: HashSet<Scope>,
    erased: HashSet<Scope>,
    erased_tenants: HashSet<TenantId>,
    closed: bool,
    uploads_swept: Option<Instant>,
}

impl Pool {
    pub(crate) fn new(
        root: PathBuf,
        settings: BlobSettings,
        keyring: Keyring,
        ledger: Ledger,
    ) -> Self {
        Self {
            root,
            settings: Arc::new(settings),
            keyring,
            ledger,
            payers: Arc::default(),
            places: Mutex::default(),
        }
    }

    pub(crate) fn folder(&self, scope: Scope) -> Folder {
        Folder::of(&self.root, scope)
    }

    /// The number of indexes that are open.
    pub(crate) fn open_stores(&self) -> usize {
        self.places.lock().slots.len()
    }

    /// The store of `scope`, opened if it is not.
    pub(crate) async fn store(self: &Arc<Self>, scope: Scope) -> Result<Arc<Store>, StorageError> {
        let slot = self.slot(scope).await?;
        let store = slot
            .get_or_try_init(|| async {
                let pool = self.clone();
                let open = move || pool.open(scope).map(Arc::new);
                tokio::task::spawn_blocking(open)
                    .await
                    .map_err(|error| StorageError::Failed(error.to_string()))?
            })
            .await;
        match store {
            Ok(store) => {
                store.touch();
                Ok(store.clone())
            }
            Err(error) => {
                let mut places = self.places.lock();
                if places
                    .slots
                    .get(&scope)
                    .is_some_and(|other| Arc::ptr_eq(other, &slot) && !other.initialized())
                {
                    places.slots.remove(&scope);
                }
                Err(error)
            }
        }
    }

    /// The place of `scope`, for which it waits while all are in use.
    async fn slot(&self, scope: Scope) -> Result<Slot, StorageError> {
        let until = Instant::now() + self.settings.open_wait;
        loop {
            if let Some(slot) = self.free_slot(scope)? {
                return Ok(slot);
            }
            if Instant::now() >= until {
                return Err(self.all_in_use(scope.tenant));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Why an operation of `tenant` has waited for long enough.
    fn all_in_use(&self, tenant: TenantId) -> StorageError {
        let settings = &self.settings;
        let (limit, whose) = match self.places.lock().of(tenant) >= settings.tenant_stores {
            true => (settings.tenant_stores, "indexes of one tenant"),
            false => (settings.open_stores, "indexes"),
        };
        StorageError::Busy(format!("all {limit} {whose} that may be open are in use"))
    }

    /// `None`: all places are in use.
    fn free_slot(&self, scope: Scope) -> Result<Option<Slot>, StorageError> {
        let mut places = self.places.lock();
        places.check(scope)?;
        if let Some(slot) = places.slots.get(&scope) {
            return Ok(Some(slot.clone()));
        }
        let own = places.of(scope.tenant) >= self.settings.tenant_stores;
        let unused = if !own && places.slots.len() < self.settings.open_stores {
            None
        } else if let Some(unused) = places.take_least_recently_used(own.then_some(scope.tenant)) {
            Some(unused)
        } else {
            return Ok(None);
        };
        let slot = Slot::default();
        places.slots.insert(scope, slot.clone());
        drop(places);
        close(unused);
        Ok(Some(slot))
    }

    fn open(&self, scope: Scope) -> Result<Store, StorageError> {
        let first = !self.places.lock().swept.contains(&scope);
        let store = Store::open(Parts {
            scope,
            folder: self.folder(scope),
            settings: self.settings.clone(),
            keyring: self.keyring.clone(),
            ledger: self.ledger.clone(),
            payers: self.payers.clone(),
            first,
        })?;
        self.places.lock().swept.insert(scope);
        Ok(store)
    }

    /// Closes what has not been used for long, and now and then looks for abandoned uploads in
    /// the rest.
    pub(crate) fn tend(&self) {
        let (idle, open) = {
            let mut places = self.places.lock();
            let idle = places.take_unused(|store| store.idle() >= self.settings.idle_close);
            let now = Instant::now();
            let swept = *places.uploads_swept.get_or_insert(now);
            let due = now.duration_since(swept) >= UPLOAD_SWEEP;
            if due {
                places.uploads_swept = Some(now);
            }
            let open: Vec<_> = match due {
                true => places.slots.values().cloned().collect(),
                false => Vec::new(),
            };
            (idle, open)
        };
        close(idle);
        for store in open.iter().filter_map(|slot| slot.get()) {
            if let Err(error) = store.sweep_uploads() {
                tracing::warn!(installation = %store.scope, %error, "abandoned uploads were not swept");
            }
        }
    }

    /// Lets nobody in any more. What is in use is closed when its use ends.
    pub(crate) fn close(&self) {
        let mut places = self.places.lock();
        places.closed = true;
        let slots: Vec<_> = places.slots.drain().collect();
        drop(places);
        close(slots);
    }

    /// Takes `scope` out of use and removes all its files.
    pub(crate) fn erase(&self, scope: Scope) -> Result<(), StorageError> {
        let mut places = self.places.lock();
        places.erased.insert(scope);
        let slot = places.slots.remove(&scope);
        drop(places);
        if let Some(store) = slot.as_ref().and_then(|slot| slot.get()) {
            store.mark_erased();
        }
        drop(slot);
        let path = self.folder(scope).path().to_owned();
        let erased = match path.exists() {
            true => erase_dir(&path),
            false => finish_erasure(&path),
        };
        erased.map_err(|error| failed("erasing", scope, &error))?;
        self.ledger.remove(scope, StorageKind::Blobs);
        Ok(())
    }

    /// No installation of `tenant` stores anything any more.
    pub(crate) fn erase_tenant(&self, tenant: TenantId) -> Result<(), StorageError> {
        let known: Vec<Scope> = {
            let mut places = self.places.lock();
            places.erased_tenants.insert(tenant);
            let open = places.slots.keys();
            open.copied()
                .filter(|scope| scope.tenant == tenant)
                .collect()
        };
        for scope in known {
            self.erase(scope)?;
        }
        let folder = self.root.join(tenant.to_string());
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(failed("erasing", tenant, &error)),
        };
        for entry in entries {
            let entry = entry.map_err(|error| failed("erasing", tenant, &error))?;
            let name = entry.file_name();
            if let Some(installation) = name.to_str().and_then(|name| name.parse().ok()) {
                self.erase(Scope {
                    tenant,
                    installation,
                })?;
            }
        }
        Ok(())
    }

    /// Puts the folder `new` in place of that of `scope`, or removes that if there is none, while
    /// nobody has it open.
    pub(crate) fn replace(&self, scope: Scope, new: Option<&Path>) -> Result<(), StorageError> {
        let mut places = self.places.lock();
        places.check(scope)?;
        if let Some(slot) = places.slots.remove(&scope)
            && let Some(store) = slot.get()
        {
            // Whoever still has it reads and writes nothing more.
            store.mark_erased();
        }
        places.swept.remove(&scope);
        let folder = self.folder(scope);
        let path = folder.path();
        let replaced = match new {
            Some(new) => replace_dir(new, path),
            None => erase_dir(path),
        };
        replaced.map_err(|error| failed("restoring", scope, &error))?;
        // It is counted anew when it is opened.
        self.ledger.remove(scope, StorageKind::Blobs);
        Ok(())
    }
}

impl Places {
    fn check(&self, scope: Scope) -> Result<(), StorageError> {
        if self.erased.contains(&scope) || self.erased_tenants.contains(&scope.tenant) {
            Err(StorageError::Erased)
        } else if self.closed {
            Err(StorageError::Busy("the node is shutting down".into()))
        } else {
            Ok(())
        }
    }

    /// Takes out what nobody uses and `wanted` says.
    fn take_unused(&mut self, wanted: impl Fn(&Store) -> bool) -> Vec<(Scope, Slot)> {
        self.slots
            .extract_if(|_, slot| is_unused(slot).is_some_and(&wanted))
            .collect()
    }

    /// How many places `tenant` has.
    fn of(&self, tenant: TenantId) -> usize {
        let all = self.slots.keys();
        all.filter(|scope| scope.tenant == tenant).count()
    }

    /// Of those of `tenant`, or of all.
    fn take_least_recently_used(&mut self, tenant: Option<TenantId>) -> Option<(Scope, Slot)> {
        let wanted = |scope: &Scope| tenant.is_none_or(|tenant| scope.tenant == tenant);
        let unused = self
            .slots
            .iter()
            .filter(|(scope, _)| wanted(scope))
            .filter_map(|(scope, slot)| is_unused(slot).map(|store| (store.idle(), *scope)));
        let (_, scope) = unused.max()?;
        self.slots.remove_entry(&scope)
    }
}

/// The store in `slot` if it is open and only the pool has it.
fn is_unused(slot: &Slot) -> Option<&Store> {
    let store = slot.get()?;
    (Arc::strong_count(slot) == 1 && Arc::strong_count(store) == 1).then_some(store)
}

/// Closes stores where waiting for the disk is no harm.
fn close(slots: impl IntoIterator<Item = (Scope, Slot)> + Send + 'static) {
    match tokio::runtime::Handle::try_current() {
        Ok(runtime) => {
            drop(runtime.spawn_blocking(move || drop(slots.into_iter().collect::<Vec<_>>())))
        }
        Err(_) => drop(slots.into_iter().collect::<Vec<_>>()),
    }
}

/// Finishes an erasure of `path` that was cut short.
fn finish_erasure(path: &Path) -> std::io::Result<()> {
    match path.parent() {
        Some(parent) if parent.exists() => finish_erasures(parent),
        _ => Ok(()),
    }
}

fn failed(
    what: &str,
    whose: impl std::fmt::Display,
    error: &dyn std::fmt::Display,
) -> StorageError {
    let kind = StorageKind::Blobs.as_str();
    tracing::error!(%whose, %error, kind, "{what} failed");
    StorageError::Failed(format!("{what} the {kind} of {whose} failed: {error}"))
}
