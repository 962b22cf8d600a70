//! The subcommands, one file each, and the arguments that several of them share.

mod backup;
mod bind;
mod blob;
mod build;
mod check;
mod completions;
mod config;
mod demo;
mod domain;
mod driver;
mod egress;
mod erasure;
mod install;
mod installation;
mod job;
mod key;
mod kv;
mod local;
mod login;
mod logs;
mod messages;
mod new;
mod package;
mod plan;
mod publish;
mod publisher;
mod rollback;
mod schedule;
mod secret;
mod settings;
mod sql;
mod status;
mod tenant;
mod token;
mod toolchain;
mod transfer;
mod uninstall;
mod upgrade;
mod usage;

use std::str::FromStr;

use canopy_ids::{Label, PackageName};
use semver::Version;

pub use backup::Restore;
pub use check::Check;
pub use config::ConfigArgs;
pub use key::{Key, RotateOperator};

use crate::{Context, Error};

/// The subcommands that are clients of a node's control API, or work without one.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Try everything: build the samples, start a node, publish, install
    Demo(demo::Demo),
    /// Create a project from a template
    New(new::New),
    /// Build a project's components
    Build(build::Build),
    /// Find or bring the compiler for guest components
    Toolchain(toolchain::Toolchain),
    /// Remember a node's address and token
    Login(login::Login),
    /// Show the state of the node
    Status(status::Status),
    /// Publish a version of a package
    Publish(publish::Publish),
    /// Look at packages
    #[command(subcommand, visible_alias = "packages")]
    Package(package::Package),
    /// Manage publishers
    #[command(subcommand, visible_alias = "publishers")]
    Publisher(publisher::Publisher),
    /// Manage tenants
    #[command(subcommand, visible_alias = "tenants")]
    Tenant(tenant::Tenant),
    /// Manage plans: what tenants may use
    #[command(subcommand, visible_alias = "plans")]
    Plan(plan::Plan),
    /// Show the limits that apply to a tenant or an installation
    Limits(usage::Limits),
    /// Show what a tenant or an installation stores
    Usage(usage::Usage),
    /// Look at and repair keys and values of an installation
    #[command(subcommand)]
    Kv(kv::Kv),
    /// Look at and repair objects of an installation
    #[command(subcommand)]
    Blob(blob::Blob),
    /// Look at and repair a SQL database of an installation
    Sql(sql::Sql),
    /// Manage the tokens with which programs invoke a tenant's applications and use the API
    #[command(subcommand, visible_alias = "tokens")]
    Token(token::Token),
    /// Install an application for a tenant
    Install(install::Install),
    /// Look at a tenant's installations
    #[command(subcommand, visible_alias = "installations")]
    Installation(installation::Installation),
    /// Remove an installation with all its data
    Uninstall(uninstall::Uninstall),
    /// Move an installation or a driver to another version
    Upgrade(upgrade::Upgrade),
    /// Return an installation to the version before
    Rollback(rollback::Rollback),
    /// Manage a tenant's drivers
    #[command(subcommand, visible_alias = "drivers")]
    Driver(driver::Driver),
    /// Choose who serves an interface for an installation
    Bind(bind::Bind),
    /// Print the node's settings, or read and change the configuration of an installation
    Config(ConfigArgs),
    /// Set secrets of an installation or a driver
    #[command(subcommand, visible_alias = "secrets")]
    Secret(secret::Secret),
    /// Grant what an installation or a driver may reach over the network
    #[command(subcommand)]
    Egress(egress::Egress),
    /// Manage the custom domains of an installation
    #[command(subcommand, visible_alias = "domains")]
    Domain(domain::Domain),
    /// Look at the scheduled calls of a tenant's applications, pause them, or make one now
    #[command(subcommand, visible_alias = "schedules")]
    Schedule(schedule::Schedule),
    /// Look at the messages that wait for an installation, and take up again those that were given up
    #[command(subcommand)]
    Messages(messages::Messages),
    /// Show the log of an installation or a driver
    Logs(logs::Logs),
    /// Make, check and prune backups
    #[command(subcommand, visible_alias = "backups")]
    Backup(backup::Backup),
    /// Put back what a tenant or an installation stored, or a whole node
    Restore(Restore),
    /// Look at long work of the node, wait for it, or take it back
    #[command(subcommand, visible_alias = "jobs")]
    Job(job::Job),
    /// Look at the signed records of erasures
    #[command(subcommand, visible_alias = "erasures")]
    Erasure(erasure::Erasure),
    /// Look at keys and change them
    #[command(subcommand, visible_alias = "keys")]
    Key(Key),
    /// Check that everything that is stored is as it was written
    Check(Check),
    /// Print a completion script for a shell
    Completions(completions::Completions),
}

