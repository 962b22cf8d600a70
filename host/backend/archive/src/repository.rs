//! A folder of backups: opening it, listing its snapshots, checking and pruning it.
//!
//! ```text
//! repository.json   what it is, and in which format
//! lock              held by whoever writes or removes, and shared by whoever reads
//! chunks/ab/abcd…   pieces of files, each named by the blake3 digest of its bytes
//! snapshots/snp_…   what was stored at one point in time; written last, whole
//! ```

use std::collections::{HashMap, HashSet};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use blake3::Hash;
use canopy_backend::Finding;
use canopy_ids::{InstallationId, SnapshotId, TenantId};
use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::chunks::{ChunkWriter, Chunks, Swept};
use crate::keep::{Keep, keep};
use crate::snapshot::{FileEntry, Snapshot};
use crate::{ArchiveError, Progress, disk};

const DESCRIPTION: &str = "repository.json";
const KIND: &str = "canopy-backup";
const FORMAT: u64 = 1;

#[derive(Serialize, Deserialize)]
struct Description {
    kind: String,
    format: u64,
}

/// What a repository is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Others may read at the same time.
    Read,
    /// Nobody else may read or write. It is made if it does not exist.
    Write,
}

/// A folder of backups, locked as long as this exists.
#[derive(Debug)]
pub struct Repository {
    root: PathBuf,
    chunks: Chunks,
    _lock: File,
}

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// Snapshots that were read.
    pub snapshots: u64,
    /// Chunks that were read.
    pub chunks: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What is not as it was written.
    pub findings: Vec<Finding>,
}

/// What pruning removed, or would remove.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Snapshots that stay.
    pub kept: Vec<SnapshotId>,
    /// Snapshots that go.
    pub removed: Vec<SnapshotId>,
    /// Chunks that no snapshot names any more.
    pub swept: Swept,
}

