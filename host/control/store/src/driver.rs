//! Driver instances.

use std::collections::BTreeMap;

use canopy_ids::{DriverInstanceId, Label, PackageName, TenantId};
use rusqlite::{Connection, Row, params};
use semver::Version;
use serde_json::{Map, Value};
use time::OffsetDateTime;

use crate::binding::{self, Bindings, BindingsWrite, Owners};
use crate::erasure::{self, Erasure};
use crate::installation::{apply_secrets, secret_names};
use crate::seal::Sealer;
use crate::sql::{Json, Number, RowExt, Text, Time, all, fetch, next_revision, one, page};
use crate::{PageRequest, Precondition, Rows, SecretChanges, Store, StoreError, Written};

/// A driver instance.
#[derive(Debug, Clone, PartialEq)]
pub struct DriverRow {
    /// Its identifier.
    pub id: DriverInstanceId,
    /// Its name within the tenant.
    pub name: Label,
    /// Whose it is.
    pub tenant: TenantId,
    /// The driver package.
    pub package: PackageName,
    /// Its version.
    pub version: Version,
    /// The version that ran before.
    pub previous_version: Option<Version>,
    /// The whole configuration.
    pub config: Map<String, Value>,
    /// The names of the secrets that are set.
    pub secrets: Vec<String>,
    /// What it may reach.
    pub egress: Vec<String>,
    /// Who serves what it imports.
    pub bindings: Bindings,
    /// The installations that are bound to it.
    pub used_by: Vec<Label>,
    /// The driver instances that are bound to it.
    pub used_by_drivers: Vec<Label>,
    /// When it was created.
    pub created_at: OffsetDateTime,
    /// When it was changed last.
    pub updated_at: OffsetDateTime,
    /// Of the last change.
    pub revision: u64,
}

/// What can be written of a driver instance.
#[derive(Debug, Clone, PartialEq)]
pub struct DriverWrite {
    /// The driver package.
    pub package: PackageName,
    /// Its version.
    pub version: Version,
    /// The version that a rollback returns to.
    pub previous_version: Option<Version>,
    /// The whole configuration.
    pub config: Map<String, Value>,
    /// What it may reach.
    pub egress: Vec<String>,
    /// Who serves what it imports.
    pub bindings: BindingsWrite,
    /// Which secrets change.
    pub secrets: SecretChanges,
}

impl From<&DriverRow> for DriverWrite {
    /// What would leave the row as it is.
    fn from(row: &DriverRow) -> Self {
        Self {
            package: row.package.clone(),
            version: row.version.clone(),
            previous_version: row.previous_version.clone(),
            config: row.config.clone(),
            egress: row.egress.clone(),
            bindings: binding::unchanged(&row.bindings),
            secrets: SecretChanges::new(),
        }
    }
}

pub(crate) fn read(row: &Row<'_>) -> rusqlite::Result<DriverRow> {
    let previous: Option<Text<Version>> = row.get("previous_version")?;
    Ok(DriverRow {
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
        bindings: Bindings::new(),
        used_by: Vec::new(),
        used_by_drivers: Vec::new(),
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
        revision: row.number("revision")?,
    })
}

fn complete(db: &Connection, mut row: DriverRow) -> Result<DriverRow, StoreError> {
    let id = row.id.to_string();
    row.secrets = secret_names(db, &id)?;
    row.bindings = binding::of(db, Owners::Drivers, &id)?;
    let sql = "SELECT DISTINCT i.name FROM installation_binding AS b JOIN installation AS i \
               ON i.id = b.owner WHERE b.driver = ?1 ORDER BY i.name";
    row.used_by = all(db, sql, [&id], |row| row.parse("name"))?;
    let sql = "SELECT DISTINCT o.name FROM driver_binding AS b JOIN driver AS o \
               ON o.id = b.owner WHERE b.driver = ?1 ORDER BY o.name";
    row.used_by_drivers = all(db, sql, [&id], |row| row.parse("name"))?;
    Ok(row)
}

fn find(db: &Connection, tenant: TenantId, name: &Label) -> Result<Option<DriverRow>, StoreError> {
    let sql = "SELECT * FROM driver WHERE tenant = ?1 AND name = ?2";
    let row = one(db, sql, params![Text(tenant), Text(name)], read)?;
    row.map(|row| complete(db, row)).transpose()
}

fn not_found(name: &Label) -> StoreError {
    StoreError::NotFound {
        noun: "driver",
        name: name.to_string(),
    }
}

