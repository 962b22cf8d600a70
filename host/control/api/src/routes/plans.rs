//! Plans.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use canopy_api_types::{Page, Plan, PlanPut};
use canopy_ids::Label;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Api;
use crate::answer::{Stored, Tagged};
use crate::extract::{Address, Asked, Asking, Body, Condition, PageQuery};
use crate::problem::ApiError;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(read, put, delete))
}

/// Plans by name.
#[utoipa::path(
    get, path = "/plans", operation_id = "list_plans", tag = "plans",
    params(PageQuery), responses((status = 200, body = Page<Plan>))
)]
async fn list(
    State(api): State<Api>,
    Asked(context): Asked,
    Asking(query): Asking<PageQuery>,
) -> Result<Json<Page<Plan>>, ApiError> {
    Ok(Json(api.app.plans(&context, query.page()?).await?))
}

/// One plan.
#[utoipa::path(
    get, path = "/plans/{plan}", operation_id = "read_plan", tag = "plans",
    responses((status = 200, body = Plan))
)]
async fn read(
    State(api): State<Api>,
    Asked(context): Asked,
    Address(name): Address<Label>,
) -> Result<Tagged<Plan>, ApiError> {
    Ok(Tagged(api.app.plan(&context, name).await?))
}

/// Creates or replaces a plan. Its limits apply to the tenants that are on it from then on.
#[utoipa::path(
    put, path = "/plans/{plan}", operation_id = "put_plan", tag = "plans",
    request_body = PlanPut,
    responses((status = 200, body = Plan), (status = 201, body = Plan))
)]
async fn put(
    State(api): State<Api>,
    Asked(context): Asked,
    Address(name): Address<Label>,
    Condition(condition): Condition,
    Body(put): Body<PlanPut>,
) -> Result<Stored<Plan>, ApiError> {
    let (plan, created) = api.app.put_plan(&context, name, put, condition).await?;
    Ok(Stored(plan, created))
}

/// Deletes a plan that no tenant is on.
#[utoipa::path(
    delete, path = "/plans/{plan}", operation_id = "delete_plan", tag = "plans",
    responses((status = 204))
)]
async fn delete(
    State(api): State<Api>,
    Asked(context): Asked,
    Address(name): Address<Label>,
    Condition(condition): Condition,
) -> Result<StatusCode, ApiError> {
    api.app.delete_plan(&context, name, condition).await?;
    Ok(StatusCode::NO_CONTENT)
}
