//! From the database's state to what requests are routed by.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use canopy_api_types::PlanLimits;
use canopy_backend::StorageQuota;
use canopy_ids::{DriverInstanceId, InstallationId, Label, PackageName, TenantId};
use canopy_runtime::{
    Bindings, Caller, CallerKind, ComponentSpec, Destination, DriverSpec, InstallationSpec,
    Provider, Scope, StoreNames, Subscription, TenantSpec,
};
use canopy_store::{
    BindingsWrite, DriverRow, InstallationRow, PlanRow, TenantRow, TokenRow, TokenScope, World,
};
use canopy_tenant::{AnonymousPaths, HostName, Snapshot, TokenHash};
use semver::Version;
use serde_json::{Map, Value};

use crate::catalog::{Catalog, Release};
use crate::chain::Fleet;
use crate::{AppError, AppSettings, egress, limits};

/// A tenant and what its plan says.
struct Known {
    /// Changes with the tenant and with its plan.
    revision: u64,
    spec: Arc<TenantSpec>,
    plan: PlanLimits,
}

type Releases = HashMap<(PackageName, Version), Arc<Release>>;

/// The driver instances of a world while they are described.
struct Joining {
    /// Those that are still to be.
    rows: BTreeMap<DriverInstanceId, DriverRow>,
    /// Those of the last snapshot.
    old: HashMap<DriverInstanceId, Arc<DriverSpec>>,
    /// Those that wait for what they build on.
    under_way: Vec<DriverInstanceId>,
}

/// Builds snapshots. What has not changed since the last one is taken from it.
pub(crate) struct Builder {
    settings: AppSettings,
    tenants: HashMap<TenantId, Known>,
    drivers: HashMap<DriverInstanceId, Arc<DriverSpec>>,
    installations: HashMap<InstallationId, Arc<InstallationSpec>>,
    /// Of installations that have subscribed to something.
    releases: HashMap<InstallationId, Arc<Release>>,
}

impl Builder {
    pub(crate) fn new(settings: AppSettings) -> Self {
        Self {
            settings,
            tenants: HashMap::new(),
            drivers: HashMap::new(),
            installations: HashMap::new(),
            releases: HashMap::new(),
        }
    }

    /// The snapshot of `world`. What cannot be understood is left out and said in the log: one
    /// damaged row must not take everybody else off the network.
    pub(crate) fn build(&mut self, catalog: &Catalog, world: World) -> Snapshot {
        let World {
            plans,
            tenants,
            installations,
            drivers,
            versions,
            tokens,
            secrets,
            ..
        } = world;
        let mut releases = Releases::new();
        for row in versions {
            let key = (row.package.clone(), row.version.clone());
            match catalog.admit(row) {
                Ok(release) => {
                    releases.insert(key, release);
                }
                Err(error) => tracing::error!(%error, "a version is left out"),
            }
        }
        let plans: HashMap<_, _> = plans
            .into_iter()
            .map(|(name, row)| (name, (row.revision, plan_limits(&row))))
            .collect();
        self.tenants = tenants
            .into_values()
            .map(|row| {
                let (of_plan, plan) = plans.get(&row.plan).copied().unwrap_or_default();
                let (id, revision) = (row.id, row.revision.max(of_plan));
                let known = match self.tenants.remove(&id) {
                    Some(known) if known.revision == revision => known,
                    _ => Known {
                        revision,
                        spec: Arc::new(tenant_spec(row, &plan, &self.settings)),
                        plan,
                    },
                };
                (id, known)
            })
            .collect();

        let nothing = BTreeMap::new();
        let mut joining = Joining {
            rows: drivers.into_iter().map(|row| (row.id, row)).collect(),
            old: std::mem::take(&mut self.drivers),
            under_way: Vec::new(),
        };
        let ids: Vec<_> = joining.rows.keys().copied().collect();
        for id in ids {
            if let Err(error) = self.join(&mut joining, id, &releases, &secrets) {
                tracing::error!(driver = %id, %error, "a driver is left out");
            }
        }

        let mut builder = Snapshot::builder(self.settings.base.clone());
        let mut old = std::mem::take(&mut self.installations);
        self.releases.clear();
        for row in installations {
            let Some(tenant) = self.tenants.get(&row.tenant) else {
                continue;
            };
            let Some(release) = releases.get(&(row.package.clone(), row.version.clone())) else {
                continue;
            };
            let bound = self.newest(&row.bindings);
            let generation = row.revision.max(tenant.revision).max(bound);
            let spec = old
                .remove(&row.id)
                .filter(|spec| spec.generation == generation);
            let spec = spec.map_or_else(
                || {
                    let secrets = secrets.get(&row.id.to_string()).unwrap_or(&nothing);
                    self.installation(&row, generation, tenant, release, secrets)
                },
                Ok,
            );
            let added = spec.and_then(|spec| {
                let anonymous = AnonymousPaths::parse(&release.manifest.anonymous)
                    .map_err(|error| AppError::Internal(error.to_string()))?;
                let domains = row
                    .domains
                    .iter()
                    .filter_map(|text| HostName::from_name(text).ok());
                self.installations.insert(row.id, Arc::clone(&spec));
                if !release.manifest.subscriptions.is_empty() {
                    self.releases.insert(row.id, Arc::clone(release));
                }
                builder
                    .installation(spec, anonymous, domains)
                    .map_err(|error| AppError::Internal(error.to_string()))
            });
            if let Err(error) = added {
                tracing::error!(installation = %row.id, %error, "an installation is incomplete");
            }
        }
        for token in tokens {
            if let TokenScope::Tenant(tenant) = token.scope {
                let hash = TokenHash::from_bytes(token.hash);
                builder.token(token.id, tenant, hash, Arc::new(caller(token)));
            }
        }
        builder.build()
    }

