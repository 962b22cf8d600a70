//! `canopy package`: what has been published.

use std::path::PathBuf;

use canopy_api_types::{Package as Noun, PackageKind, PackageVersion};
use canopy_ids::Label;
use clap::ValueEnum;

use super::{PackageRef, driver};
use crate::client::Condition;
use crate::ui::{bytes, fields, interfaces, moment, table};
use crate::{Context, Error};

/// Look at packages
#[derive(Debug, clap::Subcommand)]
pub enum Package {
    /// List packages
    List {
        /// Only this kind
        #[arg(long)]
        kind: Option<Kind>,
        /// Only this publisher's
        #[arg(long)]
        publisher: Option<Label>,
    },
    /// Show a package, or one version of it
    Show {
        /// The package
        #[arg(value_name = "PUBLISHER/NAME[@VERSION]")]
        package: PackageRef,
    },
    /// Record what came of the operator's own test of a version
    Badge {
        /// The version that was tested
        #[arg(value_name = "PUBLISHER/NAME@VERSION")]
        package: PackageRef,
        /// What `canopy driver test` has written down
        file: PathBuf,
    },
    /// List the versions of a package
    Versions {
        /// The package
        #[arg(value_name = "PUBLISHER/NAME")]
        package: PackageRef,
    },
}

/// What a package is for.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Kind {
    /// Answers HTTP requests
    App,
    /// Serves interfaces that applications import
    Driver,
}

impl Kind {
    fn of(self) -> PackageKind {
        match self {
            Self::App => PackageKind::App,
            Self::Driver => PackageKind::Driver,
        }
    }
}

impl Package {
    pub(super) async fn run(self, context: &Context) -> Result<(), Error> {
        let client = context.client()?;
        match self {
            Self::List { kind, publisher } => {
                let mut query = Vec::new();
                query.extend(kind.map(|kind| ("kind", kind.of().to_string())));
                query.extend(publisher.map(|publisher| ("publisher", publisher.to_string())));
                let packages: Vec<Noun> = client.list(&["packages"], &query).await?;
                context.ui.result(&packages, |packages| {
                    let rows = packages.iter().map(|package| {
                        [
                            package.name.to_string(),
                            package.kind.to_string(),
                            package.latest_version.to_string(),
                            package.summary.clone(),
                        ]
                    });
                    let none = "No packages. Publish one with `canopy publish DIR`.";
                    table(none, ["name", "kind", "latest", "summary"], rows)
                });
            }
            Self::Show {
                package: PackageRef { name, version },
            } => {
                let base = ["packages", name.publisher.as_str(), name.name.as_str()];
                let version = match version {
                    Some(version) => version,
                    None => client.get::<Noun>(&base).await?.latest_version,
                };
                let version = version.to_string();
                let path: Vec<&str> = base.into_iter().chain(["versions", &version]).collect();
                let version: PackageVersion = client.get(&path).await?;
                context.ui.result(&version, describe);
            }
            Self::Badge { package, file } => {
                let PackageRef {
                    name,
                    version: Some(version),
                } = package
                else {
                    return Err(Error::Usage(
                        "name the version that was tested: PUBLISHER/NAME@VERSION".into(),
                    ));
                };
                let badge = driver::read_badge(&file)?;
                let version = version.to_string();
                let path = [
                    "packages",
                    name.publisher.as_str(),
                    name.name.as_str(),
                    "versions",
                    &version,
                    "badge",
                ];
                let version: PackageVersion = client.put(&path, &badge, Condition::Always).await?;
                context.ui.result(&version, describe);
            }
            Self::Versions {
                package: PackageRef { name, .. },
            } => {
                let path = [
                    "packages",
                    name.publisher.as_str(),
                    name.name.as_str(),
                    "versions",
                ];
                let versions: Vec<PackageVersion> = client.list(&path, &[]).await?;
                context.ui.result(&versions, |versions| {
                    let rows = versions.iter().map(|version| {
                        let size = bytes(version.size);
                        [
                            version.version.to_string(),
                            size,
                            moment(version.published_at),
                            version.digest.to_string(),
                        ]
                    });
                    table(
                        "No versions.",
                        ["version", "size", "published", "digest"],
                        rows,
                    )
                });
            }
        }
        Ok(())
    }
}

/// A version for people.
pub(super) fn describe(version: &PackageVersion) -> String {
    let list = |items: Vec<String>| items.join("\n");
    let imports = version.imports.iter().map(|import| {
        let drivers: Vec<_> = import.drivers.iter().map(ToString::to_string).collect();
        let by = match (import.platform, drivers.is_empty()) {
            (true, true) => "the platform".to_owned(),
            (true, false) => format!("the platform, or {}", drivers.join(", ")),
            (false, false) => drivers.join(", "),
            (false, true) => "no published driver yet".into(),
        };
        let by = match &import.label {
            Some(label) => format!("label {label}: {by}"),
            None => by,
        };
        (&import.interface, by)
    });
    let needs = version.needs.iter().map(|need| match &need.label {
        Some(label) => format!("{} as {label}: {}", need.interface, need.reason),
        None => format!("{}: {}", need.interface, need.reason),
    });
    let properties = version
        .config_schema
        .get("properties")
        .and_then(|value| value.as_object());
    let config = properties.into_iter().flatten().map(|(key, schema)| {
        let text = |name: &str| {
            schema
                .get(name)
                .and_then(|value| value.as_str())
                .unwrap_or_default()
                .to_owned()
        };
        format!("{key} ({}) {}", text("type"), text("description"))
    });
    let schedules = version.schedules.iter().map(|schedule| {
        let (name, cron, zone) = (&schedule.name, &schedule.cron, &schedule.timezone);
        let (method, path, reason) = (&schedule.method, &schedule.path, &schedule.reason);
        format!("{name} at {cron} {zone}: {method} {path}: {reason}")
    });
    let subscriptions = version.subscriptions.iter().map(|wanted| {
        let (topic, reason) = (&wanted.topic, &wanted.reason);
        let to = wanted.path.as_deref().unwrap_or("its handler");
        format!("{topic} to {to}: {reason}")
    });
    let badges = version.badges.iter().map(|recorded| {
        let badge = &recorded.badge;
        let (suites, result) = (badge.suites.join(", "), driver::badge_result(badge));
        let tested = moment(badge.tested_at);
        format!("{}: {result} ({suites}, {tested})", recorded.source)
    });
    fields([
        ("package", version.package.to_string()),
        ("version", version.version.to_string()),
        ("kind", version.kind.to_string()),
        ("title", version.title.clone()),
        ("summary", version.summary.clone()),
        ("categories", version.categories.join(", ")),
        ("license", version.license.clone().unwrap_or_default()),
        ("homepage", version.homepage.clone().unwrap_or_default()),
        ("digest", version.digest.to_string()),
        ("size", bytes(version.size)),
        ("published", moment(version.published_at)),
        ("needs", list(needs.collect())),
        ("imports", interfaces(imports)),
        (
            "serves",
            list(version.serves.iter().map(ToString::to_string).collect()),
        ),
        ("anonymous", list(version.anonymous.clone())),
        ("schedules", list(schedules.collect())),
        ("subscriptions", list(subscriptions.collect())),
        ("badges", list(badges.collect())),
        ("config", list(config.collect())),
    ])
}
