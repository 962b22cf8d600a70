//! Counting, copying, checking and erasing the objects of an installation.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use canopy_backend::blob::BlobError;
use canopy_backend::files::{create_dir, incoming_dir, sync_dir};
use canopy_backend::{Finding, Maintenance, Scope, StorageError, StorageKind, Usage};
use canopy_backend_sqlite::{Snapshot, open_reader, rekey};
use canopy_ids::TenantId;

use crate::folder::Folder;
use crate::index::{self, Piece};
use crate::segment::{ReadError, SegmentId, SegmentWriter};
use crate::storage::BlobStorage;
use crate::store::{Pin, Store};
use crate::transfer;

impl BlobStorage {
    /// Works on the store of `scope`, if it ever stored anything.
    async fn on_store<T: Send + 'static>(
        &self,
        scope: Scope,
        work: impl FnOnce(&Arc<Store>) -> Result<T, BlobError> + Send + 'static,
    ) -> Result<Option<T>, StorageError> {
        if !self.pool.folder(scope).index().exists() {
            return Ok(None);
        }
        let store = self.pool.store(scope).await?;
        aside(move || work(&store).map(Some).map_err(storage)).await
    }
}

#[async_trait]
impl Maintenance for BlobStorage {
    fn kind(&self) -> StorageKind {
        StorageKind::Blobs
    }

    async fn usage(&self, scope: Scope) -> Result<Usage, StorageError> {
        let total = self
            .on_store(scope, |store| {
                store.read(|conn| index::total(conn).map_err(index::failed))
            })
            .await?;
        Ok(total.map_or_else(Usage::default, |(bytes, items)| Usage { bytes, items }))
    }

    async fn copy(&self, scope: Scope, into: &Path) -> Result<(), StorageError> {
        let into = Folder::at(into.to_owned());
        self.on_store(scope, move |store| {
            copy(store, &into).map_err(BlobError::from)
        })
        .await
        .map(Option::unwrap_or_default)
    }

    async fn restore(&self, scope: Scope, from: &Path) -> Result<(), StorageError> {
        let (pool, from) = (self.pool.clone(), Folder::at(from.to_owned()));
        aside(move || {
            if !from.index().exists() {
                return pool.replace(scope, None);
            }
            let folder = pool.folder(scope);
            let prepare = || -> io::Result<PathBuf> {
                let beside = incoming_dir(folder.path())?;
                let new = Folder::at(beside.clone());
                new.create()?;
                copy_file(&from.index(), &new.index())?;
                for entry in fs::read_dir(from.objects())? {
                    let entry = entry?;
                    link(&entry.path(), &new.objects().join(entry.file_name()))?;
                }
                sync_dir(&new.objects())?;
                sync_dir(&beside)?;
                Ok(beside)
            };
            let beside = prepare().map_err(|error| failed(scope, "cannot be restored", &error))?;
            pool.replace(scope, Some(&beside))
        })
        .await
    }

    async fn check(&self, scope: Scope) -> Result<Vec<Finding>, StorageError> {
        let findings = self.on_store(scope, check).await?;
        Ok(findings.unwrap_or_default())
    }

    async fn rekey(&self, scope: Scope) -> Result<(), StorageError> {
        self.on_store(scope, |store| {
            let version = store.keys()?.newest();
            while let Some(piece) =
                store.read(|conn| index::outdated(conn, version).map_err(index::failed))?
            {
                renew(store, &piece)?;
            }
            store.exchange(|| {
                rekey(&store.folder.index(), &store.index_keys()?)?;
                Ok(())
            })?;
            Ok(())
        })
        .await
        .map(Option::unwrap_or_default)
    }

    async fn erase(&self, scope: Scope) -> Result<(), StorageError> {
        let pool = self.pool.clone();
        aside(move || pool.erase(scope)).await
    }

    async fn erase_tenant(&self, tenant: TenantId) -> Result<(), StorageError> {
        let pool = self.pool.clone();
        aside(move || pool.erase_tenant(tenant)).await
    }
}

/// Copies one moment of the index, and the segments of that moment, which stay meanwhile.
fn copy(store: &Arc<Store>, into: &Folder) -> Result<(), StorageError> {
    let path = store.folder.index();
    let reader = open_reader(&path, &store.index_keys()?, store.settings.cache_bytes)?;
    let hold = Pin::all(store);
    let (snapshot, segments) = {
        let locked = store.lock()?;
        let segments = index::segments(locked.conn())
            .map_err(index::failed)
            .map_err(storage)?;
        (Snapshot::take(&path, locked.conn(), reader)?, segments)
    };
    let write = || -> io::Result<()> {
        create_dir(&into.objects())?;
        snapshot.copy(&into.index())?;
        drop(snapshot);
        for piece in &segments {
            link(&store.folder.object(piece.id), &into.object(piece.id))?;
        }
        sync_dir(&into.objects())?;
        sync_dir(into.path())
    };
    let written = write().map_err(|error| failed(store.scope, "cannot be copied", &error));
    drop(hold);
    written
}

