//! What a snapshot says: which files there were, and of which chunks each is made.
//!
//! On disk it is two lines: the snapshot as JSON, and the blake3 digest of that line.

use canopy_ids::{InstallationId, Label, SnapshotId, TenantId};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::ArchiveError;

/// The newest format of snapshots that is known.
pub(crate) const FORMAT: u64 = 1;

/// Pages of databases change one by one, so these are cut small; the cuts fall between pages.
pub(crate) const DATABASE_CHUNK: u64 = 64 << 10;
/// Everything else changes whole.
pub(crate) const CHUNK: u64 = 1 << 20;

/// A thing with the name that it had then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named<Id> {
    /// Its identifier.
    pub id: Id,
    /// Its name at the time of the backup.
    pub name: Label,
}

/// Of what a backup is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum BackupScope {
    /// The whole node: control plane, components, and every tenant.
    Node,
    /// One tenant with all its installations.
    Tenant {
        /// Which.
        tenant: Named<TenantId>,
    },
    /// One installation.
    Installation {
        /// Whose.
        tenant: Named<TenantId>,
        /// Which.
        installation: Named<InstallationId>,
    },
}

impl BackupScope {
    /// Whether a backup of this scope has the data of `tenant`, or of one of its installations.
    pub fn covers(&self, tenant: TenantId, installation: Option<InstallationId>) -> bool {
        match self {
            Self::Node => true,
            Self::Tenant { tenant: own } => own.id == tenant,
            Self::Installation {
                tenant: own,
                installation: one,
            } => own.id == tenant && installation == Some(one.id),
        }
    }
}

impl std::fmt::Display for BackupScope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Node => f.write_str("node"),
            Self::Tenant { tenant } => write!(f, "tenant {}", tenant.name),
            Self::Installation {
                tenant,
                installation,
            } => write!(f, "installation {}/{}", tenant.name, installation.name),
        }
    }
}

/// One file of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Where it belongs, below the data folder.
    pub path: String,
    /// Its bytes.
    pub size: u64,
    /// Bytes of each chunk but the last.
    pub cut: u64,
    /// The blake3 digests of its chunks, in hexadecimal digits.
    pub chunks: Vec<String>,
}

/// What was stored at one point in time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The format of this description.
    pub format: u64,
    /// Its identifier; later snapshots have greater ones.
    pub id: SnapshotId,
    /// Of what it is.
    pub scope: BackupScope,
    /// When the backup began. What was written later may or may not be in it.
    #[serde(with = "time::serde::rfc3339")]
    pub taken_at: OffsetDateTime,
    /// When it was complete.
    #[serde(with = "time::serde::rfc3339")]
    pub finished_at: OffsetDateTime,
    /// The version of the platform that made it.
    pub made_by: String,
    /// Bytes of all files.
    pub bytes: u64,
    /// Bytes that had to be written for it.
    pub new_bytes: u64,
    /// Bytes that were in the repository already.
    pub shared_bytes: u64,
    /// The files, in the order of their paths.
    pub files: Vec<FileEntry>,
}

#[derive(Serialize, Deserialize)]
struct Trailer {
    blake3: String,
}

/// What must be readable of every format, newer ones as well.
#[derive(Deserialize)]
struct Head {
    format: u64,
}

