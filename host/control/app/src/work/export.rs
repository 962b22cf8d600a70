//! Exports: everything of a tenant in one archive that others can read.
//!
//! Secrets are left out; their names are in it. Tokens are left out, since what is kept of them is
//! of no use elsewhere.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use canopy_backend::Scope;
use canopy_backend_archive::export::{ExportManifest, PackageUsed, pack};
use canopy_backend_archive::{ArchiveError, Named, empty_dir};
use canopy_ids::{BindingKey, ExportId, Label, TenantId};
use canopy_store::{ArchiveRow, DriverRow, InstallationRow, TenantRow};
use semver::Version;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use time::OffsetDateTime;

use super::{Job, blocking, cancelled, result};
use crate::upkeep::UpkeepError;
use crate::{AppError, PageRequest, chain};

/// `tenant.json`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TenantFile {
    pub(super) name: Label,
    pub(super) display_name: String,
    pub(super) plan: String,
    pub(super) region: String,
    pub(super) attributes: BTreeMap<String, String>,
}

/// `drivers/NAME/driver.json` and `installations/NAME/installation.json`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct InstanceFile {
    pub(super) name: Label,
    pub(super) package: canopy_ids::PackageName,
    pub(super) version: Version,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) previous_version: Option<Version>,
    pub(super) config: Map<String, Value>,
    pub(super) egress: Vec<String>,
    /// The names alone.
    pub(super) secrets: Vec<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) bindings: BTreeMap<BindingKey, Label>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) domains: Vec<String>,
}

impl From<TenantRow> for TenantFile {
    fn from(row: TenantRow) -> Self {
        Self {
            name: row.name,
            display_name: row.display_name,
            plan: row.plan,
            region: row.region,
            attributes: row.attributes,
        }
    }
}

impl From<&InstallationRow> for InstanceFile {
    fn from(row: &InstallationRow) -> Self {
        Self {
            name: row.name.clone(),
            package: row.package.clone(),
            version: row.version.clone(),
            previous_version: row.previous_version.clone(),
            config: row.config.clone(),
            egress: row.egress.clone(),
            secrets: row.secrets.clone(),
            bindings: chain::shown(&row.bindings),
            domains: row.domains.clone(),
        }
    }
}

impl From<&DriverRow> for InstanceFile {
    fn from(row: &DriverRow) -> Self {
        Self {
            name: row.name.clone(),
            package: row.package.clone(),
            version: row.version.clone(),
            previous_version: row.previous_version.clone(),
            config: row.config.clone(),
            egress: row.egress.clone(),
            secrets: row.secrets.clone(),
            bindings: chain::shown(&row.bindings),
            domains: Vec::new(),
        }
    }
}

pub(super) async fn run(
    job: &Job<'_>,
    tenant: Named<TenantId>,
    export: ExportId,
) -> Result<Value, AppError> {
    let exported_at = OffsetDateTime::now_utc();
    let stage = job.folder.join("export");
    empty_dir(&stage).map_err(UpkeepError::from)?;
    let store = &job.app.store;
    let row = store.tenant(tenant.name.clone()).await?;
    let everything = || PageRequest {
        limit: usize::MAX - 1,
        cursor: None,
    };
    let installations = store.installations(tenant.id, everything()).await?.rows;
    let drivers = store.drivers(tenant.id, everything()).await?.rows;
    let packages = packages(job, &installations, &drivers).await?;

    write(&stage, "tenant.json", &TenantFile::from(row))?;
    for driver in &drivers {
        let path = format!("drivers/{}/driver.json", driver.name);
        write(&stage, &path, &InstanceFile::from(driver))?;
    }
    for installation in &installations {
        let folder = format!("installations/{}", installation.name);
        let path = format!("{folder}/installation.json");
        write(&stage, &path, &InstanceFile::from(installation))?;
        let scope = Scope {
            tenant: tenant.id,
            installation: installation.id,
        };
        for portable in &job.app.upkeep.portables {
            cancelled(job.progress)?;
            let kind = portable.kind().as_str();
            job.progress
                .step(format!("{kind} of {}", installation.name));
            let into = stage.join(&folder).join(kind);
            empty_dir(&into).map_err(UpkeepError::from)?;
            portable
                .export(scope, &into)
                .await
                .map_err(UpkeepError::storage(format!(
                    "exporting {kind} of {}",
                    installation.name
                )))?;
        }
    }
    job.progress.step("writing the archive");
    let manifest = ExportManifest {
        kind: ExportManifest::KIND.into(),
        format: ExportManifest::FORMAT,
        made_by: env!("CARGO_PKG_VERSION").into(),
        exported_at,
        tenant_id: tenant.id,
        tenant: tenant.name.clone(),
        packages,
        files: Vec::new(),
    };
    let (path, progress) = (
        job.app.upkeep.folders.archive(export),
        Arc::clone(job.progress),
    );
    let (manifest, size) = blocking(move || {
        let manifest = pack(&stage, manifest, &path, &progress)?;
        let size =
            fs::metadata(&path).map_err(|error| ArchiveError::io("reading", &path, error))?;
        Ok((manifest, size.len()))
    })
    .await?;
    let expires_at = OffsetDateTime::now_utc() + job.app.upkeep_settings().export_kept;
    store
        .put_archive(ArchiveRow {
            id: export.to_string(),
            tenant: Some(tenant.id),
            name: tenant.name.to_string(),
            size: Some(size),
            created_at: exported_at,
            expires_at,
        })
        .await?;
    result(&json!({
        "export": export,
        "size": size,
        "files": manifest.files.len() + 1,
        "installations": installations.len(),
        "drivers": drivers.len(),
    }))
}

/// What must be published where the archive is imported.
async fn packages(
    job: &Job<'_>,
    installations: &[InstallationRow],
    drivers: &[DriverRow],
) -> Result<Vec<PackageUsed>, AppError> {
    let installed = installations.iter().map(|row| (&row.package, &row.version));
    let driven = drivers.iter().map(|row| (&row.package, &row.version));
    let mut used = Vec::new();
    for (package, version) in installed.chain(driven) {
        let row = job
            .app
            .store
            .version(package.clone(), version.clone())
            .await?;
        used.push(PackageUsed {
            package: row.package,
            version: row.version,
            digest: row.digest,
        });
    }
    used.sort();
    used.dedup();
    Ok(used)
}

fn write(stage: &Path, path: &str, content: &impl Serialize) -> Result<(), AppError> {
    let path = stage.join(path);
    let text = serde_json::to_vec_pretty(content)
        .map_err(|error| AppError::Internal(format!("an export as JSON: {error}")))?;
    let write = || -> std::io::Result<()> {
        if let Some(folder) = path.parent() {
            canopy_backend::files::create_dir(folder)?;
        }
        fs::write(&path, text)
    };
    write().map_err(|error| UpkeepError::from(ArchiveError::io("writing", &path, error)).into())
}