/// Runs one of them.
pub(crate) async fn run(
    command: Command,
    context: &Context,
    root: clap::Command,
) -> Result<(), Error> {
    match command {
        Command::Demo(command) => command.run(context).await,
        Command::New(command) => command.run(context),
        Command::Build(command) => command.run(context).await,
        Command::Toolchain(command) => command.run(context).await,
        Command::Login(command) => command.run(context).await,
        Command::Status(command) => command.run(context).await,
        Command::Publish(command) => command.run(context).await,
        Command::Package(command) => command.run(context).await,
        Command::Publisher(command) => command.run(context).await,
        Command::Tenant(command) => command.run(context).await,
        Command::Plan(command) => command.run(context).await,
        Command::Limits(command) => command.run(context).await,
        Command::Usage(command) => command.run(context).await,
        Command::Kv(command) => command.run(context).await,
        Command::Blob(command) => command.run(context).await,
        Command::Sql(command) => command.run(context).await,
        Command::Token(command) => command.run(context).await,
        Command::Install(command) => command.run(context).await,
        Command::Installation(command) => command.run(context).await,
        Command::Uninstall(command) => command.run(context).await,
        Command::Upgrade(command) => command.run(context).await,
        Command::Rollback(command) => command.run(context).await,
        Command::Driver(command) => command.run(context).await,
        Command::Bind(command) => command.run(context).await,
        Command::Config(command) => command.run(context).await,
        Command::Secret(command) => command.run(context).await,
        Command::Egress(command) => command.run(context).await,
        Command::Domain(command) => command.run(context).await,
        Command::Schedule(command) => command.run(context).await,
        Command::Messages(command) => command.run(context).await,
        Command::Logs(command) => command.run(context).await,
        Command::Backup(command) => command.run(context).await,
        Command::Restore(command) => command.run(context).await,
        Command::Job(command) => command.run(context).await,
        Command::Erasure(command) => command.run(context).await,
        Command::Key(command) => command.run(context).await,
        Command::Check(command) => command.run(context).await,
        Command::Completions(command) => command.run(root),
    }
}

/// The tenant that a command is about.
#[derive(Debug, clap::Args)]
pub struct TenantArg {
    /// The tenant
    #[arg(long, short, env = "CANOPY_TENANT")]
    tenant: Label,
}

impl TenantArg {
    fn as_str(&self) -> &str {
        self.tenant.as_str()
    }
}

/// An installation of a tenant.
#[derive(Debug, clap::Args)]
pub struct AppArg {
    /// The installation
    app: Label,
    #[command(flatten)]
    tenant: TenantArg,
}

impl AppArg {
    /// The address of something that belongs to it.
    fn path<'a>(&'a self, rest: &[&'a str]) -> Vec<&'a str> {
        let mut path = vec!["tenants", self.tenant.as_str()];
        path.extend(["installations", self.app.as_str()]);
        path.extend(rest);
        path
    }
}

/// An installation or a driver of a tenant; both have configuration, secrets, grants and a log.
#[derive(Debug, clap::Args)]
pub struct Target {
    /// The installation or, with --driver, the driver
    name: Label,
    #[command(flatten)]
    tenant: TenantArg,
    /// NAME is a driver
    #[arg(long)]
    driver: bool,
}

impl Target {
    /// The address of something that belongs to it.
    fn path<'a>(&'a self, rest: &[&'a str]) -> Vec<&'a str> {
        let noun = if self.driver {
            "drivers"
        } else {
            "installations"
        };
        let mut path = vec!["tenants", self.tenant.as_str(), noun, self.name.as_str()];
        path.extend(rest);
        path
    }

    fn noun(&self) -> &'static str {
        if self.driver {
            "driver"
        } else {
            "installation"
        }
    }
}

/// A package and perhaps one of its versions: `publisher/name` or `publisher/name@1.2.3`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackageRef {
    name: PackageName,
    version: Option<Version>,
}

impl FromStr for PackageRef {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, version) = match text.split_once('@') {
            Some((name, version)) => {
                let version = version
                    .parse()
                    .map_err(|error| format!("version {version:?}: {error}"))?;
                (name, Some(version))
            }
            None => (text, None),
        };
        Ok(Self {
            name: name
                .parse()
                .map_err(|error: canopy_ids::InvalidName| error.to_string())?,
            version,
        })
    }
}

