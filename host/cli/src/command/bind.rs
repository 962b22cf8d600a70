//! `canopy bind`: choose who serves an interface for an installation.

use canopy_api_types::{BindingPut, Installation};
use canopy_ids::{Label, WitPackage};

use super::TenantArg;
use crate::{Context, Error};

/// Choose who serves an interface for an installation
#[derive(Debug, clap::Args)]
pub struct Bind {
    /// The installation
    name: Label,
    /// The WIT package whose interfaces it imports, such as wasi:keyvalue
    #[arg(value_name = "WIT-PACKAGE")]
    package: WitPackage,
    /// The tenant's driver that serves them from now on
    #[arg(required_unless_present = "platform", conflicts_with = "platform")]
    driver: Option<Label>,
    /// Let the platform serve them itself
    #[arg(long)]
    platform: bool,
    #[command(flatten)]
    tenant: TenantArg,
}

impl Bind {
    pub(super) async fn run(self, context: &Context) -> Result<(), Error> {
        let client = context.client()?;
        let package = self.package.to_string();
        let installation = [
            "tenants",
            self.tenant.as_str(),
            "installations",
            self.name.as_str(),
        ];
        let path: Vec<&str> = installation
            .into_iter()
            .chain(["bindings", &package])
            .collect();
        let by = match self.driver {
            Some(driver) => {
                client
                    .put_only(
                        &path,
                        &BindingPut {
                            driver: driver.clone(),
                        },
                    )
                    .await?;
                format!("driver {driver}")
            }
            None => {
                client.delete(&path).await?;
                "the platform".into()
            }
        };
        let now: Installation = client.get(&installation).await?;
        context.ui.result(&now, |now| {
            format!("{package} of {} is served by {by}.", now.name)
        });
        Ok(())
    }
}
