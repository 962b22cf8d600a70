//! `canopy driver`: a tenant's drivers.

use canopy_api_types::{Driver as Noun, DriverPut};
use canopy_ids::Label;

use super::settings::Settings;
use super::{PackageRef, TenantArg};
use crate::client::Condition;
use crate::ui::{fields, moment, table};
use crate::{Context, Error};

/// Manage a tenant's drivers
#[derive(Debug, clap::Subcommand)]
pub enum Driver {
    /// Set up a driver for a tenant
    Add(Add),
    /// List a tenant's drivers
    List {
        #[command(flatten)]
        tenant: TenantArg,
    },
    /// Show one driver
    Show {
        /// Its name
        name: Label,
        #[command(flatten)]
        tenant: TenantArg,
    },
    /// Remove a driver that no installation is bound to
    Remove {
        /// Its name
        name: Label,
        #[command(flatten)]
        tenant: TenantArg,
        /// Do it; without this, only say what would be lost
        #[arg(long)]
        yes: bool,
    },
}

/// What a new driver takes.
#[derive(Debug, clap::Args)]
pub struct Add {
    /// The driver package, and the version if it is not to be the newest
    #[arg(value_name = "PUBLISHER/NAME[@VERSION]")]
    package: PackageRef,
    #[command(flatten)]
    tenant: TenantArg,
    /// Its name within the tenant [default: the package's]
    #[arg(long)]
    name: Option<Label>,
    #[command(flatten)]
    settings: Settings,
    /// Replace the settings of a driver of that name, instead of refusing
    #[arg(long)]
    replace: bool,
}

impl Driver {
    pub(super) async fn run(self, context: &Context) -> Result<(), Error> {
        let client = context.client()?;
        match self {
            Self::Add(add) => {
                let PackageRef {
                    name: package,
                    version,
                } = add.package;
                let name = add.name.unwrap_or_else(|| package.name.clone());
                let config = add
                    .settings
                    .config(&client, &package, version.as_ref())
                    .await?;
                let body = DriverPut {
                    version,
                    config,
                    secrets: add.settings.secrets()?,
                    egress: add.settings.egress,
                    ..DriverPut::new(package)
                };
                let path = ["tenants", add.tenant.as_str(), "drivers", name.as_str()];
                let condition = if add.replace {
                    Condition::Always
                } else {
                    Condition::Absent
                };
                let added = client.put(&path, &body, condition).await;
                let driver: Noun = added.map_err(|error| {
                    let what = format!("driver {name} of {}", add.tenant.as_str());
                    error.of_creating(
                        &what,
                        "replace its settings with --replace, or choose another name with --name",
                    )
                })?;
                context.ui.result(&driver, |driver| {
                    let packages: Vec<_> = driver.serves.iter().map(|name| name.package.to_string()).collect();
                    let package = packages.first().map_or("WIT-PACKAGE", String::as_str);
                    format!(
                        "Added driver {0} ({1} {2}).\nNext: canopy bind INSTALLATION {package} {0} --tenant {3}",
                        driver.name, driver.package, driver.version, driver.tenant
                    )
                });
            }
            Self::List { tenant } => {
                let drivers: Vec<Noun> = client
                    .list(&["tenants", tenant.as_str(), "drivers"], &[])
                    .await?;
                context.ui.result(&drivers, |drivers| {
                    let rows = drivers.iter().map(|driver| {
                        [
                            driver.name.to_string(),
                            driver.package.to_string(),
                            driver.version.to_string(),
                            join(&driver.used_by),
                        ]
                    });
                    let none = "No drivers. Add one with `canopy driver add PUBLISHER/PACKAGE`.";
                    table(none, ["name", "package", "version", "used by"], rows)
                });
            }
            Self::Show { name, tenant } => {
                let path = ["tenants", tenant.as_str(), "drivers", name.as_str()];
                let driver: Noun = client.get(&path).await?;
                context.ui.result(&driver, describe);
            }
            Self::Remove { name, tenant, yes } => {
                let path = ["tenants", tenant.as_str(), "drivers", name.as_str()];
                let driver: Noun = client.get(&path).await?;
                if !yes {
                    return Err(Error::Usage(format!(
                        "removing driver {name} ({} {}) erases its configuration, secrets and log \
                         for good; repeat with --yes to do it",
                        driver.package, driver.version
                    )));
                }
                client.delete(&path).await?;
                context
                    .ui
                    .result(&driver, |driver| format!("Removed driver {}.", driver.name));
            }
        }
        Ok(())
    }
}

fn join(labels: &[Label]) -> String {
    labels
        .iter()
        .map(Label::as_str)
        .collect::<Vec<_>>()
        .join(", ")
}

fn describe(driver: &Noun) -> String {
    let serves: Vec<_> = driver.serves.iter().map(ToString::to_string).collect();
    fields([
        ("name", driver.name.to_string()),
        ("tenant", driver.tenant.to_string()),
        ("package", driver.package.to_string()),
        ("version", driver.version.to_string()),
        ("digest", driver.digest.to_string()),
        ("id", driver.id.to_string()),
        ("serves", serves.join("\n")),
        ("used by", join(&driver.used_by)),
        ("config", super::config::lines(&driver.config)),
        ("secrets", driver.secrets.join("\n")),
        ("egress", driver.egress.join("\n")),
        ("created", moment(driver.created_at)),
        ("changed", moment(driver.updated_at)),
    ])
}
