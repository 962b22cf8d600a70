//! Tenants.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use canopy_api_types::{Page, Tenant, TenantPut};
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

/// Tenants by name.
#[utoipa::path(
    get, path = "/tenants", operation_id = "list_tenants", tag = "tenants",
    params(PageQuery), responses((status = 200, body = Page<Tenant>))
)]
async fn list(
    State(api): State<Api>,
    Asked(context): Asked,
    Asking(query): Asking<PageQuery>,
) -> Result<Json<Page<Tenant>>, ApiError> {
    Ok(Json(api.app.tenants(&context, query.page()?).await?))
}

/// One tenant.
#[utoipa::path(
    get, path = "/tenants/{tenant}", operation_id = "read_tenant", tag = "tenants",
    responses((status = 200, body = Tenant))
)]
async fn read(
    State(api): State<Api>,
    Asked(context): Asked,
    Address(name): Address<Label>,
) -> Result<Tagged<Tenant>, ApiError> {
    Ok(Tagged(api.app.tenant(&context, name).await?))
}

/// Creates or replaces a tenant.
#[utoipa::path(
    put, path = "/tenants/{tenant}", operation_id = "put_tenant", tag = "tenants",
    request_body = TenantPut,
    responses((status = 200, body = Tenant), (status = 201, body = Tenant))
)]
async fn put(
    State(api): State<Api>,
    Asked(context): Asked,
    Address(name): Address<Label>,
    Condition(condition): Condition,
    Body(put): Body<TenantPut>,
) -> Result<Stored<Tenant>, ApiError> {
    let (tenant, created) = api.app.put_tenant(&context, name, put, condition).await?;
    Ok(Stored(tenant, created))
}

/// Deletes a tenant with its installations, drivers, tokens, data and logs.
#[utoipa::path(
    delete, path = "/tenants/{tenant}", operation_id = "delete_tenant", tag = "tenants",
    responses((status = 204))
)]
async fn delete(
    State(api): State<Api>,
    Asked(context): Asked,
    Address(name): Address<Label>,
    Condition(condition): Condition,
) -> Result<StatusCode, ApiError> {
    api.app.delete_tenant(&context, name, condition).await?;
    Ok(StatusCode::NO_CONTENT)
}
