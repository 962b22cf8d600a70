//! Objects as plain files and lines of JSON about them, for an export and an import.
//!
//! An export reads a copy that was made at one moment, so that it is as consistent as a backup.
//! Objects have numbers for names there: their own names may be no names of files.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, BufWriter, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use bytes::Bytes;
use canopy_backend::blob::{
    BlobBody, BlobError, BlobProvider, Blobs, Listing, ObjectId, PutOptions,
};
use canopy_backend::files::create_dir;
use canopy_backend::{
    Ledger, Maintenance, Portable, Scope, StorageError, StorageKind, StorageQuota, Usage,
};
use futures::StreamExt as _;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt as _;

use crate::storage::BlobStorage;

const CONTAINERS: &str = "containers.ndjson";
const OBJECTS: &str = "objects.ndjson";
const FOLDER: &str = "objects";
/// Bytes that are read at once.
const PIECE: usize = 256 << 10;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ContainerLine {
    container: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ObjectLine {
    container: String,
    name: String,
    /// The number that is the file's name.
    file: u64,
    size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    content_type: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    metadata: BTreeMap<String, String>,
    /// Milliseconds since 1970; an import gives objects new times.
    created: u64,
    /// The same.
    modified: u64,
}

fn failed(what: &str, error: &io::Error) -> StorageError {
    if error.kind() == io::ErrorKind::StorageFull {
        StorageError::NoSpace
    } else {
        StorageError::Failed(format!("{what}: {error}"))
    }
}

fn told(error: BlobError) -> StorageError {
    match error {
        BlobError::Storage(error) => error,
        other => StorageError::Failed(other.to_string()),
    }
}

fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[async_trait]
impl Portable for BlobStorage {
    fn kind(&self) -> StorageKind {
        StorageKind::Blobs
    }

    async fn export(&self, scope: Scope, into: &Path) -> Result<Usage, StorageError> {
        let copy = into.with_file_name(".blobs");
        let folder = copy
            .join(scope.to_string())
            .join(StorageKind::Blobs.as_str());
        create_dir(&folder).map_err(|error| failed("making a folder", &error))?;
        self.copy(scope, &folder).await?;
        let written = if folder.join("index.db").exists() {
            let moment = Self::open(
                copy.clone(),
                self.pool.keyring.clone(),
                Ledger::new(Arc::new(StorageQuota::default())),
                (*self.pool.settings).clone(),
            )
            .map_err(|error| failed("opening a copy", &error))?;
            let objects = BlobProvider::open(&moment, scope).await?;
            let written = write(&*objects, self.limits().page, into).await;
            drop(objects);
            moment.close();
            written
        } else {
            Ok(Usage::default())
        };
        fs::remove_dir_all(&copy).map_err(|error| failed("removing a copy", &error))?;
        written
    }

    async fn import(&self, scope: Scope, from: &Path) -> Result<Usage, StorageError> {
        let objects = BlobProvider::open(self, scope).await?;
        let damaged = |file: &str, number: usize, what: String| {
            StorageError::Damaged(format!("{file} line {}: {what}", number + 1))
        };
        for (number, line) in lines(&from.join(CONTAINERS))?.enumerate() {
            let line = line.map_err(|error| damaged(CONTAINERS, number, error.to_string()))?;
            let line: ContainerLine = serde_json::from_str(&line)
                .map_err(|error| damaged(CONTAINERS, number, error.to_string()))?;
            objects
                .create_container(&line.container)
                .await
                .map_err(told)?;
        }
        let mut usage = Usage::default();
        for (number, line) in lines(&from.join(OBJECTS))?.enumerate() {
            let line = line.map_err(|error| damaged(OBJECTS, number, error.to_string()))?;
            let line: ObjectLine = serde_json::from_str(&line)
                .map_err(|error| damaged(OBJECTS, number, error.to_string()))?;
            let path = from.join(FOLDER).join(file_name(line.file));
            let body = body_of_file(&path)
                .await
                .map_err(|error| damaged(OBJECTS, number, error.to_string()))?;
            let options = PutOptions {
                content_type: line.content_type,
                metadata: line.metadata,
                size: Some(line.size),
                ..PutOptions::default()
            };
            let id = ObjectId::new(&line.container, &line.name);
            objects.put(id, options, body).await.map_err(told)?;
            usage.items += 1;
            usage.bytes += line.size;
        }
        Ok(usage)
    }
}

/// The lines of a file; none if there is no file.
fn lines(path: &Path) -> Result<Box<dyn Iterator<Item = io::Result<String>> + Send>, StorageError> {
    match File::open(path) {
        Ok(file) => Ok(Box::new(BufReader::new(file).lines())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Box::new(std::iter::empty())),
        Err(error) => Err(failed("opening lines about objects", &error)),
    }
}

fn file_name(number: u64) -> String {
    format!("{number:08}")
}

async fn body_of_file(path: &Path) -> io::Result<BlobBody> {
    let file = tokio::fs::File::open(path).await?;
    Ok(Box::pin(futures::stream::unfold(
        Some(file),
        |file| async move {
            let mut file = file?;
            let mut piece = vec![0; PIECE];
            match file.read(&mut piece).await {
                Ok(0) => None,
                Ok(read) => {
                    piece.truncate(read);
                    Some((Ok(Bytes::from(piece)), Some(file)))
                }
                Err(error) => Some((Err(BlobError::Body(error.to_string())), None)),
            }
        },
    )))
}

async fn write(objects: &dyn Blobs, page: usize, into: &Path) -> Result<Usage, StorageError> {
    let io = |error: io::Error| failed("writing objects", &error);
    let json = |error: serde_json::Error| StorageError::Failed(error.to_string());
    let folder = into.join(FOLDER);
    create_dir(&folder).map_err(io)?;
    let mut containers = BufWriter::new(File::create(into.join(CONTAINERS)).map_err(io)?);
    let mut about = BufWriter::new(File::create(into.join(OBJECTS)).map_err(io)?);
    let mut usage = Usage::default();
    let mut after_container: Option<String> = None;
    loop {
        let found = objects
            .containers("", after_container.as_deref(), page)
            .await
            .map_err(told)?;
        for container in found.containers {
            let line = ContainerLine {
                container: container.name,
            };
            serde_json::to_writer(&mut containers, &line).map_err(json)?;
            containers.write_all(b"\n").map_err(io)?;
            let mut listing = Listing {
                limit: page,
                ..Listing::default()
            };
            loop {
                let found = objects
                    .list(&line.container, listing.clone())
                    .await
                    .map_err(told)?;
                for info in found.objects {
                    usage.items += 1;
                    usage.bytes += info.size;
                    let id = ObjectId::new(&line.container, &info.name);
                    let mut body = objects.get(id, None).await.map_err(told)?.body;
                    let path = folder.join(file_name(usage.items));
                    let mut file = File::create(path).map_err(io)?;
                    while let Some(piece) = body.next().await {
                        file.write_all(&piece.map_err(told)?).map_err(io)?;
                    }
                    let described = ObjectLine {
                        container: line.container.clone(),
                        name: info.name,
                        file: usage.items,
                        size: info.size,
                        content_type: info.content_type,
                        metadata: info.metadata,
                        created: millis(info.created),
                        modified: millis(info.modified),
                    };
                    serde_json::to_writer(&mut about, &described).map_err(json)?;
                    about.write_all(b"\n").map_err(io)?;
                }
                match found.next {
                    Some(next) => listing.after = Some(next),
                    None => break,
                }
            }
        }
        match found.next {
            Some(next) => after_container = Some(next),
            None => break,
        }
    }
    containers.flush().map_err(io)?;
    about.flush().map_err(io)?;
    Ok(usage)
}
