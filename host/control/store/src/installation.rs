//! Installations, their bindings, domains and secrets.

use std::collections::BTreeMap;

use canopy_ids::{InstallationId, Label, PackageName, TenantId};
use rusqlite::{Connection, Row, params};
use semver::Version;
use serde_json::{Map, Value};
use time::OffsetDateTime;

use crate::binding::{self, Bindings, BindingsWrite, Owners};
use crate::erasure::{self, Erasure};
use crate::seal::{Place, Sealer};
use crate::sql::{Json, Number, RowExt, Text, Time, all, fetch, next_revision, one, page};
use crate::{
    Idempotency, PageRequest, Precondition, Rows, SecretChanges, Store, StoreError, Written,
    idempotency, schedule,
};

/// An installation.
#[derive(Debug, Clone, PartialEq)]
pub struct InstallationRow {
    /// Its identifier.
    pub id: InstallationId,
    /// Its name within the tenant.
    pub name: Label,
    /// Whose it is.
    pub tenant: TenantId,
    /// The application.
    pub package: PackageName,
    /// The version that runs.
    pub version: Version,
    /// The version that ran before.
    pub previous_version: Option<Version>,
    /// The whole configuration.
    pub config: Map<String, Value>,
    /// The names of the secrets that are set.
    pub secrets: Vec<String>,
    /// What it may reach.
    pub egress: Vec<String>,
    /// Who serves what.
    pub bindings: Bindings,
    /// Custom domains.
    pub domains: Vec<String>,
    /// When it was created.
    pub created_at: OffsetDateTime,
    /// When it was changed last.
    pub updated_at: OffsetDateTime,
    /// Of the last change.
    pub revision: u64,
}

/// What can be written of an installation.
#[derive(Debug, Clone, PartialEq)]
pub struct InstallationWrite {
    /// The application.
    pub package: PackageName,
    /// The version to run.
    pub version: Version,
    /// The version that a rollback returns to.
    pub previous_version: Option<Version>,
    /// The whole configuration.
    pub config: Map<String, Value>,
    /// What it may reach.
    pub egress: Vec<String>,
    /// Who serves what.
    pub bindings: BindingsWrite,
    /// Custom domains.
    pub domains: Vec<String>,
    /// Which secrets change.
    pub secrets: SecretChanges,
}

impl From<&InstallationRow> for InstallationWrite {
    /// What would leave the row as it is.
    fn from(row: &InstallationRow) -> Self {
        Self {
            package: row.package.clone(),
            version: row.version.clone(),
            previous_version: row.previous_version.clone(),
            config: row.config.clone(),
            egress: row.egress.clone(),
            bindings: binding::unchanged(&row.bindings),
            domains: row.domains.clone(),
            secrets: SecretChanges::new(),
        }
    }
}

pub(crate) fn read(row: &Row<'_>) -> rusqlite::Result<InstallationRow> {
    let previous: Option<Text<Version>> = row.get("previous_version")?;
    Ok(InstallationRow {
        id: row.parse("id")?,
        name: row.parse("name")?,
        tenant: row.parse("tenant")?,
        package: PackageName {
            publisher: row.parse("publisher")?,
            name: row.parse("package")?,
        },
        version: row.parse("version")?,
        previous_version: previous.map(|version| version.0),
        config: row.json("config")?,
        secrets: Vec::new(),
        egress: row.json("egress")?,
        bindings: BTreeMap::new(),
        domains: Vec::new(),
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
        revision: row.number("revision")?,
    })
}

fn complete(db: &Connection, mut row: InstallationRow) -> Result<InstallationRow, StoreError> {
    let id = row.id.to_string();
    row.secrets = secret_names(db, &id)?;
    row.bindings = binding::of(db, Owners::Installations, &id)?;
    let sql = "SELECT domain FROM domain WHERE installation = ?1 ORDER BY domain";
    row.domains = all(db, sql, [&id], |row| row.get(0))?;
    Ok(row)
}

fn find(
    db: &Connection,
    tenant: TenantId,
    name: &Label,
) -> Result<Option<InstallationRow>, StoreError> {
    let sql = "SELECT * FROM installation WHERE tenant = ?1 AND name = ?2";
    let row = one(db, sql, params![Text(tenant), Text(name)], read)?;
    row.map(|row| complete(db, row)).transpose()
}

