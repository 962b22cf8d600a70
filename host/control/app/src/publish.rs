//! Publishing a version.
//!
//! Threat: the component and its manifest are a stranger's, and what is accepted here runs beside
//! everybody else's. In order: (1) the bytes are those that were announced; (2) the manifest is
//! valid in itself, within the platform's limits, and describes this address; (3) the file is a
//! component, found out without compiling it; (4) it exports and imports what the manifest says,
//! unless only the compiler can tell; (5) what an instance of it begins with is within its limits;
//! (6) a child process compiles it; (7) then (4) is known of every component; (8) every import can be
//! served, by the platform or a published driver; (9) it instantiates in quarantine, within its limits
//! and taking turns with everybody's guests; (10) its bytes are stored; (11) a row names it. Until (11)
//! nobody can see it.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;

use canopy_api_types::{Badge, BadgeSource, PackageVersion, PlanLimits};
use canopy_engine::{
    CheckError, CpuBudget, Engine, HttpWorld, Inspection, ItemName, LimitExceeded,
};
use canopy_ids::{Digest, Import, InterfaceName, PackageName};
use canopy_manifest::{ComponentInterfaces, Difference, Manifest, ScheduleAsked};
use canopy_runtime::{Limits, platform};
use canopy_store::{NewVersion, Published, ScheduleDefinition, Upload, Uploaded};
use semver::Version;
use wasmtime::component::Component;
use wasmtime::component::types::ComponentItem;

use crate::{
    Action, App, AppError, AppSettings, Context, Resource, Unserved, badge, egress, limits, linking,
};

/// What is to be published.
#[derive(Debug)]
pub struct PublishRequest {
    /// The package that the address names.
    pub package: PackageName,
    /// The version that the address names.
    pub version: Version,
    /// The manifest's text.
    pub manifest: String,
    /// The digest that was announced.
    pub declared: Option<Digest>,
    /// The texts of its migrations, by the file that the manifest names.
    pub migrations: BTreeMap<String, String>,
    /// What came of its tests, as the publisher says.
    pub badge: Option<Badge>,
    /// The component.
    pub component: Uploaded,
}

/// What publishing came to.
#[derive(Debug)]
pub struct Publication {
    /// The version.
    pub version: PackageVersion,
    /// Whether it is new; otherwise the same had been published before.
    pub created: bool,
}

impl App {
    /// Begins the upload of a component of `package`.
    pub async fn begin_upload(
        &self,
        context: &Context,
        package: &PackageName,
    ) -> Result<Upload, AppError> {
        context.authorize(Action::Write, Resource::Publisher(&package.publisher))?;
        self.store.publisher(package.publisher.clone()).await?;
        Ok(self.components.upload().await?)
    }

    /// Instantiates a component in quarantine. Instances that wait make room for it.
    async fn try_out(&self, compiled: &Component, limits: &Limits) -> Result<(), AppError> {
        let cpu = limits.cpu.min(self.settings.trial_cpu);
        loop {
            let budget = CpuBudget::paid_by(self.trials.clone(), cpu);
            let tried = self.engine.check(compiled, limits.memory_bytes, &budget);
            match tried.await {
                Err(CheckError::NoRoom(LimitExceeded::Pool(_))) if self.runtime.make_room() => {}
                outcome => return Ok(outcome?),
            }
        }
    }

