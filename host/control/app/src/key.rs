//! Keys, as an operator sees them, and checks of what is stored.

use canopy_api_types::{Job, KeyStatus, TenantKey};
use canopy_ids::Label;

use crate::upkeep::UpkeepError;
use crate::work::{self, Work};
use crate::{Action, App, AppError, Context, Resource};

impl App {
    /// Which keys there are.
    pub async fn key_status(&self, context: &Context) -> Result<KeyStatus, AppError> {
        context.authorize(Action::Read, Resource::Platform)?;
        let tenants = self.store.world().await?.tenants;
        let keyring = self.upkeep.keyring().clone();
        let operator_key = keyring.operator_fingerprint();
        let mut tenants = work::blocking(move || {
            let mut keys = Vec::new();
            for row in tenants.into_values() {
                // Asking for a key would make one.
                let version = match keyring.wrapped(row.id).map_err(UpkeepError::from)? {
                    Some(_) => Some(keyring.tenant(row.id).map_err(UpkeepError::from)?.newest()),
                    None => None,
                };
                keys.push(TenantKey {
                    tenant: row.name,
                    version,
                });
            }
            Ok(keys)
        })
        .await?;
        tenants.sort_by(|one, other| one.tenant.cmp(&other.tenant));
        Ok(KeyStatus {
            operator_key,
            tenants,
        })
    }

    /// Begins to give a tenant a new data key, and to encrypt what it stores with it.
    pub async fn rotate_key(&self, context: &Context, tenant: Label) -> Result<Job, AppError> {
        context.authorize(Action::Write, Resource::Tenant(&tenant))?;
        let work = Work::RotateKey {
            tenant: self.named_tenant(tenant.clone()).await?,
        };
        self.begin_work(context, Some(tenant), &work).await
    }

    /// Begins to check everything that a tenant stores.
    pub async fn check_tenant(&self, context: &Context, tenant: Label) -> Result<Job, AppError> {
        context.authorize(Action::Write, Resource::Tenant(&tenant))?;
        let work = Work::Check {
            tenant: self.named_tenant(tenant.clone()).await?,
        };
        self.begin_work(context, Some(tenant), &work).await
    }
}
