//! Repositories of backups: what goes in comes out, what did not change is kept once, and nothing
//! damaged is believed.

use std::fs;
use std::path::{Path, PathBuf};

use canopy_backend_archive::{
    Access, ArchiveError, BackupScope, Gathering, Keep, Progress, Repository, Snapshot, compare,
    materialise,
};
use canopy_ids::{SnapshotId, TenantId};
use tempfile::TempDir;

struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir_all(folder.path().join("data/storage")).expect("made");
        Self { folder }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn write(&self, path: &str, bytes: &[u8]) {
        let path = self.data().join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        fs::write(path, bytes).expect("written");
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("repository")
    }

    fn open(&self, access: Access) -> Repository {
        Repository::open(&self.root(), access).expect("a repository")
    }

    fn back_up(&self) -> Snapshot {
        let (repository, progress) = (self.open(Access::Write), Progress::default());
        let mut gathering =
            Gathering::begin(&repository, SnapshotId::new(), BackupScope::Node, &progress)
                .expect("begun");
        gathering.tree("", &self.data()).expect("gathered");
        gathering.finish("test").expect("finished")
    }

    fn restore(&self, snapshot: &Snapshot, prefix: &str) -> Result<PathBuf, ArchiveError> {
        let into = self.folder.path().join("restored");
        let _ = fs::remove_dir_all(&into);
        let repository = self.open(Access::Read);
        materialise(&repository, snapshot, prefix, &into, &Progress::default())?;
        Ok(into)
    }

    fn chunk_files(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for folder in fs::read_dir(self.root().join("chunks"))
            .expect("chunks")
            .flatten()
        {
            for file in fs::read_dir(folder.path()).expect("a folder").flatten() {
                found.push(file.path());
            }
        }
        found.sort();
        found
    }
}

/// Bytes that no compression and no chance makes equal.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3]
        })
        .collect()
}

#[test]
fn what_goes_in_comes_out() {
    let place = Place::new();
    place.write("storage/a/key", b"wrapped");
    place.write("storage/a/one/key-value/data.db", &noise(1, 1 << 20));
    place.write("storage/a/one/blobs/empty", b"");
    place.write("components/large.wasm", &noise(2, (3 << 20) + 17));
    let snapshot = place.back_up();
    let restored = place.restore(&snapshot, "").expect("restored");
    assert_eq!(compare(&snapshot, &restored).expect("compared"), []);
    assert_eq!(snapshot.bytes, 7 + (1 << 20) + (3 << 20) + 17);
    let part = place.restore(&snapshot, "storage/a/one/").expect("a part");
    assert_eq!(
        fs::read(part.join("key-value/data.db")).expect("read"),
        noise(1, 1 << 20)
    );
    assert!(!part.join("key").exists());
}

#[test]
fn a_difference_is_named() {
    let place = Place::new();
    place.write("a", b"one");
    place.write("b", b"two");
    place.write("c", b"three");
    let snapshot = place.back_up();
    let restored = place.restore(&snapshot, "").expect("restored");
    fs::write(restored.join("a"), b"eno").expect("changed");
    fs::remove_file(restored.join("b")).expect("removed");
    fs::write(restored.join("d"), b"more").expect("added");
    let found = compare(&snapshot, &restored).expect("compared");
    let paths: Vec<_> = found.iter().map(|one| one.path.as_str()).collect();
    assert_eq!(paths, ["a", "b", "d"]);
}

#[test]
fn unchanged_pages_of_a_database_are_kept_once() {
    let place = Place::new();
    let mut pages = noise(3, 8 << 20);
    place.write("data.db", &pages);
    let first = place.back_up();
    assert_eq!((first.new_bytes, first.shared_bytes), (8 << 20, 0));
    pages[5 << 20] ^= 1;
    place.write("data.db", &pages);
    let second = place.back_up();
    assert_eq!(second.new_bytes, 64 << 10, "one chunk of 64 KiB");
    assert_eq!(second.shared_bytes, (8 << 20) - (64 << 10));
    let restored = place.restore(&second, "").expect("restored");
    assert_eq!(fs::read(restored.join("data.db")).expect("read"), pages);
}

