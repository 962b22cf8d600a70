//! `canopy driver`: a tenant's drivers.

mod test;

use std::collections::BTreeSet;

use canopy_api_types::{
    BindingPut, Driver as Noun, DriverChecked, DriverPut, DriverState, Package, VersionPut,
};
use canopy_ids::{BindingKey, Label};
use semver::Version;

use super::bind::{Bindable, provider};
use super::install::{BINDING, binding};
use super::settings::Settings;
use super::{PackageRef, TenantArg};
use crate::client::Condition;
use crate::ui::{fields, moment, table};
use crate::{Context, Error};

pub(crate) use test::{badge_of, badge_result, read_badge};

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
    /// Choose who serves what a driver imports: another driver, or the platform
    Bind {
        /// The driver
        name: Label,
        #[command(flatten)]
        what: Bindable,
        /// The other driver, or `platform`: storage is that of the application that calls, then
        driver: Label,
        #[command(flatten)]
        tenant: TenantArg,
    },
    /// Remove a binding of a driver
    Unbind {
        /// The driver
        name: Label,
        #[command(flatten)]
        what: Bindable,
        #[command(flatten)]
        tenant: TenantArg,
    },
    /// Have a driver find out whether it works as it is set up
    Check {
        /// The driver
        name: Label,
        #[command(flatten)]
        tenant: TenantArg,
    },
    /// Test a driver: what it answers, and what comes of bad days
    Test(test::Test),
    /// Move a driver to another version of its package
    Upgrade {
        /// The driver
        name: Label,
        /// The version to run [default: the newest]
        #[arg(value_name = "VERSION")]
        to: Option<Version>,
        #[command(flatten)]
        tenant: TenantArg,
    },
    /// Return a driver to the version before
    Rollback {
        /// The driver
        name: Label,
        #[command(flatten)]
        tenant: TenantArg,
    },
    /// Remove a driver that no installation and no other driver is bound to
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
    /// The driver package, and its version [default: the newest; with --replace, the one that runs]
    #[arg(value_name = "PUBLISHER/NAME[@VERSION]")]
    package: PackageRef,
    #[command(flatten)]
    tenant: TenantArg,
    /// Its name within the tenant [default: the package's]
    #[arg(long)]
    name: Option<Label>,
    #[command(flatten)]
    settings: Settings,
    /// Which other driver serves a WIT package or an interface that it imports, or `platform`; may be
    /// repeated
    #[arg(long = "bind", value_name = BINDING, value_parser = binding)]
    bindings: Vec<(BindingKey, Label)>,
    /// Replace the settings of a driver of that name, instead of refusing
    #[arg(long)]
    replace: bool,
}

