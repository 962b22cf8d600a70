//! Erasing a tenant: its key first, so that nothing that is left anywhere can be read; then files,
//! logs, archives, what the backup repository has of it, and its rows, with the signed record in
//! the transaction that removes them.

use std::sync::Arc;

use canopy_backend::{Maintenance, Scope};
use canopy_backend_archive::{
    Access, ArchiveError, ErasedCount, ErasedKey, ErasureRecord, ErasureStatement, Named,
    Repository, SigningKey,
};
use canopy_backend_keys::Keyring;
use canopy_ids::{ErasureId, TenantId};
use canopy_store::{ErasureRecordRow, PageRequest, StoreError};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::{Job, blocking, result};
use crate::upkeep::{Folders, UpkeepError};
use crate::{App, AppError};

/// What was there when the erasure began; after a restart it cannot be counted again.
#[derive(Serialize, Deserialize)]
struct Before {
    keys: Vec<ErasedKey>,
    amounts: Vec<ErasedCount>,
    /// Of the node's own backup repository, those that have something of the tenant.
    #[serde(default)]
    snapshots: u64,
}

pub(super) async fn run(
    job: &Job<'_>,
    tenant: Named<TenantId>,
    erasure: ErasureId,
    requested_by: String,
    requested_at: OffsetDateTime,
) -> Result<Value, AppError> {
    let app = job.app;
    if app.store.tenant_by_id(tenant.id).await?.is_none() {
        // The last transaction took place before a restart, or somebody deleted the tenant.
        let record = app.store.erasure_record(erasure).await?;
        return result(&json!({ "erasure": record.id }));
    }
    let before = match &job.row.scratch {
        Some(note) => serde_json::from_value(note.clone())
            .map_err(|error| AppError::Internal(format!("a job's note: {error}")))?,
        None => {
            job.progress.step("counting");
            let before = count(app, &tenant).await?;
            app.store.note_job(job.row.id, result(&before)?).await?;
            before
        }
    };
    let holdings: Vec<_> = app
        .store
        .holdings()
        .await?
        .into_iter()
        .filter(|one| one.tenant == tenant.id)
        .collect();
    let drivers = app.store.drivers(tenant.id, everything()).await?.rows;

    job.progress
        .step("destroying the key and erasing what is stored");
    let id = tenant.id;
    stored(&app.storages, &app.upkeep.keyring, &app.upkeep.folders, id).await?;
    job.progress.step("erasing logs and archives");
    for one in &holdings {
        app.logs.erase(one.installation).await?;
    }
    for driver in &drivers {
        app.logs.erase(driver.id).await?;
    }
    for archive in app.store.archives_of(id).await? {
        app.drop_archive(&archive).await?;
    }
    job.progress.step("taking it out of the backups");
    let forgotten = in_backups(app, move |backups| backups.forget_tenant(id)).await?;
    // A restart may have come between, when some had been forgotten already.
    let snapshots = forgotten.max(before.snapshots);

    job.progress.step("writing the record");
    let statement = ErasureStatement {
        format: ErasureStatement::FORMAT,
        id: erasure,
        tenant: id,
        name: tenant.name.clone(),
        requested_by,
        requested_at,
        erased_at: OffsetDateTime::now_utc(),
        made_by: env!("CARGO_PKG_VERSION").into(),
        keys: before.keys,
        erased: before.amounts,
        snapshots,
        statement: statement_of(app),
    };
    let key = signing_key(app).await?;
    let signed = ErasureRecord::sign(&statement, &key).map_err(UpkeepError::from)?;
    {
        let _linking = app.turns.of(&tenant.name).await;
        app.store
            .erase_tenant_rows(ErasureRecordRow {
                id: erasure,
                tenant: id,
                name: tenant.name,
                record: signed.record,
                public_key: signed.public_key,
                signature: signed.signature,
                erased_at: statement.erased_at,
            })
            .await?;
    }
    app.settled.erased().await?;
    scrub(app).await?;
    result(&json!({ "erasure": erasure, "snapshots": snapshots }))
}

/// Removes all that a tenant stored, its keys first: what a failure or a crash leaves cannot be read.
/// Idempotent.
pub(crate) async fn stored(
    storages: &[Arc<dyn Maintenance>],
    keyring: &Keyring,
    folders: &Folders,
    tenant: TenantId,
) -> Result<(), AppError> {
    let keys = keyring.clone();
    blocking(move || Ok(keys.erase(tenant)?)).await?;
    for storage in storages {
        storage
            .erase_tenant(tenant)
            .await
            .map_err(UpkeepError::storage(format!(
                "erasing {} of a tenant",
                storage.kind().as_str()
            )))?;
    }
    let folder = folders.storage.join(tenant.to_string());
    blocking(move || {
        canopy_backend::files::erase_dir(&folder)
            .map_err(|error| ArchiveError::io("removing", &folder, error).into())
    })
    .await
}