impl Repository {
    /// Opens the repository at `root`.
    pub fn open(root: &Path, access: Access) -> Result<Self, ArchiveError> {
        if access == Access::Write {
            prepare(root)?;
        }
        check_description(root)?;
        let lock = lock(root, access)?;
        Ok(Self {
            root: root.to_owned(),
            chunks: Chunks::new(root.join("chunks")),
            _lock: lock,
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.root
    }

    fn snapshot_path(&self, id: SnapshotId) -> PathBuf {
        self.root.join("snapshots").join(id.to_string())
    }

    /// The identifiers of all snapshots, oldest first.
    pub fn ids(&self) -> Result<Vec<SnapshotId>, ArchiveError> {
        let dir = self.root.join("snapshots");
        let failed = |error| ArchiveError::io("reading", &dir, error);
        let mut ids = Vec::new();
        for entry in fs::read_dir(&dir).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            ids.extend(
                name.to_str()
                    .and_then(|name| name.parse::<SnapshotId>().ok()),
            );
        }
        ids.sort();
        Ok(ids)
    }

    /// One snapshot.
    pub fn snapshot(&self, id: SnapshotId) -> Result<Snapshot, ArchiveError> {
        let path = self.snapshot_path(id);
        match fs::read(&path) {
            Ok(bytes) => {
                let snapshot = Snapshot::decode(&bytes, &format!("snapshot {id}"))?;
                if snapshot.id == id {
                    Ok(snapshot)
                } else {
                    let what = format!("it is a copy of {}", snapshot.id);
                    Err(ArchiveError::damaged(format!("snapshot {id}"), what))
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(ArchiveError::NoSnapshot(id.to_string()))
            }
            Err(error) => Err(ArchiveError::io("reading", &path, error)),
        }
    }

    /// All snapshots, oldest first, and those that cannot be read.
    pub fn snapshots(&self) -> Result<(Vec<Snapshot>, Vec<Finding>), ArchiveError> {
        let (mut snapshots, mut findings) = (Vec::new(), Vec::new());
        for id in self.ids()? {
            match self.snapshot(id) {
                Ok(snapshot) => snapshots.push(snapshot),
                Err(ArchiveError::Damaged { place, what }) => {
                    findings.push(Finding { place, what });
                }
                Err(error) => return Err(error),
            }
        }
        Ok((snapshots, findings))
    }

    /// The newest snapshot that has the data of `tenant` or of its `installation` and was taken no
    /// later than `before`.
    pub fn newest(
        &self,
        tenant: TenantId,
        installation: Option<InstallationId>,
        before: OffsetDateTime,
    ) -> Result<Option<Snapshot>, ArchiveError> {
        let (snapshots, _) = self.snapshots()?;
        Ok(snapshots
            .into_iter()
            .filter(|one| one.scope.covers(tenant, installation) && one.taken_at <= before)
            .max_by_key(|one| one.taken_at))
    }

    /// The bytes of a chunk, compared with its digest.
    pub(crate) fn chunk(&self, hex: &str) -> Result<Vec<u8>, ArchiveError> {
        let hash = Hash::from_hex(hex)
            .map_err(|_| ArchiveError::damaged("a snapshot", format!("{hex:?} is no digest")))?;
        self.chunks.read(&hash)
    }

    /// Puts chunks in beside those that complete snapshots name.
    pub(crate) fn chunk_writer(&self) -> Result<ChunkWriter, ArchiveError> {
        let there: HashSet<Hash> = self.chunks.all()?.into_iter().map(|one| one.0).collect();
        let (snapshots, _) = self.snapshots()?;
        let mut known = referenced(&snapshots);
        known.retain(|hash| there.contains(hash));
        Ok(ChunkWriter::new(self.chunks.clone(), known))
    }

    /// Puts a snapshot in. All its chunks are on the disk before it is.
    pub(crate) fn commit(&self, snapshot: &Snapshot) -> Result<(), ArchiveError> {
        let sync = || -> io::Result<()> {
            let root = File::open(&self.root)?;
            Ok(rustix::fs::syncfs(&root)?)
        };
        sync().map_err(|error| ArchiveError::io("syncing", &self.root, error))?;
        disk::write_whole(&self.snapshot_path(snapshot.id), &snapshot.encode()?)
    }

    /// Reads every snapshot and every chunk that one names, and compares all with their digests.
    pub fn check(&self, progress: &Progress) -> Result<CheckReport, ArchiveError> {
        let (snapshots, findings) = self.snapshots()?;
        let mut report = CheckReport {
            snapshots: (snapshots.len() + findings.len()) as u64,
            findings,
            ..CheckReport::default()
        };
        let mut first_use: HashMap<Hash, (&str, SnapshotId)> = HashMap::new();
        for snapshot in &snapshots {
            for file in &snapshot.files {
                for chunk in &file.chunks {
                    if let Ok(hash) = Hash::from_hex(chunk) {
                        first_use.entry(hash).or_insert((&file.path, snapshot.id));
                    }
                }
            }
        }
        let sizes: HashMap<Hash, u64> = self.chunks.all()?.into_iter().collect();
        let total = first_use.keys().filter_map(|hash| sizes.get(hash)).sum();
        progress.expect(total, first_use.len() as u64);
        for (hash, (path, snapshot)) in first_use {
            progress.check()?;
            match self.chunks.read(&hash) {
                Ok(bytes) => {
                    report.chunks += 1;
                    report.bytes += bytes.len() as u64;
                    progress.bytes(bytes.len() as u64);
                }
                Err(ArchiveError::Damaged { place, what }) => {
                    let what = format!("{what}; {path} of {snapshot} needs it");
                    report.findings.push(Finding { place, what });
                }
                Err(error) => return Err(error),
            }
            progress.item();
        }
        Ok(report)
    }

    /// Removes the snapshots that `policy` does not keep, and every chunk that none of the others
    /// names. With `dry_run` it only says which.
    pub fn prune(&self, policy: &Keep, dry_run: bool) -> Result<Pruned, ArchiveError> {
        let snapshots = self.whole()?;
        let (kept, removed): (Vec<_>, Vec<_>) = {
            let kept = keep(&snapshots, policy);
            snapshots
                .into_iter()
                .partition(|one| kept.contains(&one.id))
        };
        let mut pruned = Pruned {
            kept: kept.iter().map(|one| one.id).collect(),
            removed: removed.iter().map(|one| one.id).collect(),
            swept: Swept::default(),
        };
        let still = referenced(&kept);
        if dry_run {
            for (hash, size) in self.chunks.all()? {
                if !still.contains(&hash) {
                    pruned.swept.chunks += 1;
                    pruned.swept.bytes += size;
                }
            }
            return Ok(pruned);
        }
        for snapshot in &removed {
            self.remove(snapshot.id)?;
        }
        pruned.swept = self.chunks.sweep(&still)?;
        Ok(pruned)
    }

    /// Takes all that belongs to `tenant` out of every snapshot, and the bytes off the disk. What
    /// is left of node snapshots stays restorable. Returns how many snapshots were changed.
    pub fn forget_tenant(&self, tenant: TenantId) -> Result<u64, ArchiveError> {
        let mut changed = 0;
        let mut left = Vec::new();
        for mut snapshot in self.whole()? {
            let before = snapshot.files.len();
            snapshot.files.retain(|file| !belongs(file, tenant));
            if snapshot.files.len() == before {
                left.push(snapshot);
                continue;
            }
            changed += 1;
            if snapshot.files.is_empty() {
                self.remove(snapshot.id)?;
            } else {
                snapshot.bytes = snapshot.files.iter().map(|file| file.size).sum();
                disk::write_whole(&self.snapshot_path(snapshot.id), &snapshot.encode()?)?;
                left.push(snapshot);
            }
        }
        // Also if none was: an earlier call may have been interrupted before this.
        self.chunks.sweep(&referenced(&left))?;
        Ok(changed)
    }

    /// How many snapshots have something that belongs to `tenant`.
    pub fn snapshots_with(&self, tenant: TenantId) -> Result<u64, ArchiveError> {
        let snapshots = self.whole()?;
        let with = snapshots
            .iter()
            .filter(|one| one.files.iter().any(|file| belongs(file, tenant)));
        Ok(with.count() as u64)
    }

    /// All snapshots, if each can be read: what a damaged one names must not be swept away.
    fn whole(&self) -> Result<Vec<Snapshot>, ArchiveError> {
        let (snapshots, findings) = self.snapshots()?;
        match findings.into_iter().next() {
            None => Ok(snapshots),
            Some(Finding { place, what }) => Err(ArchiveError::Damaged {
                place,
                what: format!(
                    "{what}; nothing was removed, because it may need chunks that no other \
                     snapshot names. Remove its file first"
                ),
            }),
        }
    }

    fn remove(&self, id: SnapshotId) -> Result<(), ArchiveError> {
        let path = self.snapshot_path(id);
        let remove = || -> io::Result<()> {
            fs::remove_file(&path)?;
            File::open(self.root.join("snapshots"))?.sync_all()
        };
        remove().map_err(|error| ArchiveError::io("removing", &path, error))
    }
}

/// Whether a file of a snapshot is one of the tenant's.
fn belongs(file: &FileEntry, tenant: TenantId) -> bool {
    file.path.starts_with(&format!("storage/{tenant}/"))
        || file.path.starts_with(&format!("tenants/{tenant}.json"))
}

fn referenced(snapshots: &[Snapshot]) -> HashSet<Hash> {
    let chunks = snapshots
        .iter()
        .flat_map(|one| &one.files)
        .flat_map(|file| &file.chunks);
    chunks.filter_map(|hex| Hash::from_hex(hex).ok()).collect()
}

/// Makes the repository, unless the folder has something else in it.
fn prepare(root: &Path) -> Result<(), ArchiveError> {
    disk::make_dir(root)?;
    let description = root.join(DESCRIPTION);
    if !description.exists() {
        let mut entries =
            fs::read_dir(root).map_err(|error| ArchiveError::io("reading", root, error))?;
        let foreign = entries.find_map(|entry| {
            let name = entry.ok()?.file_name().to_string_lossy().into_owned();
            // What an interrupted making leaves behind.
            let own = ["repository.new", "lock", "chunks", "snapshots"];
            (!own.contains(&&*name)).then_some(name)
        });
        if let Some(name) = foreign {
            return Err(ArchiveError::Foreign {
                path: root.to_owned(),
                expected: "a backup repository",
                why: format!("it holds {name:?}; choose an empty folder"),
            });
        }
    }
    disk::make_dir(&root.join("chunks"))?;
    disk::make_dir(&root.join("snapshots"))?;
    if description.exists() {
        return Ok(());
    }
    let content = Description {
        kind: KIND.into(),
        format: FORMAT,
    };
    let bytes = serde_json::to_vec_pretty(&content)
        .map_err(|error| ArchiveError::damaged(DESCRIPTION, error.to_string()))?;
    disk::write_whole(&description, &bytes)
}

fn check_description(root: &Path) -> Result<(), ArchiveError> {
    let foreign = |why: String| ArchiveError::Foreign {
        path: root.to_owned(),
        expected: "a backup repository",
        why,
    };
    let path = root.join(DESCRIPTION);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(foreign(format!("it has no {DESCRIPTION}")));
        }
        Err(error) => return Err(ArchiveError::io("reading", &path, error)),
    };
    let description: Description = serde_json::from_slice(&bytes)
        .map_err(|error| foreign(format!("{DESCRIPTION}: {error}")))?;
    if description.kind != KIND {
        return Err(foreign(format!(
            "{DESCRIPTION} says {:?}",
            description.kind
        )));
    }
    if description.format > FORMAT {
        return Err(ArchiveError::TooNew {
            what: format!("the repository {}", root.display()),
            found: description.format,
            known: FORMAT,
        });
    }
    Ok(())
}

fn lock(root: &Path, access: Access) -> Result<File, ArchiveError> {
    let path = root.join("lock");
    let mut options = OpenOptions::new();
    options.read(true).mode(0o600);
    if access == Access::Write {
        options.write(true).create(true).truncate(false);
    }
    let file = options
        .open(&path)
        .map_err(|error| ArchiveError::io("opening", &path, error))?;
    let operation = match access {
        Access::Read => FlockOperation::NonBlockingLockShared,
        Access::Write => FlockOperation::NonBlockingLockExclusive,
    };
    match rustix::fs::flock(&file, operation) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(ArchiveError::InUse {
            path: root.to_owned(),
        }),
        Err(errno) => Err(ArchiveError::io("locking", &path, errno.into())),
    }
}