fn not_found(name: &Label) -> StoreError {
    StoreError::NotFound {
        noun: "installation",
        name: name.to_string(),
    }
}

impl Store {
    /// Creates or replaces an installation.
    pub async fn put_installation(
        &self,
        tenant: TenantId,
        name: Label,
        write: InstallationWrite,
        condition: Precondition,
    ) -> Result<Written<InstallationRow>, StoreError> {
        let ids = (tenant, InstallationId::new());
        self.put_installation_as(ids, name, write, condition).await
    }

    /// Creates an installation with the second of `ids`, or replaces the tenant's of this name.
    pub async fn put_installation_as(
        &self,
        ids: (TenantId, InstallationId),
        name: Label,
        write: InstallationWrite,
        condition: Precondition,
    ) -> Result<Written<InstallationRow>, StoreError> {
        self.write(move |tx, sealer| put(tx, sealer, ids, &name, write, condition))
            .await
    }

    /// Replaces an installation once for each key of idempotency. The answer kept is of no use:
    /// who repeats the request is told the present state.
    pub async fn put_installation_once(
        &self,
        tenant: TenantId,
        name: Label,
        write: InstallationWrite,
        condition: Precondition,
        request: Idempotency,
    ) -> Result<InstallationRow, StoreError> {
        self.write(move |tx, sealer| {
            idempotency::once(tx, sealer, Some(&request), || {
                let ids = (tenant, InstallationId::new());
                put(tx, sealer, ids, &name, write, condition).map(|_| ())
            })?;
            find(tx, tenant, &name)?.ok_or_else(|| not_found(&name))
        })
        .await
    }

    /// What was answered to this request before; `None` if it did not take place yet.
    pub async fn replayed(&self, request: Idempotency) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(move |db, sealer| idempotency::find(db, sealer, &request))
            .await
    }

    /// One installation.
    pub async fn installation(
        &self,
        tenant: TenantId,
        name: Label,
    ) -> Result<InstallationRow, StoreError> {
        self.read(move |db, _| find(db, tenant, &name)?.ok_or_else(|| not_found(&name)))
            .await
    }

    /// Installations of a tenant by name.
    pub async fn installations(
        &self,
        tenant: TenantId,
        request: PageRequest,
    ) -> Result<Rows<InstallationRow>, StoreError> {
        self.read(move |db, _| {
            let after = request.cursor.as_deref().unwrap_or_default();
            let sql =
                "SELECT * FROM installation WHERE tenant = ?1 AND name > ?2 ORDER BY name LIMIT ?3";
            let rows = all(db, sql, params![Text(tenant), after, fetch(&request)], read)?;
            let rows = rows
                .into_iter()
                .map(|row| complete(db, row))
                .collect::<Result<_, _>>()?;
            Ok(page(rows, &request, |row: &InstallationRow| {
                row.name.to_string()
            }))
        })
        .await
    }

    /// Deletes an installation.
    pub async fn delete_installation(
        &self,
        tenant: TenantId,
        name: Label,
        condition: Precondition,
    ) -> Result<Erasure, StoreError> {
        self.write(move |tx, _| {
            let row = find(tx, tenant, &name)?.ok_or_else(|| not_found(&name))?;
            condition.check(Some(row.revision))?;
            let owner = Erasure::Installation {
                tenant: row.tenant,
                installation: row.id,
            };
            erasure::begin(tx, &owner)?;
            tx.execute("DELETE FROM installation WHERE id = ?1", [Text(row.id)])?;
            next_revision(tx)?;
            Ok(owner)
        })
        .await
    }

    /// The secrets of an installation.
    pub async fn installation_secrets(
        &self,
        id: InstallationId,
    ) -> Result<BTreeMap<String, String>, StoreError> {
        self.read(move |db, sealer| secrets_of(db, sealer, &id.to_string()))
            .await
    }
}

