//! `canopy domain`: custom domains of an installation.

use canopy_api_types::Installation;
use canopy_ids::Label;

use super::TenantArg;
use crate::{Context, Error};

/// Manage the custom domains of an installation
#[derive(Debug, clap::Subcommand)]
pub enum Domain {
    /// Let an installation answer on a domain too
    Add(Which),
    /// Take a domain from an installation
    Remove(Which),
}

/// A domain of an installation.
#[derive(Debug, clap::Args)]
pub struct Which {
    /// The installation
    name: Label,
    /// The domain, such as billing.example.com
    domain: String,
    #[command(flatten)]
    tenant: TenantArg,
}

impl Domain {
    pub(super) async fn run(self, context: &Context) -> Result<(), Error> {
        let client = context.client()?;
        let (Self::Add(which) | Self::Remove(which)) = &self;
        let installation = [
            "tenants",
            which.tenant.as_str(),
            "installations",
            which.name.as_str(),
        ];
        let path: Vec<&str> = installation
            .into_iter()
            .chain(["domains", &which.domain])
            .collect();
        match &self {
            Self::Add(_) => client.put_only(&path, &serde_json::json!({})).await?,
            Self::Remove(_) => client.delete(&path).await?,
        }
        let now: Installation = client.get(&installation).await?;
        context.ui.result(&now, |now| {
            let domains = if now.domains.is_empty() {
                "none".into()
            } else {
                now.domains.join(", ")
            };
            format!("Domains of {}: {domains}.", now.name)
        });
        Ok(())
    }
}
