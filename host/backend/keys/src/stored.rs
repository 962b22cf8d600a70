//! The files of wrapped keys: what is in them, and how they are replaced and destroyed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use canopy_backend::files::{replace_file, sync_dir};
use canopy_ids::TenantId;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::KeyError;
use crate::wrap::{bytes_from_hex, to_hex};

/// The format that is written here.
const FORMAT: u32 = 1;
/// Bytes of the largest file that is read: some thousand versions.
const FILE_BYTES: u64 = 1 << 20;

pub(crate) const NODE_FILE: &str = "node.key";
pub(crate) const TENANT_FILE: &str = "key";
/// What a tenant's file is called while it is being destroyed.
const ERASED_FILE: &str = ".erased-key";

/// `node.key`: the node's own key.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NodeFile {
    pub(crate) format: Format,
    /// Fingerprint of the operator's key that wrapped it.
    pub(crate) operator_key: String,
    /// Fingerprint of the one that is to wrap everything, while that changes.
    pub(crate) changing_to: Option<String>,
    pub(crate) wrapped: Wrapped,
}

/// `<tenant>/key`: the versions of a tenant's data key, in the order of their numbers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TenantFile {
    pub(crate) format: Format,
    pub(crate) tenant: TenantId,
    pub(crate) operator_key: String,
    pub(crate) versions: Vec<StoredVersion>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StoredVersion {
    pub(crate) version: u32,
    pub(crate) wrapped: Wrapped,
}

/// The one format that there is.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Format;

impl Serialize for Format {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(FORMAT)
    }
}

impl<'de> Deserialize<'de> for Format {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u32::deserialize(deserializer)? {
            FORMAT => Ok(Self),
            other => Err(serde::de::Error::custom(format!(
                "format {other}, and this version knows format {FORMAT}"
            ))),
        }
    }
}

/// Bytes, written as hexadecimal digits.
#[derive(Debug, Clone)]
pub(crate) struct Wrapped(pub(crate) Vec<u8>);

impl Serialize for Wrapped {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&to_hex(&self.0))
    }
}

impl<'de> Deserialize<'de> for Wrapped {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        bytes_from_hex(text.as_bytes())
            .map(Self)
            .ok_or_else(|| serde::de::Error::custom("expected hexadecimal digits"))
    }
}

/// The bytes of the file; `None` if there is none.
pub(crate) fn read_bytes(path: &Path) -> Result<Option<Vec<u8>>, KeyError> {
    let failed = KeyError::io("reading the keys", path);
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mut bytes = Vec::new();
    match file.take(FILE_BYTES).read_to_end(&mut bytes) {
        Ok(_) => Ok(Some(bytes)),
        Err(error) => Err(failed(error)),
    }
}

pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8], place: &Path) -> Result<T, KeyError> {
    serde_json::from_slice(bytes).map_err(|error| KeyError::Damaged {
        place: place.display().to_string(),
        problem: error.to_string(),
    })
}

pub(crate) fn to_bytes(file: &impl Serialize, place: &Path) -> Result<Vec<u8>, KeyError> {
    let mut bytes = serde_json::to_vec(file).map_err(|error| KeyError::Damaged {
        place: place.display().to_string(),
        problem: error.to_string(),
    })?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Puts `file` in place of the one before, whole or not at all, and wipes that one.
pub(crate) fn replace(path: &Path, file: &impl Serialize) -> Result<(), KeyError> {
    let bytes = to_bytes(file, path)?;
    let failed = || KeyError::io("writing the keys", path);
    let before = match OpenOptions::new().write(true).open(path) {
        Ok(file) => Some(file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(failed()(error)),
    };
    replace_file(path, &bytes).map_err(failed())?;
    // The new file is in force already; what is left of the old one is still wrapped.
    if let Some(Err(error)) = before.map(wipe) {
        tracing::warn!(path = %path.display(), %error, "a replaced file of keys was not wiped");
    }
    Ok(())
}

/// Overwrites and removes the keys in `folder`; no error if there are none.
pub(crate) fn destroy(folder: &Path) -> Result<(), KeyError> {
    let (path, erased) = (folder.join(TENANT_FILE), folder.join(ERASED_FILE));
    let failed = || KeyError::io("destroying the keys", &path);
    match fs::rename(&path, &erased) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed()(error)),
        Ok(()) => sync_dir(folder).map_err(failed())?,
        Err(_) => {}
    }
    let unfinished: PathBuf = folder.join(format!("{TENANT_FILE}.new"));
    for path in [erased, unfinished] {
        match OpenOptions::new().write(true).open(&path) {
            Ok(file) => {
                wipe(file)
                    .and_then(|()| fs::remove_file(&path))
                    .and_then(|()| sync_dir(folder))
                    .map_err(failed())?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed()(error)),
        }
    }
    Ok(())
}

fn wipe(mut file: File) -> io::Result<()> {
    let length = file.metadata()?.len().min(FILE_BYTES);
    io::copy(&mut io::repeat(0).take(length), &mut file)?;
    file.flush()?;
    file.sync_all()
}
