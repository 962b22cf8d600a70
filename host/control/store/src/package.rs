//! Packages and their versions.

use std::collections::BTreeMap;

use canopy_ids::{Digest, Import, InterfaceName, Label, PackageName, WitPackage};
use canopy_manifest::Kind;
use rusqlite::types::{FromSql, FromSqlError};
use rusqlite::{Connection, Row, params};
use semver::Version;
use time::OffsetDateTime;

use crate::sql::{Json, Number, RowExt, Text, Time, all, fetch, next_revision, one, page};
use crate::{PageRequest, Rows, ScheduleDefinition, Store, StoreError, badge, publisher, schedule};

/// A package, described as its newest version describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackageRow {
    /// Its name.
    pub name: PackageName,
    /// What it is for.
    pub kind: Kind,
    /// What people call it.
    pub title: String,
    /// One sentence about it.
    pub summary: String,
    /// Where a catalogue lists it.
    pub categories: Vec<String>,
    /// The greatest version, a pre-release only where there is nothing else.
    pub latest_version: Version,
    /// When its first version was published.
    pub created_at: OffsetDateTime,
    /// When its last version was published.
    pub updated_at: OffsetDateTime,
    /// Of the last change.
    pub revision: u64,
}

/// A version of a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionRow {
    /// The package.
    pub package: PackageName,
    /// The version.
    pub version: Version,
    /// The digest of the component.
    pub digest: Digest,
    /// The component's size in bytes.
    pub size: u64,
    /// The manifest as it was uploaded.
    pub manifest: String,
    /// What the component imports.
    pub imports: Vec<Import>,
    /// What the component exports.
    pub exports: Vec<InterfaceName>,
    /// When it was published.
    pub published_at: OffsetDateTime,
    /// The revision with which it was published.
    pub sequence: u64,
}

/// A version to publish.
#[derive(Debug, Clone)]
pub struct NewVersion {
    /// The package.
    pub package: PackageName,
    /// The version.
    pub version: Version,
    /// What the package is for.
    pub kind: Kind,
    /// What people call it.
    pub title: String,
    /// One sentence about it.
    pub summary: String,
    /// Where a catalogue lists it.
    pub categories: Vec<String>,
    /// The digest of the component.
    pub digest: Digest,
    /// The component's size in bytes.
    pub size: u64,
    /// The manifest as it was uploaded.
    pub manifest: String,
    /// The migrations that it names, by file.
    pub migrations: BTreeMap<String, String>,
    /// What the component imports.
    pub imports: Vec<Import>,
    /// What the component exports.
    pub exports: Vec<InterfaceName>,
    /// What it serves to applications.
    pub serves: Vec<InterfaceName>,
    /// The calls that it asks to get at certain times.
    pub schedules: Vec<ScheduleDefinition>,
    /// What came of its tests, and who says so.
    pub badge: Option<(&'static str, String)>,
}

/// What publishing came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Published {
    /// The version is new.
    New(VersionRow),
    /// The same version with the same content was there already.
    Identical(VersionRow),
}

/// Which packages to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PackageFilter {
    /// Of this kind only.
    pub kind: Option<Kind>,
    /// Of this publisher only.
    pub publisher: Option<Label>,
}

struct KindColumn(Kind);

impl FromSql for KindColumn {
    fn column_result(value: rusqlite::types::ValueRef<'_>) -> rusqlite::types::FromSqlResult<Self> {
        value
            .as_str()?
            .parse()
            .map(KindColumn)
            .map_err(|error: &str| {
                FromSqlError::other(std::io::Error::other(format!(
                    "the kind of a package {error}"
                )))
            })
    }
}

fn read_package(row: &Row<'_>) -> rusqlite::Result<PackageRow> {
    Ok(PackageRow {
        name: PackageName {
            publisher: row.parse("publisher")?,
            name: row.parse("name")?,
        },
        kind: row.get::<_, KindColumn>("kind")?.0,
        title: row.get("title")?,
        summary: row.get("summary")?,
        categories: row.json("categories")?,
        latest_version: row.parse("latest_version")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
        revision: row.number("revision")?,
    })
}

fn read_version(row: &Row<'_>) -> rusqlite::Result<VersionRow> {
    Ok(VersionRow {
        package: PackageName {
            publisher: row.parse("publisher")?,
            name: row.parse("package")?,
        },
        version: row.parse("version")?,
        digest: Digest::from_bytes(row.get("digest")?),
        size: row.number("size")?,
        manifest: row.get("manifest")?,
        imports: row.json("imports")?,
        exports: row.json("exports")?,
        published_at: row.time("published_at")?,
        sequence: row.number("sequence")?,
    })
}

