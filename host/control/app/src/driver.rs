//! Driver instances: one driver version configured for one tenant.

use std::collections::BTreeMap;
use std::collections::hash_map::Entry as Place;
use std::sync::Arc;

use canopy_api_types::{
    Driver, DriverChecked, DriverFailure, DriverHealth, DriverPut, DriverState, Page,
};
use canopy_backend_logs::{Entry, Level, LogContext, Source};
use canopy_ids::{BindingKey, DriverInstanceId, Label};
use canopy_manifest::Kind;
use canopy_runtime::{DriverSpec, Verdict};
use canopy_store::{
    DriverRow, DriverWrite, InstallationWrite, PageRequest, Precondition, StoreError, TenantRow,
    Written,
};

use crate::catalog::Release;
use crate::chain::{self, Fleet, Link, PLATFORM, Secrets};
use crate::setting::{Settable, Setting};
use crate::{
    Action, App, AppError, Context, Resource, egress, limits, linking, snapshot, validate,
};

impl App {
    /// Creates or replaces a driver instance. The flag says whether it is new.
    pub async fn put_driver(
        &self,
        context: &Context,
        tenant: Label,
        name: Label,
        put: DriverPut,
        condition: Precondition,
    ) -> Result<(Driver, bool), AppError> {
        context.authorize(Action::Write, Resource::Installations(&tenant))?;
        if name.as_str() == PLATFORM {
            let message = "is what stands for the platform itself in bindings; choose another name";
            return Err(AppError::field("name", message));
        }
        let _linking = self.turns.of(&tenant).await;
        let tenant = self.store.tenant(tenant).await?;
        let old = self.find_driver(&tenant, &name).await?;
        if let Some(old) = &old
            && old.package != put.package
        {
            return Err(AppError::OtherPackage {
                name,
                package: old.package.clone(),
            });
        }
        let version = match (put.version, &old) {
            (Some(version), _) => version,
            (None, Some(old)) => old.version.clone(),
            (None, None) => self.catalog.latest(&put.package).await?.version.clone(),
        };
        let secrets = put.secrets.into_iter();
        let write = DriverWrite {
            package: put.package,
            version,
            previous_version: old.as_ref().and_then(|old| old.previous_version.clone()),
            config: put.config,
            egress: put.egress,
            bindings: self.providers(&tenant, put.bindings).await?,
            secrets: secrets
                .map(|(key, value)| (key, Some(value.into_inner())))
                .collect(),
        };
        let write = self
            .check_driver(context, &tenant, &name, old.as_ref(), write)
            .await?;
        let Written { row, created } = self
            .store
            .put_driver(tenant.id, name, write, condition)
            .await?;
        if created && !context.check {
            self.unchecked(context, &tenant, &row);
        }
        let driver = self.show_driver(&tenant, row).await?;
        self.settled.published().await?;
        Ok((driver, created))
    }

    /// One driver instance.
    pub async fn driver(
        &self,
        context: &Context,
        tenant: Label,
        name: Label,
    ) -> Result<Driver, AppError> {
        context.authorize(Action::Read, Resource::Installations(&tenant))?;
        let tenant = self.store.tenant(tenant).await?;
        let row = self.store.driver(tenant.id, name).await?;
        self.show_driver(&tenant, row).await
    }

    /// Driver instances of a tenant by name.
    pub async fn drivers(
        &self,
        context: &Context,
        tenant: Label,
        page: PageRequest,
    ) -> Result<Page<Driver>, AppError> {
        context.authorize(Action::Read, Resource::Installations(&tenant))?;
        let tenant = self.store.tenant(tenant).await?;
        let rows = self.store.drivers(tenant.id, page).await?;
        let mut items = Vec::with_capacity(rows.rows.len());
        for row in rows.rows {
            items.push(self.show_driver(&tenant, row).await?);
        }
        Ok(Page {
            items,
            next_cursor: rows.next,
        })
    }

