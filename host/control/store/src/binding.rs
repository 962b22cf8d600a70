//! Who serves what: the bindings of installations and of driver instances, in a table each.

use std::collections::BTreeMap;

use canopy_ids::{BindingKey, DriverInstanceId, Label, TenantId};
use rusqlite::{Connection, Row, params};

use crate::sql::{RowExt, Text, all};
use crate::{StoreError, bound};

/// A driver instance by identifier and name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DriverRef {
    /// Its identifier.
    pub id: DriverInstanceId,
    /// Its name within the tenant.
    pub name: Label,
}

/// Who serves what is bound; `None`: the platform itself.
pub type Bindings = BTreeMap<BindingKey, Option<DriverRef>>;

/// Bindings to be written; `None`: the platform itself.
pub type BindingsWrite = BTreeMap<BindingKey, Option<DriverInstanceId>>;

/// Which of the two tables.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Owners {
    Installations,
    Drivers,
}

impl Owners {
    fn table(self) -> &'static str {
        match self {
            Self::Installations => "installation_binding",
            Self::Drivers => "driver_binding",
        }
    }
}

/// What would leave `bindings` as they are.
pub(crate) fn unchanged(bindings: &Bindings) -> BindingsWrite {
    let bindings = bindings.iter();
    bindings
        .map(|(key, driver)| (key.clone(), driver.as_ref().map(|driver| driver.id)))
        .collect()
}

fn read_one(row: &Row<'_>) -> rusqlite::Result<(BindingKey, Option<DriverRef>)> {
    let id: Option<Text<DriverInstanceId>> = row.get("id")?;
    let name: Option<Text<Label>> = row.get("name")?;
    let driver = id
        .zip(name)
        .map(|(Text(id), Text(name))| DriverRef { id, name });
    Ok((row.parse("key")?, driver))
}

fn select(owners: Owners, condition: &str) -> String {
    let table = owners.table();
    format!(
        "SELECT b.owner, b.key, d.id, d.name FROM {table} AS b LEFT JOIN driver AS d \
         ON d.id = b.driver{condition}"
    )
}

pub(crate) fn of(db: &Connection, owners: Owners, owner: &str) -> Result<Bindings, StoreError> {
    let sql = select(owners, " WHERE b.owner = ?1");
    Ok(all(db, &sql, [owner], read_one)?.into_iter().collect())
}

/// All bindings of a table, each with its owner's identifier.
pub(crate) fn every<T>(
    db: &Connection,
    owners: Owners,
) -> Result<Vec<(T, BindingKey, Option<DriverRef>)>, StoreError>
where
    T: std::str::FromStr,
    T::Err: std::error::Error + Send + Sync + 'static,
{
    all(db, &select(owners, ""), [], |row| {
        let (key, driver) = read_one(row)?;
        Ok((row.parse("owner")?, key, driver))
    })
}

/// Writes the bindings of `owner` in place of those it has.
pub(crate) fn put(
    tx: &Connection,
    owners: Owners,
    owner: &str,
    tenant: TenantId,
    bindings: &BindingsWrite,
) -> Result<(), StoreError> {
    let table = owners.table();
    tx.execute(&format!("DELETE FROM {table} WHERE owner = ?1"), [owner])?;
    if matches!(owners, Owners::Installations) {
        bound::settle(tx, owner)?;
    }
    for (key, driver) in bindings {
        let Some(driver) = driver else {
            let sql = format!("INSERT INTO {table} VALUES (?1, ?2, NULL)");
            tx.execute(&sql, params![owner, Text(key)])?;
            continue;
        };
        // A driver of another tenant must not be found even by its identifier.
        let sql = format!(
            "INSERT INTO {table} SELECT ?1, ?2, id FROM driver WHERE id = ?3 AND tenant = ?4"
        );
        let bound = tx.execute(&sql, params![owner, Text(key), Text(driver), Text(tenant)])?;
        if bound == 0 {
            return Err(StoreError::NotFound {
                noun: "driver",
                name: driver.to_string(),
            });
        }
    }
    Ok(())
}
