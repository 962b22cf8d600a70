//! Erasing tenants, the records of it, and keys.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use canopy_api_types::{
    ErasureCreate, ErasurePlan, ErasureRecord, Job, KeyStatus, Page, SigningKey,
};
use canopy_ids::{ErasureId, Label};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Api;
use crate::extract::{Address, Asked, Asking, Body, PageQuery};
use crate::problem::ApiError;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(plan, erase))
        .routes(routes!(list))
        .routes(routes!(signing_key))
        .routes(routes!(read))
        .routes(routes!(keys))
        .routes(routes!(rotate))
        .routes(routes!(check))
}

/// What erasing a tenant would remove, and when. Changes nothing.
#[utoipa::path(
    get, path = "/tenants/{tenant}/erasure", operation_id = "plan_erasure", tag = "erasures",
    responses((status = 200, body = ErasurePlan))
)]
async fn plan(
    State(api): State<Api>,
    Asked(context): Asked,
    Address(tenant): Address<Label>,
) -> Result<Json<ErasurePlan>, ApiError> {
    Ok(Json(api.app.plan_erasure(&context, tenant).await?))
}

/// Erases a tenant. It answers no more from now on; it is gone for good when the job is done, and
/// comes back if the job is cancelled before it begins.
#[utoipa::path(
    post, path = "/tenants/{tenant}/erasure", operation_id = "erase_tenant", tag = "erasures",
    request_body = ErasureCreate, responses((status = 202, body = Job))
)]
async fn erase(
    State(api): State<Api>,
    Asked(context): Asked,
    Address(tenant): Address<Label>,
    Body(create): Body<ErasureCreate>,
) -> Result<(StatusCode, Json<Job>), ApiError> {
    let job = api.app.erase_tenant(&context, tenant, create).await?;
    Ok((StatusCode::ACCEPTED, Json(job)))
}

/// Signed records of erasures, the oldest first.
#[utoipa::path(
    get, path = "/erasures", operation_id = "list_erasures", tag = "erasures",
    params(PageQuery), responses((status = 200, body = Page<ErasureRecord>))
)]
async fn list(
    State(api): State<Api>,
    Asked(context): Asked,
    Asking(query): Asking<PageQuery>,
) -> Result<Json<Page<ErasureRecord>>, ApiError> {
    Ok(Json(api.app.erasures(&context, query.page()?).await?))
}

/// One record.
#[utoipa::path(
    get, path = "/erasures/{erasure}", operation_id = "read_erasure", tag = "erasures",
    responses((status = 200, body = ErasureRecord))
)]
async fn read(
    State(api): State<Api>,
    Asked(context): Asked,
    Address(id): Address<ErasureId>,
) -> Result<Json<ErasureRecord>, ApiError> {
    Ok(Json(api.app.erasure(&context, id).await?))
}

/// The key with which this node signs its records.
#[utoipa::path(
    get, path = "/erasures/key", operation_id = "read_signing_key", tag = "erasures",
    responses((status = 200, body = SigningKey))
)]
async fn signing_key(
    State(api): State<Api>,
    Asked(context): Asked,
) -> Result<Json<SigningKey>, ApiError> {
    Ok(Json(api.app.signing_key(&context).await?))
}

/// Which keys there are, never what they are.
#[utoipa::path(
    get, path = "/keys", operation_id = "read_keys", tag = "keys",
    responses((status = 200, body = KeyStatus))
)]
async fn keys(State(api): State<Api>, Asked(context): Asked) -> Result<Json<KeyStatus>, ApiError> {
    Ok(Json(api.app.key_status(&context).await?))
}

/// Begins to give a tenant a new data key, and to encrypt everything that it stores with it.
#[utoipa::path(
    post, path = "/tenants/{tenant}/keys/rotate", operation_id = "rotate_key", tag = "keys",
    responses((status = 202, body = Job))
)]
async fn rotate(
    State(api): State<Api>,
    Asked(context): Asked,
    Address(tenant): Address<Label>,
) -> Result<(StatusCode, Json<Job>), ApiError> {
    let job = api.app.rotate_key(&context, tenant).await?;
    Ok((StatusCode::ACCEPTED, Json(job)))
}

/// Begins to check everything that a tenant stores.
#[utoipa::path(
    post, path = "/tenants/{tenant}/check", operation_id = "check_tenant", tag = "tenants",
    responses((status = 202, body = Job))
)]
async fn check(
    State(api): State<Api>,
    Asked(context): Asked,
    Address(tenant): Address<Label>,
) -> Result<(StatusCode, Json<Job>), ApiError> {
    let job = api.app.check_tenant(&context, tenant).await?;
    Ok((StatusCode::ACCEPTED, Json(job)))
}
