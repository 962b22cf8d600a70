//! The control plane of one node: what it works with, and its life.

use std::sync::{Arc, Weak};
use std::time::Duration;

use canopy_backend::blob::BlobProvider;
use canopy_backend::sql::SqlProvider;
use canopy_backend::{KeyValueProvider, Maintenance, Portable};
use canopy_backend_keys::Keyring;
use canopy_backend_logs::LogStore;
use canopy_engine::{Artifacts, CpuAccount, CpuRate, Engine};
use canopy_ids::{RequestId, TokenId};
use canopy_runtime::{Runtime, TenantLimits};
use canopy_store::{Components, NewToken, Store, TokenScope};
use canopy_tenant::{Routes, SECRET_BYTES, TokenHash, TokenKind, TokenText};
use time::OffsetDateTime;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::catalog::Catalog;
use crate::scheduler::Scheduler;
use crate::settle::{self, Settled};
use crate::telling::Telling;
use crate::turns::Turns;
use crate::upkeep::Folders;
use crate::work::Upkeep;
use crate::{AppError, AppSettings, Context, PlanQuotas, Principal};

/// What the control plane works with.
pub struct AppParts {
    /// The database.
    pub store: Store,
    /// The files of components.
    pub components: Components,
    /// wasmtime.
    pub engine: Engine,
    /// Native code of components.
    pub artifacts: Artifacts,
    /// The keys and values of installations, for people to look at.
    pub storage: Arc<dyn KeyValueProvider>,
    /// The objects of installations, for the same.
    pub blobs: Arc<dyn BlobProvider>,
    /// The SQL databases of installations, for the same.
    pub sql: Arc<dyn SqlProvider>,
    /// Each kind of storage, as operators handle it.
    pub storages: Vec<Arc<dyn Maintenance>>,
    /// What backends are told of how much may be stored.
    pub quotas: PlanQuotas,
    /// Each kind of storage that can give its data away and take it in.
    pub portables: Vec<Arc<dyn Portable>>,
    /// The keys of tenants.
    pub keyring: Keyring,
    /// Where things are on the disk.
    pub folders: Folders,
    /// The logs of installations and driver instances.
    pub logs: LogStore,
    /// What runs installations, for trying whether one links before it is written.
    pub runtime: Runtime,
    /// What requests are routed by.
    pub routes: Routes,
    /// How many requests of applications are under way.
    pub requests: Arc<dyn Fn() -> usize + Send + Sync>,
    /// What it must know of the node, and its limits.
    pub settings: AppSettings,
}

/// The control plane. Clones are the same.
#[derive(Clone)]
pub struct App(Arc<Inner>);

/// What the operations work with. Its parts are this crate's alone.
pub struct Inner {
    pub(crate) store: Store,
    pub(crate) components: Components,
    pub(crate) engine: Engine,
    pub(crate) artifacts: Artifacts,
    pub(crate) storage: Arc<dyn KeyValueProvider>,
    pub(crate) blobs: Arc<dyn BlobProvider>,
    pub(crate) sql: Arc<dyn SqlProvider>,
    pub(crate) storages: Vec<Arc<dyn Maintenance>>,
    pub(crate) logs: LogStore,
    pub(crate) runtime: Runtime,
    pub(crate) requests: Arc<dyn Fn() -> usize + Send + Sync>,
    pub(crate) settings: AppSettings,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) publications: Semaphore,
    /// What components that are tried at publish use of the CPU together.
    pub(crate) trials: Arc<CpuAccount>,
    /// Taken while an installation or a driver instance of a tenant is checked and written, so that
    /// what one was checked against is not changed meanwhile by a write of the other.
    pub(crate) turns: Turns,
    pub(crate) settled: Settled,
    pub(crate) upkeep: Upkeep,
    pub(crate) telling: Telling,
    pub(crate) scheduler: Scheduler,
    pub(crate) started_at: OffsetDateTime,
    settling: parking_lot::Mutex<Option<JoinHandle<()>>>,
}

impl std::ops::Deref for App {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(settling) = self.settling.get_mut() {
            settling.abort();
        }
    }
}

/// The account of components that are tried, by which they take turns with the guests of tenants as
/// those of one tenant do. No more of them run at once than it pays for.
fn trials(engine: &Engine, settings: &AppSettings) -> Arc<CpuAccount> {
    let at_once = u32::try_from(settings.publications.max(1)).unwrap_or(u32::MAX);
    let rate = CpuRate {
        per_second: Duration::from_secs(1).saturating_mul(at_once),
        burst: settings.trial_cpu.saturating_mul(at_once).saturating_mul(2),
    };
    engine.cpu_account(TenantLimits::default().weight, rate)
}

