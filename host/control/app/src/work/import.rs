//! Imports: a tenant out of an archive, whole or not at all.
//!
//! The data comes first, under identifiers that nobody has yet; the rows that make a tenant of it
//! follow in one transaction. What a failure or a crash leaves before that is erased.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use canopy_backend::Scope;
use canopy_backend_archive::export::{ExportManifest, PackageUsed, read_manifest, unpack};
use canopy_backend_archive::{ArchiveError, empty_dir};
use canopy_ids::{BindingKey, DriverInstanceId, ImportId, InstallationId, Label, TenantId};
use canopy_store::{
    BindingsWrite, DriverWrite, InstallationWrite, SecretChanges, StoreError, TenantImport,
    TenantWrite,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::export::{InstanceFile, TenantFile};
use super::{Job, blocking, cancelled, result};
use crate::chain::PLATFORM;
use crate::upkeep::UpkeepError;
use crate::{App, AppError, egress, validate};

pub(super) async fn run(
    job: &Job<'_>,
    import: ImportId,
    name: Option<Label>,
) -> Result<Value, AppError> {
    // An earlier beginning may have stored something before it was interrupted.
    if let Some(before) = &job.row.scratch {
        let before: TenantId = serde_json::from_value(before.clone())
            .map_err(|error| AppError::Internal(format!("a job's note: {error}")))?;
        if let Some(row) = job.app.store.tenant_by_id(before).await? {
            return result(&json!({ "tenant": row.name }));
        }
        discard(job.app, before).await?;
    }
    let path = job.app.upkeep.folders.archive(import);
    let archive = path.clone();
    let manifest = blocking(move || Ok(read_manifest(&archive)?)).await?;
    let name = name.unwrap_or_else(|| manifest.tenant.clone());
    must_be_free(job.app, &name).await?;
    must_be_published(job.app, &manifest.packages).await?;

    job.progress.step("reading the archive");
    let (folder, progress) = (job.folder.join("import"), Arc::clone(job.progress));
    let into = folder.clone();
    let manifest = blocking(move || {
        empty_dir(&into)?;
        Ok(unpack(&path, &into, &progress)?)
    })
    .await?;
    let (rows, secrets) = read_rows(job.app, &folder, &manifest, &name)?;

    job.app
        .store
        .note_job(job.row.id, result(&rows.id)?)
        .await?;
    let tenant = rows.id;
    let installations = rows.installations.len();
    match take_in(job, &folder, rows).await {
        Ok(left_out) => {
            job.app.settled.published().await?;
            job.app.drop_archive(&import.to_string()).await?;
            result(&json!({
                "tenant": name,
                "installations": installations,
                "secrets_to_set": secrets,
                "domains_left_out": left_out,
            }))
        }
        Err(error) => {
            if let Err(error) = discard(job.app, tenant).await {
                tracing::error!(%error, %tenant, "what a failed import stored is left");
            }
            Err(error)
        }
    }
}

async fn take_in(
    job: &Job<'_>,
    folder: &Path,
    rows: TenantImport,
) -> Result<Vec<String>, AppError> {
    for (installation, name, _) in &rows.installations {
        let scope = Scope {
            tenant: rows.id,
            installation: *installation,
        };
        for portable in &job.app.upkeep.portables {
            cancelled(job.progress)?;
            let kind = portable.kind().as_str();
            let from = folder.join("installations").join(name.as_str()).join(kind);
            if !from.exists() {
                continue;
            }
            job.progress.step(format!("{kind} of {name}"));
            portable
                .import(scope, &from)
                .await
                .map_err(UpkeepError::storage(format!("importing {kind} of {name}")))?;
        }
    }
    let name = rows.name.clone();
    let _linking = job.app.turns.of(&name).await;
    match job.app.store.import_tenant(rows).await {
        Err(StoreError::PreconditionFailed { .. }) => Err(UpkeepError::NameTaken { name }.into()),
        other => Ok(other?),
    }
}

/// Removes what was stored for a tenant that has no rows.
async fn discard(app: &App, tenant: TenantId) -> Result<(), AppError> {
    super::erase::stored(
        &app.storages,
        &app.upkeep.keyring,
        &app.upkeep.folders,
        tenant,
    )
    .await
}

async fn must_be_free(app: &App, name: &Label) -> Result<(), AppError> {
    match app.store.tenant(name.clone()).await {
        Ok(_) => Err(UpkeepError::NameTaken { name: name.clone() }.into()),
        Err(StoreError::NotFound { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

async fn must_be_published(app: &App, packages: &[PackageUsed]) -> Result<(), AppError> {
    let mut missing = Vec::new();
    for used in packages {
        let found = app
            .store
            .version(used.package.clone(), used.version.clone())
            .await;
        match found {
            Ok(row) if row.digest == used.digest => {}
            Ok(_) | Err(StoreError::NotFound { .. }) => missing.push(used.clone()),
            Err(error) => return Err(error.into()),
        }
    }
    if missing.is_empty() {
        Ok(())
    } else {
        Err(UpkeepError::PackagesMissing(missing).into())
    }
}

/// The rows that the archive describes, with new identifiers, and the secrets that they lack.
fn read_rows(
    app: &App,
    folder: &Path,
    manifest: &ExportManifest,
    name: &Label,
) -> Result<(TenantImport, Vec<String>), AppError> {
    let settings = &app.settings;
    let tenant: TenantFile = read(folder, "tenant.json")?;
    validate::display_name("display_name", &tenant.display_name)?;
    validate::word("plan", &tenant.plan)?;
    validate::word("region", &tenant.region)?;
    validate::attributes(&tenant.attributes, settings)?;
    let mut secrets = Vec::new();
    let mut drivers = Vec::new();
    let mut ids = BTreeMap::new();
    for (called, _) in instances(manifest, "drivers", "driver.json") {
        ids.insert(called, DriverInstanceId::new());
    }
    for (called, path) in instances(manifest, "drivers", "driver.json") {
        let file = instance(app, folder, manifest, (&called, &path))?;
        let bindings = bindings(file.bindings, &ids, &path)?;
        secrets.extend(
            file.secrets
                .iter()
                .map(|key| format!("driver {called}: {key}")),
        );
        let Some(id) = ids.get(&called).copied() else {
            continue;
        };
        let write = DriverWrite {
            package: file.package,
            version: file.version,
            // The version before need not be published here.
            previous_version: None,
            config: file.config,
            egress: file.egress,
            bindings,
            secrets: SecretChanges::new(),
        };
        drivers.push((id, called, write));
    }
    let mut installations = Vec::new();
    for (called, path) in instances(manifest, "installations", "installation.json") {
        let file = instance(app, folder, manifest, (&called, &path))?;
        secrets.extend(file.secrets.iter().map(|key| format!("{called}: {key}")));
        let bindings = bindings(file.bindings, &ids, &path)?;
        validate::count("domains", file.domains.len(), settings.domains)?;
        let mut domains = Vec::new();
        for domain in &file.domains {
            domains.push(app.custom_domain(domain)?);
        }
        let write = InstallationWrite {
            package: file.package,
            version: file.version,
            // The version before need not be published here.
            previous_version: None,
            config: file.config,
            egress: file.egress,
            bindings,
            domains,
            secrets: SecretChanges::new(),
        };
        installations.push((InstallationId::new(), called, write));
    }
    let rows = TenantImport {
        id: TenantId::new(),
        name: name.clone(),
        write: TenantWrite {
            display_name: tenant.display_name,
            plan: tenant.plan,
            region: tenant.region,
            attributes: tenant.attributes,
        },
        drivers,
        installations,
    };
    Ok((rows, secrets))
}

/// Bindings of the archive, with the new identifiers of its driver instances.
fn bindings(
    named: BTreeMap<BindingKey, Label>,
    ids: &BTreeMap<Label, DriverInstanceId>,
    path: &str,
) -> Result<BindingsWrite, AppError> {
    let mut bindings = BindingsWrite::new();
    for (key, name) in named {
        let provider = match ids.get(&name) {
            Some(id) => Some(*id),
            None if name.as_str() == PLATFORM => None,
            None => {
                let what = format!("it is bound to `{name}`, which the archive does not have");
                return Err(damaged(path, what));
            }
        };
        bindings.insert(key, provider);
    }
    Ok(bindings)
}

/// The names of what lies in `folder` of the archive, each with the path of the file about it.
fn instances<'a>(
    manifest: &'a ExportManifest,
    folder: &'a str,
    file: &'a str,
) -> impl Iterator<Item = (Label, String)> + 'a {
    manifest.files.iter().filter_map(move |entry| {
        let rest = entry.path.strip_prefix(folder)?.strip_prefix('/')?;
        let name = rest.strip_suffix(file)?.strip_suffix('/')?;
        Some((name.parse().ok()?, entry.path.clone()))
    })
}

/// What an archive says of a driver instance or an installation, if it may be so.
fn instance(
    app: &App,
    folder: &Path,
    manifest: &ExportManifest,
    (name, path): (&Label, &str),
) -> Result<InstanceFile, AppError> {
    let mut file: InstanceFile = read(folder, path)?;
    if file.name != *name {
        return Err(damaged(
            path,
            format!("it says that its name is `{}`", file.name),
        ));
    }
    let listed = manifest
        .packages
        .iter()
        .any(|used| used.package == file.package && used.version == file.version);
    if !listed {
        let what = format!(
            "the manifest does not list {}@{}",
            file.package, file.version
        );
        return Err(damaged(path, what));
    }
    file.egress = egress::imported(&file.egress, &app.settings)?;
    let size = serde_json::to_string(&file.config).map_or(usize::MAX, |text| text.len());
    if size > app.settings.config_bytes {
        let limit = app.settings.config_bytes;
        return Err(damaged(
            path,
            format!("its configuration is longer than {limit} bytes"),
        ));
    }
    Ok(file)
}

fn read<T: DeserializeOwned>(folder: &Path, path: &str) -> Result<T, AppError> {
    let full: PathBuf = folder.join(path);
    let bytes = match fs::read(&full) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(damaged(path, "it is missing".into()));
        }
        Err(error) => {
            return Err(UpkeepError::from(ArchiveError::io("reading", &full, error)).into());
        }
    };
    serde_json::from_slice(&bytes).map_err(|error| damaged(path, error.to_string()))
}

fn damaged(place: &str, what: String) -> AppError {
    UpkeepError::from(ArchiveError::Damaged {
        place: place.into(),
        what,
    })
    .into()
}
