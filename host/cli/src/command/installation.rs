//! `canopy installation`: what a tenant has installed.

use canopy_api_types::Installation as Noun;
use canopy_ids::Label;

use super::TenantArg;
use crate::ui::{fields, interfaces, moment, table};
use crate::{Context, Error};

/// Look at a tenant's installations
#[derive(Debug, clap::Subcommand)]
pub enum Installation {
    /// List a tenant's installations
    List {
        #[command(flatten)]
        tenant: TenantArg,
    },
    /// Show one installation
    Show {
        /// Its name
        name: Label,
        #[command(flatten)]
        tenant: TenantArg,
    },
}

impl Installation {
    pub(super) async fn run(self, context: &Context) -> Result<(), Error> {
        let client = context.client()?;
        match self {
            Self::List { tenant } => {
                let path = ["tenants", tenant.as_str(), "installations"];
                let installations: Vec<Noun> = client.list(&path, &[]).await?;
                context.ui.result(&installations, |installations| {
                    let rows = installations.iter().map(|installation| {
                        [
                            installation.name.to_string(),
                            installation.package.to_string(),
                            installation.version.to_string(),
                            installation.url.clone().unwrap_or_default(),
                        ]
                    });
                    let none = "No installations. Install with `canopy install PUBLISHER/PACKAGE`.";
                    table(none, ["name", "package", "version", "url"], rows)
                });
            }
            Self::Show { name, tenant } => {
                let path = ["tenants", tenant.as_str(), "installations", name.as_str()];
                let installation: Noun = client.get(&path).await?;
                context.ui.result(&installation, describe);
            }
        }
        Ok(())
    }
}

/// An installation for people.
fn describe(installation: &Noun) -> String {
    let served = installation.interfaces.iter().map(|source| {
        let by = source
            .driver
            .as_ref()
            .map_or("the platform".into(), |driver| format!("driver {driver}"));
        let by = match &source.label {
            Some(label) => format!("{by}, label {label}"),
            None => by,
        };
        (&source.interface, by)
    });
    let previous = installation
        .previous_version
        .as_ref()
        .map(ToString::to_string);
    fields([
        ("name", installation.name.to_string()),
        ("tenant", installation.tenant.to_string()),
        ("url", installation.url.clone().unwrap_or_default()),
        ("domains", installation.domains.join("\n")),
        ("package", installation.package.to_string()),
        ("version", installation.version.to_string()),
        ("previous version", previous.unwrap_or_default()),
        ("digest", installation.digest.to_string()),
        ("id", installation.id.to_string()),
        ("config", super::config::lines(&installation.config)),
        ("secrets", installation.secrets.join("\n")),
        ("egress", installation.egress.join("\n")),
        ("interfaces", interfaces(served)),
        ("created", moment(installation.created_at)),
        ("changed", moment(installation.updated_at)),
    ])
}
