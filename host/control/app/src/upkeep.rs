//! What the upkeep of a node needs to know: folders, limits, and how it can end.
//!
//! Upkeep is what operators do beside the way of a request: backups, exports, imports, erasures,
//! checks and the rotation of keys.

use std::path::{Path, PathBuf};
use std::time::Duration;

use canopy_backend::StorageError;
use canopy_backend_archive::export::PackageUsed;
use canopy_backend_archive::{ArchiveError, Keep};
use canopy_backend_keys::KeyError;
use canopy_ids::Label;
use canopy_manifest::Timetable;

/// Limits of upkeep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpkeepSettings {
    /// Where backups go if a request names no other place. Default: nowhere.
    pub backup_dir: Option<PathBuf>,
    /// Folders below which a request may name a place for backups. Default: none.
    pub backup_roots: Vec<PathBuf>,
    /// Which snapshots pruning keeps where a request does not say. Default: the newest 7, and those
    /// of 14 days, 8 weeks and 12 months.
    pub keep: Keep,
    /// Backups of the node that come by themselves. Default: none.
    pub planned_backups: Option<PlannedBackups>,
    /// How long an export waits to be fetched. Default 24 hours.
    pub export_kept: Duration,
    /// How long an import may take to arrive. Default 24 hours.
    pub import_kept: Duration,
    /// Bytes of an archive that is imported. Default 256 GiB.
    pub import_bytes: u64,
    /// How long an erased tenant can be brought back. Default 7 days.
    pub tombstone: Duration,
    /// How long finished jobs are listed. Default 30 days.
    pub jobs_kept: Duration,
}

/// Backups of the node that come by a timetable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedBackups {
    /// When.
    pub timetable: Timetable,
    /// Where they go.
    pub repository: PathBuf,
    /// Whether each is followed by a pruning by [`UpkeepSettings::keep`].
    pub prune: bool,
}

impl Default for UpkeepSettings {
    fn default() -> Self {
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        Self {
            backup_dir: None,
            backup_roots: Vec::new(),
            keep: Keep {
                last: 7,
                daily: 14,
                weekly: 8,
                monthly: 12,
            },
            planned_backups: None,
            export_kept: DAY,
            import_kept: DAY,
            import_bytes: 256 << 30,
            tombstone: 7 * DAY,
            jobs_kept: 30 * DAY,
        }
    }
}

/// The folders of a node, as far as upkeep touches them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folders {
    /// Of the control plane's database.
    pub control: PathBuf,
    /// Of published components.
    pub components: PathBuf,
    /// Of what installations store, a folder for each tenant.
    pub storage: PathBuf,
    /// Of archives that wait to be fetched, or are being sent.
    pub archives: PathBuf,
    /// Of jobs that are under way; emptied at the start.
    pub work: PathBuf,
}

impl Folders {
    pub(crate) fn archive(&self, id: impl std::fmt::Display) -> PathBuf {
        self.archives.join(format!("{id}.tar"))
    }
}

/// Why upkeep did not take place. Nothing half-done is left.
#[derive(Debug, thiserror::Error)]
pub enum UpkeepError {
    /// The repository, the archive or a file of theirs.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The storage of an installation.
    #[error("{what}: {error}")]
    Storage {
        /// What was done, and to whose storage.
        what: String,
        /// What happened.
        error: StorageError,
    },
    /// The keys.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// No place for backups is set, and none was named.
    #[error(
        "there is no place for backups: set `backup.dir`, or name a repository below one of \
         `backup.roots`"
    )]
    NoRepository,
    /// The place that was named is not one that may be.
    #[error(
        "the repository {} is not below one of the folders that `backup.roots` allows", path.display()
    )]
    RepositoryOutside {
        /// What was named.
        path: PathBuf,
    },
    /// No snapshot has what is to be restored.
    #[error("no snapshot taken up to then has {what}")]
    NothingToRestore {
        /// What was to be restored.
        what: String,
    },
    /// Pruning would remove everything.
    #[error("a policy that keeps no snapshot at all is refused; keep at least one")]
    KeepsNothing,
    /// The name was not repeated.
    #[error("erasing `{name}` needs its name once more as `confirm`; `{confirm}` was sent")]
    NotConfirmed {
        /// The tenant's name.
        name: Label,
        /// What was sent.
        confirm: Label,
    },
    /// The archive is longer than an archive may be.
    #[error("an archive of {size} bytes is over the limit of {limit} (`import.size`)")]
    ArchiveTooLarge {
        /// Its bytes.
        size: u64,
        /// The limit.
        limit: u64,
    },
    /// The bytes do not follow those that are here.
    #[error("{received} bytes are here; send what follows, with `offset={received}`")]
    WrongOffset {
        /// How many are here.
        received: u64,
    },
    /// More was sent than announced.
    #[error("the archive was announced with {size} bytes, and more were sent")]
    TooMuch {
        /// What was announced.
        size: u64,
    },
    /// The archive has not arrived whole.
    #[error("only {received} of {size} bytes are here; send the rest first")]
    Incomplete {
        /// How many are here.
        received: u64,
        /// How many there will be.
        size: u64,
    },
    /// A tenant has the name.
    #[error("there is a tenant `{name}` already; import under another name")]
    NameTaken {
        /// The name.
        name: Label,
    },
    /// Packages that the tenant uses are not published here.
    #[error("these packages must be published here first, with the same content: {}", list(.0))]
    PackagesMissing(Vec<PackageUsed>),
    /// It was taken back.
    #[error("cancelled")]
    Cancelled,
}