/// Writes an installation. The identifier is for one that is new.
pub(crate) fn put(
    tx: &Connection,
    sealer: &Sealer,
    (tenant, new): (TenantId, InstallationId),
    name: &Label,
    write: InstallationWrite,
    condition: Precondition,
) -> Result<Written<InstallationRow>, StoreError> {
    let old = find(tx, tenant, name)?;
    condition.check(old.as_ref().map(|old| old.revision))?;
    if let Some(old) = &old
        && InstallationWrite::from(old) == write
    {
        return Ok(Written {
            row: old.clone(),
            created: false,
        });
    }
    let id = old.as_ref().map_or(new, |old| old.id);
    tx.execute(
        "INSERT INTO installation VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?10, ?11) \
         ON CONFLICT (id) DO UPDATE SET publisher = excluded.publisher, \
         package = excluded.package, version = excluded.version, \
         previous_version = excluded.previous_version, config = excluded.config, \
         egress = excluded.egress, updated_at = excluded.updated_at, revision = excluded.revision",
        params![
            Text(id),
            Text(tenant),
            Text(name),
            Text(&write.package.publisher),
            Text(&write.package.name),
            Text(&write.version),
            write.previous_version.map(Text),
            Json(&write.config),
            Json(&write.egress),
            Time::now(),
            Number(next_revision(tx)?)
        ],
    )?;
    let owner = id.to_string();
    binding::put(tx, Owners::Installations, &owner, tenant, &write.bindings)?;
    tx.execute("DELETE FROM domain WHERE installation = ?1", [Text(id)])?;
    for domain in write.domains {
        let inserted = tx.execute(
            "INSERT INTO domain VALUES (?1, ?2) ON CONFLICT DO NOTHING",
            params![domain, Text(id)],
        )?;
        if inserted == 0 {
            return Err(StoreError::DomainTaken { domain });
        }
    }
    apply_secrets(tx, sealer, &owner, &write.secrets)?;
    let before = old.as_ref().map(|old| &old.version);
    schedule::follow(tx, id, &write.package, &write.version, before)?;
    let row = find(tx, tenant, name)?.ok_or_else(|| not_found(name))?;
    Ok(Written {
        row,
        created: old.is_none(),
    })
}

pub(crate) fn secret_names(db: &Connection, owner: &str) -> Result<Vec<String>, StoreError> {
    all(
        db,
        "SELECT key FROM secret WHERE owner = ?1 ORDER BY key",
        [owner],
        |row| row.get(0),
    )
}

pub(crate) fn secrets_of(
    db: &Connection,
    sealer: &Sealer,
    owner: &str,
) -> Result<BTreeMap<String, String>, StoreError> {
    let sealed = all(
        db,
        "SELECT key, sealed FROM secret WHERE owner = ?1",
        [owner],
        |row| Ok((row.get::<_, String>(0)?, row.get::<_, Vec<u8>>(1)?)),
    )?;
    sealed
        .into_iter()
        .map(|(key, sealed)| open(sealer, owner, key, &sealed))
        .collect()
}

/// Opens one sealed secret.
pub(crate) fn open(
    sealer: &Sealer,
    owner: &str,
    key: String,
    sealed: &[u8],
) -> Result<(String, String), StoreError> {
    let bytes = sealer.open_sealed(
        &Place {
            kind: "secret",
            owner,
            key: &key,
        },
        sealed,
    )?;
    let text = String::from_utf8(bytes)
        .map_err(|_| StoreError::Corrupt(format!("secret `{key}` of {owner} is not a text")))?;
    Ok((key, text))
}

pub(crate) fn apply_secrets(
    tx: &Connection,
    sealer: &Sealer,
    owner: &str,
    changes: &SecretChanges,
) -> Result<(), StoreError> {
    for (key, value) in changes {
        match value {
            Some(value) => {
                let sealed = sealer.seal(
                    &Place {
                        kind: "secret",
                        owner,
                        key,
                    },
                    value.as_bytes(),
                )?;
                tx.execute(
                    "INSERT OR REPLACE INTO secret VALUES (?1, ?2, ?3)",
                    params![owner, key, sealed],
                )?;
            }
            None => {
                tx.execute(
                    "DELETE FROM secret WHERE owner = ?1 AND key = ?2",
                    [owner, key],
                )?;
            }
        }
    }
    Ok(())
}