    /// Publishes a version.
    pub async fn publish(
        &self,
        context: &Context,
        request: PublishRequest,
    ) -> Result<Publication, AppError> {
        context.authorize(
            Action::Write,
            Resource::Publisher(&request.package.publisher),
        )?;
        let PublishRequest {
            package,
            version,
            manifest: text,
            declared,
            migrations,
            badge,
            component,
        } = request;
        let digest = component.digest();
        if let Some(declared) = declared
            && declared != digest
        {
            return Err(AppError::OtherDigest {
                declared,
                found: digest,
            });
        }
        let manifest = Manifest::parse(&text)?;
        if manifest.name != package || manifest.version != version {
            return Err(AppError::OtherAddress {
                manifest: format!("{} {}", manifest.name, manifest.version),
                address: format!("{package} {version}"),
            });
        }
        egress::asked(&manifest)?;
        check_limits(&manifest, &self.settings)?;
        check_migrations(&manifest, &migrations)?;
        check_schedules(&manifest, &self.settings)?;
        let badge = badge.map(|badge| badge::checked(&badge, &package, &version, &digest));
        let badge = badge.transpose()?;

        let _turn = self.publications.acquire().await.map_err(|_| closed())?;
        let inspection = inspect(component.path().to_owned()).await?;
        let mut found = interfaces(&inspection)?;
        let differences = manifest.compare(&found);
        // An import from which nothing is called may consist of types, which nobody needs to serve:
        // that is known of what is compiled, and then all that differs is told at once.
        let may_be_types = |difference: &Difference| match difference {
            Difference::Undeclared { import, .. } => !inspection.calls(import),
            _ => false,
        };
        if !differences.is_empty() && !differences.iter().any(may_be_types) {
            return Err(AppError::Differences(differences));
        }
        if inspection.http == Some(HttpWorld::Service03) && !self.settings.p3_enabled {
            return Err(AppError::P3Disabled);
        }
        let limits = limits::of_component(&manifest.limits, &PlanLimits::default(), &self.settings);
        let footprint = inspection.footprint.as_ref();
        self.engine.check_declared(footprint, limits.memory_bytes)?;
        let compiled = self.artifacts.load(&digest, component.path()).await?;
        let needless = imports_of_types(&compiled, &self.engine);
        found
            .imports
            .retain(|import| !needless.contains(&import.interface));
        let differences: Vec<_> = differences
            .into_iter()
            .filter(|difference| match difference {
                Difference::Undeclared { import, .. } => !needless.contains(&import.interface),
                _ => true,
            })
            .collect();
        if !differences.is_empty() {
            return Err(AppError::Differences(differences));
        }
        self.check_imports(&found.imports).await?;
        self.try_out(&compiled, &limits).await?;

        let size = component.size();
        component.store().await?;
        let new = NewVersion {
            package,
            version,
            kind: manifest.kind,
            title: manifest.title.clone(),
            summary: manifest.summary.clone(),
            categories: manifest.categories.clone(),
            digest,
            size,
            manifest: text,
            migrations,
            imports: found.imports,
            exports: found.exports,
            serves: manifest.serves,
            schedules: manifest.schedules.into_iter().map(definition).collect(),
            badge: badge.map(|badge| (BadgeSource::Publisher.as_str(), badge)),
        };
        let (row, created) = match self.store.publish(new).await? {
            Published::New(row) => (row, true),
            Published::Identical(row) => (row, false),
        };
        if created {
            tracing::info!(
                request_id = %context.request_id,
                package = %row.package,
                version = %row.version,
                %digest,
                "published"
            );
        }
        let release = self.catalog.admit(row)?;
        Ok(Publication {
            version: self.describe(&release).await?,
            created,
        })
    }

    /// Refuses imports that nobody can serve: neither the platform nor a published driver.
    async fn check_imports(&self, imports: &[Import]) -> Result<(), AppError> {
        let published = self.store.serving(None).await?;
        let is_served = |import: &Import| {
            let may_be_bound = !linking::is_reserved(&import.interface.package);
            platform::serves_import(import)
                || (may_be_bound && !linking::drivers_for(&import.interface, &published).is_empty())
        };
        let unserved = imports.iter().filter(|import| !is_served(import));
        let unserved: Vec<_> = unserved
            .map(|import| Unserved {
                import: import.clone(),
                driver: None,
                nearest: linking::nearest_served(&import.interface, &published),
                drivers: Vec::new(),
                published: Vec::new(),
            })
            .collect();
        if unserved.is_empty() {
            Ok(())
        } else {
            Err(AppError::Unserved(unserved))
        }
    }
}

async fn inspect(path: PathBuf) -> Result<Inspection, AppError> {
    let work = move || -> Result<Inspection, AppError> {
        let bytes = std::fs::read(&path)
            .map_err(|error| AppError::Internal(format!("reading an upload: {error}")))?;
        Ok(canopy_engine::inspect(&bytes)?)
    };
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(_) => Err(AppError::Internal("looking into an upload failed".into())),
    }
}

