//! Installations: one application version for one tenant.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use canopy_api_types::{Installation, InstallationPut, InterfaceSource, Page};
use canopy_ids::{BindingKey, DriverInstanceId, InstallationId, Label};
use canopy_manifest::{Kind, answers_requests};
use canopy_store::{
    InstallationRow, InstallationWrite, PageRequest, Precondition, SecretChanges, StoreError,
    TenantRow, Written,
};
use canopy_tenant::HostName;

use crate::catalog::Release;
use crate::migration::Migrating;
use crate::setting::{Settable, Setting};
use crate::telling::Binding;
use crate::{
    Action, App, AppError, Context, IdempotencyKey, Resource, chain, egress, linking, snapshot,
    validate,
};

impl App {
    /// Creates or replaces an installation. The flag says whether it is new.
    pub async fn put_installation(
        &self,
        context: &Context,
        tenant: Label,
        name: Label,
        put: InstallationPut,
        condition: Precondition,
    ) -> Result<(Installation, bool), AppError> {
        context.authorize(Action::Write, Resource::Installations(&tenant))?;
        let _linking = self.turns.of(&tenant).await;
        let tenant = self.store.tenant(tenant).await?;
        let old = self.find_installation(&tenant, &name).await?;
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
        let bindings = self.providers(&tenant, put.bindings).await?;
        let write = InstallationWrite {
            package: put.package,
            version,
            previous_version: old.as_ref().and_then(|old| old.previous_version.clone()),
            config: put.config,
            egress: put.egress,
            bindings,
            domains: old
                .as_ref()
                .map(|old| old.domains.clone())
                .unwrap_or_default(),
            secrets: put
                .secrets
                .into_iter()
                .map(|(key, value)| (key, Some(value.into_inner())))
                .collect(),
        };
        let checked = self
            .check_installation(context, &tenant, &name, old.as_ref(), write)
            .await?;
        let migrating = Migrating {
            tenant: &tenant,
            id: old.as_ref().map_or_else(InstallationId::new, |old| old.id),
            name: &name,
            old: old.as_ref(),
            write: &checked,
            condition,
        };
        let binding = Binding {
            tenant: &tenant,
            id: migrating.id,
            name: &name,
            old: old.as_ref(),
            write: &checked,
        };
        self.tell_bound(context, &binding).await?;
        self.migrate(&migrating).await?;
        let ids = (tenant.id, migrating.id);
        let written = self
            .store
            .put_installation_as(ids, name.clone(), checked.clone(), condition)
            .await;
        let Written { row, created } = match written {
            Ok(written) => written,
            Err(error) => {
                self.forget(&migrating).await;
                return Err(error.into());
            }
        };
        let installation = self.show_installation(&tenant, row).await?;
        self.settled.published().await?;
        Ok((installation, created))
    }

    /// One installation.
    pub async fn installation(
        &self,
        context: &Context,
        tenant: Label,
        name: Label,
    ) -> Result<Installation, AppError> {
        context.authorize(Action::Read, Resource::Installations(&tenant))?;
        let tenant = self.store.tenant(tenant).await?;
        let row = self.store.installation(tenant.id, name).await?;
        self.show_installation(&tenant, row).await
    }

    /// Installations of a tenant by name.
    pub async fn installations(
        &self,
        context: &Context,
        tenant: Label,
        page: PageRequest,
    ) -> Result<Page<Installation>, AppError> {
        context.authorize(Action::Read, Resource::Installations(&tenant))?;
        let tenant = self.store.tenant(tenant).await?;
        let rows = self.store.installations(tenant.id, page).await?;
        let mut items = Vec::with_capacity(rows.rows.len());
        for row in rows.rows {
            items.push(self.show_installation(&tenant, row).await?);
        }
        Ok(Page {
            items,
            next_cursor: rows.next,
        })
    }