fn check(store: &Arc<Store>) -> Result<Vec<Finding>, BlobError> {
    let mut findings = Vec::new();
    let hold = Pin::all(store);
    let segments = {
        let locked = store.lock()?;
        for what in canopy_backend_sqlite::check(locked.conn()) {
            findings.push(Finding {
                place: "index.db".into(),
                what,
            });
        }
        index::segments(locked.conn()).map_err(index::failed)?
    };
    for piece in &segments {
        let read = || -> Result<(), ReadError> {
            let mut reader = transfer::open(store, piece, (0, piece.size))?;
            while reader.next()?.is_some() {}
            Ok(())
        };
        let what = match read() {
            Ok(()) => continue,
            Err(ReadError::Damaged(what)) => what.to_owned(),
            Err(ReadError::Failed(text)) => text,
        };
        findings.push(Finding {
            place: format!("objects/{}", piece.id),
            what,
        });
    }
    for name in fs::read_dir(store.folder.objects()).map_err(transfer::io_failed)? {
        let name = name.map_err(transfer::io_failed)?.file_name();
        let id = name.to_str().and_then(SegmentId::parse);
        if id.is_none() {
            findings.push(Finding {
                place: format!("objects/{}", name.to_string_lossy()),
                what: "no file of this storage".into(),
            });
        }
    }
    drop(hold);
    Ok(findings)
}

/// Writes a segment again with the newest key.
fn renew(store: &Arc<Store>, piece: &Piece) -> Result<(), BlobError> {
    let unreadable = |error: ReadError| match error {
        ReadError::Damaged(what) => BlobError::failed(format!("objects/{}: {what}", piece.id)),
        ReadError::Failed(text) => BlobError::failed(text),
    };
    let pin = {
        let locked = store.lock()?;
        Pin::new(store, locked.conn(), vec![piece.id])
    };
    let mut reader = match transfer::open(store, piece, (0, piece.size)) {
        // Removed since it was looked up.
        Err(ReadError::Damaged(_))
            if !store.folder.object(piece.id).exists() && !known(store, piece)? =>
        {
            return Ok(());
        }
        opened => opened.map_err(unreadable)?,
    };
    let mut writer =
        SegmentWriter::create(&store.folder, &store.file_key()?).map_err(transfer::io_failed)?;
    while let Some(bytes) = reader.next().map_err(unreadable)? {
        writer.write(&bytes).map_err(transfer::io_failed)?;
    }
    let new = writer.finish().map_err(transfer::io_failed)?;
    let (old, named) = (piece.id, new.id);
    let replaced = store.write(move |conn, change| {
        let replaced = index::replace_segment(conn, old, &new).map_err(index::failed)?;
        if replaced {
            change.freed.push(old);
        }
        Ok(replaced)
    });
    drop(pin);
    if !matches!(replaced, Ok(true)) {
        store.remove(vec![named]);
    }
    replaced.map(drop)
}

fn known(store: &Store, piece: &Piece) -> Result<bool, BlobError> {
    let all = store.read(|conn| index::segments(conn).map_err(index::failed))?;
    Ok(all.iter().any(|known| known.id == piece.id))
}

async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StorageError> + Send + 'static,
) -> Result<T, StorageError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| StorageError::Failed(error.to_string()))?
}

fn storage(error: BlobError) -> StorageError {
    match error {
        BlobError::Storage(error) => error,
        other => StorageError::Failed(other.to_string()),
    }
}

fn failed(scope: Scope, what: &str, error: &io::Error) -> StorageError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StorageError::NoSpace,
        _ => StorageError::Failed(format!("the objects of {scope} {what}: {error}")),
    }
}

/// The same file under another name, or a copy where there is another file system. Segments never
/// change, so both are as good.
fn link(from: &Path, to: &Path) -> io::Result<()> {
    match fs::hard_link(from, to) {
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => copy_file(from, to),
        linked => linked,
    }
}

fn copy_file(from: &Path, to: &Path) -> io::Result<()> {
    fs::copy(from, to)?;
    File::open(to)?.sync_all()
}