impl Driver {
    pub(super) async fn run(self, context: &Context) -> Result<(), Error> {
        if let Self::Test(test) = self {
            return test.run(context).await;
        }
        let client = context.client()?;
        match self {
            Self::Test(test) => test.run(context).await?,
            Self::Add(add) => {
                let PackageRef {
                    name: package,
                    version,
                } = add.package;
                let name = add.name.unwrap_or_else(|| package.name.clone());
                let path = ["tenants", add.tenant.as_str(), "drivers", name.as_str()];
                let version = match version {
                    None if add.replace => {
                        let old = client.find::<Noun>(&path).await?;
                        let old = old.filter(|driver| driver.package == package);
                        old.map(|driver| driver.version)
                    }
                    version => version,
                };
                let config = add
                    .settings
                    .config(&client, &package, version.as_ref())
                    .await?;
                let body = DriverPut {
                    version,
                    config,
                    secrets: add.settings.secrets()?,
                    egress: add.settings.egress,
                    bindings: add.bindings.into_iter().collect(),
                    ..DriverPut::new(package)
                };
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
                    let packages: BTreeSet<_> = driver
                        .serves
                        .iter()
                        .map(|name| name.package.to_string())
                        .collect();
                    let next = packages.iter().map(|package| {
                        format!(
                            "canopy bind INSTALLATION {package} {} --tenant {}",
                            driver.name, driver.tenant
                        )
                    });
                    format!(
                        "Added driver {} ({} {}).\nNext: {}",
                        driver.name,
                        driver.package,
                        driver.version,
                        next.collect::<Vec<_>>().join("\n      ")
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
                            state(driver.health.state).to_owned(),
                            join(&users(driver)),
                        ]
                    });
                    let none = "No drivers. Add one with `canopy driver add PUBLISHER/PACKAGE`.";
                    table(
                        none,
                        ["name", "package", "version", "state", "used by"],
                        rows,
                    )
                });
            }
            Self::Show { name, tenant } => {
                let path = ["tenants", tenant.as_str(), "drivers", name.as_str()];
                let driver: Noun = client.get(&path).await?;
                context.ui.result(&driver, describe);
            }
            Self::Bind {
                name,
                what,
                driver,
                tenant,
            } => {
                let key = what.key()?.to_string();
                let path = ["tenants", tenant.as_str(), "drivers", name.as_str()];
                let binding: Vec<&str> = path.into_iter().chain(["bindings", &key]).collect();
                let by = provider(&driver);
                client.put_only(&binding, &BindingPut { driver }).await?;
                let now: Noun = client.get(&path).await?;
                context.ui.result(&now, |now| {
                    format!("{key} of driver {} is served by {by}.", now.name)
                });
            }
            Self::Unbind { name, what, tenant } => {
                let key = what.key()?.to_string();
                let path = ["tenants", tenant.as_str(), "drivers", name.as_str()];
                let binding: Vec<&str> = path.into_iter().chain(["bindings", &key]).collect();
                client.delete(&binding).await?;
                let now: Noun = client.get(&path).await?;
                context.ui.result(&now, |now| {
                    format!("{key} of driver {} is bound to nobody.", now.name)
                });
            }
            Self::Check { name, tenant } => {
                let path = [
                    "tenants",
                    tenant.as_str(),
                    "drivers",
                    name.as_str(),
                    "check",
                ];
                let progress = context.ui.spinner(format!("Checking {name}"));
                let checked = client.post(&path, &serde_json::json!({})).await;
                drop(progress);
                let checked: DriverChecked = checked?;
                context
                    .ui
                    .result(&checked, |checked| match checked.checked {
                        true => format!("Driver {} works.", checked.driver),
                        false => format!(
                            "Driver {} has nothing to say about its configuration.",
                            checked.driver
                        ),
                    });
            }
            Self::Upgrade { name, to, tenant } => {
                let path = ["tenants", tenant.as_str(), "drivers", name.as_str()];
                let before: Noun = client.get(&path).await?;
                let version = match to {
                    Some(version) => version,
                    None => {
                        let package = &before.package;
                        let path = [
                            "packages",
                            package.publisher.as_str(),
                            package.name.as_str(),
                        ];
                        client.get::<Package>(&path).await?.latest_version
                    }
                };
                let path = [
                    "tenants",
                    tenant.as_str(),
                    "drivers",
                    name.as_str(),
                    "version",
                ];
                let after: Noun = client
                    .put(&path, &VersionPut { version }, Condition::Always)
                    .await?;
                context.ui.result(&after, |after| {
                    format!(
                        "Driver {} runs {} {} (before: {}).",
                        after.name, after.package, after.version, before.version
                    )
                });
            }
            Self::Rollback { name, tenant } => {
                let path = [
                    "tenants",
                    tenant.as_str(),
                    "drivers",
                    name.as_str(),
                    "rollback",
                ];
                let now: Noun = client.post(&path, &serde_json::json!({})).await?;
                context.ui.result(&now, |now| {
                    format!(
                        "Driver {} runs {} {} again.",
                        now.name, now.package, now.version
                    )
                });
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

/// The installations and the other drivers that are bound to it.
fn users(driver: &Noun) -> Vec<Label> {
    let (apps, drivers) = (&driver.used_by, &driver.used_by_drivers);
    apps.iter().chain(drivers).cloned().collect()
}

/// How a driver is, in a word or two.
fn state(state: DriverState) -> &'static str {
    match state {
        DriverState::Idle => "idle",
        DriverState::Starting => "starting",
        DriverState::Ready => "ready",
        DriverState::BackingOff => "backing off",
        DriverState::Broken => "broken",
    }
}

fn describe(driver: &Noun) -> String {
    let health = &driver.health;
    let last_failure = health.last_failure.as_ref();
    let last_failure = last_failure.map(|last| format!("{}: {}", moment(last.at), last.message));
    let bindings = driver.bindings.iter();
    let bindings: Vec<_> = bindings
        .map(|(key, by)| format!("{key} ({})", provider(by)))
        .collect();
    let previous = driver.previous_version.as_ref().map(ToString::to_string);
    let serves: Vec<_> = driver.serves.iter().map(ToString::to_string).collect();
    fields([
        ("name", driver.name.to_string()),
        ("tenant", driver.tenant.to_string()),
        ("package", driver.package.to_string()),
        ("version", driver.version.to_string()),
        ("digest", driver.digest.to_string()),
        ("id", driver.id.to_string()),
        ("serves", serves.join("\n")),
        ("previous version", previous.unwrap_or_default()),
        ("builds on", bindings.join("\n")),
        ("used by", join(&driver.used_by)),
        ("used by drivers", join(&driver.used_by_drivers)),
        ("config", super::config::lines(&driver.config)),
        ("secrets", driver.secrets.join("\n")),
        ("egress", driver.egress.join("\n")),
        ("state", state(health.state).to_owned()),
        (
            "stores",
            format!("{} of at most {}", health.stores, health.max_stores),
        ),
        ("calls", format!("{} under way", health.calls)),
        ("restarts", health.restarts.to_string()),
        ("last failure", last_failure.unwrap_or_default()),
        (
            "tried again",
            health.retry_at.map(moment).unwrap_or_default(),
        ),
        ("created", moment(driver.created_at)),
        ("changed", moment(driver.updated_at)),
    ])
}