/// `KEY=VALUE`.
fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.into(), value.into())),
        _ => Err("write it as KEY=VALUE".into()),
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser, error::ErrorKind};

    use super::*;
    use crate::Globals;

    #[derive(Debug, Parser)]
    #[command(name = "canopy", version, propagate_version = true)]
    struct Root {
        #[command(flatten)]
        globals: Globals,
        #[command(subcommand)]
        command: Command,
    }

    fn parse(line: &str) -> Result<Root, clap::Error> {
        Root::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn the_command_line_is_consistent() {
        Root::command().debug_assert();
    }

    #[test]
    fn an_unknown_subcommand_names_the_nearest() {
        for (typed, meant) in [
            ("instal", "install"),
            ("rolback", "rollback"),
            ("tenat", "tenant"),
        ] {
            let error = parse(&format!("canopy {typed}")).expect_err("unknown");
            assert_eq!(error.kind(), ErrorKind::InvalidSubcommand);
            assert_eq!(error.exit_code(), 2);
            assert!(error.to_string().contains(&format!("'{meant}'")), "{error}");
        }
    }

    #[test]
    fn names_are_checked_before_anything_is_sent() {
        for line in [
            "canopy tenant create ../x",
            "canopy install invoices -t acme",
            "canopy install canopy/invoices@one -t acme",
            "canopy bind invoices keyvalue redis -t acme",
            "canopy logs UPPER -t acme",
        ] {
            assert_eq!(
                parse(line).expect_err(line).kind(),
                ErrorKind::ValueValidation,
                "{line}"
            );
        }
    }

    #[test]
    fn the_usual_lines_are_understood() {
        for line in [
            "canopy publish plugins/apps/invoices --json",
            "canopy package list --kind driver",
            "canopy package show canopy/invoices@1.0.0",
            "canopy tenant create acme --plan pro --attribute vat=DE1",
            "canopy install canopy/invoices -t acme --set currency=EUR --bind wasi:keyvalue=redis",
            "canopy bind invoices wasi:keyvalue redis -t globex",
            "canopy bind invoices wasi:keyvalue --platform -t globex",
            "canopy config",
            "canopy config set invoices currency=EUR -t acme",
            "canopy config get smtp host -t acme --driver",
            "canopy upgrade invoices 1.1.0 -t acme",
            "canopy logs invoices -t acme -f",
            "canopy messages list invoices -t acme",
            "canopy messages dead invoices -t acme",
            "canopy messages requeue invoices --all -t acme",
            "canopy schedule list -t acme",
            "canopy schedule list invoices -t acme",
            "canopy schedule run invoices nightly -t acme --wait",
            "canopy schedule pause invoices nightly -t acme",
            "canopy plan create small --limit keys=1000 --limit blob_bytes=1GiB",
            "canopy usage -t acme",
            "canopy limits invoices -t acme",
            "canopy kv get invoices a/b -t acme --store cache --hex",
            "canopy kv set invoices a/b -t acme --file value.bin",
            "canopy blob put invoices scans one.pdf one.pdf -t acme",
            "canopy sql invoices -t acme --write",
            "canopy token create ada -t acme --access admin",
            "canopy --url http://h:1 --token x status",
            "canopy backup create",
            "canopy backup create -t acme -i invoices --no-wait",
            "canopy restore -t acme --before 2026-11-23T18:00:00Z --yes",
            "canopy restore --data-dir new --from /backups",
            "canopy tenant export acme -o acme.tar",
            "canopy tenant import acme.tar --as acme2",
            "canopy tenant erase acme --confirm acme --now",
            "canopy key rotate-operator --data-dir data --new new.key",
            "canopy check --data-dir data",
            "canopy check -t acme",
        ] {
            if let Err(error) = parse(line) {
                panic!("{line}: {error}");
            }
        }
    }

    #[test]
    fn a_binding_names_a_driver_or_the_platform_but_not_both() {
        assert!(parse("canopy bind invoices wasi:keyvalue -t acme").is_err());
        assert!(parse("canopy bind invoices wasi:keyvalue redis --platform -t acme").is_err());
    }

    #[test]
    fn a_package_may_carry_its_version() {
        let with: PackageRef = "a/b@1.2.3-rc.1".parse().expect("a package");
        assert_eq!(with.version, Some("1.2.3-rc.1".parse().expect("a version")));
        assert_eq!(
            "a/b".parse::<PackageRef>().expect("a package").version,
            None
        );
        for text in ["a", "a/b@", "a/b@latest", "A/b"] {
            assert!(text.parse::<PackageRef>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_pair_needs_a_key() {
        assert_eq!(pair("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert!(pair("=b").is_err() && pair("a").is_err());
    }
}
