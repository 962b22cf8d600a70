//! `canopy upgrade`: move an installation or a driver to another version of its package.

use canopy_api_types::{Package, VersionPut};
use canopy_ids::PackageName;
use semver::Version;
use serde::{Deserialize, Serialize};

use super::Target;
use crate::client::Condition;
use crate::{Context, Error};

/// Move an installation or a driver to another version
#[derive(Debug, clap::Args)]
pub struct Upgrade {
    #[command(flatten)]
    target: Target,
    /// The version to run [default: the newest]
    #[arg(value_name = "VERSION")]
    to: Option<Version>,
}

/// What installations and drivers say alike about their version.
#[derive(Serialize, Deserialize)]
struct Running {
    package: PackageName,
    version: Version,
    #[serde(flatten)]
    rest: serde_json::Map<String, serde_json::Value>,
}

impl Upgrade {
    pub(super) async fn run(self, context: &Context) -> Result<(), Error> {
        let client = context.client()?;
        let before: Running = client.get(&self.target.path(&[])).await?;
        let version = match self.to {
            Some(version) => version,
            None => {
                let PackageName { publisher, name } = &before.package;
                client
                    .get::<Package>(&["packages", publisher.as_str(), name.as_str()])
                    .await?
                    .latest_version
            }
        };
        if version == before.version {
            context.ui.result(&before, |now| {
                format!("{} runs {} already.", self.target.name, now.version)
            });
            return Ok(());
        }
        let path = self.target.path(&["version"]);
        let after: Running = client
            .put(&path, &VersionPut { version }, Condition::Always)
            .await?;
        context.ui.result(&after, |after| {
            let back = if self.target.driver {
                format!(
                    "canopy upgrade {} {} --driver -t {}",
                    self.target.name,
                    before.version,
                    self.target.tenant.as_str()
                )
            } else {
                format!(
                    "canopy rollback {} -t {}",
                    self.target.name,
                    self.target.tenant.as_str()
                )
            };
            format!(
                "{} runs {} {} (before: {}).\nTo return: {back}",
                self.target.name, after.package, after.version, before.version
            )
        });
        Ok(())
    }
}
