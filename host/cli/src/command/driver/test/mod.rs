//! `canopy driver test`: whether a driver does what the interface that it serves demands, also on bad
//! days. Decision 0027 says how and why.
//!
//! In this order: build the suites; start a node, or take that of the command line; publish the driver and
//! what it builds on; stand between the last of them and its server, once for each tenant; set them up
//! for two tenants; try each case; say and write down what came of it; remove what was made.

mod badge;
mod bench;
mod cases;
mod chain;
mod probe;
mod proxy;
mod suites;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use canopy_api_types::{
    Badge, BadgeCase, CaseOutcome, DriverPut, PackageKind, PackageVersion, Status,
};
use canopy_ids::Label;
use tempfile::TempDir;
use time::OffsetDateTime;

use super::super::PackageRef;
use super::super::local::child::Child;
use super::super::local::interrupt::Interrupt;
use super::super::local::{node, ports};
use super::super::publish;
use crate::client::Client;
use crate::project::Project;
use crate::{Context, Error};
use bench::{Bench, Link, label};
use cases::Case;
use chain::{Chain, Part};
use probe::Stop;
use proxy::Proxy;
use suites::Suite;

pub(crate) use badge::{of as badge_of, read as read_badge, result as badge_result};

/// How long the node may take to end.
const GRACE: Duration = Duration::from_secs(15);
/// Memory of a driver whose package asks for none.
const DEFAULT_MEMORY: u64 = 128 << 20;
/// Characters of a reason that a record keeps.
const REASON: usize = 400;
/// How records call the cases that do not depend on an interface.
const ANY_DRIVER: &str = "canopy:driver";

/// Test a driver: what it answers, and what comes of broken connections, restarts and many callers
///
/// The folder of a project is tested on a node of its own, which ends with the test. A published package
/// is tested on the node of the command line, for two tenants that are created for it and deleted
/// afterwards. What came of it is written beside the project's component, and `canopy publish` sends it
/// along.
#[derive(Debug, clap::Args)]
pub struct Test {
    /// The project's folder, or a published package
    #[arg(value_name = "DIR|PUBLISHER/NAME[@VERSION]")]
    package: String,
    #[command(flatten)]
    chain: Chain,
    /// The server that the driver uses, or the last --link. The test stands between the two: write
    /// {host}, {port} or {server} in its --set where it is to connect to; what it needs to reach it is
    /// granted
    #[arg(long, value_name = "HOST:PORT")]
    server: Option<String>,
    /// Where mail of the test may go; without it, cases that send any are left out
    #[arg(long, value_name = "ADDRESS")]
    mail_to: Option<String>,
    /// Try only cases whose names begin so; may be repeated. Nothing is written down then
    #[arg(long = "case", value_name = "NAME")]
    cases: Vec<String>,
    /// Where to write what came of it [default: beside the component, as NAME.badge.json]
    #[arg(long, value_name = "FILE")]
    badge: Option<PathBuf>,
    /// Folder of the suites [default: those that this program carries]
    #[arg(long, value_name = "DIR")]
    suites: Option<PathBuf>,
}

/// What is tested, and where.
enum Target {
    /// A project, on a node of its own.
    Project(PathBuf),
    /// A published package, on the node of the command line.
    Published(PackageRef),
}

/// What is to be ended, or removed, when the test ends.
#[derive(Default)]
struct Made {
    /// The tenants, and who is to be asked to delete them.
    tenants: Option<(Arc<Client>, [Label; 2])>,
    node: Option<Child>,
    _folder: Option<TempDir>,
}

impl Test {
    pub(super) async fn run(self, context: &Context) -> Result<(), Error> {
        let mut interrupt = Interrupt::listen()?;
        let mut made = Made::default();
        let outcome = tokio::select! {
            outcome = self.play(context, &mut made) => outcome,
            () = interrupt.wait() => Err(Error::Interrupted),
        };
        let removed = made.remove().await;
        let badge = outcome?;
        removed?;
        context.ui.result(&badge, badge::describe);
        if badge.passed() {
            return Ok(());
        }
        let (failed, all) = (badge.count(CaseOutcome::Failed), badge.cases.len());
        let message = match failed {
            0 => "no case could be tried".to_owned(),
            failed => format!("{failed} of {all} cases failed"),
        };
        let advice = "docs/write-a-driver.md says what the cases try";
        Err(Error::advised(message, advice))
    }