impl UpkeepError {
    /// A code that stays the same across versions.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Archive(error) => match error {
                ArchiveError::Foreign { .. } => "foreign-repository",
                ArchiveError::TooNew { .. } => "newer-format",
                ArchiveError::Damaged { .. } => "damaged",
                ArchiveError::InUse { .. } => "repository-in-use",
                ArchiveError::NoSnapshot(_) => "no-such-snapshot",
                ArchiveError::NoSpace { .. } => "disk-full",
                ArchiveError::Cancelled => "cancelled",
                _ => "internal",
            },
            Self::Storage { error, .. } => match error {
                StorageError::NoSpace => "disk-full",
                StorageError::QuotaExceeded { .. } => "quota-exceeded",
                StorageError::Busy(_) => "busy",
                _ => "internal",
            },
            Self::Key(_) => "key-refused",
            Self::NoRepository => "no-repository",
            Self::RepositoryOutside { .. } => "repository-outside",
            Self::NothingToRestore { .. } => "nothing-to-restore",
            Self::KeepsNothing => "keeps-nothing",
            Self::NotConfirmed { .. } => "not-confirmed",
            Self::ArchiveTooLarge { .. } => "archive-too-large",
            Self::WrongOffset { .. } => "wrong-offset",
            Self::TooMuch { .. } => "too-much-sent",
            Self::Incomplete { .. } => "incomplete",
            Self::NameTaken { .. } => "name-taken",
            Self::PackagesMissing(_) => "packages-missing",
            Self::Cancelled => "cancelled",
        }
    }

    /// What `error` means for a piece of work on somebody's storage.
    pub(crate) fn storage(what: impl Into<String>) -> impl FnOnce(StorageError) -> Self {
        let what = what.into();
        |error| Self::Storage { what, error }
    }

    /// Whether the work was taken back.
    pub(crate) fn is_cancelled(&self) -> bool {
        matches!(
            self,
            Self::Cancelled | Self::Archive(ArchiveError::Cancelled)
        )
    }
}

fn list(packages: &[PackageUsed]) -> String {
    packages
        .iter()
        .map(|used| format!("`{}@{}` ({})", used.package, used.version, used.digest))
        .collect::<Vec<_>>()
        .join(", ")
}

/// The repository that a request means.
pub(crate) fn repository(
    asked: Option<&str>,
    settings: &UpkeepSettings,
) -> Result<PathBuf, UpkeepError> {
    let Some(asked) = asked else {
        return settings.backup_dir.clone().ok_or(UpkeepError::NoRepository);
    };
    let path = Path::new(asked);
    let outside = || UpkeepError::RepositoryOutside {
        path: path.to_owned(),
    };
    if settings.backup_dir.as_deref() == Some(path) {
        return Ok(path.to_owned());
    }
    // The folder itself may not exist yet, but the one that it is made in must, and links are
    // followed before it is compared with what is allowed.
    let (parent, name) = (path.parent(), path.file_name());
    let (Some(parent), Some(name)) = (parent, name) else {
        return Err(outside());
    };
    let parent = parent.canonicalize().map_err(|_| outside())?;
    let place = parent.join(name);
    let place = place.canonicalize().unwrap_or(place);
    let allowed = settings.backup_roots.iter().any(|root| {
        let root = root.canonicalize();
        root.is_ok_and(|root| place.starts_with(root))
    });
    if allowed { Ok(place) } else { Err(outside()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_is_where_the_operator_allows_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().join("allowed");
        std::fs::create_dir(&root).expect("made");
        std::os::unix::fs::symlink(folder.path(), root.join("out")).expect("a link");
        let mut settings = UpkeepSettings::default();
        assert!(matches!(
            repository(None, &settings),
            Err(UpkeepError::NoRepository)
        ));
        settings.backup_roots = vec![root.clone()];
        let ask = |path: &Path| repository(path.to_str(), &settings);
        assert!(ask(&root.join("new")).is_ok());
        for outside in [
            folder.path().join("other"),
            root.join("../other"),
            root.join("out/other"),
            root.join("out"),
            PathBuf::from("/"),
            PathBuf::from("relative"),
        ] {
            assert!(
                matches!(ask(&outside), Err(UpkeepError::RepositoryOutside { .. })),
                "{outside:?}"
            );
        }
    }
}
