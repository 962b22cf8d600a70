//! What driver instances have been told of who is bound to them.
//!
//! A row is there before a driver is told that an installation is about to be bound, and goes when the
//! driver has been told of the end. What stands between is found by comparing with the bindings, so
//! nothing is forgotten whenever the process ends.

use canopy_ids::{BindingKey, DriverInstanceId, InstallationId, Label, PackageName, TenantId};
use rusqlite::{Connection, Row, params};
use time::OffsetDateTime;

use crate::sql::{Number, RowExt, Text, Time, all, one};
use crate::{Store, StoreError};

/// A binding that a driver instance has been told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The driver instance.
    pub driver: DriverInstanceId,
    /// The installation that is bound to it, or was.
    pub installation: InstallationId,
    /// The installation's name.
    pub name: Label,
    /// The application.
    pub app: PackageName,
    /// What is bound.
    pub key: BindingKey,
    /// How often the driver has been told of the end without success.
    pub attempts: u64,
}

/// A binding that is no more.
const ENDED: &str = "FROM driver_told AS t JOIN driver AS d ON d.id = t.driver \
     WHERE NOT EXISTS (SELECT 1 FROM installation_binding AS b WHERE b.owner = t.installation \
     AND b.key = t.key AND b.driver = t.driver)";

/// Ended bindings that are looked at at once.
const BATCH: u32 = 64;

fn read(row: &Row<'_>) -> rusqlite::Result<(TenantId, Told)> {
    let told = Told {
        driver: row.parse("driver")?,
        installation: row.parse("installation")?,
        name: row.parse("name")?,
        app: row.parse("app")?,
        key: row.parse("key")?,
        attempts: row.number("attempts")?,
    };
    Ok((row.parse("tenant")?, told))
}

/// What an installation was about to be bound to it is bound to now, or is not.
pub(crate) fn settle(tx: &Connection, installation: &str) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE driver_told SET not_before = 0 WHERE installation = ?1 AND attempts = 0",
        [installation],
    )?;
    Ok(())
}

impl Store {
    /// Writes down that driver instances are told of bindings. Where these have not come about by
    /// `until`, they have ended.
    pub async fn put_told(&self, told: Vec<Told>, until: OffsetDateTime) -> Result<(), StoreError> {
        self.write(move |tx, _| {
            for told in &told {
                tx.execute(
                    "INSERT OR REPLACE INTO driver_told VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                    params![
                        Text(told.driver),
                        Text(told.installation),
                        Text(&told.key),
                        Text(&told.name),
                        Text(&told.app),
                        Number(told.attempts),
                        Time(until),
                    ],
                )?;
            }
            Ok(())
        })
        .await
    }

    /// Bindings that have ended and whose driver instances are to be told now, with their tenants.
    pub async fn told_and_ended(
        &self,
        now: OffsetDateTime,
    ) -> Result<Vec<(TenantId, Told)>, StoreError> {
        self.read(move |db, _| {
            let sql = format!(
                "SELECT t.*, d.tenant {ENDED} AND t.not_before <= ?1 \
                 ORDER BY t.not_before LIMIT {BATCH}"
            );
            all(db, &sql, [Time(now)], read)
        })
        .await
    }

    /// When the next of them is to be told.
    pub async fn next_told(&self) -> Result<Option<OffsetDateTime>, StoreError> {
        self.read(|db, _| {
            let sql = format!("SELECT t.not_before {ENDED} ORDER BY t.not_before LIMIT 1");
            one(db, &sql, [], |row| row.time("not_before"))
        })
        .await
    }

    /// All that a driver instance has been told of.
    pub async fn told_to(&self, driver: DriverInstanceId) -> Result<Vec<Told>, StoreError> {
        self.read(move |db, _| {
            let sql = "SELECT t.*, d.tenant FROM driver_told AS t JOIN driver AS d \
                       ON d.id = t.driver WHERE t.driver = ?1";
            let rows = all(db, sql, [Text(driver)], read)?;
            Ok(rows.into_iter().map(|(_, told)| told).collect())
        })
        .await
    }

    /// Whether this one has ended still.
    pub async fn has_ended(&self, told: &Told) -> Result<bool, StoreError> {
        let told = told.clone();
        self.read(move |db, _| {
            let sql = format!(
                "SELECT t.*, d.tenant {ENDED} AND t.driver = ?1 AND t.installation = ?2 \
                 AND t.key = ?3"
            );
            let key = params![Text(told.driver), Text(told.installation), Text(&told.key)];
            Ok(one(db, &sql, key, read)?.is_some())
        })
        .await
    }

    /// The driver instance has been told of the end, or the binding was refused.
    pub async fn forget_told(&self, told: &Told) -> Result<(), StoreError> {
        let told = told.clone();
        self.write(move |tx, _| {
            tx.execute(
                "DELETE FROM driver_told WHERE driver = ?1 AND installation = ?2 AND key = ?3",
                params![Text(told.driver), Text(told.installation), Text(&told.key)],
            )?;
            Ok(())
        })
        .await
    }
}
