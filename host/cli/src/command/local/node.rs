//! A node of a command's own: `canopy serve` of this very binary, with settings of its own.

use std::path::Path;
use std::time::{Duration, Instant};

use canopy_api_types::Status;
use tokio::process::Command;
use url::Url;

use super::child::Child;
use crate::client::Client;
use crate::profile::write_private;
use crate::{Connection, Error};

/// Its log is `node.log`.
pub(in crate::command) const NAME: &str = "node";
/// How long the node may take to answer. It recovers its databases first.
const START_LIMIT: Duration = Duration::from_secs(60);

/// Writes the settings and starts the node.
pub(in crate::command) fn start(dir: &Path, apps: u16, api: u16) -> Result<Child, Error> {
    let settings = dir.join("canopy.toml");
    let text = settings_text(dir, apps, api);
    write_private(&settings, &text).map_err(|error| Error::local(settings.display(), error))?;
    let program =
        std::env::current_exe().map_err(|error| Error::local("this program's own path", error))?;
    let mut command = Command::new(program);
    command.arg("serve").arg("--config").arg(&settings);
    for (name, _) in std::env::vars_os() {
        // Its settings are its own, whatever the user has set for another node.
        if name.to_string_lossy().starts_with("CANOPY_") {
            command.env_remove(name);
        }
    }
    Child::start(NAME, dir, &mut command)
}

fn settings_text(dir: &Path, apps: u16, api: u16) -> String {
    let path = |name: &str| toml::Value::String(dir.join(name).display().to_string());
    format!(
        "# Settings of this node; written again at every start.\n\
         data_dir = {}\n\
         listen = \"127.0.0.1:{apps}\"\n\
         api_listen = \"127.0.0.1:{api}\"\n\
         base_domain = \"localhost\"\n\
         operator_token_file = {}\n",
        path("data"),
        path("operator.token"),
    )
}

/// Waits until the node answers.
pub(in crate::command) async fn ready(
    child: &mut Child,
    dir: &Path,
    api: u16,
) -> Result<Connection, Error> {
    let url = Url::parse(&format!("http://127.0.0.1:{api}/"))
        .map_err(|error| Error::local("the node's address", error))?;
    let file = dir.join("operator.token");
    let deadline = Instant::now() + START_LIMIT;
    loop {
        if let Some(ended) = child.has_ended() {
            return Err(ended);
        }
        if let Ok(token) = std::fs::read_to_string(&file)
            && !token.trim().is_empty()
        {
            let connection = Connection {
                url: url.clone(),
                token: token.trim().to_owned(),
                ca: None,
            };
            match Client::new(&connection)?.get::<Status>(&["status"]).await {
                Ok(_) => return Ok(connection),
                Err(Error::Unreachable { .. }) => {}
                Err(error) if error.status() == Some(503) => {}
                Err(error) if error.status() == Some(401) => {
                    return Err(error.with_advice(format!(
                        "{} does not fit the node's data: delete {} to begin afresh",
                        file.display(),
                        dir.display()
                    )));
                }
                Err(error) => return Err(error),
            }
        }
        if Instant::now() > deadline {
            return Err(Error::advised(
                format!(
                    "the node does not answer at {url} after {} s",
                    START_LIMIT.as_secs()
                ),
                format!("see {}", dir.join("node.log").display()),
            ));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_settings_are_toml_whatever_the_folder_is_called() {
        let text = settings_text(Path::new("/a \"b\"\\c"), 1, 2);
        let table: toml::Table = toml::from_str(&text).expect("TOML");
        assert_eq!(table["data_dir"].as_str(), Some("/a \"b\"\\c/data"));
        assert_eq!(table["api_listen"].as_str(), Some("127.0.0.1:2"));
    }
}
