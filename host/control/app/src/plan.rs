//! Plans: what tenants that are on one may use.

use canopy_api_types::{Page, Plan, PlanLimits, PlanPut, STANDARD_PLAN};
use canopy_ids::Label;
use canopy_store::{PageRequest, PlanRow, PlanWrite, Precondition, Written};

use crate::{Action, App, AppError, Context, Resource, limits, validate};

impl App {
    /// Creates or replaces a plan. The flag says whether it is new. Tenants that are on it have its
    /// limits when this returns.
    pub async fn put_plan(
        &self,
        context: &Context,
        name: Label,
        put: PlanPut,
        condition: Precondition,
    ) -> Result<(Plan, bool), AppError> {
        context.authorize(Action::Write, Resource::Platform)?;
        validate::display_name("display_name", &put.display_name)?;
        limits::check(&put.limits, &self.settings)?;
        let set = PlanLimits::ALL
            .iter()
            .filter_map(|limit| Some((limit.name.to_owned(), put.limits.get(limit.name)?)));
        let write = PlanWrite {
            display_name: put.display_name,
            limits: set.collect(),
        };
        let Written { row, created } = self.store.put_plan(name, write, condition).await?;
        let plan = plan(row)?;
        self.settled.published().await?;
        Ok((plan, created))
    }

    /// One plan.
    pub async fn plan(&self, context: &Context, name: Label) -> Result<Plan, AppError> {
        context.authorize(Action::Read, Resource::Platform)?;
        plan(self.store.plan(name).await?)
    }

    /// Plans by name.
    pub async fn plans(
        &self,
        context: &Context,
        page: PageRequest,
    ) -> Result<Page<Plan>, AppError> {
        context.authorize(Action::Read, Resource::Platform)?;
        let rows = self.store.plans(page).await?;
        Ok(Page {
            items: rows.rows.into_iter().map(plan).collect::<Result<_, _>>()?,
            next_cursor: rows.next,
        })
    }

    /// Deletes a plan that no tenant is on.
    pub async fn delete_plan(
        &self,
        context: &Context,
        name: Label,
        condition: Precondition,
    ) -> Result<(), AppError> {
        context.authorize(Action::Delete, Resource::Platform)?;
        if name.as_str() == STANDARD_PLAN {
            return Err(AppError::PlanStays(name));
        }
        Ok(self.store.delete_plan(name, condition).await?)
    }
}

fn plan(row: PlanRow) -> Result<Plan, AppError> {
    Ok(Plan {
        limits: limits::of_plan(&row)?,
        name: row.name,
        display_name: row.display_name,
        created_at: row.created_at,
        updated_at: row.updated_at,
        revision: row.revision,
    })
}