    /// Deletes an installation with its storage and its log.
    pub async fn delete_installation(
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
            self.store
                .delete_installation(tenant.id, name, condition)
                .await?;
        }
        self.settled.erased().await
    }

    /// Changes one thing about an installation.
    pub async fn set_installation(
        &self,
        context: &Context,
        tenant: Label,
        name: Label,
        setting: Setting,
        condition: Precondition,
    ) -> Result<Installation, AppError> {
        context.authorize(Action::Write, Resource::Installations(&tenant))?;
        self.change_installation(context, tenant, name, condition, |write| {
            Settable::from(write).set(setting);
            Ok(())
        })
        .await
    }

    /// Returns an installation to the version that it ran before, which a second rollback undoes.
    pub async fn roll_back(
        &self,
        context: &Context,
        tenant: Label,
        name: Label,
        condition: Precondition,
        key: Option<IdempotencyKey>,
    ) -> Result<Installation, AppError> {
        context.authorize(Action::Write, Resource::Installations(&tenant))?;
        let _linking = self.turns.of(&tenant).await;
        let tenant = self.store.tenant(tenant).await?;
        let old = self.store.installation(tenant.id, name.clone()).await?;
        let request = match key {
            Some(key) => Some(key.request(&format!("roll-back {}", old.id), &(), Vec::new())?),
            None => None,
        };
        if let Some(request) = &request
            && self.store.replayed(request.clone()).await?.is_some()
        {
            return self.show_installation(&tenant, old).await;
        }
        let previous = old
            .previous_version
            .clone()
            .ok_or_else(|| AppError::NoPreviousVersion { name: name.clone() })?;
        let mut write = InstallationWrite::from(&old);
        write.version = previous;
        let write = self
            .check_installation(context, &tenant, &name, Some(&old), write)
            .await?;
        self.migrate(&Migrating {
            tenant: &tenant,
            id: old.id,
            name: &name,
            old: Some(&old),
            write: &write,
            condition,
        })
        .await?;
        let row = match request {
            Some(request) => {
                let store = &self.store;
                store
                    .put_installation_once(tenant.id, name, write, condition, request)
                    .await?
            }
            None => {
                self.store
                    .put_installation(tenant.id, name, write, condition)
                    .await?
                    .row
            }
        };
        let installation = self.show_installation(&tenant, row).await?;
        self.settled.published().await?;
        Ok(installation)
    }

    /// Chooses who serves what an installation imports, by the name of a driver or `platform`; `None`
    /// removes the binding, so that a wider one decides, or the platform.
    pub async fn bind(
        &self,
        context: &Context,
        tenant: Label,
        name: Label,
        key: BindingKey,
        driver: Option<Label>,
        condition: Precondition,
    ) -> Result<Installation, AppError> {
        context.authorize(Action::Write, Resource::Installations(&tenant))?;
        let driver = match driver {
            Some(driver) => {
                let tenant = self.store.tenant(tenant.clone()).await?;
                Some(self.provider(&tenant, driver).await?)
            }
            None => None,
        };
        self.change_installation(context, tenant, name, condition, |write| {
            match driver {
                Some(driver) => write.bindings.insert(key, driver),
                None => write.bindings.remove(&key),
            };
            Ok(())
        })
        .await
    }

    /// Adds a custom domain to an installation. That a domain is whose it is said to be, the
    /// operator vouches for.
    pub async fn add_domain(
        &self,
        context: &Context,
        tenant: Label,
        name: Label,
        domain: &str,
        condition: Precondition,
    ) -> Result<Installation, AppError> {
        context.authorize(Action::Write, Resource::Tenant(&tenant))?;
        let domain = self.custom_domain(domain)?;
        self.change_installation(context, tenant, name, condition, |write| {
            if !write.domains.contains(&domain) {
                write.domains.push(domain);
            }
            validate::count("domains", write.domains.len(), self.settings.domains)
        })
        .await
    }

    /// Removes a custom domain from an installation.
    pub async fn remove_domain(
        &self,
        context: &Context,
        tenant: Label,
        name: Label,
        domain: &str,
        condition: Precondition,
    ) -> Result<Installation, AppError> {
        context.authorize(Action::Write, Resource::Tenant(&tenant))?;
        let not_found =
            || AppError::not_found("domain", domain.chars().take(253).collect::<String>());
        let domain = HostName::from_name(domain).map_err(|_| not_found())?;
        self.change_installation(context, tenant, name, condition, |write| {
            let before = write.domains.len();
            write.domains.retain(|other| other != domain.as_str());
            if write.domains.len() < before {
                Ok(())
            } else {
                Err(not_found())
            }
        })
        .await
    }

    pub(crate) fn custom_domain(&self, text: &str) -> Result<String, AppError> {
        let fault = |message: String| AppError::field("domain", message);
        let domain = HostName::from_name(text)
            .map_err(|error| fault(format!("is not a domain: {error}")))?;
        let is_address = domain.as_str().parse::<std::net::IpAddr>().is_ok()
            || domain
                .as_str()
                .rsplit('.')
                .next()
                .is_some_and(|label| label.bytes().all(|c| c.is_ascii_digit()));
        if is_address || !domain.as_str().contains('.') {
            return Err(fault(
                "must be a domain such as `invoices.example.com`".into(),
            ));
        }
        if domain.is_within(&self.settings.base) {
            let message = format!(
                "must not be within `{}`, which is the platform's",
                self.settings.base
            );
            return Err(fault(message));
        }
        Ok(domain.to_string())
    }

    async fn find_installation(
        &self,
        tenant: &TenantRow,
        name: &Label,
    ) -> Result<Option<InstallationRow>, AppError> {
        match self.store.installation(tenant.id, name.clone()).await {
            Ok(row) => Ok(Some(row)),
            Err(StoreError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn change_installation(
        &self,
        context: &Context,
        tenant: Label,
        name: Label,
        condition: Precondition,
        change: impl FnOnce(&mut InstallationWrite) -> Result<(), AppError>,
    ) -> Result<Installation, AppError> {
        let _linking = self.turns.of(&tenant).await;
        let tenant = self.store.tenant(tenant).await?;
        let old = self.store.installation(tenant.id, name.clone()).await?;
        let mut write = InstallationWrite::from(&old);
        change(&mut write)?;
        let write = self
            .check_installation(context, &tenant, &name, Some(&old), write)
            .await?;
        let binding = Binding {
            tenant: &tenant,
            id: old.id,
            name: &name,
            old: Some(&old),
            write: &write,
        };
        self.tell_bound(context, &binding).await?;
        self.migrate(&Migrating {
            tenant: &tenant,
            id: old.id,
            name: &name,
            old: Some(&old),
            write: &write,
            condition,
        })
        .await?;
        let row = self
            .store
            .put_installation(tenant.id, name, write, condition)
            .await?
            .row;
        let installation = self.show_installation(&tenant, row).await?;
        self.settled.published().await?;
        Ok(installation)
    }

    /// Checks a whole installation before it is written: everything that could make it fail at
    /// its first request is found here.
    async fn check_installation(
        &self,
        context: &Context,
        tenant: &TenantRow,
        name: &Label,
        old: Option<&InstallationRow>,
        mut write: InstallationWrite,
    ) -> Result<InstallationWrite, AppError> {
        let release = self.catalog.release(&write.package, &write.version).await?;
        release.must_be(
            Kind::App,
            "add it to the tenant as a driver, not as an installation",
        )?;
        if let Some(old) = old
            && old.version != write.version
        {
            write.previous_version = Some(old.version.clone());
        }
        let granted = old.map_or(&[][..], |old| &old.egress);
        let grants = (granted, &write.egress[..]);
        write.egress = egress::check(context, &tenant.name, &release, grants, &self.settings)?;
        let mut secrets = match old {
            Some(old) => self.store.installation_secrets(old.id).await?,
            None => BTreeMap::new(),
        };
        self.check_secrets(&release, &write.secrets, &mut secrets)?;
        validate::config(&release, &write.config, &secrets, &self.settings)?;

        let fleet = self.fleet(tenant).await?;
        fleet.check(&release, &write.bindings)?;
        let is_linked_already = old.is_some_and(|old| {
            old.version == write.version && InstallationWrite::from(old).bindings == write.bindings
        });
        if !is_linked_already {
            let bindings = (&fleet, &write.bindings);
            let spec = snapshot::candidate(&self.settings, tenant, name, &release, bindings)?;
            linking::try_out(&self.runtime, &spec).await?;
            for id in newly_bound(old, &write) {
                self.ask_bound(context, tenant, &fleet, id).await?;
            }
        }
        Ok(write)
    }

    /// Checks changes of secrets and applies them to `secrets`.
    pub(crate) fn check_secrets(
        &self,
        release: &Release,
        changes: &SecretChanges,
        secrets: &mut BTreeMap<String, String>,
    ) -> Result<(), AppError> {
        for (key, value) in changes {
            match value {
                Some(value) => {
                    validate::secret(release, key, value, &self.settings)?;
                    secrets.insert(key.clone(), value.clone());
                }
                None => {
                    secrets.remove(key);
                }
            }
        }
        Ok(())
    }

    async fn show_installation(
        &self,
        tenant: &TenantRow,
        row: InstallationRow,
    ) -> Result<Installation, AppError> {
        let release: Arc<Release> = self.catalog.release(&row.package, &row.version).await?;
        let interfaces = release.imports.iter().map(|import| {
            let chosen = BindingKey::choose(&row.bindings, import);
            InterfaceSource {
                interface: import.interface.clone(),
                label: import.label.clone(),
                driver: chosen
                    .and_then(|(_, driver)| driver.as_ref())
                    .map(|driver| driver.name.clone()),
            }
        });
        let interfaces = interfaces.collect();
        let url = release.exports.iter().any(answers_requests).then(|| {
            let host = format!("{}.{}.{}", row.name, tenant.name, self.settings.base);
            self.settings.url(&host)
        });
        Ok(Installation {
            id: row.id,
            url,
            name: row.name,
            tenant: tenant.name.clone(),
            package: row.package,
            version: row.version,
            digest: release.digest,
            previous_version: row.previous_version,
            domains: row.domains,
            config: row.config,
            secrets: row.secrets,
            egress: row.egress,
            interfaces,
            bindings: chain::shown(&row.bindings),
            created_at: row.created_at,
            updated_at: row.updated_at,
            revision: row.revision,
        })
    }
}

/// The driver instances that `write` binds and `old` does not.
fn newly_bound(
    old: Option<&InstallationRow>,
    write: &InstallationWrite,
) -> BTreeSet<DriverInstanceId> {
    let mut bound: BTreeSet<_> = write.bindings.values().flatten().copied().collect();
    let before = old.iter().flat_map(|old| old.bindings.values().flatten());
    for driver in before {
        bound.remove(&driver.id);
    }
    bound
}
