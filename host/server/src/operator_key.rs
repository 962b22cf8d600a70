//! Where the operator's key comes from, and the keys that it opens.

use std::time::Duration;

use anyhow::Context as _;
use canopy_backend_keys::{Keyring, OperatorKey, OperatorKeys};

use crate::data_dir::DataDir;
use crate::settings::FilePath;

/// Where the operator's key is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeySettings {
    /// The file; by default `operator.key` in the data folder.
    pub(crate) operator_key_file: Option<FilePath>,
    /// A program and its arguments, in place of the file.
    pub(crate) operator_key_command: Vec<String>,
    /// How long the program may take.
    pub(crate) operator_key_timeout: Duration,
    /// The file of the key before, while it is changed.
    pub(crate) previous_operator_key_file: Option<FilePath>,
}

impl Default for KeySettings {
    fn default() -> Self {
        Self {
            operator_key_file: None,
            operator_key_command: Vec::new(),
            operator_key_timeout: Duration::from_secs(30),
            previous_operator_key_file: None,
        }
    }
}

/// Opens the node's keys. A data folder in which there is nothing yet gets a new operator's key,
/// if that is to be in a file and there is none.
pub(crate) async fn open(settings: &KeySettings, data: &DataDir) -> anyhow::Result<Keyring> {
    let command = &settings.operator_key_command;
    let current = if command.is_empty() {
        let default = data.path().join("operator.key");
        let file = settings.operator_key_file.as_ref();
        let file = file.map_or(default, |file| file.0.clone());
        let create = !data.is_used() && settings.previous_operator_key_file.is_none();
        let is_new = create && !file.exists();
        let key = OperatorKey::from_file(&file, create)?;
        if is_new {
            tracing::info!(
                file = %file.display(),
                fingerprint = key.fingerprint(),
                "the operator's key was made: keep a copy elsewhere, nothing can be read without it",
            );
        }
        key
    } else {
        OperatorKey::from_command(command, settings.operator_key_timeout)
            .await
            .context("setting `keys.operator_key_command`")?
    };
    let previous = settings.previous_operator_key_file.as_ref();
    let previous = previous
        .map(|file| OperatorKey::from_file(&file.0, false))
        .transpose()
        .context("setting `keys.previous_operator_key_file`")?;
    let folder = data.storage();
    let open = move || Keyring::open(OperatorKeys { current, previous }, &folder);
    Ok(tokio::task::spawn_blocking(open).await??)
}