    /// Deletes a driver instance that serves neither an installation nor another driver, with its log.
    pub async fn delete_driver(
        &self,
        context: &Context,
        tenant: Label,
        name: Label,
        condition: Precondition,
    ) -> Result<(), AppError> {
        context.authorize(Action::Delete, Resource::Installations(&tenant))?;
        {
            let _linking = self.turns.of(&tenant).await;
            let tenant = self.store.tenant(tenant).await?;
            let row = self.store.driver(tenant.id, name.clone()).await?;
            if row.used_by.is_empty() && row.used_by_drivers.is_empty() {
                self.tell_last(&tenant, row.id).await?;
            }
            self.store.delete_driver(tenant.id, name, condition).await?;
        }
        self.settled.erased().await
    }

    /// Changes one thing about a driver instance.
    pub async fn set_driver(
        &self,
        context: &Context,
        tenant: Label,
        name: Label,
        setting: Setting,
        condition: Precondition,
    ) -> Result<Driver, AppError> {
        context.authorize(Action::Write, Resource::Installations(&tenant))?;
        self.change_driver(context, tenant, name, condition, |_, write| {
            Settable::from(write).set(setting);
            Ok(())
        })
        .await
    }

    /// Chooses who serves what a driver instance imports, by the name of another or `platform`;
    /// `None` removes the binding.
    pub async fn bind_driver(
        &self,
        context: &Context,
        tenant: Label,
        name: Label,
        key: BindingKey,
        driver: Option<Label>,
        condition: Precondition,
    ) -> Result<Driver, AppError> {
        context.authorize(Action::Write, Resource::Installations(&tenant))?;
        let driver = match driver {
            Some(driver) => {
                let tenant = self.store.tenant(tenant.clone()).await?;
                Some(self.provider(&tenant, driver).await?)
            }
            None => None,
        };
        self.change_driver(context, tenant, name, condition, |_, write| {
            match driver {
                Some(driver) => write.bindings.insert(key, driver),
                None => write.bindings.remove(&key),
            };
            Ok(())
        })
        .await
    }

    /// Returns a driver instance to the version that it ran before, which a second rollback undoes.
    pub async fn roll_back_driver(
        &self,
        context: &Context,
        tenant: Label,
        name: Label,
        condition: Precondition,
    ) -> Result<Driver, AppError> {
        context.authorize(Action::Write, Resource::Installations(&tenant))?;
        self.change_driver(context, tenant, name, condition, |old, write| {
            write.version =
                old.previous_version
                    .clone()
                    .ok_or_else(|| AppError::NoPreviousVersion {
                        name: old.name.clone(),
                    })?;
            Ok(())
        })
        .await
    }

    async fn change_driver(
        &self,
        context: &Context,
        tenant: Label,
        name: Label,
        condition: Precondition,
        change: impl FnOnce(&DriverRow, &mut DriverWrite) -> Result<(), AppError>,
    ) -> Result<Driver, AppError> {
        let _linking = self.turns.of(&tenant).await;
        let tenant = self.store.tenant(tenant).await?;
        let old = self.store.driver(tenant.id, name.clone()).await?;
        let mut write = DriverWrite::from(&old);
        change(&old, &mut write)?;
        let write = self
            .check_driver(context, &tenant, &name, Some(&old), write)
            .await?;
        let row = self
            .store
            .put_driver(tenant.id, name, write, condition)
            .await?
            .row;
        let driver = self.show_driver(&tenant, row).await?;
        self.settled.published().await?;
        Ok(driver)
    }