/// What `ask` finds or does in the node's own backup repository, if it has one. Others are not known
/// here.
async fn in_backups(
    app: &App,
    ask: impl FnOnce(&Repository) -> Result<u64, ArchiveError> + Send + 'static,
) -> Result<u64, AppError> {
    let Some(path) = app.upkeep_settings().backup_dir.clone() else {
        return Ok(0);
    };
    blocking(move || {
        if !path.join("repository.json").exists() {
            return Ok(0);
        }
        Ok(ask(&Repository::open(&path, Access::Write)?)?)
    })
    .await
}

fn statement_of(app: &App) -> String {
    let backups = if app.upkeep_settings().backup_dir.is_some() {
        "the files of the tenant were taken out of the node's backup repository; copies of the \
         control database in earlier backups of the node still describe the tenant, encrypted, \
         until they are pruned"
    } else {
        "the node has no backup repository of its own"
    };
    format!(
        "The data keys of the tenant were destroyed first. Then everything that its installations \
         stored, their logs, configuration, secrets and tokens, and archives of it that waited on \
         the node were removed. Of backups: {backups}. Copies that were taken off the node are not \
         known to it."
    )
}

async fn scrub(app: &App) -> Result<(), AppError> {
    // Somebody who reads at this moment keeps the log of writes in use; he will be done soon.
    for _ in 0..50 {
        match app.store.scrub().await {
            Err(StoreError::Failed(why)) => {
                tracing::debug!(why, "the control database is tidied a little later");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
            other => return Ok(other?),
        }
    }
    tracing::warn!(
        "rows of an erased tenant may stay in the log of the control database for a while"
    );
    Ok(())
}

/// The key with which this node signs, made at its first use.
pub(crate) async fn signing_key(app: &App) -> Result<SigningKey, AppError> {
    let new = SigningKey::seed().map_err(UpkeepError::from)?;
    Ok(SigningKey::from_seed(&app.store.signing_seed(new).await?))
}

async fn count(app: &App, tenant: &Named<TenantId>) -> Result<Before, AppError> {
    let keyring = app.upkeep.keyring.clone();
    let id = tenant.id;
    let wrapped = blocking(move || Ok(keyring.wrapped(id)?)).await?;
    let key = wrapped.map(|bytes| ErasedKey {
        file: format!("storage/{id}/key"),
        blake3: blake3::hash(&bytes).to_hex().to_string(),
    });
    Ok(Before {
        keys: key.into_iter().collect(),
        amounts: amounts(app, tenant).await?,
        snapshots: in_backups(app, move |backups| backups.snapshots_with(id)).await?,
    })
}

/// What there is of a tenant.
pub(crate) async fn amounts(
    app: &App,
    tenant: &Named<TenantId>,
) -> Result<Vec<ErasedCount>, AppError> {
    let installations = app.store.installations(tenant.id, everything()).await?.rows;
    let drivers = app.store.drivers(tenant.id, everything()).await?.rows;
    let tokens = app.store.tokens(tenant.id, everything()).await?.rows;
    let secrets = installations.iter().map(|row| row.secrets.len());
    let secrets: usize = secrets
        .chain(drivers.iter().map(|row| row.secrets.len()))
        .sum();
    let archives = app.store.archives_of(tenant.id).await?;
    let plain = |what: &str, items: usize| ErasedCount {
        what: what.into(),
        items: items as u64,
        bytes: 0,
    };
    let mut amounts = vec![
        plain("installations", installations.len()),
        plain("drivers", drivers.len()),
        plain("tokens", tokens.len()),
        plain("secrets", secrets),
        plain("exports", archives.len()),
    ];
    for storage in &app.storages {
        let mut amount = plain(storage.kind().as_str(), 0);
        for row in &installations {
            let scope = Scope {
                tenant: tenant.id,
                installation: row.id,
            };
            let usage = storage.usage(scope).await;
            let usage = usage.map_err(UpkeepError::storage(format!("counting {}", row.name)))?;
            amount.items += usage.items;
            amount.bytes += usage.bytes;
        }
        amounts.push(amount);
    }
    Ok(amounts)
}

fn everything() -> PageRequest {
    PageRequest {
        limit: usize::MAX - 1,
        cursor: None,
    }
}
