//! What tenants and installations may use, and what they store.

use axum::Json;
use axum::extract::State;
use canopy_api_types::{InstallationLimits, InstallationUsage, TenantLimits, TenantUsage};
use canopy_ids::Label;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Api;
use crate::extract::{Address, Asked};
use crate::problem::ApiError;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(tenant_limits))
        .routes(routes!(tenant_usage))
        .routes(routes!(installation_limits))
        .routes(routes!(installation_usage))
}

/// What all installations of a tenant may use together, and what decides it.
#[utoipa::path(
    get, path = "/tenants/{tenant}/limits", operation_id = "read_tenant_limits", tag = "limits",
    responses((status = 200, body = TenantLimits))
)]
async fn tenant_limits(
    State(api): State<Api>,
    Asked(context): Asked,
    Address(tenant): Address<Label>,
) -> Result<Json<TenantLimits>, ApiError> {
    Ok(Json(api.app.tenant_limits(&context, tenant).await?))
}

/// What a tenant stores, against what it may.
#[utoipa::path(
    get, path = "/tenants/{tenant}/usage", operation_id = "read_tenant_usage", tag = "limits",
    responses((status = 200, body = TenantUsage))
)]
async fn tenant_usage(
    State(api): State<Api>,
    Asked(context): Asked,
    Address(tenant): Address<Label>,
) -> Result<Json<TenantUsage>, ApiError> {
    Ok(Json(api.app.tenant_usage(&context, tenant).await?))
}

/// What one installation may use, and what decides it.
#[utoipa::path(
    get, path = "/tenants/{tenant}/installations/{installation}/limits",
    operation_id = "read_installation_limits", tag = "limits",
    responses((status = 200, body = InstallationLimits))
)]
async fn installation_limits(
    State(api): State<Api>,
    Asked(context): Asked,
    Address((tenant, name)): Address<(Label, Label)>,
) -> Result<Json<InstallationLimits>, ApiError> {
    let limits = api.app.installation_limits(&context, tenant, name).await?;
    Ok(Json(limits))
}

/// What one installation stores, against what it may.
#[utoipa::path(
    get, path = "/tenants/{tenant}/installations/{installation}/usage",
    operation_id = "read_installation_usage", tag = "limits",
    responses((status = 200, body = InstallationUsage))
)]
async fn installation_usage(
    State(api): State<Api>,
    Asked(context): Asked,
    Address((tenant, name)): Address<(Label, Label)>,
) -> Result<Json<InstallationUsage>, ApiError> {
    let usage = api.app.installation_usage(&context, tenant, name).await?;
    Ok(Json(usage))
}