    /// What every tenant of the last snapshot may store.
    pub(crate) fn quotas(&self) -> HashMap<TenantId, StorageQuota> {
        let defaults = limits::defaults(&self.settings);
        let quota = |known: &Known| limits::quota(&known.plan.over(&defaults));
        self.tenants
            .iter()
            .map(|(id, known)| (*id, quota(known)))
            .collect()
    }

    /// What the installations of the last snapshot have subscribed to.
    pub(crate) fn subscriptions(&self) -> Vec<Subscription> {
        let mut subscriptions = Vec::new();
        for (id, release) in &self.releases {
            let Some(spec) = self.installations.get(id) else {
                continue;
            };
            let scope = Scope {
                tenant: spec.tenant.id,
                installation: *id,
            };
            let host = format!("{}.{}.{}", spec.name, spec.tenant.name, self.settings.base);
            let url = self.settings.url(&host);
            for asked in &release.manifest.subscriptions {
                let to = match &asked.path {
                    Some(path) => Destination::Address(format!("{url}{path}")),
                    None => Destination::Handler,
                };
                let topic = asked.topic.clone();
                subscriptions.push(Subscription::new(scope, topic, to, asked.concurrency));
            }
        }
        subscriptions
    }

    /// Describes a driver instance, after those that it builds on.
    fn join(
        &mut self,
        joining: &mut Joining,
        id: DriverInstanceId,
        releases: &Releases,
        secrets: &HashMap<String, BTreeMap<String, String>>,
    ) -> Result<(), AppError> {
        // Of one whose tenant is on the way out nothing is said.
        let Some(row) = joining.rows.remove(&id) else {
            return match joining.under_way.contains(&id) {
                true => Err(AppError::Internal("drivers are bound in a circle".into())),
                false => Ok(()),
            };
        };
        joining.under_way.push(id);
        let mut bound = row.bindings.values().flatten();
        let below = bound.try_for_each(|driver| self.join(joining, driver.id, releases, secrets));
        joining.under_way.pop();
        below?;
        let Some(tenant) = self.tenants.get(&row.tenant) else {
            return Ok(());
        };
        let Some(release) = releases.get(&(row.package.clone(), row.version.clone())) else {
            return Ok(());
        };
        let below = self.newest(&row.bindings);
        let generation = row.revision.max(tenant.revision).max(below);
        let old = joining.old.remove(&id);
        let spec = match old.filter(|spec| spec.generation == generation) {
            Some(spec) => spec,
            None => {
                let nothing = BTreeMap::new();
                let secrets = secrets.get(&id.to_string()).unwrap_or(&nothing);
                Arc::new(DriverSpec {
                    id,
                    name: row.name.clone(),
                    generation,
                    tenant: Arc::clone(&tenant.spec),
                    component: component(
                        &self.settings,
                        release,
                        &tenant.plan,
                        (&row.config, secrets, &row.egress),
                    )?,
                    bindings: self.providers(&row.bindings)?,
                })
            }
        };
        self.drivers.insert(id, spec);
        Ok(())
    }

    /// The newest generation of the driver instances in `bindings`.
    fn newest(&self, bindings: &canopy_store::Bindings) -> u64 {
        let bound = bindings.values().flatten();
        let known = bound.filter_map(|driver| self.drivers.get(&driver.id));
        known.map(|driver| driver.generation).max().unwrap_or(0)
    }