impl Snapshot {
    /// Its form on disk.
    pub(crate) fn encode(&self) -> Result<Vec<u8>, ArchiveError> {
        let broken = |error: serde_json::Error| {
            ArchiveError::damaged(format!("snapshot {}", self.id), error.to_string())
        };
        let mut bytes = serde_json::to_vec(self).map_err(broken)?;
        let blake3 = blake3::hash(&bytes).to_hex().to_string();
        bytes.push(b'\n');
        bytes.extend(serde_json::to_vec(&Trailer { blake3 }).map_err(broken)?);
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// Reads its form on disk, from the file called `place`.
    pub(crate) fn decode(bytes: &[u8], place: &str) -> Result<Self, ArchiveError> {
        let damaged = |what: &str| ArchiveError::damaged(place, what);
        let mut lines = bytes.split(|byte| *byte == b'\n');
        let (Some(body), Some(trailer), Some(b""), None) =
            (lines.next(), lines.next(), lines.next(), lines.next())
        else {
            return Err(damaged("it is not two lines"));
        };
        let trailer: Trailer =
            serde_json::from_slice(trailer).map_err(|_| damaged("its second line is no digest"))?;
        if blake3::hash(body).to_hex().as_str() != trailer.blake3 {
            return Err(damaged("its digest is another"));
        }
        let head: Head =
            serde_json::from_slice(body).map_err(|_| damaged("it does not say its format"))?;
        if head.format > FORMAT {
            return Err(ArchiveError::TooNew {
                what: place.into(),
                found: head.format,
                known: FORMAT,
            });
        }
        let snapshot: Self =
            serde_json::from_slice(body).map_err(|error| damaged(&error.to_string()))?;
        for file in &snapshot.files {
            file.validate().map_err(|what| damaged(&what))?;
        }
        Ok(snapshot)
    }

    /// The files below `prefix`, with their paths below it.
    pub fn below<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a FileEntry)> {
        self.files
            .iter()
            .filter_map(move |file| Some((file.path.strip_prefix(prefix)?, file)))
    }
}

impl FileEntry {
    /// Bytes of the chunk with this index.
    pub(crate) fn chunk_size(&self, index: usize) -> u64 {
        let start = self.cut.saturating_mul(index as u64);
        self.cut.min(self.size.saturating_sub(start))
    }

    fn validate(&self) -> Result<(), String> {
        let Self {
            path,
            size,
            cut,
            chunks,
        } = self;
        if crate::disk::relative_path(path).is_none() {
            return Err(format!("{path:?} is no path below the data folder"));
        }
        if !matches!(*cut, DATABASE_CHUNK | CHUNK) || size.div_ceil(*cut) != chunks.len() as u64 {
            return Err(format!(
                "the chunks of {path} do not make up its {size} bytes"
            ));
        }
        match chunks
            .iter()
            .find(|chunk| blake3::Hash::from_hex(chunk).is_err())
        {
            Some(chunk) => Err(format!("{chunk:?} in {path} is no digest")),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn snapshot() -> Snapshot {
        let now = OffsetDateTime::now_utc();
        Snapshot {
            format: FORMAT,
            id: SnapshotId::new(),
            scope: BackupScope::Node,
            taken_at: now,
            finished_at: now,
            made_by: "0.1.0".into(),
            bytes: 3,
            new_bytes: 3,
            shared_bytes: 0,
            files: vec![FileEntry {
                path: "a/b".into(),
                size: 3,
                cut: CHUNK,
                chunks: vec![blake3::hash(b"abc").to_hex().to_string()],
            }],
        }
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let bytes = snapshot().encode().expect("encoded");
        assert_eq!(
            Snapshot::decode(&bytes, "s").expect("decoded").files.len(),
            1
        );
        for index in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[index] ^= 1;
            assert!(Snapshot::decode(&damaged, "s").is_err(), "byte {index}");
        }
    }

    #[test]
    fn a_newer_format_is_told_from_damage() {
        let mut newer = snapshot();
        newer.format = FORMAT + 1;
        let refused = Snapshot::decode(&newer.encode().expect("encoded"), "s");
        assert!(matches!(refused, Err(ArchiveError::TooNew { found, .. }) if found == FORMAT + 1));
    }

    #[test]
    fn a_path_that_leads_elsewhere_is_refused() {
        for path in ["/etc/passwd", "../x", "a/../../x"] {
            let mut hostile = snapshot();
            hostile.files[0].path = path.into();
            let refused = Snapshot::decode(&hostile.encode().expect("encoded"), "s");
            assert!(
                matches!(refused, Err(ArchiveError::Damaged { .. })),
                "{path}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = Snapshot::decode(&bytes, "s");
        }
    }
}