fn find_package(db: &Connection, name: &PackageName) -> Result<Option<PackageRow>, StoreError> {
    let sql = "SELECT * FROM package WHERE publisher = ?1 AND name = ?2";
    one(
        db,
        sql,
        params![Text(&name.publisher), Text(&name.name)],
        read_package,
    )
}

pub(crate) fn find_version(
    db: &Connection,
    package: &PackageName,
    version: &Version,
) -> Result<Option<VersionRow>, StoreError> {
    let sql = "SELECT * FROM version WHERE publisher = ?1 AND package = ?2 AND version = ?3";
    let key = params![Text(&package.publisher), Text(&package.name), Text(version)];
    one(db, sql, key, read_version)
}

/// Every version that some installation or driver instance runs or may return to.
pub(crate) fn versions_in_use(db: &Connection) -> Result<Vec<VersionRow>, StoreError> {
    let sql = "SELECT version.* FROM version WHERE EXISTS (SELECT 1 FROM installation AS i WHERE \
               i.publisher = version.publisher AND i.package = version.package AND \
               i.version = version.version) OR EXISTS (SELECT 1 FROM driver AS d WHERE \
               d.publisher = version.publisher AND d.package = version.package AND \
               d.version = version.version)";
    all(db, sql, [], read_version)
}

impl Store {
    /// Publishes a version. The first content of a version is its only one: of several that are
    /// published at once one wins, and the others learn of it.
    pub async fn publish(&self, new: NewVersion) -> Result<Published, StoreError> {
        self.write(move |tx, _| {
            let name = &new.package;
            if publisher::find(tx, &name.publisher)?.is_none() {
                return Err(publisher::not_found(&name.publisher));
            }
            let package = find_package(tx, name)?;
            if let Some(old) = find_version(tx, name, &new.version)? {
                let same = old.digest == new.digest
                    && old.manifest == new.manifest
                    && find_migrations(tx, name, &new.version)? == new.migrations;
                if !same {
                    return Err(StoreError::VersionExists {
                        package: new.package.clone(),
                        version: new.version.clone(),
                        digest: old.digest,
                    });
                }
                keep_badge(tx, &new)?;
                return Ok(Published::Identical(old));
            }
            if let Some(package) = &package
                && package.kind != new.kind
            {
                let package = package.clone();
                return Err(StoreError::KindDiffers {
                    package: package.name,
                    kind: package.kind,
                });
            }
            insert(tx, &new, package.as_ref())?;
            keep_badge(tx, &new)?;
            find_version(tx, name, &new.version)?
                .map(Published::New)
                .ok_or_else(|| version_not_found(name, &new.version))
        })
        .await
    }

    /// The migrations of a version by file.
    pub async fn migrations(
        &self,
        package: PackageName,
        version: Version,
    ) -> Result<BTreeMap<String, String>, StoreError> {
        self.read(move |db, _| find_migrations(db, &package, &version))
            .await
    }

    /// One package.
    pub async fn package(&self, name: PackageName) -> Result<PackageRow, StoreError> {
        self.read(move |db, _| {
            find_package(db, &name)?.ok_or_else(|| StoreError::NotFound {
                noun: "package",
                name: name.to_string(),
            })
        })
        .await
    }

    /// Packages by name.
    pub async fn packages(
        &self,
        filter: PackageFilter,
        request: PageRequest,
    ) -> Result<Rows<PackageRow>, StoreError> {
        self.read(move |db, _| {
            let after = match &request.cursor {
                Some(cursor) => cursor.split_once('/').ok_or(StoreError::InvalidCursor)?,
                None => ("", ""),
            };
            let sql = "SELECT * FROM package WHERE (publisher, name) > (?1, ?2) \
                       AND (?3 IS NULL OR kind = ?3) AND (?4 IS NULL OR publisher = ?4) \
                       ORDER BY publisher, name LIMIT ?5";
            let kind = filter.kind.map(Kind::as_str);
            let publisher = filter.publisher.as_ref().map(Label::as_str);
            let parameters = params![after.0, after.1, kind, publisher, fetch(&request)];
            let rows = all(db, sql, parameters, read_package)?;
            Ok(page(rows, &request, |row| row.name.to_string()))
        })
        .await
    }

    /// One version.
    pub async fn version(
        &self,
        package: PackageName,
        version: Version,
    ) -> Result<VersionRow, StoreError> {
        self.read(move |db, _| {
            find_version(db, &package, &version)?
                .ok_or_else(|| version_not_found(&package, &version))
        })
        .await
    }

