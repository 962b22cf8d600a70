//! `canopy rollback`: return an installation to the version before.

use canopy_api_types::Installation;
use canopy_ids::Label;

use super::TenantArg;
use crate::{Context, Error};

/// Return an installation to the version before
#[derive(Debug, clap::Args)]
pub struct Rollback {
    /// The installation
    name: Label,
    #[command(flatten)]
    tenant: TenantArg,
}

impl Rollback {
    pub(super) async fn run(self, context: &Context) -> Result<(), Error> {
        let path = [
            "tenants",
            self.tenant.as_str(),
            "installations",
            self.name.as_str(),
            "rollback",
        ];
        let now: Installation = context
            .client()?
            .post(&path, &serde_json::json!({}))
            .await?;
        context.ui.result(&now, |now| {
            format!("{} runs {} {} again.", now.name, now.package, now.version)
        });
        Ok(())
    }
}