#[test]
fn an_interrupted_backup_is_no_snapshot_and_its_chunks_are_used_again() {
    let place = Place::new();
    place.write("data.db", &noise(4, 1 << 20));
    {
        let (repository, progress) = (place.open(Access::Write), Progress::default());
        let mut gathering =
            Gathering::begin(&repository, SnapshotId::new(), BackupScope::Node, &progress)
                .expect("begun");
        gathering.tree("", &place.data()).expect("gathered");
        progress.cancel();
        let ended = gathering.finish("test");
        assert!(matches!(ended, Err(ArchiveError::Cancelled)), "{ended:?}");
    }
    assert_eq!(place.open(Access::Read).ids().expect("a list"), []);
    let snapshot = place.back_up();
    assert_eq!((snapshot.new_bytes, snapshot.shared_bytes), (0, 1 << 20));
}

#[test]
fn a_chunk_that_a_power_loss_emptied_is_written_again() {
    let place = Place::new();
    place.write("a", &noise(5, 1000));
    {
        let (repository, progress) = (place.open(Access::Write), Progress::default());
        let mut gathering =
            Gathering::begin(&repository, SnapshotId::new(), BackupScope::Node, &progress)
                .expect("begun");
        gathering.tree("", &place.data()).expect("gathered");
    }
    // No snapshot names it yet, so it was never synced.
    fs::write(&place.chunk_files()[0], b"").expect("emptied");
    let snapshot = place.back_up();
    assert_eq!(snapshot.new_bytes, 1000);
    place.restore(&snapshot, "").expect("restored");
}

#[test]
fn a_damaged_chunk_is_found_by_a_check_and_never_restored() {
    let place = Place::new();
    place.write("storage/a/one/data.db", &noise(6, 200_000));
    let snapshot = place.back_up();
    let intact = place
        .open(Access::Read)
        .check(&Progress::default())
        .expect("checked");
    assert_eq!((intact.findings.len(), intact.bytes), (0, 200_000));
    let chunk = &place.chunk_files()[0];
    let mut bytes = fs::read(chunk).expect("a chunk");
    bytes[100] ^= 1;
    fs::write(chunk, bytes).expect("damaged");
    let report = place
        .open(Access::Read)
        .check(&Progress::default())
        .expect("checked");
    assert_eq!(report.findings.len(), 1, "{report:?}");
    assert!(
        report.findings[0].what.contains("storage/a/one/data.db"),
        "{report:?}"
    );
    let error = place
        .restore(&snapshot, "")
        .expect_err("refused")
        .to_string();
    assert!(
        error.contains("data.db") && error.contains("damaged"),
        "{error}"
    );
}

#[test]
fn a_missing_chunk_is_written_again_by_the_next_backup() {
    let place = Place::new();
    place.write("a", &noise(7, 1000));
    place.back_up();
    fs::remove_file(&place.chunk_files()[0]).expect("removed");
    let again = place.back_up();
    assert_eq!(again.new_bytes, 1000);
    place.restore(&again, "").expect("restored");
}

#[test]
fn pruning_keeps_what_is_still_named_and_nothing_else() {
    let place = Place::new();
    place.write("same", &noise(8, 1000));
    place.write("changing", &noise(9, 1000));
    let first = place.back_up();
    place.write("changing", &noise(10, 1000));
    let second = place.back_up();
    let policy = Keep {
        last: 1,
        daily: 0,
        weekly: 0,
        monthly: 0,
    };
    let repository = place.open(Access::Write);
    let planned = repository.prune(&policy, true).expect("planned");
    assert_eq!(
        repository.ids().expect("a list").len(),
        2,
        "a dry run removes nothing"
    );
    let pruned = repository.prune(&policy, false).expect("pruned");
    assert_eq!(planned, pruned);
    assert_eq!(pruned.removed, [first.id]);
    assert_eq!((pruned.swept.chunks, pruned.swept.bytes), (1, 1000));
    drop(repository);
    place.restore(&second, "").expect("restored");
}

#[test]
fn nothing_is_swept_while_a_snapshot_cannot_be_read() {
    let place = Place::new();
    place.write("a", b"one");
    let first = place.back_up();
    place.write("a", b"two");
    place.back_up();
    let path = place.root().join("snapshots").join(first.id.to_string());
    let mut bytes = fs::read(&path).expect("a snapshot");
    bytes[10] ^= 1;
    fs::write(&path, bytes).expect("damaged");
    let policy = Keep {
        last: 9,
        daily: 0,
        weekly: 0,
        monthly: 0,
    };
    let refused = place.open(Access::Write).prune(&policy, false);
    assert!(
        matches!(refused, Err(ArchiveError::Damaged { .. })),
        "{refused:?}"
    );
    assert_eq!(place.chunk_files().len(), 2);
}

