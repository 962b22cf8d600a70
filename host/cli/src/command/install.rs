//! `canopy install`: an application for a tenant.

use canopy_api_types::{Installation, InstallationPut, PackageVersion};
use canopy_ids::{BindingKey, Label};

use super::settings::Settings;
use super::{PackageRef, TenantArg};
use crate::client::Condition;
use crate::{Context, Error};

/// Install an application for a tenant
#[derive(Debug, clap::Args)]
pub struct Install {
    /// The application, and its version [default: the newest; with --replace, the one that runs]
    #[arg(value_name = "PUBLISHER/NAME[@VERSION]")]
    package: PackageRef,
    #[command(flatten)]
    tenant: TenantArg,
    /// Its name within the tenant, the first label of its host name [default: the package's]
    #[arg(long)]
    name: Option<Label>,
    #[command(flatten)]
    settings: Settings,
    /// Which of the tenant's drivers serves a WIT package or an interface that it imports, by itself
    /// or under a label; may be repeated
    #[arg(long = "bind", value_name = BINDING, value_parser = binding)]
    bindings: Vec<(BindingKey, Label)>,
    /// Replace the settings of an installation of that name, instead of refusing
    #[arg(long)]
    replace: bool,
}

impl Install {
    pub(super) async fn run(self, context: &Context) -> Result<(), Error> {
        let client = context.client()?;
        let PackageRef {
            name: package,
            version,
        } = self.package;
        let name = self.name.unwrap_or_else(|| package.name.clone());
        let path = [
            "tenants",
            self.tenant.as_str(),
            "installations",
            name.as_str(),
        ];
        let version = match version {
            None if self.replace => {
                let old = client.find::<Installation>(&path).await?;
                let old = old.filter(|installed| installed.package == package);
                old.map(|installed| installed.version)
            }
            version => version,
        };
        let config = self
            .settings
            .config(&client, &package, version.as_ref())
            .await?;
        let body = InstallationPut {
            version,
            config,
            secrets: self.settings.secrets()?,
            egress: self.settings.egress,
            bindings: self.bindings.into_iter().collect(),
            ..InstallationPut::new(package)
        };
        let condition = if self.replace {
            Condition::Always
        } else {
            Condition::Absent
        };
        let progress = context.ui.spinner(format!("Installing {}", body.package));
        let installed = client.put(&path, &body, condition).await;
        drop(progress);
        let installed: Installation = installed.map_err(|error| {
            let what = format!("installation {name} of {}", self.tenant.as_str());
            error.of_creating(
                &what,
                "replace its settings with --replace, or choose another name with --name",
            )
        })?;
        let version = installed.version.to_string();
        let package = &installed.package;
        let path = [
            "packages",
            package.publisher.as_str(),
            package.name.as_str(),
            "versions",
            &version,
        ];
        // It is installed, whether that can be read or not.
        let version = client.get::<PackageVersion>(&path).await.ok();
        context.ui.result(&installed, |now| {
            let handled = version.map(|version| handled(now, &version));
            format!(
                "Installed {} {} as {}.\n{}",
                now.package,
                now.version,
                now.name,
                handled.unwrap_or_default()
            )
        });
        Ok(())
    }
}

/// What an installation takes: requests, messages, or both.
fn handled(now: &Installation, version: &PackageVersion) -> String {
    let topics: Vec<_> = version
        .subscriptions
        .iter()
        .map(|wanted| wanted.topic.as_str())
        .collect();
    let (topics, takes) = (topics.join(", "), !topics.is_empty());
    let messages = format!(
        "messages that applications of {} send to {topics}",
        now.tenant
    );
    match (&now.url, takes) {
        (Some(url), false) => format!("It answers at {url}"),
        (Some(url), true) => format!("It answers at {url}\nIt takes {messages}"),
        (None, _) => format!(
            "It answers no requests. It takes {messages}.\n\
             Send one by canopy:networking/messages or wasmcloud:messaging/consumer from another \
             application of the tenant.\n\
             Next: canopy messages list {} --tenant {}",
            now.name, now.tenant
        ),
    }
}

/// How a binding is written.
pub(super) const BINDING: &str = "WIT-PACKAGE[/INTERFACE][=LABEL]=DRIVER";

pub(super) fn binding(text: &str) -> Result<(BindingKey, Label), String> {
    let (key, driver) = text
        .rsplit_once('=')
        .ok_or_else(|| format!("write it as {BINDING}"))?;
    let key = key
        .parse()
        .map_err(|error: canopy_ids::InvalidInterface| error.to_string())?;
    let driver = driver
        .parse()
        .map_err(|error: canopy_ids::InvalidName| error.to_string())?;
    Ok((key, driver))
}
