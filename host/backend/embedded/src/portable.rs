//! Keys and values as lines of JSON, for an export and an import.
//!
//! An export reads a copy that was made at one moment, so that it is as consistent as a backup.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, BufWriter, Read as _, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use canopy_backend::files::create_dir;
use canopy_backend::{
    Action, Condition, KeyValueProvider, Ledger, Maintenance, Operation, Portable, Scope,
    SetOptions, StorageError, StorageKind, StorageQuota, Usage,
};
use serde::{Deserialize, Serialize};

use crate::storage::{EmbeddedParts, EmbeddedStorage};

const FILE: &str = "entries.ndjson";

/// One entry. A value that is no UTF-8 is written in Base64.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    store: String,
    key: String,
    value: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    base64: bool,
    /// Milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_at: Option<u64>,
}

fn failed(what: &str, error: &io::Error) -> StorageError {
    if error.kind() == io::ErrorKind::StorageFull {
        StorageError::NoSpace
    } else {
        StorageError::Failed(format!("{what}: {error}"))
    }
}

#[async_trait]
impl Portable for EmbeddedStorage {
    fn kind(&self) -> StorageKind {
        StorageKind::KeyValue
    }

    async fn export(&self, scope: Scope, into: &Path) -> Result<Usage, StorageError> {
        let copy = into.with_file_name(".key-value");
        let folder = copy
            .join(scope.to_string())
            .join(StorageKind::KeyValue.as_str());
        create_dir(&folder).map_err(|error| failed("making a folder", &error))?;
        self.copy(scope, &folder).await?;
        let shared = &self.pool.shared;
        let parts = EmbeddedParts {
            dir: copy.clone(),
            keys: shared.keys.clone(),
            ledger: Ledger::new(Arc::new(StorageQuota::default())),
            clock: Arc::clone(&shared.clock),
        };
        let moment = Self::open(parts, shared.settings.clone())
            .map_err(|error| StorageError::Failed(error.to_string()))?;
        let written = write(&moment, scope, &into.join(FILE)).await;
        moment.close().await;
        drop(moment);
        fs::remove_dir_all(&copy).map_err(|error| failed("removing a copy", &error))?;
        written
    }

    async fn import(&self, scope: Scope, from: &Path) -> Result<Usage, StorageError> {
        let path = from.join(FILE);
        let file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Usage::default()),
            opened => opened.map_err(|error| failed("opening the entries", &error))?,
        };
        read(self, scope, BufReader::new(file)).await
    }
}

async fn write(
    storage: &EmbeddedStorage,
    scope: Scope,
    path: &Path,
) -> Result<Usage, StorageError> {
    let mut usage = Usage::default();
    let stores = storage.buckets(scope).await?;
    if stores.is_empty() {
        return Ok(usage);
    }
    let io = |error: io::Error| failed("writing the entries", &error);
    let mut output = BufWriter::new(File::create(path).map_err(io)?);
    let page = storage.limits().page_keys;
    for store in stores {
        let bucket = storage.open_bucket(scope, &store).await?;
        let mut after = None;
        loop {
            let entries = bucket.list_entries("", after.as_deref(), page).await?;
            for (key, entry) in entries.entries {
                usage.items += 1;
                usage.bytes += (key.len() + entry.value.len()) as u64;
                let (value, base64) = match String::from_utf8(entry.value) {
                    Ok(text) => (text, false),
                    Err(bytes) => (STANDARD.encode(bytes.as_bytes()), true),
                };
                let line = Line {
                    store: store.clone(),
                    key,
                    value,
                    base64,
                    expires_at: entry.expires_at,
                };
                serde_json::to_writer(&mut output, &line)
                    .map_err(|error| StorageError::Failed(error.to_string()))?;
                output.write_all(b"\n").map_err(io)?;
            }
            match entries.next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
    }
    output.flush().map_err(io)?;
    Ok(usage)
}

async fn read(
    storage: &EmbeddedStorage,
    scope: Scope,
    mut input: BufReader<File>,
) -> Result<Usage, StorageError> {
    let limits = storage.limits();
    // Base64 and JSON's escapes make a value up to six times as long.
    let longest = 6 * (limits.value_bytes + limits.key_bytes + limits.bucket_name_bytes) + 1024;
    let now = storage.pool.shared.clock.now();
    let mut usage = Usage::default();
    let (mut batch, mut batch_bytes) = (Vec::new(), 0);
    let mut text = Vec::new();
    for number in 1_u64.. {
        text.clear();
        (&mut input)
            .take(longest as u64 + 1)
            .read_until(b'\n', &mut text)
            .map_err(|error| failed("reading the entries", &error))?;
        if text.is_empty() {
            break;
        }
        let damaged = |what: String| StorageError::Damaged(format!("{FILE} line {number}: {what}"));
        if text.len() > longest {
            return Err(damaged(format!("it is longer than {longest} bytes")));
        }
        let line: Line =
            serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
        let ttl = match line.expires_at {
            Some(at) if at <= now => continue,
            Some(at) => Some(Duration::from_millis(at - now)),
            None => None,
        };
        let value = if line.base64 {
            STANDARD
                .decode(&line.value)
                .map_err(|error| damaged(format!("its value: {error}")))?
        } else {
            line.value.into_bytes()
        };
        let bytes = line.key.len() + value.len();
        usage.items += 1;
        usage.bytes += bytes as u64;
        if batch.len() >= limits.batch_keys || batch_bytes + bytes > limits.batch_bytes / 2 {
            flush(storage, scope, &mut batch).await?;
            batch_bytes = 0;
        }
        batch_bytes += bytes;
        batch.push(Operation {
            bucket: line.store,
            key: line.key,
            action: Action::Set {
                value,
                options: SetOptions {
                    ttl,
                    condition: Condition::default(),
                },
            },
        });
    }
    flush(storage, scope, &mut batch).await?;
    Ok(usage)
}

async fn flush(
    storage: &EmbeddedStorage,
    scope: Scope,
    batch: &mut Vec<Operation>,
) -> Result<(), StorageError> {
    if !batch.is_empty() {
        storage.transact(scope, std::mem::take(batch)).await?;
    }
    Ok(())
}

impl EmbeddedStorage {
    /// The bucket `name` of `scope`; the provider's function has the name of another.
    async fn open_bucket(
        &self,
        scope: Scope,
        name: &str,
    ) -> Result<Arc<dyn canopy_backend::KeyValue>, StorageError> {
        KeyValueProvider::open(self, scope, name).await
    }
}
