//! Checks of what a tenant stores, and the rotation of its key.

use canopy_backend::Scope;
use canopy_backend_archive::Named;
use canopy_ids::TenantId;
use serde_json::{Value, json};

use super::{Job, blocking, cancelled, result};
use crate::AppError;
use crate::backup::found;
use crate::upkeep::UpkeepError;

/// The tenant's installations: their names and scopes.
async fn scopes(
    job: &Job<'_>,
    tenant: TenantId,
) -> Result<Vec<(canopy_ids::Label, Scope)>, AppError> {
    let holdings = job.app.store.holdings().await?;
    let own = holdings.into_iter().filter(|one| one.tenant == tenant);
    Ok(own
        .map(|one| {
            let scope = Scope {
                tenant,
                installation: one.installation,
            };
            (one.name, scope)
        })
        .collect())
}

pub(super) async fn run(job: &Job<'_>, tenant: Named<TenantId>) -> Result<Value, AppError> {
    let scopes = scopes(job, tenant.id).await?;
    job.progress
        .expect(0, (scopes.len() * job.app.storages.len()) as u64);
    let mut findings = Vec::new();
    for (name, scope) in &scopes {
        for storage in &job.app.storages {
            cancelled(job.progress)?;
            let kind = storage.kind().as_str();
            job.progress.step(format!("{kind} of {name}"));
            let here = storage
                .check(*scope)
                .await
                .map_err(UpkeepError::storage(format!("checking {kind} of {name}")))?;
            findings.extend(here.into_iter().map(|mut finding| {
                finding.place = format!("{name}/{kind}/{}", finding.place);
                found(finding)
            }));
            job.progress.item();
        }
    }
    result(&json!({ "installations": scopes.len(), "findings": findings }))
}

/// Gives the tenant a new key and encrypts everything with it. Begun again after a restart it goes
/// on with the version that it made.
pub(super) async fn rotate(job: &Job<'_>, tenant: Named<TenantId>) -> Result<Value, AppError> {
    let version = match &job.row.scratch {
        Some(note) => note.clone(),
        None => {
            let (keyring, id) = (job.app.upkeep.keyring.clone(), tenant.id);
            let version = blocking(move || Ok(keyring.rotate(id)?)).await?;
            let note = result(&version)?;
            job.app.store.note_job(job.row.id, note.clone()).await?;
            note
        }
    };
    let scopes = scopes(job, tenant.id).await?;
    job.progress
        .expect(0, (scopes.len() * job.app.storages.len()) as u64);
    for (name, scope) in &scopes {
        for storage in &job.app.storages {
            cancelled(job.progress)?;
            let kind = storage.kind().as_str();
            job.progress.step(format!("{kind} of {name}"));
            storage
                .rekey(*scope)
                .await
                .map_err(UpkeepError::storage(format!("encrypting {kind} of {name}")))?;
            job.progress.item();
        }
    }
    result(&json!({ "version": version, "installations": scopes.len() }))
}
