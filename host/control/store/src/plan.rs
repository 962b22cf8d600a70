//! Plans: what tenants that are on one may use.

use std::collections::BTreeMap;

use canopy_ids::Label;
use canopy_manifest::nearest;
use rusqlite::{Connection, Row, params};
use time::OffsetDateTime;

use crate::sql::{Json, Number, RowExt, Text, Time, all, fetch, next_revision, one, page};
use crate::{PageRequest, Precondition, Rows, Store, StoreError, Written};

/// Tenants that a refusal names.
const NAMED: i64 = 8;

/// A plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanRow {
    /// Its name.
    pub name: Label,
    /// What people call it.
    pub display_name: String,
    /// The limits that it sets, by name; the others are the node's.
    pub limits: BTreeMap<String, u64>,
    /// When it was created.
    pub created_at: OffsetDateTime,
    /// When it was changed last.
    pub updated_at: OffsetDateTime,
    /// Of the last change.
    pub revision: u64,
}

/// What can be written of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanWrite {
    /// What people call it.
    pub display_name: String,
    /// The limits that it sets, by name.
    pub limits: BTreeMap<String, u64>,
}

pub(crate) fn read(row: &Row<'_>) -> rusqlite::Result<PlanRow> {
    Ok(PlanRow {
        name: row.parse("name")?,
        display_name: row.get("display_name")?,
        limits: row.json("limits")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
        revision: row.number("revision")?,
    })
}

fn find(db: &Connection, name: &str) -> Result<Option<PlanRow>, StoreError> {
    one(db, "SELECT * FROM plan WHERE name = ?1", [name], read)
}

fn not_found(name: &Label) -> StoreError {
    StoreError::NotFound {
        noun: "plan",
        name: name.to_string(),
    }
}

/// Refuses a plan that does not exist.
pub(crate) fn must_exist(db: &Connection, name: &str) -> Result<(), StoreError> {
    if find(db, name)?.is_some() {
        return Ok(());
    }
    let names: Vec<String> = all(db, "SELECT name FROM plan", [], |row| row.get(0))?;
    Err(StoreError::UnknownPlan {
        plan: name.to_owned(),
        nearest: nearest(name, names.iter().map(String::as_str)).map(str::to_owned),
    })
}

impl Store {
    /// Creates or replaces a plan.
    pub async fn put_plan(
        &self,
        name: Label,
        write: PlanWrite,
        condition: Precondition,
    ) -> Result<Written<PlanRow>, StoreError> {
        self.write(move |tx, _| {
            let old = find(tx, name.as_str())?;
            condition.check(old.as_ref().map(|old| old.revision))?;
            let created = old.is_none();
            if let Some(row) = old
                && (&row.display_name, &row.limits) == (&write.display_name, &write.limits)
            {
                return Ok(Written { row, created });
            }
            tx.execute(
                "INSERT INTO plan VALUES (?1, ?2, ?3, ?4, ?4, ?5) \
                 ON CONFLICT (name) DO UPDATE SET display_name = excluded.display_name, \
                 limits = excluded.limits, updated_at = excluded.updated_at, \
                 revision = excluded.revision",
                params![
                    Text(&name),
                    write.display_name,
                    Json(&write.limits),
                    Time::now(),
                    Number(next_revision(tx)?)
                ],
            )?;
            let row = find(tx, name.as_str())?.ok_or_else(|| not_found(&name))?;
            Ok(Written { row, created })
        })
        .await
    }

    /// One plan.
    pub async fn plan(&self, name: Label) -> Result<PlanRow, StoreError> {
        self.read(move |db, _| find(db, name.as_str())?.ok_or_else(|| not_found(&name)))
            .await
    }

    /// Plans by name.
    pub async fn plans(&self, request: PageRequest) -> Result<Rows<PlanRow>, StoreError> {
        self.read(move |db, _| {
            let after = request.cursor.as_deref().unwrap_or_default();
            let sql = "SELECT * FROM plan WHERE name > ?1 ORDER BY name LIMIT ?2";
            let rows = all(db, sql, params![after, fetch(&request)], read)?;
            Ok(page(rows, &request, |row| row.name.to_string()))
        })
        .await
    }

    /// Deletes a plan that no tenant is on.
    pub async fn delete_plan(
        &self,
        name: Label,
        condition: Precondition,
    ) -> Result<(), StoreError> {
        self.write(move |tx, _| {
            let plan = find(tx, name.as_str())?.ok_or_else(|| not_found(&name))?;
            condition.check(Some(plan.revision))?;
            let sql = "SELECT name FROM tenant WHERE plan = ?1 ORDER BY name LIMIT ?2";
            let tenants = all(tx, sql, params![Text(&name), NAMED], |row| {
                row.parse("name")
            })?;
            if !tenants.is_empty() {
                return Err(StoreError::PlanInUse {
                    plan: name,
                    tenants,
                });
            }
            tx.execute("DELETE FROM plan WHERE name = ?1", [Text(&name)])?;
            next_revision(tx)?;
            Ok(())
        })
        .await
    }
}
