//! What was deleted here and has storage and logs elsewhere. It is written down in the transaction
//! that deletes and crossed out when the rest is gone too, so that a crash between loses nothing.

use std::fmt;

use canopy_ids::{DriverInstanceId, InstallationId, TenantId};
use rusqlite::{Connection, Row, params};
use time::OffsetDateTime;

use crate::sql::{RowExt, Text, Time, all};
use crate::{Store, StoreError};

/// Whose data must go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Erasure {
    /// An installation's.
    Installation {
        /// The tenant whose it was.
        tenant: TenantId,
        /// The installation.
        installation: InstallationId,
    },
    /// A driver instance's.
    Driver(DriverInstanceId),
    /// What a tenant has beside its installations and driver instances: its keys, and their folder.
    Tenant(TenantId),
}

impl fmt::Display for Erasure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Installation { installation, .. } => installation.fmt(f),
            Self::Driver(id) => id.fmt(f),
            Self::Tenant(id) => id.fmt(f),
        }
    }
}

fn read(row: &Row<'_>) -> rusqlite::Result<(Erasure, OffsetDateTime)> {
    let (owner, tenant): (String, Option<Text<TenantId>>) = (row.get("owner")?, row.get("tenant")?);
    let owner = match tenant {
        Some(Text(tenant)) if owner == tenant.to_string() => Erasure::Tenant(tenant),
        Some(Text(tenant)) => Erasure::Installation {
            tenant,
            installation: row.parse("owner")?,
        },
        None => Erasure::Driver(row.parse("owner")?),
    };
    Ok((owner, row.time("since")?))
}

/// Writes down that `owner`'s data must go, and removes its secrets at once.
pub(crate) fn begin(tx: &Connection, owner: &Erasure) -> Result<(), StoreError> {
    let tenant = match owner {
        Erasure::Installation { tenant, .. } | Erasure::Tenant(tenant) => Some(Text(tenant)),
        Erasure::Driver(_) => None,
    };
    let parameters = params![Text(owner), tenant, Time::now()];
    tx.execute(
        "INSERT INTO erasure VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
        parameters,
    )?;
    tx.execute("DELETE FROM secret WHERE owner = ?1", [Text(owner)])?;
    Ok(())
}

impl Store {
    /// Whose data must still go, and since when.
    pub async fn erasures(&self) -> Result<Vec<(Erasure, OffsetDateTime)>, StoreError> {
        self.read(|db, _| all(db, "SELECT * FROM erasure ORDER BY since", [], read))
            .await
    }

    /// `owner`'s data is gone.
    pub async fn erased(&self, owner: Erasure) -> Result<(), StoreError> {
        self.write(move |tx, _| {
            tx.execute("DELETE FROM erasure WHERE owner = ?1", [Text(owner)])?;
            Ok(())
        })
        .await
    }
}
