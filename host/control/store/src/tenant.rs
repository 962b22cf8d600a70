//! Tenants.

use std::collections::BTreeMap;

use canopy_ids::{Label, TenantId};
use rusqlite::{Connection, Row, params};
use time::OffsetDateTime;

use crate::erasure::{self, Erasure};
use crate::sql::{Json, Number, RowExt, Text, Time, all, fetch, next_revision, one, page};
use crate::{PageRequest, Precondition, Rows, Store, StoreError, Written, plan};

/// A tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantRow {
    /// Its identifier.
    pub id: TenantId,
    /// Its name.
    pub name: Label,
    /// What people call it.
    pub display_name: String,
    /// The plan that it is on.
    pub plan: String,
    /// Where its data is kept.
    pub region: String,
    /// Facts for its applications to read.
    pub attributes: BTreeMap<String, String>,
    /// When it was created.
    pub created_at: OffsetDateTime,
    /// When it was changed last.
    pub updated_at: OffsetDateTime,
    /// Of the last change.
    pub revision: u64,
}

/// What can be written of a tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantWrite {
    /// What people call it.
    pub display_name: String,
    /// The plan that it is on.
    pub plan: String,
    /// Where its data is kept.
    pub region: String,
    /// Facts for its applications to read.
    pub attributes: BTreeMap<String, String>,
}

pub(crate) fn read(row: &Row<'_>) -> rusqlite::Result<TenantRow> {
    Ok(TenantRow {
        id: row.parse("id")?,
        name: row.parse("name")?,
        display_name: row.get("display_name")?,
        plan: row.get("plan")?,
        region: row.get("region")?,
        attributes: row.json("attributes")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
        revision: row.number("revision")?,
    })
}

fn find(db: &Connection, name: &Label) -> Result<Option<TenantRow>, StoreError> {
    one(
        db,
        "SELECT * FROM tenant WHERE name = ?1",
        [Text(name)],
        read,
    )
}

fn not_found(name: &Label) -> StoreError {
    StoreError::NotFound {
        noun: "tenant",
        name: name.to_string(),
    }
}

impl Store {
    /// Creates or replaces a tenant. A new one has an identifier that no other ever had.
    pub async fn put_tenant(
        &self,
        name: Label,
        write: TenantWrite,
        condition: Precondition,
    ) -> Result<Written<TenantRow>, StoreError> {
        self.write(move |tx, _| {
            let old = find(tx, &name)?;
            condition.check(old.as_ref().map(|old| old.revision))?;
            if let Some(old) = &old {
                let TenantWrite {
                    display_name,
                    plan,
                    region,
                    attributes,
                } = &write;
                let unchanged = (display_name, plan, region, attributes)
                    == (&old.display_name, &old.plan, &old.region, &old.attributes);
                if unchanged {
                    return Ok(Written {
                        row: old.clone(),
                        created: false,
                    });
                }
            }
            let id = old.as_ref().map_or_else(TenantId::new, |old| old.id);
            insert(tx, id, &name, &write)?;
            let row = find(tx, &name)?.ok_or_else(|| not_found(&name))?;
            Ok(Written {
                row,
                created: old.is_none(),
            })
        })
        .await
    }

    /// One tenant.
    pub async fn tenant(&self, name: Label) -> Result<TenantRow, StoreError> {
        self.read(move |db, _| find(db, &name)?.ok_or_else(|| not_found(&name)))
            .await
    }

    /// The tenant with this identifier.
    pub async fn tenant_by_id(&self, id: TenantId) -> Result<Option<TenantRow>, StoreError> {
        self.read(move |db, _| one(db, "SELECT * FROM tenant WHERE id = ?1", [Text(id)], read))
            .await
    }

    /// Tenants by name.
    pub async fn tenants(&self, request: PageRequest) -> Result<Rows<TenantRow>, StoreError> {
        self.read(move |db, _| {
            let after = request.cursor.as_deref().unwrap_or_default();
            let sql = "SELECT * FROM tenant WHERE name > ?1 ORDER BY name LIMIT ?2";
            let rows = all(db, sql, params![after, fetch(&request)], read)?;
            Ok(page(rows, &request, |row| row.name.to_string()))
        })
        .await
    }

    /// Deletes a tenant with all that is its. Returns what has data elsewhere that must go too;
    /// [`Store::erasures`] names it until [`Store::erased`].
    pub async fn delete_tenant(
        &self,
        name: Label,
        condition: Precondition,
    ) -> Result<Vec<Erasure>, StoreError> {
        self.write(move |tx, _| {
            let tenant = find(tx, &name)?.ok_or_else(|| not_found(&name))?;
            condition.check(Some(tenant.revision))?;
            delete(tx, tenant.id)
        })
        .await
    }
}

/// Writes the row of the tenant `id`, whether or not there is one. The name must not be another's.
pub(crate) fn insert(
    tx: &Connection,
    id: TenantId,
    name: &Label,
    write: &TenantWrite,
) -> Result<(), StoreError> {
    plan::must_exist(tx, &write.plan)?;
    if let Some(other) = find(tx, name)?
        && other.id != id
    {
        let current = Some(other.revision);
        return Err(StoreError::PreconditionFailed { current });
    }
    tx.execute(
        "INSERT INTO tenant VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7, ?8) \
         ON CONFLICT (id) DO UPDATE SET display_name = excluded.display_name, \
         plan = excluded.plan, region = excluded.region, \
         attributes = excluded.attributes, updated_at = excluded.updated_at, \
         revision = excluded.revision",
        params![
            Text(id),
            Text(name),
            write.display_name,
            write.plan,
            write.region,
            Json(&write.attributes),
            Time::now(),
            Number(next_revision(tx)?)
        ],
    )?;
    Ok(())
}

/// Deletes all rows of a tenant. Returns what has data elsewhere that must go too.
pub(crate) fn delete(tx: &Connection, tenant: TenantId) -> Result<Vec<Erasure>, StoreError> {
    let id = tenant.to_string();
    let sql = "SELECT id FROM installation WHERE tenant = ?1";
    let mut owners = all(tx, sql, [&id], |row| {
        Ok(Erasure::Installation {
            tenant,
            installation: row.parse("id")?,
        })
    })?;
    let sql = "SELECT id FROM driver WHERE tenant = ?1";
    owners.extend(all(tx, sql, [&id], |row| {
        Ok(Erasure::Driver(row.parse("id")?))
    })?);
    owners.push(Erasure::Tenant(tenant));
    for owner in &owners {
        erasure::begin(tx, owner)?;
    }
    tx.execute("DELETE FROM installation WHERE tenant = ?1", [&id])?;
    tx.execute("DELETE FROM driver WHERE tenant = ?1", [&id])?;
    tx.execute("DELETE FROM tenant WHERE id = ?1", [&id])?;
    next_revision(tx)?;
    Ok(owners)
}
