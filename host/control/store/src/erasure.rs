//! What was deleted here and has storage and logs elsewhere. It is written down in the transaction
//! that deletes and crossed out when the rest is gone too, so that a crash between loses nothing.

use std::fmt;
use std::str::FromStr;

use canopy_ids::{DriverInstanceId, InstallationId, InvalidId};
use rusqlite::{Connection, params};
use time::OffsetDateTime;

use crate::sql::{RowExt, Text, Time, all};
use crate::{Store, StoreError};

/// Whose data must go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Erasure {
    /// An installation's.
    Installation(InstallationId),
    /// A driver instance's.
    Driver(DriverInstanceId),
}

impl fmt::Display for Erasure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Installation(id) => id.fmt(f),
            Self::Driver(id) => id.fmt(f),
        }
    }
}

impl FromStr for Erasure {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        match text.parse() {
            Ok(id) => Ok(Self::Installation(id)),
            Err(_) => text.parse().map(Self::Driver),
        }
    }
}

/// Writes down that `owner`'s data must go, and removes its secrets at once.
pub(crate) fn begin(tx: &Connection, owner: &Erasure) -> Result<(), StoreError> {
    let parameters = params![Text(owner), Time::now()];
    tx.execute(
        "INSERT INTO erasure VALUES (?1, ?2) ON CONFLICT DO NOTHING",
        parameters,
    )?;
    tx.execute("DELETE FROM secret WHERE owner = ?1", [Text(owner)])?;
    Ok(())
}

impl Store {
    /// Whose data must still go, and since when.
    pub async fn erasures(&self) -> Result<Vec<(Erasure, OffsetDateTime)>, StoreError> {
        self.read(|db, _| {
            all(
                db,
                "SELECT owner, since FROM erasure ORDER BY since",
                [],
                |row| Ok((row.parse("owner")?, row.time("since")?)),
            )
        })
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
