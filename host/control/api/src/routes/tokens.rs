//! Service tokens.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use canopy_api_types::{Page, Token, TokenCreate, TokenCreated};
use canopy_ids::{Label, TokenId};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Api;
use crate::extract::{Address, Asked, Asking, Body, Once, PageQuery};
use crate::problem::ApiError;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(delete))
}

/// Service tokens of a tenant, without their secrets.
#[utoipa::path(
    get, path = "/tenants/{tenant}/tokens", operation_id = "list_tokens", tag = "tokens",
    params(PageQuery), responses((status = 200, body = Page<Token>))
)]
async fn list(
    State(api): State<Api>,
    Asked(context): Asked,
    Address(tenant): Address<Label>,
    Asking(query): Asking<PageQuery>,
) -> Result<Json<Page<Token>>, ApiError> {
    Ok(Json(api.app.tokens(&context, tenant, query.page()?).await?))
}

/// Creates a service token. Its secret is in this answer and nowhere else.
#[utoipa::path(
    post, path = "/tenants/{tenant}/tokens", operation_id = "create_token", tag = "tokens",
    request_body = TokenCreate, responses((status = 201, body = TokenCreated))
)]
async fn create(
    State(api): State<Api>,
    Asked(context): Asked,
    Address(tenant): Address<Label>,
    Once(key): Once,
    Body(create): Body<TokenCreate>,
) -> Result<(StatusCode, Json<TokenCreated>), ApiError> {
    let created = api.app.create_token(&context, tenant, create, key).await?;
    Ok((StatusCode::CREATED, Json(created)))
}

/// Deletes a service token. It is not accepted any more from then on.
#[utoipa::path(
    delete, path = "/tenants/{tenant}/tokens/{token}", operation_id = "delete_token",
    tag = "tokens", responses((status = 204))
)]
async fn delete(
    State(api): State<Api>,
    Asked(context): Asked,
    Address((tenant, token)): Address<(Label, TokenId)>,
) -> Result<StatusCode, ApiError> {
    api.app.delete_token(&context, tenant, token).await?;
    Ok(StatusCode::NO_CONTENT)
}
