//! Tenants.

use canopy_api_types::{Page, Tenant, TenantPut};
use canopy_ids::Label;
use canopy_store::{PageRequest, Precondition, TenantRow, TenantWrite, Written};

use crate::{Action, App, AppError, Context, Resource, validate};

impl App {
    /// Creates or replaces a tenant. The flag says whether it is new.
    pub async fn put_tenant(
        &self,
        context: &Context,
        name: Label,
        put: TenantPut,
        condition: Precondition,
    ) -> Result<(Tenant, bool), AppError> {
        context.authorize(Action::Write, Resource::Tenant(&name))?;
        validate::display_name("display_name", &put.display_name)?;
        validate::word("plan", &put.plan)?;
        validate::word("region", &put.region)?;
        validate::attributes(&put.attributes, &self.settings)?;
        let write = TenantWrite {
            display_name: put.display_name,
            plan: put.plan,
            region: put.region,
            attributes: put.attributes,
        };
        let Written { row, created } = self.store.put_tenant(name, write, condition).await?;
        self.settled.published().await?;
        Ok((tenant(row), created))
    }

    /// One tenant.
    pub async fn tenant(&self, context: &Context, name: Label) -> Result<Tenant, AppError> {
        context.authorize(Action::Read, Resource::Tenant(&name))?;
        Ok(tenant(self.store.tenant(name).await?))
    }

    /// Tenants by name.
    pub async fn tenants(
        &self,
        context: &Context,
        page: PageRequest,
    ) -> Result<Page<Tenant>, AppError> {
        context.authorize(Action::Read, Resource::Platform)?;
        let rows = self.store.tenants(page).await?;
        Ok(Page {
            items: rows.rows.into_iter().map(tenant).collect(),
            next_cursor: rows.next,
        })
    }

    /// Deletes a tenant with its installations, drivers, tokens, storage and logs.
    pub async fn delete_tenant(
        &self,
        context: &Context,
        name: Label,
        condition: Precondition,
    ) -> Result<(), AppError> {
        context.authorize(Action::Delete, Resource::Tenant(&name))?;
        {
            let _linking = self.turns.of(&name).await;
            self.store.delete_tenant(name, condition).await?;
        }
        self.settled.erased().await
    }
}

fn tenant(row: TenantRow) -> Tenant {
    Tenant {
        id: row.id,
        name: row.name,
        display_name: row.display_name,
        plan: row.plan,
        region: row.region,
        attributes: row.attributes,
        created_at: row.created_at,
        updated_at: row.updated_at,
        revision: row.revision,
    }
}