    /// Versions of a package, the last published first.
    pub async fn versions(
        &self,
        package: PackageName,
        request: PageRequest,
    ) -> Result<Rows<VersionRow>, StoreError> {
        self.read(move |db, _| {
            let before = match &request.cursor {
                Some(cursor) => cursor.parse().map_err(|_| StoreError::InvalidCursor)?,
                None => i64::MAX,
            };
            if find_package(db, &package)?.is_none() {
                return Err(StoreError::NotFound {
                    noun: "package",
                    name: package.to_string(),
                });
            }
            let sql = "SELECT * FROM version WHERE publisher = ?1 AND package = ?2 \
                       AND sequence < ?3 ORDER BY sequence DESC LIMIT ?4";
            let (publisher, name) = (Text(&package.publisher), Text(&package.name));
            let rows = all(
                db,
                sql,
                params![publisher, name, before, fetch(&request)],
                read_version,
            )?;
            Ok(page(rows, &request, |row| row.sequence.to_string()))
        })
        .await
    }

    /// Which published drivers serve interfaces of `wit_package`, `None`: of any.
    pub async fn serving(
        &self,
        wit_package: Option<WitPackage>,
    ) -> Result<Vec<(InterfaceName, PackageName)>, StoreError> {
        self.read(move |db, _| {
            let sql = "SELECT DISTINCT interface, publisher, package FROM served \
                       WHERE ?1 IS NULL OR wit_package = ?1 ORDER BY interface, publisher, package";
            all(
                db,
                sql,
                [wit_package.map(|package| package.to_string())],
                |row| {
                    let publisher = row.parse("publisher")?;
                    let package = PackageName {
                        publisher,
                        name: row.parse("package")?,
                    };
                    Ok((row.parse("interface")?, package))
                },
            )
        })
        .await
    }

    /// The digests of all published components.
    pub async fn digests(&self) -> Result<Vec<Digest>, StoreError> {
        self.read(|db, _| {
            all(db, "SELECT DISTINCT digest FROM version", [], |row| {
                Ok(Digest::from_bytes(row.get(0)?))
            })
        })
        .await
    }
}

fn keep_badge(tx: &Connection, new: &NewVersion) -> Result<(), StoreError> {
    match &new.badge {
        Some((source, document)) => badge::put(tx, &new.package, &new.version, source, document),
        None => Ok(()),
    }
}

fn find_migrations(
    db: &Connection,
    package: &PackageName,
    version: &Version,
) -> Result<BTreeMap<String, String>, StoreError> {
    let sql = "SELECT path, text FROM version_migration \
               WHERE publisher = ?1 AND package = ?2 AND version = ?3";
    let key = params![Text(&package.publisher), Text(&package.name), Text(version)];
    let rows = all(db, sql, key, |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.into_iter().collect())
}

fn insert(
    tx: &Connection,
    new: &NewVersion,
    package: Option<&PackageRow>,
) -> Result<(), StoreError> {
    let revision = Number(next_revision(tx)?);
    let now = Time::now();
    let (publisher, name) = (Text(&new.package.publisher), Text(&new.package.name));
    let is_latest = package.is_none_or(|old| is_newer(&new.version, &old.latest_version));
    tx.execute(
        "INSERT INTO package VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8, ?9) \
         ON CONFLICT DO UPDATE SET updated_at = excluded.updated_at, revision = excluded.revision",
        params![
            publisher,
            name,
            new.kind.as_str(),
            new.title,
            new.summary,
            Json(&new.categories),
            Text(&new.version),
            now,
            revision
        ],
    )?;
    if is_latest {
        tx.execute(
            "UPDATE package SET title = ?3, summary = ?4, categories = ?5, latest_version = ?6 \
             WHERE publisher = ?1 AND name = ?2",
            params![
                publisher,
                name,
                new.title,
                new.summary,
                Json(&new.categories),
                Text(&new.version)
            ],
        )?;
    }
    tx.execute(
        "INSERT INTO version VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        params![
            publisher,
            name,
            Text(&new.version),
            new.digest.as_bytes(),
            Number(new.size),
            new.manifest,
            Json(&new.imports),
            Json(&new.exports),
            now,
            revision
        ],
    )?;
    for (path, text) in &new.migrations {
        tx.execute(
            "INSERT INTO version_migration VALUES (?1, ?2, ?3, ?4, ?5)",
            params![publisher, name, Text(&new.version), path, text],
        )?;
    }
    schedule::publish(tx, &new.package, &new.version, &new.schedules)?;
    for interface in &new.serves {
        tx.execute(
            "INSERT INTO served VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
            params![Text(&interface.package), Text(interface), publisher, name],
        )?;
    }
    Ok(())
}

/// Whether `version` is what people mean by the newest, rather than `other`: a release before any
/// pre-release, then the greater by semver.
fn is_newer(version: &Version, other: &Version) -> bool {
    (version.pre.is_empty(), version) > (other.pre.is_empty(), other)
}

pub(crate) fn version_not_found(package: &PackageName, version: &Version) -> StoreError {
    StoreError::NotFound {
        noun: "version",
        name: format!("{package} {version}"),
    }
}