fn interfaces(inspection: &Inspection) -> Result<ComponentInterfaces, AppError> {
    let bare: Vec<_> = inspection
        .imports
        .iter()
        .filter(|import| import.interface().is_none())
        .map(|import| match &import.name {
            ItemName::Interface(name) => format!("{name} ({})", import.kind),
            ItemName::Other(name) => {
                format!(
                    "{} ({})",
                    name.chars().take(100).collect::<String>(),
                    import.kind
                )
            }
        })
        .take(20)
        .collect();
    if !bare.is_empty() {
        return Err(AppError::BareImports(bare));
    }
    Ok(ComponentInterfaces {
        imports: inspection.imported_interfaces().collect(),
        exports: inspection.exported_interfaces().cloned().collect(),
    })
}

/// Imported interfaces that consist of plain types: nobody has to serve them.
fn imports_of_types(component: &Component, engine: &Engine) -> HashSet<InterfaceName> {
    let engine = engine.raw();
    let kind = component.component_type();
    let types_alone = kind
        .imports(engine)
        .filter_map(|(name, item)| match item.ty {
            ComponentItem::ComponentInstance(instance) => {
                let mut exports = instance.exports(engine);
                let alone = exports.all(|(_, item)| matches!(item.ty, ComponentItem::Type(_)));
                let interface = item.implements.unwrap_or(name);
                if alone { interface.parse().ok() } else { None }
            }
            _ => None,
        });
    types_alone.collect()
}

/// The migrations that came along are those that the manifest names.
fn check_migrations(
    manifest: &Manifest,
    migrations: &BTreeMap<String, String>,
) -> Result<(), AppError> {
    let named = || manifest.sql.iter().flat_map(|asked| &asked.migrations);
    if let Some(missing) = named().find(|file| !migrations.contains_key(*file)) {
        return Err(AppError::field(
            missing,
            "is named by the manifest and was not sent: send it as a part `migration`",
        ));
    }
    let mut sent = migrations.keys();
    if let Some(unknown) = sent.find(|file| !named().any(|name| name == *file)) {
        return Err(AppError::field(
            unknown,
            "was sent and is not named by the manifest",
        ));
    }
    Ok(())
}

/// No schedule comes more often than the platform lets it.
fn check_schedules(manifest: &Manifest, settings: &AppSettings) -> Result<(), AppError> {
    let least = settings.schedules.interval;
    for schedule in &manifest.schedules {
        let gap = std::time::Duration::from_secs(schedule.timetable.shortest_gap());
        if gap < least {
            let (name, gap, least) = (&schedule.name, gap.as_secs(), least.as_secs());
            return Err(AppError::field(
                format!("schedules.{name}.cron"),
                format!("comes every {gap} s; the shortest time between two calls is {least} s"),
            ));
        }
    }
    Ok(())
}

fn definition(asked: ScheduleAsked) -> ScheduleDefinition {
    ScheduleDefinition {
        name: asked.name,
        cron: asked.timetable.cron().to_owned(),
        timezone: asked.timetable.zone().to_owned(),
        method: asked.method,
        path: asked.path,
        overlap: asked.overlap,
        reason: asked.reason,
    }
}

fn check_limits(manifest: &Manifest, settings: &AppSettings) -> Result<(), AppError> {
    let (asked, most) = (&manifest.limits, &settings.max_limits);
    let millis =
        |duration: std::time::Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let limits = [
        ("memory_bytes", asked.memory_bytes, most.memory_bytes as u64),
        ("cpu_ms", asked.cpu_ms, millis(most.cpu)),
        ("wall_ms", asked.wall_ms, millis(most.wall)),
        ("stream_ms", asked.stream_ms, millis(most.stream)),
        (
            "concurrency",
            asked.concurrency.map(u64::from),
            most.concurrency as u64,
        ),
        (
            "instances",
            asked.instances.map(u64::from),
            most.instances as u64,
        ),
        (
            "request_body_bytes",
            asked.request_body_bytes,
            most.request_body_bytes,
        ),
    ];
    for (limit, asked, most) in limits {
        if let Some(asked) = asked
            && asked > most
        {
            return Err(AppError::LimitAsked { limit, asked, most });
        }
    }
    Ok(())
}

fn closed() -> AppError {
    AppError::Store(canopy_store::StoreError::Closed)
}
