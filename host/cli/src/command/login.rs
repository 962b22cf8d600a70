//! `canopy login`: remember a node's address and token.

use canopy_api_types::Identity;

use crate::client::Client;
use crate::profile::{self, Profile};
use crate::ui::printable;
use crate::{Context, Error};

/// Remember a node's address and token
///
/// Takes both from --url and --token (or CANOPY_URL and CANOPY_TOKEN), tries them, and writes them
/// to $XDG_CONFIG_HOME/canopy/cli.toml, readable by you alone, with the file of --ca if there is one.
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
        let identity: Identity = Client::new(&connection)?.get(&["whoami"]).await?;
        let ca = connection.ca.map(|file| {
            std::path::absolute(&file).map_err(|error| Error::local(file.display(), error))
        });
        let path = profile::path()?;
        profile::save(
            &path,
            &Profile {
                url: connection.url.clone(),
                token: connection.token,
                ca: ca.transpose()?,
                demo: false,
            },
        )?;
        context.ui.result(
            &serde_json::json!({ "url": connection.url, "file": path }),
            |_| {
                format!(
                    "{} answers (canopy {}). You are {}. Remembered in {}.",
                    connection.url,
                    printable(&identity.version),
                    printable(&whose(&identity)),
                    path.display()
                )
            },
        );
        Ok(())
    }
}

/// Who somebody is.
fn whose(identity: &Identity) -> String {
    match (&identity.tenant, &identity.subject) {
        (Some(tenant), Some(subject)) => format!("{subject} of tenant {tenant}"),
        _ => "the operator".into(),
    }
}