    async fn play(&self, context: &Context, made: &mut Made) -> Result<Badge, Error> {
        let target = Target::read(&self.package)?;
        let suites = suites::folder(context, self.suites.clone()).await?;
        let client = match &target {
            Target::Project(_) => own_node(context, made).await?,
            Target::Published(_) => Arc::new(context.client()?),
        };
        let version = target.version(context, &client).await?;
        let links = self.links(context, &client, &target).await?;
        let (chosen, untested) = suites::choose(&version.serves);
        for interface in &untested {
            context.ui.warn(format_args!(
                "there is no suite for {interface}: only what every driver must do is tried"
            ));
        }
        let status: Status = client.get(&["status"]).await?;
        let names = names(matches!(target, Target::Project(_)))?;
        let mut tenants = Vec::new();
        let mut proxies = Vec::new();
        for name in &names {
            let proxy = match &self.server {
                Some(server) => Some(Proxy::start(server.clone()).await?),
                None => None,
            };
            let chain = self.set_up(&client, &version, &links, proxy.as_ref());
            tenants.push((name.clone(), chain.await?));
            proxies.extend(proxy);
        }
        let progress = context.ui.spinner("Setting the driver up for two tenants");
        made.tenants = Some((Arc::clone(&client), names));
        let last = links.last().unwrap_or(&version);
        let given = bench::Given {
            memory: version.limits.memory_bytes.unwrap_or(DEFAULT_MEMORY),
            stores: last.limits.instances.unwrap_or(1),
            mail_to: self.mail_to.clone(),
        };
        let bench = Bench::set_up(client, tenants, proxies, given).await;
        drop(progress);
        let mut bench = bench?;
        let cases = self.all(context, &mut bench, &suites, &chosen).await?;
        let badge = Badge {
            package: version.package,
            version: version.version,
            digest: version.digest,
            suites: chosen.iter().map(|suite| suite.name.to_owned()).collect(),
            untested,
            suite_version: env!("CARGO_PKG_VERSION").to_owned(),
            host_version: status.version,
            tested_at: OffsetDateTime::now_utc(),
            cases,
        };
        if self.cases.is_empty() {
            self.write_down(context, &target, &badge)?;
        }
        Ok(badge)
    }

    /// The drivers that the one under test builds on, published.
    async fn links(
        &self,
        context: &Context,
        client: &Client,
        tested: &Target,
    ) -> Result<Vec<PackageVersion>, Error> {
        let mut versions: Vec<PackageVersion> = Vec::new();
        let mut bound: Vec<&Label> = Vec::new();
        let parts = self.chain.links.iter().map(|(_, part)| part);
        let before = std::iter::once(&self.chain.tested).chain(parts);
        for ((name, _), part) in self.chain.links.iter().zip(before) {
            bound.extend(part.bindings.iter().map(|(_, driver)| driver));
            let target = Target::read(name)?;
            match (tested, &target) {
                (Target::Project(_), Target::Published(_)) => {
                    return Err(Error::Usage(format!(
                        "--link {name}: a project is tested on a node of its own, on which nothing is \
                         published; name the link's folder"
                    )));
                }
                (Target::Published(_), Target::Project(_)) => {
                    return Err(Error::Usage(format!(
                        "--link {name}: a published package is tested with published ones; publish \
                         it, and name its package"
                    )));
                }
                _ => {}
            }
            let version = target.version(context, client).await?;
            let label = &version.package.name;
            if label.as_str() == bench::DRIVER
                || versions.iter().any(|other| other.package.name == *label)
            {
                return Err(Error::Usage(format!(
                    "--link {name}: there is a driver called {label} in this test already"
                )));
            }
            if !bound.contains(&label) {
                return Err(Error::Usage(format!(
                    "--link {name}: nothing before it is bound to it; say what it serves, as in --bind \
                     WIT-PACKAGE={label}"
                )));
            }
            versions.push(version);
        }
        Ok(versions)
    }

