//! `canopy config`: the configuration of an installation or a driver.

use canopy_api_types::Config;
use canopy_ids::PackageName;
use semver::Version;
use serde::Deserialize;
use serde_json::Value;

use super::Target;
use super::settings::{self, Setting};
use crate::client::Client;
use crate::{Context, Error};

/// Print the node's settings, or read and change the configuration of an installation
///
/// Without a subcommand: every setting of `canopy serve`, documented, as a file to start from.
#[derive(Debug, clap::Args)]
pub struct ConfigArgs {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show all values, or one
    Get {
        #[command(flatten)]
        target: Target,
        /// Only this one
        key: Option<String>,
    },
    /// Set values; those not named stay
    Set {
        #[command(flatten)]
        target: Target,
        /// KEY=VALUE, typed by the package's schema, or KEY:=JSON
        #[arg(required = true, value_name = "KEY=VALUE")]
        settings: Vec<Setting>,
    },
    /// Remove values, so that the package's defaults hold again
    Unset {
        #[command(flatten)]
        target: Target,
        /// Which
        #[arg(required = true, value_name = "KEY")]
        keys: Vec<String>,
    },
}

/// Which version's schema describes the configuration.
#[derive(Deserialize)]
struct Running {
    package: PackageName,
    version: Version,
}

impl ConfigArgs {
    /// Whether no subcommand was given: the binary then prints the settings of `canopy serve`.
    pub fn asks_for_settings(&self) -> bool {
        self.command.is_none()
    }

    pub(super) async fn run(self, context: &Context) -> Result<(), Error> {
        let Some(command) = self.command else {
            return Err(Error::Usage(
                "name what to do with the configuration: get, set or unset".into(),
            ));
        };
        let client = context.client()?;
        match command {
            Command::Get { target, key: None } => {
                let config: Config = client.get(&target.path(&["config"])).await?;
                context.ui.result(&config, describe);
            }
            Command::Get {
                target,
                key: Some(key),
            } => {
                let config: Config = client.get(&target.path(&["config"])).await?;
                let value = config.get(&key).ok_or_else(|| {
                    Error::NotFound(format!(
                        "{key:?} is not set for {} {}",
                        target.noun(),
                        target.name
                    ))
                })?;
                context.ui.result(value, text);
            }
            Command::Set { target, settings } => {
                let running: Running = client.get(&target.path(&[])).await?;
                let changes =
                    settings::config(&client, &running.package, Some(&running.version), settings)
                        .await?;
                change(context, &client, &target, changes).await?;
            }
            Command::Unset { target, keys } => {
                let changes = keys.into_iter().map(|key| (key, Value::Null)).collect();
                change(context, &client, &target, changes).await?;
            }
        }
        Ok(())
    }
}

async fn change(
    context: &Context,
    client: &Client,
    target: &Target,
    changes: Config,
) -> Result<(), Error> {
    let config: Config = client.patch(&target.path(&["config"]), &changes).await?;
    context.ui.result(&config, describe);
    Ok(())
}

fn describe(config: &Config) -> String {
    if config.is_empty() {
        "Nothing is set; the package's defaults hold.".into()
    } else {
        lines(config)
    }
}

/// One `key=value` a line.
pub(super) fn lines(config: &Config) -> String {
    config
        .iter()
        .map(|(key, value)| format!("{}={}", crate::ui::printable(key), text(value)))
        .collect::<Vec<_>>()
        .join("\n")
}

/// Texts as they are, everything else as JSON.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => crate::ui::printable(text).into_owned(),
        other => other.to_string(),
    }
}