    async fn find_driver(
        &self,
        tenant: &TenantRow,
        name: &Label,
    ) -> Result<Option<DriverRow>, AppError> {
        match self.store.driver(tenant.id, name.clone()).await {
            Ok(row) => Ok(Some(row)),
            Err(StoreError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Checks a whole driver instance before it is written: itself, what it builds on, and
    /// everybody who builds on it.
    async fn check_driver(
        &self,
        context: &Context,
        tenant: &TenantRow,
        name: &Label,
        old: Option<&DriverRow>,
        mut write: DriverWrite,
    ) -> Result<DriverWrite, AppError> {
        let release = self.catalog.release(&write.package, &write.version).await?;
        release.must_be(Kind::Driver, "install it, instead of adding it as a driver")?;
        if let Some(old) = old
            && old.version != write.version
        {
            write.previous_version = Some(old.version.clone());
        }
        let granted = old.map_or(&[][..], |old| &old.egress);
        let grants = (granted, &write.egress[..]);
        write.egress = egress::check(context, &tenant.name, &release, grants, &self.settings)?;
        let mut secrets = match old {
            Some(old) => self.store.driver_secrets(old.id).await?,
            None => BTreeMap::new(),
        };
        self.check_secrets(&release, &write.secrets, &mut secrets)?;
        validate::config(&release, &write.config, &secrets, &self.settings)?;

        let is_linked_already = old.is_some_and(|old| {
            old.version == write.version && DriverWrite::from(old).bindings == write.bindings
        });
        if old.is_some_and(|old| DriverWrite::from(old) == write) {
            return Ok(write);
        }
        let mut fleet = self.fleet(tenant).await?;
        let id = old.map_or_else(DriverInstanceId::new, |old| old.id);
        fleet.set(Link {
            id,
            name: name.clone(),
            release: release.clone(),
            bindings: write.bindings.clone(),
            config: write.config.clone(),
            egress: write.egress.clone(),
        });
        if !is_linked_already {
            fleet.check(&release, &write.bindings)?;
            self.check_joined(tenant, &fleet, id).await?;
        }
        let secrets = Secrets::from([(id, secrets)]);
        self.ask(context, tenant, (&fleet, id), secrets).await?;
        Ok(write)
    }

    /// Has a driver instance find out whether its configuration works. Whether it could be asked.
    pub async fn ask_driver(
        &self,
        context: &Context,
        tenant: Label,
        name: Label,
    ) -> Result<DriverChecked, AppError> {
        context.authorize(Action::Write, Resource::Installations(&tenant))?;
        let tenant = self.store.tenant(tenant).await?;
        let row = self.store.driver(tenant.id, name.clone()).await?;
        let fleet = self.fleet(&tenant).await?;
        let asked = self
            .ask(context, &tenant, (&fleet, row.id), Secrets::new())
            .await?;
        Ok(DriverChecked {
            driver: name,
            checked: asked,
        })
    }

    /// Asks a driver instance that somebody is newly bound to whether it works.
    pub(crate) async fn ask_bound(
        &self,
        context: &Context,
        tenant: &TenantRow,
        fleet: &Fleet,
        id: DriverInstanceId,
    ) -> Result<(), AppError> {
        let asked = self.ask(context, tenant, (fleet, id), Secrets::new());
        asked.await.map(drop)
    }

    /// Asks one driver instance. `secrets` are those that differ from the stored ones.
    async fn ask(
        &self,
        context: &Context,
        tenant: &TenantRow,
        (fleet, id): (&Fleet, DriverInstanceId),
        secrets: Secrets,
    ) -> Result<bool, AppError> {
        if !context.check {
            // One that is new has no log yet.
            if let Some(row) = self.find_driver(tenant, fleet.name(id)?).await? {
                self.unchecked(context, tenant, &row);
            }
            return Ok(false);
        }
        let spec = self.live_driver(tenant, (fleet, id), secrets).await?;
        let asked = self.runtime.ask_driver(&spec, context.request_id).await;
        let asked = asked.map_err(linking::cannot_link)?;
        match asked {
            Verdict::Works => Ok(true),
            Verdict::Unknown => Ok(false),
            Verdict::Refused(message) => Err(AppError::CheckFailed {
                driver: fleet.name(id)?.clone(),
                message,
            }),
            Verdict::Failed(message) => Err(AppError::CheckFailed {
                driver: fleet.name(id)?.clone(),
                message: format!("asked whether it does, it broke down: {message}"),
            }),
        }
    }

    /// A driver instance with its configuration and secrets, and all that it builds on. `secrets` are
    /// those that differ from the stored ones.
    pub(crate) async fn live_driver(
        &self,
        tenant: &TenantRow,
        (fleet, id): (&Fleet, DriverInstanceId),
        mut secrets: Secrets,
    ) -> Result<Arc<DriverSpec>, AppError> {
        for id in fleet.chain(id) {
            if let Place::Vacant(entry) = secrets.entry(id) {
                entry.insert(self.store.driver_secrets(id).await?);
            }
        }
        let spec = Arc::new(snapshot::plain_tenant(&self.settings, tenant));
        fleet.live_driver(&self.settings, &spec, id, &secrets)
    }

    /// Says in the driver instance's log that it was not asked.
    fn unchecked(&self, context: &Context, tenant: &TenantRow, row: &DriverRow) {
        let log = LogContext {
            tenant: tenant.name.clone(),
            app: None,
            driver: Some(row.name.clone()),
            package: row.package.clone(),
            version: row.version.clone(),
        };
        let message = format!("changed or bound without a check by {}", context.principal);
        let entry = Entry::new(Level::Warn, Source::Platform, &message);
        self.logs
            .log(row.id, log)
            .append(entry.request(context.request_id));
    }

    /// Refuses a driver instance that does not link, or that some user, near or far, would not link
    /// with.
    async fn check_joined(
        &self,
        tenant: &TenantRow,
        fleet: &Fleet,
        id: DriverInstanceId,
    ) -> Result<(), AppError> {
        fleet.check_driver(id)?;
        let builders: Vec<_> = fleet.builders(id).iter().map(|link| link.id).collect();
        for builder in &builders {
            fleet.check_driver(*builder)?;
        }
        let everything = PageRequest {
            limit: usize::MAX - 1,
            cursor: None,
        };
        let mut users = Vec::new();
        for row in self.store.installations(tenant.id, everything).await?.rows {
            let bindings = InstallationWrite::from(&row).bindings;
            if fleet.reaches(&bindings, id) {
                let app = self.catalog.release(&row.package, &row.version).await?;
                fleet.check(&app, &bindings)?;
                users.push((row.name, app, bindings));
            }
        }
        let spec = Arc::new(snapshot::plain_tenant(&self.settings, tenant));
        for driver in std::iter::once(&id).chain(&builders) {
            let spec = fleet.driver(&self.settings, &spec, *driver)?;
            linking::try_driver(&self.runtime, &spec).await?;
        }
        for (name, app, bindings) in &users {
            let bindings = (fleet, bindings);
            let spec = snapshot::candidate(&self.settings, tenant, name, app, bindings)?;
            linking::try_out(&self.runtime, &spec).await?;
        }
        Ok(())
    }

    async fn driver_health(
        &self,
        tenant: &TenantRow,
        row: &DriverRow,
        release: &Release,
    ) -> Result<DriverHealth, AppError> {
        if let Some(health) = self.runtime.driver_health(row.id, row.revision) {
            return Ok(shown(health));
        }
        let plan = self.plan_limits(&tenant.plan).await?;
        let limits = limits::of_component(&release.manifest.limits, &plan, &self.settings);
        Ok(DriverHealth {
            state: DriverState::Idle,
            stores: 0,
            max_stores: limits.instances as u64,
            calls: 0,
            restarts: 0,
            failures: 0,
            retry_at: None,
            last_failure: None,
        })
    }

    async fn show_driver(&self, tenant: &TenantRow, row: DriverRow) -> Result<Driver, AppError> {
        let release = self.catalog.release(&row.package, &row.version).await?;
        let health = self.driver_health(tenant, &row, &release).await?;
        Ok(Driver {
            id: row.id,
            name: row.name,
            tenant: tenant.name.clone(),
            package: row.package,
            version: row.version,
            digest: release.digest,
            serves: release.manifest.serves.clone(),
            previous_version: row.previous_version,
            bindings: chain::shown(&row.bindings),
            used_by: row.used_by,
            used_by_drivers: row.used_by_drivers,
            config: row.config,
            secrets: row.secrets,
            egress: row.egress,
            health,
            created_at: row.created_at,
            updated_at: row.updated_at,
            revision: row.revision,
        })
    }
}

fn shown(health: canopy_runtime::DriverHealth) -> DriverHealth {
    use canopy_runtime::DriverState as State;
    DriverHealth {
        state: match health.state {
            State::Idle => DriverState::Idle,
            State::Starting => DriverState::Starting,
            State::Ready => DriverState::Ready,
            State::BackingOff => DriverState::BackingOff,
            State::Broken => DriverState::Broken,
        },
        stores: health.stores as u64,
        max_stores: health.max_stores as u64,
        calls: health.calls as u64,
        restarts: health.restarts,
        failures: health.failures.into(),
        retry_at: health.retry_at.map(Into::into),
        last_failure: health.last_failure.map(|(at, message)| DriverFailure {
            at: at.into(),
            message,
        }),
    }
}