    /// The whole chain as it is set up for a tenant, whose server is behind `proxy`.
    async fn set_up(
        &self,
        client: &Client,
        tested: &PackageVersion,
        links: &[PackageVersion],
        proxy: Option<&Proxy>,
    ) -> Result<Vec<Link>, Error> {
        let parts = self.chain.links.iter().map(|(_, part)| part);
        let parts = std::iter::once(&self.chain.tested).chain(parts);
        let versions = std::iter::once(tested).chain(links);
        let mut chain = Vec::new();
        for (index, (part, version)) in parts.zip(versions).enumerate() {
            let proxy = proxy.filter(|_| index == links.len());
            let name = match index {
                0 => label(bench::DRIVER)?,
                _ => version.package.name.clone(),
            };
            let body = driver(client, version, part, proxy).await?;
            chain.push(Link::new(name, body));
        }
        Ok(chain)
    }

    /// Tries all cases.
    async fn all(
        &self,
        context: &Context,
        bench: &mut Bench,
        suites: &Path,
        chosen: &[&'static Suite],
    ) -> Result<Vec<BadgeCase>, Error> {
        // What has been said before the first case is about none of them.
        bench.breakdowns().await?;
        let mut tried = Vec::new();
        for case in cases::of_any_driver() {
            tried.extend(self.one(context, bench, ANY_DRIVER, case).await?);
        }
        for suite in chosen {
            let (dir, project) = suite.package(suites)?;
            let version =
                publish::publish_project(context, bench.api(), &dir, project, None, true).await?;
            bench
                .install(
                    &version.package,
                    &version.version,
                    suite.binding()?,
                    suite.settling(self.mail_to.as_deref()),
                )
                .await?;
            for case in suite.cases() {
                tried.extend(self.one(context, bench, suite.name, case).await?);
            }
            bench.tidy().await;
            bench.uninstall().await?;
        }
        Ok(tried)
    }

    /// Tries a case, if it was asked for.
    async fn one(
        &self,
        context: &Context,
        bench: &mut Bench,
        suite: &str,
        case: &Case,
    ) -> Result<Option<BadgeCase>, Error> {
        let asked = self.cases.is_empty()
            || self
                .cases
                .iter()
                .any(|begin| case.name.starts_with(begin.as_str()));
        if !asked {
            return Ok(None);
        }
        let progress = context.ui.spinner(format!("{suite} {}", case.name));
        let outcome = (case.run)(bench).await;
        // A driver that breaks down is started anew, which must not be how it handles anything.
        let breakdowns = bench.breakdowns().await?;
        if bench.is_disturbed() {
            bench.settle().await;
            // What comes of that is about no case.
            bench.breakdowns().await?;
        }
        drop(progress);
        let (outcome, reason) = match (outcome, breakdowns.first()) {
            (Err(Stop::Failed(why)), Some(broken)) => (
                CaseOutcome::Failed,
                Some(format!("{why}; it broke down: {broken}")),
            ),
            (Err(Stop::Failed(why)), None) => (CaseOutcome::Failed, Some(why)),
            (_, Some(broken)) => (
                CaseOutcome::Failed,
                Some(format!("it broke down: {broken}")),
            ),
            (Err(Stop::Skipped(why)), None) => (CaseOutcome::Skipped, Some(why)),
            (Ok(()), None) => (CaseOutcome::Passed, None),
        };
        Ok(Some(BadgeCase {
            suite: suite.to_owned(),
            name: case.name.to_owned(),
            outcome,
            reason: reason.map(|reason| reason.chars().take(REASON).collect()),
        }))
    }

    fn write_down(&self, context: &Context, target: &Target, badge: &Badge) -> Result<(), Error> {
        let path = match (&self.badge, target) {
            (Some(path), _) => path.clone(),
            (None, Target::Project(dir)) => badge::beside(&Project::read(dir)?.component),
            (None, Target::Published(_)) => return Ok(()),
        };
        badge::write(&path, badge)?;
        let next = match target {
            Target::Project(dir) => format!("canopy publish {}", dir.display()),
            Target::Published(_) => format!(
                "canopy package badge {}@{} {}",
                badge.package,
                badge.version,
                path.display()
            ),
        };
        context.ui.note(format_args!(
            "Written down in {}.\nNext: {next}",
            path.display()
        ));
        Ok(())
    }
}

impl Target {
    fn read(name: &str) -> Result<Self, Error> {
        let dir = PathBuf::from(name);
        if Project::is_in(&dir) {
            return Ok(Self::Project(dir));
        }
        match name.parse() {
            Ok(package) => Ok(Self::Published(package)),
            Err(reason) => Err(Error::Usage(format!(
                "{name} is neither a folder with canopy.toml nor the name of a package: {reason}"
            ))),
        }
    }

