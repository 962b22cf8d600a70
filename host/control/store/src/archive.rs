//! Archives of tenants that lie beside the database for a while.

use canopy_ids::{DriverInstanceId, InstallationId, Label, TenantId};
use rusqlite::{Row, params};
use time::OffsetDateTime;

use crate::sql::{Number, RowExt, Text, Time, all, one};
use crate::{DriverWrite, InstallationWrite, Store, StoreError, TenantWrite};

/// An archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiveRow {
    /// Its identifier: of an export or an import. The file has its name.
    pub id: String,
    /// Whose data it is, as long as that is known here.
    pub tenant: Option<TenantId>,
    /// The tenant's name, or what the one who sends it calls it.
    pub name: String,
    /// Its bytes; of one that is being sent, how many there will be.
    pub size: Option<u64>,
    /// When it was made or announced.
    pub created_at: OffsetDateTime,
    /// When it is removed.
    pub expires_at: OffsetDateTime,
}

fn read(row: &Row<'_>) -> rusqlite::Result<ArchiveRow> {
    Ok(ArchiveRow {
        id: row.get("id")?,
        tenant: row
            .get::<_, Option<Text<TenantId>>>("tenant")?
            .map(|text| text.0),
        name: row.get("name")?,
        size: row.get::<_, Option<Number>>("size")?.map(|number| number.0),
        created_at: row.time("created_at")?,
        expires_at: row.time("expires_at")?,
    })
}

impl Store {
    /// Writes an archive down, or that it has another size or expires later.
    pub async fn put_archive(&self, row: ArchiveRow) -> Result<(), StoreError> {
        self.write(move |tx, _| {
            tx.execute(
                "INSERT OR REPLACE INTO archive VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                params![
                    row.id,
                    row.tenant.map(Text),
                    row.name,
                    row.size.map(Number),
                    Time(row.created_at),
                    Time(row.expires_at),
                ],
            )?;
            Ok(())
        })
        .await
    }

    /// One archive.
    pub async fn archive(&self, noun: &'static str, id: String) -> Result<ArchiveRow, StoreError> {
        self.read(move |db, _| {
            one(db, "SELECT * FROM archive WHERE id = ?1", [&id], read)?
                .ok_or_else(|| StoreError::NotFound { noun, name: id })
        })
        .await
    }

    /// All archives, the oldest first.
    pub async fn archives(&self) -> Result<Vec<ArchiveRow>, StoreError> {
        self.read(|db, _| all(db, "SELECT * FROM archive ORDER BY id", [], read))
            .await
    }

    /// Crosses an archive out. No error if there is none.
    pub async fn remove_archive(&self, id: String) -> Result<(), StoreError> {
        self.write(move |tx, _| {
            tx.execute("DELETE FROM archive WHERE id = ?1", [id])?;
            Ok(())
        })
        .await
    }

    /// The exports of a tenant by the names of their files.
    pub async fn archives_of(&self, tenant: TenantId) -> Result<Vec<String>, StoreError> {
        self.read(move |db, _| {
            let sql = "SELECT id FROM archive WHERE tenant = ?1";
            all(db, sql, [Text(tenant)], |row| row.get(0))
        })
        .await
    }
}

/// A tenant that is taken in from an archive.
#[derive(Debug, Clone, PartialEq)]
pub struct TenantImport {
    /// Its new identifier.
    pub id: TenantId,
    /// Its name here.
    pub name: Label,
    /// What is known of it.
    pub write: TenantWrite,
    /// Its driver instances, with their new identifiers.
    pub drivers: Vec<(DriverInstanceId, Label, DriverWrite)>,
    /// Its installations, with their new identifiers.
    pub installations: Vec<(InstallationId, Label, InstallationWrite)>,
}

impl Store {
    /// Writes a tenant with all that is its, in one transaction. Domains that are in use here are
    /// left out, and returned.
    pub async fn import_tenant(&self, import: TenantImport) -> Result<Vec<String>, StoreError> {
        self.write(move |tx, sealer| {
            let TenantImport {
                id,
                name,
                write,
                drivers,
                installations,
            } = import;
            crate::tenant::insert(tx, id, &name, &write)?;
            // All are there before one is bound to another.
            for (driver, name, write) in &drivers {
                let mut write = write.clone();
                write.bindings.clear();
                crate::driver::put(tx, sealer, (id, *driver), name, write, Default::default())?;
            }
            for (driver, name, write) in drivers {
                crate::driver::put(tx, sealer, (id, driver), &name, write, Default::default())?;
            }
            let mut taken = Vec::new();
            for (installation, name, mut write) in installations {
                let mut free = Vec::new();
                for domain in std::mem::take(&mut write.domains) {
                    let sql = "SELECT 1 FROM domain WHERE domain = ?1";
                    let used = one(tx, sql, [&domain], |row| row.get::<_, i64>(0))?;
                    match used {
                        Some(_) => taken.push(domain),
                        None => free.push(domain),
                    }
                }
                write.domains = free;
                let ids = (id, installation);
                crate::installation::put(tx, sealer, ids, &name, write, Default::default())?;
            }
            Ok(taken)
        })
        .await
    }
}

/// An installation and whose it is, by identifiers and names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holding {
    /// Whose it is.
    pub tenant: TenantId,
    /// The tenant's name.
    pub tenant_name: Label,
    /// Which it is.
    pub installation: InstallationId,
    /// The installation's name.
    pub name: Label,
    /// When it was created.
    pub created_at: OffsetDateTime,
}

impl Store {
    /// Every installation that may have stored something, also those of tenants on their way out.
    pub async fn holdings(&self) -> Result<Vec<Holding>, StoreError> {
        self.read(|db, _| {
            let sql = "SELECT t.id AS tenant, t.name AS tenant_name, i.id AS installation, i.name, \
                       i.created_at FROM installation AS i JOIN tenant AS t ON t.id = i.tenant \
                       ORDER BY t.id, i.id";
            all(db, sql, [], |row| {
                Ok(Holding {
                    tenant: row.parse("tenant")?,
                    tenant_name: row.parse("tenant_name")?,
                    installation: row.parse("installation")?,
                    name: row.parse("name")?,
                    created_at: row.time("created_at")?,
                })
            })
        })
        .await
    }

    /// Reads the whole database and compares it with its checksums. Returns what is wrong.
    pub async fn check(&self) -> Result<Vec<String>, StoreError> {
        self.outside_transaction(|connection| Ok(canopy_backend_sqlite::check(connection)))
            .await
    }

    /// Writes a copy of the database's file to `into`, as it is at one moment and encrypted as it
    /// is. Writes wait meanwhile.
    pub async fn copy(&self, into: std::path::PathBuf) -> Result<(), StoreError> {
        let path = self.path().to_owned();
        self.outside_transaction(move |connection| {
            crate::tombstone::checkpoint(connection)?;
            std::fs::copy(&path, &into)
                .map_err(|error| StoreError::Failed(format!("copying the database: {error}")))?;
            Ok(())
        })
        .await
    }
}
