//! A backend under test, whatever it stores: with a quota that a test can fill and a time that it can
//! set; closed, opened again, and out of reach of some of its data.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;

use crate::blob::BlobProvider;
use crate::sql::SqlProvider;
use crate::{
    Clock, Maintenance, Quota, Scope, StorageError, StorageKind, StorageQuota, SystemClock, Usage,
};

/// How a backend of the kind `P`, as `dyn KeyValueProvider`, is put to the test. Its data goes with it.
#[async_trait]
pub trait Backend<P: ?Sized>: Send + Sync + 'static {
    /// Opens it over what it has stored before, which is nothing the first time.
    async fn open(&self, environment: &Environment) -> Running<P>;
    /// Puts what it stores of `scope` out of its reach, as a disk or a connection that is gone does.
    /// It is closed meanwhile.
    fn lose(&self, scope: Scope);
    /// Undoes [`Self::lose`].
    fn find(&self, scope: Scope);
}

/// A backend that is open.
pub struct Running<P: ?Sized> {
    /// It.
    pub provider: Arc<P>,
    /// The same for who looks after it.
    pub maintenance: Arc<dyn Maintenance>,
    /// Closes it, as a node does that is told to stop.
    pub close: Box<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>,
}

/// What a backend under test is to work with.
#[derive(Debug, Clone)]
pub struct Environment {
    /// The time.
    pub clock: Arc<ManualClock>,
    /// How much may be stored: little, so that a test can fill it.
    pub quota: StorageQuota,
}

impl Environment {
    /// One in which an installation may store so much of a kind, and its tenant so many bytes.
    pub(super) fn with(kind: StorageKind, quota: Quota, tenant_bytes: u64) -> Self {
        let mut all = StorageQuota {
            tenant_bytes,
            ..StorageQuota::default()
        };
        match kind {
            StorageKind::KeyValue => all.key_value = quota,
            StorageKind::Blobs => all.blobs = quota,
            StorageKind::Sql => all.sql = quota,
        }
        Self {
            clock: Arc::new(ManualClock::new()),
            quota: all,
        }
    }
}

impl Default for Environment {
    fn default() -> Self {
        let quota = Quota {
            bytes: 2 << 20,
            items: 5000,
        };
        Self::with(StorageKind::KeyValue, quota, 3 << 20)
    }
}

/// A time that goes on only when it is told to.
#[derive(Debug)]
pub struct ManualClock(AtomicU64);

impl ManualClock {
    /// One that shows the present time.
    pub fn new() -> Self {
        Self(AtomicU64::new(SystemClock.now()))
    }

    /// Goes on.
    pub fn advance(&self, by: Duration) {
        let by = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        self.0.fetch_add(by, Ordering::SeqCst);
    }
}

impl Default for ManualClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for ManualClock {
    fn now(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// A backend under test, open but for the moments in which a case has it closed.
pub struct Suite<P: ?Sized = dyn crate::KeyValueProvider> {
    environment: Environment,
    backend: Box<dyn Backend<P>>,
    running: Option<Running<P>>,
}

impl<P: ?Sized + Send + Sync + 'static> Suite<P> {
    /// `backend`, opened for `environment`.
    pub async fn of(environment: Environment, backend: impl Backend<P>) -> Self {
        let running = Some(backend.open(&environment).await);
        Self {
            environment,
            backend: Box::new(backend),
            running,
        }
    }

    fn running(&self) -> &Running<P> {
        self.running.as_ref().expect("a case opens what it closes")
    }

    pub(super) fn provider(&self) -> &P {
        &self.running().provider
    }

    /// The provider, for a task of its own.
    pub(super) fn shared(&self) -> Arc<P> {
        self.running().provider.clone()
    }

    pub(super) fn quota(&self) -> &StorageQuota {
        &self.environment.quota
    }

    pub(super) fn advance(&self, by: Duration) {
        self.environment.clock.advance(by);
    }

    pub(super) async fn erase(&self, scope: Scope) -> Result<(), StorageError> {
        self.running().maintenance.erase(scope).await
    }

    pub(super) async fn usage(&self, scope: Scope) -> Usage {
        let usage = self.running().maintenance.usage(scope).await;
        usage.expect("usage is known")
    }

    /// Closes it, and leaves it closed. What a case has opened of it is there still.
    pub(super) async fn close(&self) {
        (self.running().close)().await;
    }

    /// Closes it and opens it again. A case keeps nothing that it has opened of it.
    pub(super) async fn restart(&mut self) {
        self.restart_with(|_| {}).await;
    }

    /// The same, with what is stored of `scope` out of reach.
    pub(super) async fn lose(&mut self, scope: Scope) {
        self.restart_with(|backend| backend.lose(scope)).await;
    }

    /// The same, with it in reach again.
    pub(super) async fn find(&mut self, scope: Scope) {
        self.restart_with(|backend| backend.find(scope)).await;
    }

    async fn restart_with(&mut self, meanwhile: impl FnOnce(&dyn Backend<P>)) {
        self.close().await;
        self.running = None;
        meanwhile(&*self.backend);
        self.running = Some(self.backend.open(&self.environment).await);
    }
}

impl std::ops::Deref for Suite<dyn BlobProvider> {
    type Target = dyn BlobProvider;

    fn deref(&self) -> &Self::Target {
        self.provider()
    }
}

impl std::ops::Deref for Suite<dyn SqlProvider> {
    type Target = dyn SqlProvider;

    fn deref(&self) -> &Self::Target {
        self.provider()
    }
}

// Cases that only use it take the provider alone.
impl<'a> From<&'a mut Suite<dyn BlobProvider>> for &'a dyn BlobProvider {
    fn from(suite: &'a mut Suite<dyn BlobProvider>) -> Self {
        suite.provider()
    }
}

impl<'a> From<&'a mut Suite<dyn SqlProvider>> for &'a dyn SqlProvider {
    fn from(suite: &'a mut Suite<dyn SqlProvider>) -> Self {
        suite.provider()
    }
}

/// For a backend whose data of an installation is in a folder: puts a file in the folder's place, or
/// the folder back, which is beside it meanwhile.
pub fn in_place_of(folder: &std::path::Path, lost: bool) {
    let aside = folder.with_extension("aside");
    if lost {
        std::fs::rename(folder, &aside).expect("something was stored");
        std::fs::write(folder, "not a folder").expect("a file");
    } else {
        std::fs::remove_file(folder).expect("a file");
        std::fs::rename(&aside, folder).expect("the folder");
    }
}
