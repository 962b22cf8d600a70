//! Where an installation's files are.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use canopy_backend::files::{create_dir, sync_dir};
use canopy_backend::{Scope, StorageKind};

use crate::segment::SegmentId;

/// The folder of one installation's objects: `index.db`, `objects/` and `incoming/`.
#[derive(Debug, Clone)]
pub(crate) struct Folder(Arc<Path>);

impl Folder {
    /// In `root`, where the folders of tenants are.
    pub(crate) fn of(root: &Path, scope: Scope) -> Self {
        Self::at(
            root.join(scope.tenant.to_string())
                .join(scope.installation.to_string())
                .join(StorageKind::Blobs.as_str()),
        )
    }

    pub(crate) fn at(path: PathBuf) -> Self {
        Self(path.into())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn index(&self) -> PathBuf {
        self.0.join("index.db")
    }

    pub(crate) fn objects(&self) -> PathBuf {
        self.0.join("objects")
    }

    pub(crate) fn object(&self, id: SegmentId) -> PathBuf {
        self.objects().join(id.to_string())
    }

    pub(crate) fn incoming(&self, id: SegmentId) -> PathBuf {
        self.0.join("incoming").join(id.to_string())
    }

    /// Makes the folders, and puts their names on the disk.
    pub(crate) fn create(&self) -> io::Result<()> {
        create_dir(&self.objects())?;
        create_dir(&self.0.join("incoming"))?;
        let above = [Some(&*self.0), self.0.parent()];
        let tenant = self.0.parent().and_then(Path::parent);
        for dir in above.into_iter().chain([tenant]).flatten() {
            sync_dir(dir)?;
        }
        Ok(())
    }

    /// Removes what writes that were cut short have left: all that is incoming, and every segment
    /// that is not `known`. Only before the first write.
    pub(crate) fn sweep(&self, known: &HashSet<SegmentId>) -> io::Result<()> {
        for entry in fs::read_dir(self.0.join("incoming"))? {
            fs::remove_file(entry?.path())?;
        }
        for entry in fs::read_dir(self.objects())? {
            let entry = entry?;
            let name = entry.file_name();
            let id = name.to_str().and_then(SegmentId::parse);
            if id.is_some_and(|id| !known.contains(&id)) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    /// Removes segments that nothing refers to. What fails is tried again at the next start.
    pub(crate) fn remove(&self, segments: &[SegmentId]) {
        for id in segments {
            match fs::remove_file(self.object(*id)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(segment = %id, %error, "a file stays until the next start");
                }
                _ => {}
            }
        }
    }
}
