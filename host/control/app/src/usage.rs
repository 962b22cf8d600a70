//! What is stored, against what may be, and what is used of the processor.

use canopy_api_types::{
    InstallationUsage, KindUsage, PlanValues, StorageKind as Kind, TenantUsage,
};
use canopy_backend::{Scope, StorageKind};
use canopy_ids::Label;
use canopy_store::{InstallationRow, PageRequest, TenantRow};

use crate::{Action, App, AppError, Context, Resource, limits};

impl App {
    /// What a tenant stores.
    pub async fn tenant_usage(
        &self,
        context: &Context,
        tenant: Label,
    ) -> Result<TenantUsage, AppError> {
        context.authorize(Action::Read, Resource::Tenant(&tenant))?;
        let tenant = self.store.tenant(tenant).await?;
        self.stored_by_tenant(&tenant).await
    }

    /// What an installation stores.
    pub async fn installation_usage(
        &self,
        context: &Context,
        tenant: Label,
        name: Label,
    ) -> Result<InstallationUsage, AppError> {
        context.authorize(Action::Read, Resource::Installations(&tenant))?;
        let tenant = self.store.tenant(tenant).await?;
        let row = self.store.installation(tenant.id, name).await?;
        let plan = self.plan_values(&tenant).await?;
        self.stored_by(&tenant, &row, &plan).await
    }

    pub(crate) async fn stored_by_tenant(
        &self,
        tenant: &TenantRow,
    ) -> Result<TenantUsage, AppError> {
        let everything = PageRequest {
            limit: usize::MAX,
            cursor: None,
        };
        let plan = self.plan_values(tenant).await?;
        let mut installations = Vec::new();
        for row in self.store.installations(tenant.id, everything).await?.rows {
            installations.push(self.stored_by(tenant, &row, &plan).await?);
        }
        let cpu = self.runtime.cpu_usage(tenant.id);
        let kinds = installations.iter().flat_map(|usage| &usage.kinds);
        Ok(TenantUsage {
            bytes: kinds.map(|kind| kind.bytes).sum(),
            bytes_limit: plan.storage_bytes,
            cpu_ms: limits::millis(cpu.used),
            host_cpu_ms: limits::millis(cpu.host),
            installations,
        })
    }

    async fn plan_values(&self, tenant: &TenantRow) -> Result<PlanValues, AppError> {
        let plan = self.plan_limits(&tenant.plan).await?;
        Ok(plan.over(&limits::defaults(&self.settings)))
    }

    pub(crate) async fn stored_by(
        &self,
        tenant: &TenantRow,
        row: &InstallationRow,
        plan: &PlanValues,
    ) -> Result<InstallationUsage, AppError> {
        let scope = Scope {
            tenant: tenant.id,
            installation: row.id,
        };
        let quota = limits::quota(plan);
        let mut kinds = Vec::new();
        for storage in &self.storages {
            let kind = storage.kind();
            let (usage, quota) = (storage.usage(scope).await?, quota.of(kind));
            kinds.push(KindUsage {
                kind: match kind {
                    StorageKind::KeyValue => Kind::KeyValue,
                    StorageKind::Blobs => Kind::Blobs,
                    StorageKind::Sql => Kind::Sql,
                },
                bytes: usage.bytes,
                bytes_limit: quota.bytes,
                items: usage.items,
                items_limit: quota.items,
            });
        }
        Ok(InstallationUsage {
            installation: row.name.clone(),
            kinds,
        })
    }
}
