//! Messages that wait for installations, and those that were given up.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use canopy_api_types::{DeadMessage, MessageTopic, Page};
use canopy_ids::{Label, MessageId};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Api;
use crate::extract::{Address, Asked, Asking, PageQuery};
use crate::problem::ApiError;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(topics))
        .routes(routes!(list))
        .routes(routes!(read, discard))
        .routes(routes!(requeue))
}

type Installation = Address<(Label, Label)>;
type One = Address<(Label, Label, MessageId)>;

/// What an installation has subscribed to, and how much waits for it.
#[utoipa::path(
    get, path = "/tenants/{tenant}/installations/{installation}/messages",
    operation_id = "list_message_topics", tag = "messages",
    responses((status = 200, body = Page<MessageTopic>))
)]
async fn topics(
    State(api): State<Api>,
    Asked(context): Asked,
    Address((tenant, installation)): Installation,
) -> Result<Json<Page<MessageTopic>>, ApiError> {
    let topics = api.app.message_topics(&context, tenant, installation);
    Ok(Json(topics.await?))
}

/// Messages to an installation that were given up, the oldest first, without their bodies.
#[utoipa::path(
    get, path = "/tenants/{tenant}/installations/{installation}/messages/dead",
    operation_id = "list_dead_messages", tag = "messages", params(PageQuery),
    responses((status = 200, body = Page<DeadMessage>))
)]
async fn list(
    State(api): State<Api>,
    Asked(context): Asked,
    Address((tenant, installation)): Installation,
    Asking(query): Asking<PageQuery>,
) -> Result<Json<Page<DeadMessage>>, ApiError> {
    let page = query.page()?;
    let dead = api.app.dead_messages(&context, tenant, installation, page);
    Ok(Json(dead.await?))
}

/// A message that was given up, with its body.
#[utoipa::path(
    get, path = "/tenants/{tenant}/installations/{installation}/messages/dead/{message}",
    operation_id = "read_dead_message", tag = "messages",
    responses((status = 200, body = DeadMessage))
)]
async fn read(
    State(api): State<Api>,
    Asked(context): Asked,
    Address((tenant, installation, id)): One,
) -> Result<Json<DeadMessage>, ApiError> {
    let message = api.app.dead_message(&context, tenant, installation, id);
    Ok(Json(message.await?))
}

/// Removes a message that was given up.
#[utoipa::path(
    delete, path = "/tenants/{tenant}/installations/{installation}/messages/dead/{message}",
    operation_id = "discard_message", tag = "messages", responses((status = 204))
)]
async fn discard(
    State(api): State<Api>,
    Asked(context): Asked,
    Address((tenant, installation, id)): One,
) -> Result<StatusCode, ApiError> {
    api.app
        .discard_message(&context, tenant, installation, id)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Has a message that was given up delivered again, as if never before.
#[utoipa::path(
    post, path = "/tenants/{tenant}/installations/{installation}/messages/dead/{message}/requeue",
    operation_id = "requeue_message", tag = "messages", responses((status = 204))
)]
async fn requeue(
    State(api): State<Api>,
    Asked(context): Asked,
    Address((tenant, installation, id)): One,
) -> Result<StatusCode, ApiError> {
    api.app
        .requeue_message(&context, tenant, installation, id)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}
