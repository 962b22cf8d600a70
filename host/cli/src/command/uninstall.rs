//! `canopy uninstall`: remove an installation with its data.

use canopy_api_types::Installation;
use canopy_ids::Label;

use super::TenantArg;
use crate::{Context, Error};

/// Remove an installation with all its data
#[derive(Debug, clap::Args)]
pub struct Uninstall {
    /// The installation
    name: Label,
    #[command(flatten)]
    tenant: TenantArg,
    /// Do it; without this, only say what would be lost
    #[arg(long)]
    yes: bool,
}

impl Uninstall {
    pub(super) async fn run(self, context: &Context) -> Result<(), Error> {
        let client = context.client()?;
        let path = [
            "tenants",
            self.tenant.as_str(),
            "installations",
            self.name.as_str(),
        ];
        let installation: Installation = client.get(&path).await?;
        if !self.yes {
            return Err(Error::Usage(format!(
                "uninstalling {} ({} {}) erases its data, configuration and log for good; repeat with --yes to do it",
                installation.name, installation.package, installation.version
            )));
        }
        client.delete(&path).await?;
        context.ui.result(&installation, |installation| {
            format!("Uninstalled {}.", installation.name)
        });
        Ok(())
    }
}
