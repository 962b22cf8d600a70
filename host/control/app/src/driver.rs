//! Driver instances: one driver version configured for one tenant.

use std::collections::BTreeMap;

use canopy_api_types::{Driver, DriverPut, Page};
use canopy_ids::Label;
use canopy_manifest::Kind;
use canopy_store::{
    DriverRow, DriverWrite, InstallationRow, PageRequest, Precondition, SecretChanges, StoreError,
    TenantRow, Written,
};

use crate::catalog::Release;
use crate::setting::{Settable, Setting};
use crate::{
    Action, App, AppError, Context, Resource, Unserved, egress, linking, snapshot, validate,
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
        let _linking = self.linking.lock().await;
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
            config: put.config,
            egress: put.egress,
            secrets: secrets
                .map(|(key, value)| (key, Some(value.into_inner())))
                .collect(),
        };
        let write = self
            .check_driver(context, &tenant, old.as_ref(), write)
            .await?;
        let Written { row, created } = self
            .store
            .put_driver(tenant.id, name, write, condition)
            .await?;
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

    /// Deletes a driver instance that serves nobody, with its log.
    pub async fn delete_driver(
        &self,
        context: &Context,
        tenant: Label,
        name: Label,
        condition: Precondition,
    ) -> Result<(), AppError> {
        context.authorize(Action::Delete, Resource::Installations(&tenant))?;
        {
            let _linking = self.linking.lock().await;
            let tenant = self.store.tenant(tenant).await?;
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
        let _linking = self.linking.lock().await;
        let tenant = self.store.tenant(tenant).await?;
        let old = self.store.driver(tenant.id, name.clone()).await?;
        let mut write = DriverWrite {
            package: old.package.clone(),
            version: old.version.clone(),
            config: old.config.clone(),
            egress: old.egress.clone(),
            secrets: SecretChanges::new(),
        };
        Settable::from(&mut write).set(setting);
        let write = self
            .check_driver(context, &tenant, Some(&old), write)
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

    async fn check_driver(
        &self,
        context: &Context,
        tenant: &TenantRow,
        old: Option<&DriverRow>,
        mut write: DriverWrite,
    ) -> Result<DriverWrite, AppError> {
        let release = self.catalog.release(&write.package, &write.version).await?;
        release.must_be(Kind::Driver, "install it, instead of adding it as a driver")?;
        let granted = old.map_or(&[][..], |old| &old.egress);
        let grants = (granted, &write.egress[..]);
        write.egress = egress::check(context, &tenant.name, &release, grants, &self.settings)?;
        let mut secrets = match old {
            Some(old) => self.store.driver_secrets(old.id).await?,
            None => BTreeMap::new(),
        };
        self.check_secrets(&release, &write.secrets, &mut secrets)?;
        validate::config(&release, &write.config, &secrets, &self.settings)?;
        if let Some(old) = old
            && old.version != write.version
        {
            self.check_users(tenant, old, &release).await?;
        }
        Ok(write)
    }

    /// Refuses a version that does not serve what the bound installations import.
    async fn check_users(
        &self,
        tenant: &TenantRow,
        driver: &DriverRow,
        release: &Release,
    ) -> Result<(), AppError> {
        let mut unserved = Vec::new();
        for name in &driver.used_by {
            let installation = self.store.installation(tenant.id, name.clone()).await?;
            let app = self
                .catalog
                .release(&installation.package, &installation.version)
                .await?;
            for (package, bound) in &installation.bindings {
                if bound.id != driver.id {
                    continue;
                }
                let missing = app.imports_of(package).filter(|import| {
                    !release
                        .manifest
                        .serves
                        .iter()
                        .any(|offered| import.accepts(offered))
                });
                unserved.extend(missing.map(|import| Unserved {
                    import: import.clone(),
                    driver: Some(driver.name.clone()),
                    nearest: None,
                    drivers: Vec::new(),
                    published: Vec::new(),
                }));
            }
            if unserved.is_empty() {
                self.try_with(tenant, driver, release, &app, &installation)
                    .await?;
            }
        }
        if unserved.is_empty() {
            Ok(())
        } else {
            Err(AppError::Unserved(unserved))
        }
    }

    /// Links `installation` with `release` in the place of what `driver` runs now.
    async fn try_with(
        &self,
        tenant: &TenantRow,
        driver: &DriverRow,
        release: &Release,
        app: &Release,
        installation: &InstallationRow,
    ) -> Result<(), AppError> {
        let mut bound = Vec::new();
        for (package, other) in &installation.bindings {
            if other.id == driver.id {
                bound.push((package, &driver.name, None));
            } else {
                let row = self.store.driver(tenant.id, other.name.clone()).await?;
                let release = self.catalog.release(&row.package, &row.version).await?;
                bound.push((package, &other.name, Some(release)));
            }
        }
        let bound = bound
            .iter()
            .map(|(package, name, other)| (*package, *name, other.as_deref().unwrap_or(release)));
        let name = &installation.name;
        let spec = snapshot::candidate(&self.settings, tenant, name, app, bound)?;
        linking::try_out(&self.runtime, &spec).await
    }

    async fn show_driver(&self, tenant: &TenantRow, row: DriverRow) -> Result<Driver, AppError> {
        let release = self.catalog.release(&row.package, &row.version).await?;
        Ok(Driver {
            id: row.id,
            name: row.name,
            tenant: tenant.name.clone(),
            package: row.package,
            version: row.version,
            digest: release.digest,
            serves: release.manifest.serves.clone(),
            used_by: row.used_by,
            config: row.config,
            secrets: row.secrets,
            egress: row.egress,
            created_at: row.created_at,
            updated_at: row.updated_at,
            revision: row.revision,
        })
    }
}
