//! The operator's key: where it comes from.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use canopy_backend::files::replace_file;
use tokio::io::AsyncReadExt;
use tokio::process::Command;
use zeroize::Zeroizing;

use crate::wrap::{Secret, from_hex, random, to_hex};
use crate::{KEY_BYTES, KeyError};

/// Bytes that the file or the command may give: a key with some white space around it.
const TEXT_BYTES: usize = 256;

/// The key that wraps all others.
pub struct OperatorKey(Secret);

/// The key that the operator gives, and during a change the one before it.
#[derive(Debug)]
pub struct OperatorKeys {
    /// The key.
    pub current: OperatorKey,
    /// The key that wrapped what is stored, if that is to change.
    pub previous: Option<OperatorKey>,
}

impl From<OperatorKey> for OperatorKeys {
    fn from(current: OperatorKey) -> Self {
        Self {
            current,
            previous: None,
        }
    }
}

impl OperatorKey {
    /// Reads the key from `path`: 64 hexadecimal digits in a file that only its owner can read. If
    /// `create` is set and there is no file, makes one with a new key.
    pub fn from_file(path: &Path, create: bool) -> Result<Self, KeyError> {
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && create => {
                return Self::make(path);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(KeyError::OperatorKeyMissing { path: path.into() });
            }
            opened => opened.map_err(KeyError::io("opening the operator's key", path))?,
        };
        let failed = KeyError::io("reading the operator's key", path);
        let mode = match file.metadata() {
            Ok(metadata) => metadata.mode() & 0o7777,
            Err(error) => return Err(failed(error)),
        };
        if mode & 0o077 != 0 {
            return Err(KeyError::OperatorKeyReadable {
                path: path.into(),
                mode,
            });
        }
        let mut text = Zeroizing::new(Vec::with_capacity(TEXT_BYTES + 1));
        file.take(TEXT_BYTES as u64 + 1)
            .read_to_end(&mut text)
            .map_err(failed)?;
        Self::parse(&text, || path.display().to_string())
    }

    /// Runs a program that prints the key as 64 hexadecimal digits, `command` being the program and
    /// its arguments. It gets no input, and what it says besides goes to the node's own output.
    pub async fn from_command(command: &[String], limit: Duration) -> Result<Self, KeyError> {
        let name = || command.first().cloned().unwrap_or_default();
        let failed = |problem: String| KeyError::Command {
            command: name(),
            problem,
        };
        let Some((program, arguments)) = command.split_first() else {
            return Err(failed("is empty".into()));
        };
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| failed(format!("can't be started: {error}")))?;
        let output = child.stdout.take();
        let run = async {
            let mut text = Zeroizing::new(Vec::with_capacity(TEXT_BYTES + 1));
            if let Some(output) = output {
                output
                    .take(TEXT_BYTES as u64 + 1)
                    .read_to_end(&mut text)
                    .await?;
            }
            Ok::<_, io::Error>((text, child.wait().await?))
        };
        let (text, status) = tokio::time::timeout(limit, run)
            .await
            .map_err(|_| failed(format!("gave no key within {limit:?}")))?
            .map_err(|error| failed(format!("failed: {error}")))?;
        if !status.success() {
            return Err(failed(format!("ended with {status}")));
        }
        Self::parse(&text, || format!("the command `{}`", name()))
    }

    /// Which key it is. Public: it says nothing of the key itself.
    pub fn fingerprint(&self) -> String {
        let hash = blake3::derive_key("canopy operator key fingerprint v1", self.0.bytes());
        to_hex(&hash[..8]).to_string()
    }

    pub(crate) fn secret(&self) -> &Secret {
        &self.0
    }

    fn make(path: &Path) -> Result<Self, KeyError> {
        let secret = Secret::new()?;
        let mut text = to_hex(secret.bytes());
        text.push('\n');
        replace_file(path, text.as_bytes())
            .map_err(KeyError::io("making the operator's key", path))?;
        Ok(Self(secret))
    }

    fn parse(text: &[u8], place: impl FnOnce() -> String) -> Result<Self, KeyError> {
        let text = text.trim_ascii();
        let problem = if text.is_empty() {
            "it is empty"
        } else if text.len() != 2 * KEY_BYTES {
            "it is of another length"
        } else {
            match from_hex(text) {
                Some(secret) => return Ok(Self(secret)),
                None => "it has other characters",
            }
        };
        Err(KeyError::NotAKey {
            place: place(),
            problem: problem.into(),
        })
    }

    /// A new key that is in no file, for tests and tools.
    pub fn generate() -> Result<Self, KeyError> {
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        random(bytes.as_mut())?;
        Ok(Self(Secret::from(*bytes)))
    }

    /// The same key once more.
    pub fn duplicate(&self) -> Self {
        Self(Secret::from(*self.0.bytes()))
    }
}

/// The fingerprint alone.
impl std::fmt::Debug for OperatorKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "OperatorKey({})", self.fingerprint())
    }
}
