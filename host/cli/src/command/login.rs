//! `canopy login`: remember a node's address and token.

use canopy_api_types::Status;

use crate::client::Client;
use crate::profile::{self, Profile};
use crate::{Context, Error};

/// Remember a node's address and token
///
/// Takes both from --url and --token (or CANOPY_URL and CANOPY_TOKEN), tries them, and writes them
/// to $XDG_CONFIG_HOME/canopy/cli.toml, readable by you alone.
#[derive(Debug, clap::Args)]
pub struct Login {}

impl Login {
    pub(super) async fn run(self, context: &Context) -> Result<(), Error> {
        if context.globals.token.is_none() {
            return Err(Error::Usage(
                "name the token with --token or CANOPY_TOKEN".into(),
            ));
        }
        let connection = profile::connection(&context.globals)?;
        let status: Status = Client::new(&connection)?.get(&["status"]).await?;
        let path = profile::path()?;
        profile::save(
            &path,
            &Profile {
                url: connection.url.clone(),
                token: connection.token,
                demo: false,
            },
        )?;
        context.ui.result(
            &serde_json::json!({ "url": connection.url, "file": path }),
            |_| {
                format!(
                    "{} answers (canopy {}). Remembered in {}.",
                    connection.url,
                    status.version,
                    path.display()
                )
            },
        );
        Ok(())
    }
}
