//! Publishers.

use axum::Json;
use axum::extract::State;
use canopy_api_types::{Page, Publisher, PublisherPut};
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
        .routes(routes!(read, put))
}

/// Publishers by name.
#[utoipa::path(
    get, path = "/publishers", operation_id = "list_publishers", tag = "publishers",
    params(PageQuery), responses((status = 200, body = Page<Publisher>))
)]
async fn list(
    State(api): State<Api>,
    Asked(context): Asked,
    Asking(query): Asking<PageQuery>,
) -> Result<Json<Page<Publisher>>, ApiError> {
    Ok(Json(api.app.publishers(&context, query.page()?).await?))
}

/// One publisher.
#[utoipa::path(
    get, path = "/publishers/{publisher}", operation_id = "read_publisher", tag = "publishers",
    responses((status = 200, body = Publisher))
)]
async fn read(
    State(api): State<Api>,
    Asked(context): Asked,
    Address(name): Address<Label>,
) -> Result<Tagged<Publisher>, ApiError> {
    Ok(Tagged(api.app.publisher(&context, name).await?))
}

/// Creates or replaces a publisher.
#[utoipa::path(
    put, path = "/publishers/{publisher}", operation_id = "put_publisher", tag = "publishers",
    request_body = PublisherPut,
    responses((status = 200, body = Publisher), (status = 201, body = Publisher))
)]
async fn put(
    State(api): State<Api>,
    Asked(context): Asked,
    Address(name): Address<Label>,
    Condition(condition): Condition,
    Body(put): Body<PublisherPut>,
) -> Result<Stored<Publisher>, ApiError> {
    let (publisher, created) = api
        .app
        .put_publisher(&context, name, put, condition)
        .await?;
    Ok(Stored(publisher, created))
}
