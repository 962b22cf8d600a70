//! Packages and versions, as the catalogue shows them.

use std::sync::Arc;

use canopy_api_types::{
    LimitsAsked, Need, Package, PackageKind, PackageSchedule, PackageSubscription, PackageVersion,
    Page, RecordedBadge, ServedInterface,
};
use canopy_ids::{InterfaceName, PackageName};
use canopy_manifest::Kind;
use canopy_runtime::platform;
use canopy_store::{PackageFilter, PackageRow, PageRequest};
use semver::Version;

use crate::catalog::Release;
use crate::{Action, App, AppError, Context, Resource, badge, linking};

impl App {
    /// One package.
    pub async fn package(&self, context: &Context, name: PackageName) -> Result<Package, AppError> {
        context.authorize(Action::Read, Resource::Catalogue)?;
        Ok(package(self.store.package(name).await?))
    }

    /// Packages by name.
    pub async fn packages(
        &self,
        context: &Context,
        kind: Option<PackageKind>,
        publisher: Option<canopy_ids::Label>,
        page: PageRequest,
    ) -> Result<Page<Package>, AppError> {
        context.authorize(Action::Read, Resource::Catalogue)?;
        let kind = kind.map(|kind| match kind {
            PackageKind::App => Kind::App,
            PackageKind::Driver => Kind::Driver,
        });
        let rows = self
            .store
            .packages(PackageFilter { kind, publisher }, page)
            .await?;
        Ok(Page {
            items: rows.rows.into_iter().map(package).collect(),
            next_cursor: rows.next,
        })
    }

    /// One version.
    pub async fn version(
        &self,
        context: &Context,
        package: PackageName,
        version: Version,
    ) -> Result<PackageVersion, AppError> {
        context.authorize(Action::Read, Resource::Catalogue)?;
        let release = self.catalog.release(&package, &version).await?;
        self.describe(&release).await
    }

    /// Versions of a package, the last published first.
    pub async fn versions(
        &self,
        context: &Context,
        package: PackageName,
        page: PageRequest,
    ) -> Result<Page<PackageVersion>, AppError> {
        context.authorize(Action::Read, Resource::Catalogue)?;
        let rows = self.store.versions(package.clone(), page).await?;
        let published = self.store.serving(None).await?;
        let badges = self.store.badges(package, None).await?;
        let releases = rows.rows.into_iter().map(|row| self.catalog.admit(row));
        let items = releases.map(|release| {
            let release = release?;
            let own = badges.iter().filter(|row| row.version == release.version);
            let own = own.map(badge::recorded).collect::<Result<_, _>>()?;
            Ok(describe(&release, &published, own))
        });
        Ok(Page {
            items: items.collect::<Result<_, AppError>>()?,
            next_cursor: rows.next,
        })
    }

    /// The bytes of a version's component, verified against its digest.
    pub async fn component(
        &self,
        context: &Context,
        package: PackageName,
        version: Version,
    ) -> Result<(canopy_ids::Digest, Vec<u8>), AppError> {
        context.authorize(Action::Read, Resource::Catalogue)?;
        let digest = self.catalog.release(&package, &version).await?.digest;
        Ok((digest, self.components.read(digest).await?))
    }

    pub(crate) async fn describe(
        &self,
        release: &Arc<Release>,
    ) -> Result<PackageVersion, AppError> {
        let (package, version) = (release.package.clone(), release.version.clone());
        let badges = self.store.badges(package, Some(version)).await?;
        let badges = badges.iter().map(badge::recorded);
        let badges = badges.collect::<Result<_, _>>()?;
        Ok(describe(release, &self.store.serving(None).await?, badges))
    }
}

fn kind(kind: Kind) -> PackageKind {
    match kind {
        Kind::App => PackageKind::App,
        Kind::Driver => PackageKind::Driver,
    }
}

fn package(row: PackageRow) -> Package {
    Package {
        name: row.name,
        kind: kind(row.kind),
        title: row.title,
        summary: row.summary,
        categories: row.categories,
        latest_version: row.latest_version,
        created_at: row.created_at,
        updated_at: row.updated_at,
        revision: row.revision,
    }
}

fn describe(
    release: &Release,
    published: &[(InterfaceName, PackageName)],
    badges: Vec<RecordedBadge>,
) -> PackageVersion {
    let manifest = &release.manifest;
    let imports = release.imports.iter().map(|import| ServedInterface {
        interface: import.interface.clone(),
        label: import.label.clone(),
        platform: platform::serves_import(import),
        drivers: linking::drivers_for(&import.interface, published),
    });
    let needs = manifest.needs.iter().map(|need| Need {
        interface: need.interface.to_string(),
        label: need.label.clone(),
        reason: need.reason.clone(),
        hosts: need.hosts.clone(),
    });
    let schedules = manifest.schedules.iter().map(|schedule| PackageSchedule {
        name: schedule.name.to_string(),
        cron: schedule.timetable.cron().to_owned(),
        timezone: schedule.timetable.zone().to_owned(),
        method: schedule.method.clone(),
        path: schedule.path.clone(),
        overlap: schedule.overlap,
        reason: schedule.reason.clone(),
    });
    let subscriptions = manifest.subscriptions.iter();
    let subscriptions = subscriptions.map(|subscription| PackageSubscription {
        topic: subscription.topic.clone(),
        path: subscription.path.clone(),
        concurrency: u32::try_from(subscription.concurrency).unwrap_or(u32::MAX),
        reason: subscription.reason.clone(),
    });
    PackageVersion {
        package: release.package.clone(),
        version: release.version.clone(),
        kind: kind(manifest.kind),
        digest: release.digest,
        size: release.size,
        title: manifest.title.clone(),
        summary: manifest.summary.clone(),
        description: manifest.description.clone(),
        categories: manifest.categories.clone(),
        icon: manifest.icon.clone(),
        license: manifest.license.clone(),
        homepage: manifest.homepage.clone(),
        needs: needs.collect(),
        imports: imports.collect(),
        exports: release.exports.clone(),
        serves: manifest.serves.clone(),
        config_schema: manifest.config.document().clone(),
        anonymous: manifest.anonymous.clone(),
        limits: LimitsAsked {
            memory_bytes: manifest.limits.memory_bytes,
            cpu_ms: manifest.limits.cpu_ms,
            wall_ms: manifest.limits.wall_ms,
            stream_ms: manifest.limits.stream_ms,
            concurrency: manifest.limits.concurrency,
            instances: manifest.limits.instances,
            request_body_bytes: manifest.limits.request_body_bytes,
        },
        schedules: schedules.collect(),
        subscriptions: subscriptions.collect(),
        badges,
        published_at: release.published_at,
    }
}