#[test]
fn a_forgotten_tenant_is_in_no_snapshot_and_no_chunk() {
    let place = Place::new();
    let tenant = TenantId::new();
    place.write(&format!("storage/{tenant}/key"), b"wrapped-canary-key");
    place.write(&format!("storage/{tenant}/one/data.db"), b"canary-data");
    place.write("control/control.db", b"control");
    let before = place.back_up();
    let chunks: Vec<_> = place.chunk_files();
    let chunks: Vec<_> = chunks.iter().map(|file| (file, fs::read(file))).collect();
    let forget = || {
        let repository = place.open(Access::Write);
        let with = repository.snapshots_with(tenant).expect("counted");
        (with, repository.forget_tenant(tenant).expect("forgotten"))
    };
    assert_eq!(forget(), (1, 1));
    // As if it had been interrupted before the chunks went.
    for (file, bytes) in &chunks {
        fs::write(file, bytes.as_ref().expect("read")).expect("put back");
    }
    assert_eq!(forget(), (0, 0));
    for file in place.chunk_files() {
        let bytes = fs::read(file).expect("a chunk");
        assert!(!bytes.windows(6).any(|window| window == b"canary"));
    }
    let after = place
        .open(Access::Read)
        .snapshot(before.id)
        .expect("still there");
    assert_eq!(after.files.len(), 1);
    let restored = place.restore(&after, "").expect("restored");
    assert_eq!(compare(&after, &restored).expect("compared"), []);
}

#[test]
fn what_is_no_repository_is_left_alone() {
    let place = Place::new();
    place.write("precious", b"x");
    for access in [Access::Read, Access::Write] {
        let refused = Repository::open(&place.data(), access);
        assert!(
            matches!(refused, Err(ArchiveError::Foreign { .. })),
            "{refused:?}"
        );
    }
    let names: Vec<_> = fs::read_dir(place.data())
        .expect("a folder")
        .flatten()
        .collect();
    assert_eq!(names.len(), 2, "nothing was added: {names:?}");
}

#[test]
fn a_newer_repository_is_refused() {
    let place = Place::new();
    place.back_up();
    let newer = br#"{"kind":"canopy-backup","format":2}"#;
    fs::write(place.root().join("repository.json"), newer).expect("written");
    let refused = Repository::open(&place.root(), Access::Write);
    assert!(
        matches!(refused, Err(ArchiveError::TooNew { found: 2, .. })),
        "{refused:?}"
    );
}

#[test]
fn one_writer_at_a_time() {
    let place = Place::new();
    let first = place.open(Access::Write);
    for access in [Access::Read, Access::Write] {
        let refused = Repository::open(&place.root(), access);
        assert!(
            matches!(refused, Err(ArchiveError::InUse { .. })),
            "{refused:?}"
        );
    }
    drop(first);
    let _readers = [place.open(Access::Read), place.open(Access::Read)];
}

#[test]
fn the_newest_snapshot_before_a_moment_is_found() {
    let place = Place::new();
    place.write("a", b"one");
    let first = place.back_up();
    let second = place.back_up();
    let repository = place.open(Access::Read);
    let newest = |at| {
        let found = repository.newest(TenantId::new(), None, at).expect("read");
        found.map(|one| one.id)
    };
    assert_eq!(newest(second.taken_at), Some(second.id));
    assert_eq!(newest(first.taken_at), Some(first.id));
    assert_eq!(newest(first.taken_at - time::Duration::SECOND), None);
}

#[test]
fn a_link_is_not_followed_into_a_backup() {
    let place = Place::new();
    std::os::unix::fs::symlink("/etc/hosts", place.data().join("link")).expect("a link");
    let (repository, progress) = (place.open(Access::Write), Progress::default());
    let mut gathering =
        Gathering::begin(&repository, SnapshotId::new(), BackupScope::Node, &progress)
            .expect("begun");
    assert!(gathering.tree("", Path::new(&place.data())).is_err());
}