impl App {
    /// Starts the control plane: cleans up what an earlier process left behind and publishes the
    /// first snapshot before it returns.
    pub async fn start(parts: AppParts) -> Result<Self, AppError> {
        let AppParts {
            store,
            components,
            engine,
            artifacts,
            storage,
            blobs,
            sql,
            storages,
            quotas,
            portables,
            keyring,
            folders,
            logs,
            runtime,
            routes,
            requests,
            settings,
        } = parts;
        let published = store.digests().await?.into_iter().collect();
        let removed = components.retain(&published)?;
        if removed > 0 {
            tracing::info!(removed, "components that were never published were removed");
        }
        artifacts.retain(|digest| published.contains(digest))?;

        let catalog = Arc::new(Catalog::new(store.clone()));
        let (settled, settling) = settle::start(settle::Parts {
            store: store.clone(),
            catalog: Arc::clone(&catalog),
            storages: storages.clone(),
            quotas,
            keyring: keyring.clone(),
            folders: folders.clone(),
            logs: logs.clone(),
            routes,
            subscriptions: runtime.messages().subscriptions().clone(),
            settings: settings.clone(),
        })
        .await?;
        let app = Self(Arc::new(Inner {
            publications: Semaphore::new(settings.publications.max(1)),
            trials: trials(&engine, &settings),
            turns: Turns::default(),
            started_at: OffsetDateTime::now_utc(),
            store,
            components,
            engine,
            artifacts,
            storage,
            blobs,
            sql,
            storages,
            logs,
            runtime,
            requests,
            settings,
            catalog,
            settled,
            upkeep: Upkeep::new(keyring, portables, folders),
            scheduler: Scheduler::default(),
            telling: Telling::default(),
            settling: parking_lot::Mutex::new(Some(settling)),
        }));
        app.start_upkeep().await?;
        app.start_telling();
        Ok(app)
    }

    pub(crate) fn downgrade(&self) -> Weak<Inner> {
        Arc::downgrade(&self.0)
    }

    pub(crate) fn upgrade(inner: &Weak<Inner>) -> Option<Self> {
        inner.upgrade().map(Self)
    }

    /// The operator's token, if this call created the first one. It cannot be shown again.
    pub async fn create_first_operator_token(&self) -> Result<Option<String>, AppError> {
        let (text, new) = operator_token()?;
        let created = self.store.create_first_operator_token(new).await?;
        Ok(created.then_some(text))
    }

    /// A new token for the operator, in place of all that operators had: for one that was lost or
    /// has become known. It cannot be shown again.
    pub async fn replace_operator_tokens(&self) -> Result<String, AppError> {
        let (text, new) = operator_token()?;
        self.store.replace_operator_tokens(new).await?;
        Ok(text)
    }

    /// Who shows `credential`, the text after `Bearer `, if it is valid for the API.
    pub async fn authenticate(
        &self,
        credential: &str,
        request_id: RequestId,
    ) -> Result<Context, AppError> {
        let shown = TokenText::parse(credential).ok_or(AppError::Unauthenticated)?;
        let kept = self
            .store
            .token(shown.id)
            .await?
            .ok_or(AppError::Unauthenticated)?;
        if !TokenHash::from_bytes(kept.hash).matches(&shown.hash()) {
            return Err(AppError::Unauthenticated);
        }
        let principal = match (shown.kind, kept.scope, kept.access) {
            (TokenKind::Operator, TokenScope::Operator, _) => {
                Principal::Operator { token: kept.id }
            }
            (TokenKind::Service, TokenScope::Tenant(id), Some(access)) => {
                let tenant = self.store.tenant_by_id(id).await?;
                Principal::Member {
                    token: kept.id,
                    subject: kept.subject,
                    tenant: tenant.ok_or(AppError::Unauthenticated)?.name,
                    access,
                }
            }
            _ => return Err(AppError::Unauthenticated),
        };
        Ok(Context {
            principal,
            request_id,
            check: true,
        })
    }

    /// Whether the control plane can work: the database answers.
    pub async fn ready(&self) -> Result<(), AppError> {
        self.store.revision().await?;
        Ok(())
    }

    /// Ends the control plane: waits for what is under way, closes the database, and lets go of
    /// storage and logs.
    pub async fn close(&self) {
        self.finish_schedules(Duration::ZERO).await;
        self.upkeep.close().await;
        self.store.close().await;
        let settling = self.settling.lock().take();
        if let Some(settling) = settling {
            settling.abort();
            // It ends as cancelled, as it should.
            let _ = settling.await;
        }
    }
}

/// A new token as its owner gets it.
pub(crate) fn new_token(kind: TokenKind, id: TokenId) -> Result<String, AppError> {
    let mut secret = [0; SECRET_BYTES];
    getrandom::fill(&mut secret)
        .map_err(|error| AppError::Internal(format!("no random bytes: {error}")))?;
    Ok(TokenText::compose(kind, id, &secret))
}

/// What is kept of a token.
pub(crate) fn hash_of(token: &str) -> Result<[u8; 32], AppError> {
    let parsed = TokenText::parse(token)
        .ok_or_else(|| AppError::Internal("a token was composed that is none".into()))?;
    Ok(*parsed.hash().as_bytes())
}

/// An operator's token as text, and what is kept of it.
fn operator_token() -> Result<(String, NewToken), AppError> {
    let id = TokenId::new();
    let text = new_token(TokenKind::Operator, id)?;
    let new = NewToken {
        id,
        scope: TokenScope::Operator,
        subject: "operator".into(),
        display_name: "Operator".into(),
        roles: Vec::new(),
        access: None,
        hash: hash_of(&text)?,
        created_at: OffsetDateTime::now_utc(),
    };
    Ok((text, new))
}
