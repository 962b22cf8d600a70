//! Records of tests, kept with the version that was tested.

use canopy_ids::PackageName;
use rusqlite::{Connection, Row, params};
use semver::Version;
use time::OffsetDateTime;

use crate::package::{find_version, version_not_found};
use crate::sql::{RowExt, Text, Time, all};
use crate::{Store, StoreError};

/// What came of the tests of a version, as somebody says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadgeRow {
    /// The version.
    pub version: Version,
    /// Who says so; one record of each is kept.
    pub source: String,
    /// The record itself.
    pub document: String,
    /// When it was recorded.
    pub recorded_at: OffsetDateTime,
}

fn read_badge(row: &Row<'_>) -> rusqlite::Result<BadgeRow> {
    Ok(BadgeRow {
        version: row.parse("version")?,
        source: row.get("source")?,
        document: row.get("document")?,
        recorded_at: row.time("recorded_at")?,
    })
}

/// Keeps a record in place of the one that the same source gave before.
pub(crate) fn put(
    tx: &Connection,
    package: &PackageName,
    version: &Version,
    source: &str,
    document: &str,
) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO version_badge VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO UPDATE SET \
         document = excluded.document, recorded_at = excluded.recorded_at",
        params![
            Text(&package.publisher),
            Text(&package.name),
            Text(version),
            source,
            document,
            Time::now()
        ],
    )?;
    Ok(())
}

impl Store {
    /// Keeps a record of a version that exists, in place of the one that `source` gave before.
    pub async fn put_badge(
        &self,
        package: PackageName,
        version: Version,
        source: &'static str,
        document: String,
    ) -> Result<(), StoreError> {
        self.write(move |tx, _| {
            if find_version(tx, &package, &version)?.is_none() {
                return Err(version_not_found(&package, &version));
            }
            put(tx, &package, &version, source, &document)
        })
        .await
    }

    /// The records of a package's versions, of one or of all.
    pub async fn badges(
        &self,
        package: PackageName,
        version: Option<Version>,
    ) -> Result<Vec<BadgeRow>, StoreError> {
        self.read(move |db, _| {
            let sql = "SELECT * FROM version_badge WHERE publisher = ?1 AND package = ?2 \
                       AND (?3 IS NULL OR version = ?3) ORDER BY version, source";
            let key = params![
                Text(&package.publisher),
                Text(&package.name),
                version.map(|version| version.to_string())
            ];
            all(db, sql, key, read_badge)
        })
        .await
    }
}
