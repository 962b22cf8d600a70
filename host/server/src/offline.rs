//! Work on the data folder of a stopped node: restoring a whole node, checking everything that it
//! keeps, and changing the operator's key.

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use canopy_backend::{Finding, Ledger, Maintenance, Scope, StorageQuota, SystemClock};
use canopy_backend_archive::{Access, BackupScope, Progress, Repository, Snapshot, materialise};
use canopy_backend_blobs::BlobStorage;
use canopy_backend_embedded::{EmbeddedParts, EmbeddedStorage};
use canopy_backend_keys::{Keyring, OperatorKey, OperatorKeys};
use canopy_backend_sql::SqlStorage;
use canopy_cli::{Check, Restore, RotateOperator};
use canopy_ids::TenantId;
use canopy_store::{Components, Store};
use serde_json::{Value, json};

use crate::data_dir::DataDir;
use crate::settings::{FilePath, Settings};

/// Writes a whole node to an empty folder. The folder is there whole, or not at all.
pub(crate) fn restore(arguments: &Restore, json: bool) -> anyhow::Result<ExitCode> {
    let (Some(folder), Some(from)) = (&arguments.data_dir, &arguments.from) else {
        bail!("name the folder with --data-dir and the repository with --from");
    };
    if fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some()) {
        bail!(
            "{} is not empty; a node is restored to an empty or missing folder",
            folder.display()
        );
    }
    let repository = Repository::open(from, Access::Read)?;
    let snapshot = choose(&repository, arguments)?;
    let unfinished = folder.with_extension("restoring");
    canopy_backend_archive::empty_dir(&unfinished)?;
    let progress = Progress::default();
    let files = materialise(&repository, &snapshot, "", &unfinished, &progress)?;
    // An empty folder in its place is replaced.
    fs::rename(&unfinished, folder)
        .with_context(|| format!("putting {} in place", folder.display()))?;
    if let Some(parent) = folder.parent().filter(|parent| parent.is_dir()) {
        canopy_backend::files::sync_dir(parent)?;
    }
    let said = format!(
        "Restored snapshot {} of {} to {}: {files} files, {} bytes.\nBefore it is started: put the \
         operator's key where `keys.operator_key_file` says, by default {}.",
        snapshot.id,
        snapshot.taken_at,
        folder.display(),
        snapshot.bytes,
        folder.join("operator.key").display(),
    );
    let result = json!({ "snapshot": snapshot.id, "files": files, "bytes": snapshot.bytes });
    show(json, &result, &said);
    Ok(ExitCode::SUCCESS)
}

fn choose(repository: &Repository, arguments: &Restore) -> anyhow::Result<Snapshot> {
    let snapshot = match arguments.snapshot {
        Some(id) => repository.snapshot(id)?,
        None => {
            let (snapshots, _) = repository.snapshots()?;
            let before = arguments.before;
            snapshots
                .into_iter()
                .filter(|one| one.scope == BackupScope::Node)
                .filter(|one| before.is_none_or(|before| one.taken_at <= before))
                .max_by_key(|one| one.taken_at)
                .context("the repository has no snapshot of a node taken up to then")?
        }
    };
    if snapshot.scope != BackupScope::Node {
        bail!(
            "snapshot {} is of the {}; a node is restored from a snapshot of a node",
            snapshot.id,
            snapshot.scope
        );
    }
    Ok(snapshot)
}

/// Wraps all keys with a new operator key.
pub(crate) fn rotate_operator(arguments: &RotateOperator, json: bool) -> anyhow::Result<ExitCode> {
    let data = DataDir::open(existing(&arguments.data_dir)?)?;
    let old = arguments.old.clone();
    let old = old.unwrap_or_else(|| data.path().join("operator.key"));
    let previous = OperatorKey::from_file(&old, false)?;
    let current = OperatorKey::from_file(&arguments.new, true)?;
    let (before, after) = (previous.fingerprint(), current.fingerprint());
    // Opening with both rewraps everything before it returns.
    Keyring::open(
        OperatorKeys {
            current,
            previous: Some(previous),
        },
        &data.storage(),
    )?;
    let said = format!(
        "All keys are wrapped by {after} in place of {before}.\nNext: set `keys.operator_key_file` \
         to {0}, or move it to {1}; keep the old key as long as there are backups from before.",
        arguments.new.display(),
        data.path().join("operator.key").display(),
    );
    show(json, &json!({ "before": before, "after": after }), &said);
    Ok(ExitCode::SUCCESS)
}