impl Store {
    /// Creates or replaces a driver instance.
    pub async fn put_driver(
        &self,
        tenant: TenantId,
        name: Label,
        write: DriverWrite,
        condition: Precondition,
    ) -> Result<Written<DriverRow>, StoreError> {
        self.write(move |tx, sealer| {
            let ids = (tenant, DriverInstanceId::new());
            put(tx, sealer, ids, &name, write, condition)
        })
        .await
    }

    /// One driver instance.
    pub async fn driver(&self, tenant: TenantId, name: Label) -> Result<DriverRow, StoreError> {
        self.read(move |db, _| find(db, tenant, &name)?.ok_or_else(|| not_found(&name)))
            .await
    }

    /// Driver instances of a tenant by name.
    pub async fn drivers(
        &self,
        tenant: TenantId,
        request: PageRequest,
    ) -> Result<Rows<DriverRow>, StoreError> {
        self.read(move |db, _| {
            let after = request.cursor.as_deref().unwrap_or_default();
            let sql = "SELECT * FROM driver WHERE tenant = ?1 AND name > ?2 ORDER BY name LIMIT ?3";
            let rows = all(db, sql, params![Text(tenant), after, fetch(&request)], read)?;
            let rows = rows
                .into_iter()
                .map(|row| complete(db, row))
                .collect::<Result<_, _>>()?;
            Ok(page(rows, &request, |row: &DriverRow| row.name.to_string()))
        })
        .await
    }

    /// Deletes a driver instance that no installation and no other driver instance is bound to.
    pub async fn delete_driver(
        &self,
        tenant: TenantId,
        name: Label,
        condition: Precondition,
    ) -> Result<Erasure, StoreError> {
        self.write(move |tx, _| {
            let driver = find(tx, tenant, &name)?.ok_or_else(|| not_found(&name))?;
            condition.check(Some(driver.revision))?;
            if !driver.used_by.is_empty() || !driver.used_by_drivers.is_empty() {
                let (mut installations, mut drivers) = (driver.used_by, driver.used_by_drivers);
                installations.truncate(10);
                drivers.truncate(10);
                return Err(StoreError::DriverInUse {
                    driver: driver.name,
                    installations,
                    drivers,
                });
            }
            let owner = Erasure::Driver(driver.id);
            erasure::begin(tx, &owner)?;
            tx.execute("DELETE FROM driver WHERE id = ?1", [Text(driver.id)])?;
            next_revision(tx)?;
            Ok(owner)
        })
        .await
    }

    /// The secrets of a driver instance.
    pub async fn driver_secrets(
        &self,
        id: DriverInstanceId,
    ) -> Result<BTreeMap<String, String>, StoreError> {
        self.read(move |db, sealer| crate::installation::secrets_of(db, sealer, &id.to_string()))
            .await
    }
}

/// Writes a driver instance. The identifier is for one that is new.
pub(crate) fn put(
    tx: &Connection,
    sealer: &Sealer,
    (tenant, new): (TenantId, DriverInstanceId),
    name: &Label,
    write: DriverWrite,
    condition: Precondition,
) -> Result<Written<DriverRow>, StoreError> {
    let old = find(tx, tenant, name)?;
    condition.check(old.as_ref().map(|old| old.revision))?;
    if let Some(old) = &old
        && DriverWrite::from(old) == write
    {
        return Ok(Written {
            row: old.clone(),
            created: false,
        });
    }
    let id = old.as_ref().map_or(new, |old| old.id);
    tx.execute(
        "INSERT INTO driver VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?9, ?10, ?11) \
         ON CONFLICT (id) DO UPDATE SET publisher = excluded.publisher, \
         package = excluded.package, version = excluded.version, \
         config = excluded.config, egress = excluded.egress, \
         previous_version = excluded.previous_version, \
         updated_at = excluded.updated_at, revision = excluded.revision",
        params![
            Text(id),
            Text(tenant),
            Text(name),
            Text(&write.package.publisher),
            Text(&write.package.name),
            Text(&write.version),
            Json(&write.config),
            Json(&write.egress),
            Time::now(),
            Number(next_revision(tx)?),
            write.previous_version.map(Text)
        ],
    )?;
    let owner = id.to_string();
    binding::put(tx, Owners::Drivers, &owner, tenant, &write.bindings)?;
    apply_secrets(tx, sealer, &owner, &write.secrets)?;
    let row = find(tx, tenant, name)?.ok_or_else(|| not_found(name))?;
    Ok(Written {
        row,
        created: old.is_none(),
    })
}
