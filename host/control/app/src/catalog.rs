//! Versions with their manifests parsed, kept in memory as long as there is room.

use std::collections::HashMap;
use std::sync::Arc;

use canopy_ids::{Digest, Import, InterfaceName, PackageName};
use canopy_manifest::{Kind, Manifest};
use canopy_store::{Store, VersionRow};
use parking_lot::Mutex;
use semver::Version;
use time::OffsetDateTime;

use crate::AppError;

/// Parsed manifests that are kept; beyond that all are dropped and those in use come back.
const KEPT: usize = 512;

/// A version, understood.
#[derive(Debug)]
pub(crate) struct Release {
    pub(crate) package: PackageName,
    pub(crate) version: Version,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    pub(crate) manifest: Manifest,
    pub(crate) imports: Vec<Import>,
    pub(crate) exports: Vec<InterfaceName>,
    pub(crate) published_at: OffsetDateTime,
}

impl Release {
    fn new(row: VersionRow) -> Result<Self, AppError> {
        let manifest = Manifest::parse(&row.manifest).map_err(|error| {
            let (package, version) = (&row.package, &row.version);
            AppError::Internal(format!(
                "the stored manifest of {package} {version}: {error}"
            ))
        })?;
        Ok(Self {
            package: row.package,
            version: row.version,
            digest: row.digest,
            size: row.size,
            manifest,
            imports: row.imports,
            exports: row.exports,
            published_at: row.published_at,
        })
    }

    /// Refuses a package of the other kind.
    pub(crate) fn must_be(&self, kind: Kind, needed: &'static str) -> Result<(), AppError> {
        if self.manifest.kind == kind {
            Ok(())
        } else {
            let package = self.package.clone();
            Err(AppError::OtherKind {
                package,
                kind: self.manifest.kind,
                needed,
            })
        }
    }
}

pub(crate) struct Catalog {
    store: Store,
    releases: Mutex<HashMap<(PackageName, Version), Arc<Release>>>,
}

impl Catalog {
    pub(crate) fn new(store: Store) -> Self {
        Self {
            store,
            releases: Mutex::default(),
        }
    }

    /// One version.
    pub(crate) async fn release(
        &self,
        package: &PackageName,
        version: &Version,
    ) -> Result<Arc<Release>, AppError> {
        let key = (package.clone(), version.clone());
        if let Some(release) = self.releases.lock().get(&key) {
            return Ok(Arc::clone(release));
        }
        self.admit(self.store.version(key.0, key.1).await?)
    }

    /// The version to run where none was named: the newest.
    pub(crate) async fn latest(&self, package: &PackageName) -> Result<Arc<Release>, AppError> {
        let row = self.store.package(package.clone()).await?;
        self.release(package, &row.latest_version).await
    }

    /// Understands a version that was read already.
    pub(crate) fn admit(&self, row: VersionRow) -> Result<Arc<Release>, AppError> {
        let key = (row.package.clone(), row.version.clone());
        if let Some(release) = self.releases.lock().get(&key) {
            return Ok(Arc::clone(release));
        }
        let release = Arc::new(Release::new(row)?);
        let mut releases = self.releases.lock();
        if releases.len() >= KEPT {
            releases.clear();
        }
        releases.insert(key, Arc::clone(&release));
        Ok(release)
    }
}