    fn providers(&self, bindings: &canopy_store::Bindings) -> Result<Bindings, AppError> {
        let providers = bindings.iter().map(|(key, driver)| {
            let provider = match driver {
                None => Provider::Platform,
                Some(driver) => {
                    let spec = self.drivers.get(&driver.id).ok_or_else(|| {
                        AppError::Internal(format!("its driver `{}` is left out", driver.name))
                    })?;
                    Provider::Driver(Arc::clone(spec))
                }
            };
            Ok((key.clone(), provider))
        });
        providers.collect()
    }

    fn installation(
        &self,
        row: &InstallationRow,
        generation: u64,
        tenant: &Known,
        release: &Release,
        secrets: &BTreeMap<String, String>,
    ) -> Result<Arc<InstallationSpec>, AppError> {
        Ok(Arc::new(InstallationSpec {
            id: row.id,
            name: row.name.clone(),
            generation,
            tenant: Arc::clone(&tenant.spec),
            component: component(
                &self.settings,
                release,
                &tenant.plan,
                (&row.config, secrets, &row.egress),
            )?,
            stores: Arc::new(stores(release)),
            databases: databases(release),
            bindings: self.providers(&row.bindings)?,
        }))
    }
}

fn plan_limits(row: &PlanRow) -> PlanLimits {
    limits::of_plan(row).unwrap_or_else(|error| {
        tracing::error!(%error, "the node's settings stand in");
        PlanLimits::default()
    })
}

fn tenant_spec(row: TenantRow, plan: &PlanLimits, settings: &AppSettings) -> TenantSpec {
    TenantSpec {
        id: row.id,
        name: row.name,
        display_name: row.display_name,
        plan: row.plan,
        region: row.region,
        attributes: row.attributes,
        limits: limits::of_tenant(&plan.over(&limits::defaults(settings))),
    }
}

fn component(
    settings: &AppSettings,
    release: &Release,
    plan: &PlanLimits,
    (config, secrets, grants): (&Map<String, Value>, &BTreeMap<String, String>, &[String]),
) -> Result<ComponentSpec, AppError> {
    let manifest = &release.manifest;
    let config = manifest.config.effective(config, secrets);
    Ok(ComponentSpec {
        package: release.package.clone(),
        version: release.version.clone(),
        digest: release.digest,
        reuse: release.manifest.reuse,
        egress: Arc::new(egress::policy(grants, manifest, &config, settings)?),
        config: Arc::new(config),
        limits: limits::of_component(&release.manifest.limits, plan, settings),
    })
}

/// `tenant` as its components see it, on a plan that says nothing.
pub(crate) fn plain_tenant(settings: &AppSettings, tenant: &TenantRow) -> TenantSpec {
    tenant_spec(tenant.clone(), &PlanLimits::default(), settings)
}

/// What a version runs, without configuration.
pub(crate) fn bare(settings: &AppSettings, release: &Release) -> Result<ComponentSpec, AppError> {
    configured(settings, release, (&Map::new(), &BTreeMap::new(), &[][..]))
}

/// What a version runs with a configuration, on a plan that says nothing.
pub(crate) fn configured(
    settings: &AppSettings,
    release: &Release,
    with: (&Map<String, Value>, &BTreeMap<String, String>, &[String]),
) -> Result<ComponentSpec, AppError> {
    component(settings, release, &PlanLimits::default(), with)
}

/// An installation of `app` as it would be, under an identifier of its own and without
/// configuration, for trying whether it links.
pub(crate) fn candidate(
    settings: &AppSettings,
    tenant: &TenantRow,
    name: &Label,
    app: &Release,
    (fleet, bindings): (&Fleet, &BindingsWrite),
) -> Result<InstallationSpec, AppError> {
    let tenant = Arc::new(plain_tenant(settings, tenant));
    Ok(InstallationSpec {
        id: InstallationId::new(),
        name: name.clone(),
        generation: 0,
        component: bare(settings, app)?,
        stores: Arc::new(stores(app)),
        databases: databases(app),
        bindings: fleet.bindings(settings, &tenant, bindings)?,
        tenant,
    })
}

/// The SQL databases that a package declared.
fn databases(release: &Release) -> Arc<[String]> {
    let declared = release.manifest.sql.iter();
    declared.map(|asked| asked.database.clone()).collect()
}

/// The stores that a package declared.
fn stores(release: &Release) -> StoreNames {
    let declared = release.manifest.stores.iter();
    StoreNames::of(declared.map(|store| store.name.clone()))
}

fn caller(token: TokenRow) -> Caller {
    Caller {
        kind: CallerKind::Service,
        subject: token.subject,
        display_name: token.display_name,
        roles: token.roles,
        claims: vec![("token_id".into(), token.id.to_string())],
    }
}
