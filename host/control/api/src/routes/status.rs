//! The node itself.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use canopy_api_types::{Identity, Status};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Api;
use crate::extract::Asked;
use crate::problem::ApiError;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(status))
        .routes(routes!(identity))
}

/// The state of the node that answers.
#[utoipa::path(get, path = "/status", tag = "node", responses((status = 200, body = Status)))]
async fn status(State(api): State<Api>, Asked(context): Asked) -> Result<Json<Status>, ApiError> {
    Ok(Json(api.app.status(&context).await?))
}

/// Whether the process runs. Needs no token and tells nothing else.
pub(crate) async fn healthy() -> StatusCode {
    StatusCode::NO_CONTENT
}

/// Whether the node can work. Needs no token and tells nothing else.
pub(crate) async fn ready(State(api): State<Api>) -> Result<StatusCode, ApiError> {
    if api.stopping.is_cancelled() {
        return Err(canopy_app::AppError::from(canopy_app::StoreError::Closed).into());
    }
    api.app.ready().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Whose token the request carries, and what it lets him do.
#[utoipa::path(
    get, path = "/whoami", operation_id = "whoami", tag = "node",
    responses((status = 200, body = Identity))
)]
async fn identity(State(api): State<Api>, Asked(context): Asked) -> Json<Identity> {
    Json(api.app.identity(&context))
}