/// Reads everything that a stopped node keeps and compares it with its checksums.
pub(crate) fn check(arguments: &Check, json: bool) -> anyhow::Result<ExitCode> {
    let folder = arguments
        .data_dir
        .clone()
        .context("name the folder with --data-dir")?;
    let (mut settings, _) = Settings::load(arguments.config.as_deref(), std::iter::empty())?;
    settings.data_dir = FilePath(folder);
    let data = DataDir::open(existing(&settings.data_dir.0)?)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let (checked, findings) = runtime.block_on(read_all(&settings, &data))?;
    let findings: Vec<Value> = findings
        .iter()
        .map(|one| json!({ "place": one.place, "what": one.what }))
        .collect();
    let mut said: String = findings
        .iter()
        .map(|one| {
            let text = |member: &str| one[member].as_str().unwrap_or_default().to_owned();
            format!("{}: {}\n", text("place"), text("what"))
        })
        .collect();
    said.push_str(&format!(
        "Checked {} installations and {} components; found {}.",
        checked.installations,
        checked.components,
        findings.len()
    ));
    if !findings.is_empty() {
        said.push_str(
            "\nRestore what is damaged from a backup: `canopy restore`. A damaged component comes \
             back by publishing the same content again.",
        );
    }
    let result = json!({
        "installations": checked.installations,
        "components": checked.components,
        "findings": findings,
    });
    show(json, &result, &said);
    Ok(if findings.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

#[derive(Default)]
struct Checked {
    installations: usize,
    components: usize,
}

async fn read_all(settings: &Settings, data: &DataDir) -> anyhow::Result<(Checked, Vec<Finding>)> {
    let mut checked = Checked::default();
    let mut findings = Vec::new();
    let mut found = |place: String, what: String| findings.push(Finding { place, what });
    let keys = crate::operator_key::open(&settings.keys, data).await?;
    let store = Store::open(&data.control(), &keys).context("the control database")?;
    for what in store.check().await? {
        found("control/control.db".into(), what);
    }
    let components = Components::open(data.components(), u64::MAX)?;
    for digest in store.digests().await? {
        checked.components += 1;
        if let Err(error) = components.read(digest).await {
            found(format!("components/{}", digest.hex()), error.to_string());
        }
    }
    let holdings = store.holdings().await?;
    for tenant in tenants_on_disk(&data.storage())? {
        match keys.wrapped(tenant) {
            Ok(Some(_)) => {
                if let Err(error) = keys.tenant(tenant) {
                    found(format!("storage/{tenant}/key"), error.to_string());
                }
            }
            Ok(None) => found(
                format!("storage/{tenant}"),
                "its key is missing: nothing in it can be read".into(),
            ),
            Err(error) => found(format!("storage/{tenant}/key"), error.to_string()),
        }
        if store.tenant_by_id(tenant).await?.is_none() {
            found(
                format!("storage/{tenant}"),
                "it belongs to no tenant of the control database".into(),
            );
        }
    }
    for storage in storages(settings, data, &keys)? {
        let kind = storage.kind().as_str();
        for one in &holdings {
            let scope = Scope {
                tenant: one.tenant,
                installation: one.installation,
            };
            match storage.check(scope).await {
                Ok(here) => {
                    for finding in here {
                        let place = format!("{}/{} {}", one.tenant_name, one.name, finding.place);
                        found(place, finding.what);
                    }
                }
                Err(error) => {
                    let place = format!("{}/{} {kind}", one.tenant_name, one.name);
                    found(place, error.to_string());
                }
            }
        }
    }
    for finding in canopy_backend_logs::check(&data.logs()).context("reading the logs")? {
        found(format!("logs/{}", finding.place), finding.what);
    }
    let damaged = canopy_engine::damaged_artifacts(&data.artifacts());
    for name in damaged.context("reading native code")? {
        let what = "it does not have this node's seal; it is compiled again when it is needed";
        found(format!("artifacts/{name}"), what.into());
    }
    checked.installations = holdings.len();
    store.close().await;
    Ok((checked, findings))
}

fn storages(
    settings: &Settings,
    data: &DataDir,
    keys: &Keyring,
) -> anyhow::Result<Vec<Arc<dyn Maintenance>>> {
    let ledger = Ledger::new(Arc::new(StorageQuota::default()));
    let parts = EmbeddedParts {
        dir: data.storage(),
        keys: keys.clone(),
        ledger: ledger.clone(),
        clock: Arc::new(SystemClock),
    };
    let embedded = EmbeddedStorage::open(parts, settings.storage.clone())?;
    let blobs = BlobStorage::open(
        data.storage(),
        keys.clone(),
        ledger.clone(),
        settings.blobs.clone(),
    )?;
    let sql = SqlStorage::open(data.storage(), keys.clone(), ledger, settings.sql.clone())?;
    Ok(vec![Arc::new(embedded), Arc::new(blobs), Arc::new(sql)])
}

fn tenants_on_disk(storage: &Path) -> anyhow::Result<Vec<TenantId>> {
    let mut tenants = Vec::new();
    for entry in fs::read_dir(storage)? {
        let name = entry?.file_name();
        tenants.extend(name.to_str().and_then(|name| name.parse::<TenantId>().ok()));
    }
    tenants.sort();
    Ok(tenants)
}

/// A folder that is there: a misspelt one must not be made.
fn existing(folder: &Path) -> anyhow::Result<&Path> {
    if folder.join("control").is_dir() {
        Ok(folder)
    } else {
        bail!("{} is no data folder of a node", folder.display())
    }
}

fn show(json: bool, result: &Value, text: &str) {
    if json {
        println!("{result:#}");
    } else {
        println!("{text}");
    }
}
