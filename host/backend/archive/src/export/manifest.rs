//! What an archive says about itself.

use canopy_ids::{Digest, Label, PackageName, TenantId};
use semver::Version;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::ArchiveError;

/// A file of an archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchivedFile {
    /// Its path in the archive.
    pub path: String,
    /// Its bytes.
    pub size: u64,
    /// The SHA-256 of its content.
    pub sha256: Digest,
}

/// A version of a package that the tenant uses. Packages themselves are not in the archive.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PackageUsed {
    /// The package.
    pub package: PackageName,
    /// The version.
    pub version: Version,
    /// The digest of its component.
    pub digest: Digest,
}

/// What an archive says about itself; the first file in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportManifest {
    /// `canopy-export`.
    pub kind: String,
    /// The format of the archive.
    pub format: u64,
    /// The version of the platform that made it.
    pub made_by: String,
    /// When the export began.
    #[serde(with = "time::serde::rfc3339")]
    pub exported_at: OffsetDateTime,
    /// The tenant's identifier where it comes from.
    pub tenant_id: TenantId,
    /// The tenant's name where it comes from.
    pub tenant: Label,
    /// The packages that must be published where it is imported.
    pub packages: Vec<PackageUsed>,
    /// Every other file of the archive, in its order.
    pub files: Vec<ArchivedFile>,
}

#[derive(Deserialize)]
struct Head {
    kind: String,
    format: u64,
}

impl ExportManifest {
    /// What `kind` says.
    pub const KIND: &'static str = "canopy-export";
    /// The newest format that is known.
    pub const FORMAT: u64 = 1;

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, ArchiveError> {
        let damaged = |what: String| ArchiveError::damaged(super::MANIFEST, what);
        let head: Head =
            serde_json::from_slice(bytes).map_err(|error| damaged(error.to_string()))?;
        if head.kind != Self::KIND {
            return Err(damaged(format!("it is of kind {:?}", head.kind)));
        }
        if head.format > Self::FORMAT {
            return Err(ArchiveError::TooNew {
                what: "the archive".into(),
                found: head.format,
                known: Self::FORMAT,
            });
        }
        let manifest: Self =
            serde_json::from_slice(bytes).map_err(|error| damaged(error.to_string()))?;
        let mut seen = std::collections::HashSet::new();
        for file in &manifest.files {
            if crate::disk::relative_path(&file.path).is_none() || file.path == super::MANIFEST {
                return Err(damaged(format!("{:?} is no path of a file", file.path)));
            }
            if !seen.insert(file.path.as_str()) {
                return Err(damaged(format!("{} is named twice", file.path)));
            }
        }
        Ok(manifest)
    }
}
