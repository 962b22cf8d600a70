//! The seal on a native artifact, by which this node knows its own work.
//!
//! Loading native code means running it, so a file is loaded only if its last bytes are a keyed
//! MAC (BLAKE3) over the code, the component's digest and the engine's compatibility. The key is
//! made here on first use and readable by its owner alone. A file that is damaged, from another
//! node, of another component, or of another engine has no valid seal.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use canopy_ids::Digest;

/// Ends every sealed file. The number is the version of the seal.
const MAGIC: &[u8; 16] = b"canopy-artifact1";
const MAC_BYTES: usize = blake3::OUT_LEN;
const TRAILER_BYTES: u64 = (MAC_BYTES + MAGIC.len()) as u64;
const CONTEXT: &[u8] = b"canopy native artifact seal v1\0";

/// The node's key for seals.
#[derive(Clone)]
pub(crate) struct SealKey([u8; 32]);

/// What a sealed file was made for; part of what the MAC covers.
#[derive(Clone, Copy)]
pub(crate) struct Purpose<'a> {
    pub(crate) digest: &'a Digest,
    pub(crate) compatibility: &'a str,
}

impl SealKey {
    /// The key in `path`, made if there is none. A key that is damaged or that others can read is
    /// replaced: all that it sealed is then compiled again.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        match read_key(path) {
            Ok(Ok(key)) => return Ok(key),
            Ok(Err(why)) => {
                tracing::warn!(path = %path.display(), "the seal key {why}; making a new one")
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let mut key = [0; 32];
        getrandom::fill(&mut key).map_err(io::Error::other)?;
        let directory = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
        let mut file = tempfile::Builder::new()
            .prefix(".key-")
            .tempfile_in(directory)?;
        file.write_all(&key)?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error)?;
        File::open(directory)?.sync_all()?;
        Ok(Self(key))
    }

    /// The key in `path`, if there is one that can be used.
    pub(crate) fn existing(path: &Path) -> io::Result<Option<Self>> {
        match read_key(path) {
            Ok(key) => Ok(key.ok()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Appends the seal to a file that holds native code and nothing else, and syncs it.
    pub(crate) fn seal(&self, path: &Path, purpose: Purpose<'_>) -> io::Result<()> {
        let mut file = OpenOptions::new().read(true).write(true).open(path)?;
        let length = file.metadata()?.len();
        let mac = self.mac(&mut file, length, purpose)?;
        file.seek(SeekFrom::Start(length))?;
        file.write_all(mac.as_bytes())?;
        file.write_all(MAGIC)?;
        file.sync_all()
    }

    /// Whether the file has this node's seal for this purpose.
    pub(crate) fn verify(&self, file: &mut File, purpose: Purpose<'_>) -> io::Result<bool> {
        let Some(length) = file.metadata()?.len().checked_sub(TRAILER_BYTES) else {
            return Ok(false);
        };
        let mut mac = [0; MAC_BYTES];
        let mut magic = [0; MAGIC.len()];
        file.seek(SeekFrom::Start(length))?;
        file.read_exact(&mut mac)?;
        file.read_exact(&mut magic)?;
        Ok(&magic == MAGIC && self.mac(file, length, purpose)? == mac)
    }

    fn mac(&self, file: &mut File, length: u64, purpose: Purpose<'_>) -> io::Result<blake3::Hash> {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(CONTEXT);
        hasher.update(purpose.digest.as_bytes());
        hasher.update(&(purpose.compatibility.len() as u64).to_le_bytes());
        hasher.update(purpose.compatibility.as_bytes());
        hasher.update(&length.to_le_bytes());
        file.seek(SeekFrom::Start(0))?;
        hasher.update_reader(file.take(length))?;
        Ok(hasher.finalize())
    }
}

/// The key in the file, or what is wrong with it.
fn read_key(path: &Path) -> io::Result<Result<SealKey, &'static str>> {
    let metadata = fs::symlink_metadata(path)?;
    if !metadata.is_file() {
        return Ok(Err("is not a regular file"));
    }
    if metadata.mode() & 0o077 != 0 {
        return Ok(Err("is open to other users"));
    }
    let bytes = fs::read(path)?;
    Ok(match <[u8; 32]>::try_from(bytes.as_slice()) {
        Ok(key) => Ok(SealKey(key)),
        Err(_) => Err("is damaged"),
    })
}