    /// The driver's version, which is published if it is not.
    async fn version(&self, context: &Context, client: &Client) -> Result<PackageVersion, Error> {
        let version = match self {
            Self::Project(dir) => publish::publish(context, client, dir, None, true).await?,
            Self::Published(package) => published(client, package).await?,
        };
        if version.kind != PackageKind::Driver {
            return Err(Error::Usage(format!("{} is no driver", version.package)));
        }
        Ok(version)
    }
}

/// A driver of the chain; it reaches its server by `proxy`.
async fn driver(
    client: &Client,
    version: &PackageVersion,
    part: &Part,
    proxy: Option<&Proxy>,
) -> Result<DriverPut, Error> {
    let mut settings = part.settings.clone();
    if let Some(proxy) = proxy {
        let (host, port) = ("127.0.0.1", proxy.port().to_string());
        let server = format!("{host}:{port}");
        settings.fill(&[("{host}", host), ("{port}", &port), ("{server}", &server)]);
        // This machine's own address, which only the operator can open, to this driver alone.
        let opened = ["127.0.0.0/8".to_owned(), server];
        settings.egress.extend(opened);
    }
    let config = settings
        .config(client, &version.package, Some(&version.version))
        .await?;
    Ok(DriverPut {
        version: Some(version.version.clone()),
        config,
        secrets: settings.secrets()?,
        egress: settings.egress,
        bindings: part.bindings.iter().cloned().collect(),
        ..DriverPut::new(version.package.clone())
    })
}

impl Made {
    async fn remove(self) -> Result<(), Error> {
        if let Some(node) = self.node {
            node.stop(GRACE).await;
            return Ok(());
        }
        let Some((client, names)) = self.tenants else {
            return Ok(());
        };
        for name in names {
            match client.delete(&["tenants", name.as_str()]).await {
                Err(error) if error.status() != Some(404) => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

/// Starts a node in a folder that goes with the test.
async fn own_node(context: &Context, made: &mut Made) -> Result<Arc<Client>, Error> {
    let folder = tempfile::tempdir().map_err(|error| Error::local("a folder", error))?;
    let progress = context.ui.spinner("Starting a node");
    let (apps, api) = (ports::any()?, ports::any()?);
    let dir = made._folder.insert(folder).path().to_owned();
    let child = made.node.insert(node::start(&dir, apps, api)?);
    let connection = node::ready(child, &dir, api).await?;
    drop(progress);
    Client::new(&connection).map(Arc::new)
}

async fn published(client: &Client, package: &PackageRef) -> Result<PackageVersion, Error> {
    let name = &package.name;
    let base = ["packages", name.publisher.as_str(), name.name.as_str()];
    let version = match &package.version {
        Some(version) => version.clone(),
        None => {
            client
                .get::<canopy_api_types::Package>(&base)
                .await?
                .latest_version
        }
    };
    let version = version.to_string();
    let path: Vec<&str> = base.into_iter().chain(["versions", &version]).collect();
    client.get(&path).await
}

/// The names of the tenants: on a node that others use, names that nobody else has.
fn names(own_node: bool) -> Result<[Label; 2], Error> {
    let mut mark = [0; 4];
    if !own_node {
        getrandom::fill(&mut mark).map_err(|error| Error::local("no random numbers", error))?;
    }
    let mark: String = mark.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok([
        label(&format!("driver-test-{mark}-a"))?,
        label(&format!("driver-test-{mark}-b"))?,
    ])
}
