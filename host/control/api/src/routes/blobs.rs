//! Objects of installations. Containers and objects may have any name, so they are in the query
//! and not in the path. Bodies are streamed both ways.

use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{
    CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_TYPE, ETAG, IF_MATCH, IF_NONE_MATCH,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use canopy_api_types::{Container, Object, Page};
use canopy_app::{ObjectAddress, ObjectCondition, ObjectPut};
use canopy_ids::Label;
use futures::{Stream, StreamExt as _};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Api;
use crate::extract::{Address, Asked, Asking, PageQuery, page};
use crate::problem::ApiError;

const OCTETS: &str = "application/octet-stream";

/// How long a body may be silent.
const SILENCE: Duration = Duration::from_secs(30);

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(containers))
        .routes(routes!(put_container, delete_container))
        .routes(routes!(objects))
        .routes(routes!(info))
        .routes(routes!(read, put, delete))
}

type Name = Address<(Label, Label)>;

/// Which container.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ContainerQuery {
    /// The container.
    container: String,
    /// Whether it goes with all that is in it; of a removal only.
    #[serde(default)]
    force: bool,
}

/// Which objects.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ObjectsQuery {
    /// The container.
    container: String,
    /// Only objects whose names begin so.
    #[serde(default)]
    prefix: String,
    /// Objects at most: 1 to 1000, 100 where none is given.
    #[serde(default)]
    limit: Option<usize>,
    /// `next_cursor` of the page before, or any name: what follows it is listed.
    #[serde(default)]
    cursor: Option<String>,
}

/// Which object.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ObjectQuery {
    /// The container.
    container: String,
    /// The object's name.
    name: String,
}

impl ObjectQuery {
    fn of(self, (tenant, installation): (Label, Label)) -> ObjectAddress {
        ObjectAddress {
            tenant,
            installation,
            container: self.container,
            name: self.name,
        }
    }
}

/// The containers of an installation.
#[utoipa::path(
    get, path = "/tenants/{tenant}/installations/{installation}/blobs/containers",
    operation_id = "list_containers", tag = "data", params(PageQuery),
    responses((status = 200, body = Page<Container>))
)]
async fn containers(
    State(api): State<Api>,
    Asked(context): Asked,
    Address((tenant, name)): Name,
    Asking(query): Asking<PageQuery>,
) -> Result<Json<Page<Container>>, ApiError> {
    let page = query.page()?;
    let containers = api.app.containers(&context, tenant, name, page).await?;
    Ok(Json(containers))
}

/// Makes a container.
#[utoipa::path(
    put, path = "/tenants/{tenant}/installations/{installation}/blobs/container",
    operation_id = "put_container", tag = "data", params(ContainerQuery),
    responses(
        (status = 201, description = "It is new."),
        (status = 204, description = "There was one.")
    )
)]
async fn put_container(
    State(api): State<Api>,
    Asked(context): Asked,
    Address((tenant, name)): Name,
    Asking(query): Asking<ContainerQuery>,
) -> Result<StatusCode, ApiError> {
    let created = api
        .app
        .put_container(&context, tenant, name, &query.container)
        .await?;
    Ok(if created {
        StatusCode::CREATED
    } else {
        StatusCode::NO_CONTENT
    })
}

/// Removes a container, one that is not empty only by force.
#[utoipa::path(
    delete, path = "/tenants/{tenant}/installations/{installation}/blobs/container",
    operation_id = "delete_container", tag = "data", params(ContainerQuery),
    responses((status = 204))
)]
async fn delete_container(
    State(api): State<Api>,
    Asked(context): Asked,
    Address((tenant, name)): Name,
    Asking(query): Asking<ContainerQuery>,
) -> Result<StatusCode, ApiError> {
    api.app
        .delete_container(&context, tenant, name, &query.container, query.force)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Objects of a container, in the order of the bytes of their names.
#[utoipa::path(
    get, path = "/tenants/{tenant}/installations/{installation}/blobs/objects",
    operation_id = "list_objects", tag = "data", params(ObjectsQuery),
    responses((status = 200, body = Page<Object>))
)]
async fn objects(
    State(api): State<Api>,
    Asked(context): Asked,
    Address((tenant, name)): Name,
    Asking(query): Asking<ObjectsQuery>,
) -> Result<Json<Page<Object>>, ApiError> {
    let page = page(query.limit, query.cursor)?;
    let objects = api
        .app
        .objects(&context, tenant, name, &query.container, query.prefix, page)
        .await?;
    Ok(Json(objects))
}

/// An object but for its content.
#[utoipa::path(
    get, path = "/tenants/{tenant}/installations/{installation}/blobs/info",
    operation_id = "read_object_info", tag = "data", params(ObjectQuery),
    responses((status = 200, body = Object))
)]
async fn info(
    State(api): State<Api>,
    Asked(context): Asked,
    Address(name): Name,
    Asking(query): Asking<ObjectQuery>,
) -> Result<Json<Object>, ApiError> {
    Ok(Json(api.app.object(&context, query.of(name)).await?))
}

/// The content of an object.
#[utoipa::path(
    get, path = "/tenants/{tenant}/installations/{installation}/blobs/object",
    operation_id = "read_object", tag = "data", params(ObjectQuery),
    responses((status = 200, body = Vec<u8>, content_type = OCTETS))
)]
async fn read(
    State(api): State<Api>,
    Asked(context): Asked,
    Address(name): Name,
    Asking(query): Asking<ObjectQuery>,
) -> Result<Response, ApiError> {
    let (object, body) = api.app.read_object(&context, query.of(name)).await?;
    let mut response = Body::from_stream(body).into_response();
    let headers = response.headers_mut();
    let kind = object
        .content_type
        .and_then(|kind| HeaderValue::try_from(kind).ok());
    headers.insert(
        CONTENT_TYPE,
        kind.unwrap_or(HeaderValue::from_static(OCTETS)),
    );
    // An application's page must not be shown as one of the API's.
    headers.insert(CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(object.bytes));
    if let Ok(tag) = HeaderValue::try_from(format!("\"{}\"", object.etag)) {
        headers.insert(ETAG, tag);
    }
    Ok(response)
}

/// Puts an object, in place of the one there. Nothing is put if the body ends early.
#[utoipa::path(
    put, path = "/tenants/{tenant}/installations/{installation}/blobs/object",
    operation_id = "put_object", tag = "data", params(ObjectQuery),
    request_body(content = Vec<u8>, content_type = OCTETS),
    responses((status = 200, body = Object))
)]
async fn put(
    State(api): State<Api>,
    Asked(context): Asked,
    Address(name): Name,
    Asking(query): Asking<ObjectQuery>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Object>, ApiError> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let put = ObjectPut {
        content_type: text(CONTENT_TYPE).map(str::to_owned),
        bytes: text(CONTENT_LENGTH).and_then(|length| length.parse().ok()),
        condition: condition(&headers)?,
    };
    let address = query.of(name);
    let object = api
        .app
        .put_object(&context, address, put, pieces(body))
        .await?;
    Ok(Json(object))
}

/// Removes an object.
#[utoipa::path(
    delete, path = "/tenants/{tenant}/installations/{installation}/blobs/object",
    operation_id = "delete_object", tag = "data", params(ObjectQuery),
    responses((status = 204))
)]
async fn delete(
    State(api): State<Api>,
    Asked(context): Asked,
    Address(name): Name,
    Asking(query): Asking<ObjectQuery>,
    headers: HeaderMap,
) -> Result<StatusCode, ApiError> {
    let condition = condition(&headers)?;
    api.app
        .delete_object(&context, query.of(name), condition)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A body piece by piece; a silent one ends in an error.
fn pieces(body: Body) -> impl Stream<Item = Result<Bytes, String>> + Send {
    futures::stream::unfold(Some(body.into_data_stream()), |body| async move {
        let mut body = body?;
        match tokio::time::timeout(SILENCE, body.next()).await {
            Ok(Some(Ok(piece))) => Some((Ok(piece), Some(body))),
            Ok(Some(Err(error))) => Some((Err(error.to_string()), None)),
            Ok(None) => None,
            Err(_) => {
                let seconds = SILENCE.as_secs();
                let silent = format!("nothing of it arrived for {seconds} seconds");
                Some((Err(silent), None))
            }
        }
    })
}

/// `If-Match` with the ETag of an object, or `If-None-Match: *`.
fn condition(headers: &HeaderMap) -> Result<Option<ObjectCondition>, ApiError> {
    match (headers.get(IF_MATCH), headers.get(IF_NONE_MATCH)) {
        (None, None) => Ok(None),
        (None, Some(value)) if value == "*" => Ok(Some(ObjectCondition::Absent)),
        (Some(value), None) => {
            let tag = value
                .to_str()
                .ok()
                .and_then(|text| text.trim().strip_prefix('"')?.strip_suffix('"'))
                .ok_or(ApiError::InvalidCondition(
                    "`If-Match` must be one ETag as it was received",
                ))?;
            Ok(Some(ObjectCondition::Etag(tag.to_owned())))
        }
        _ => Err(ApiError::InvalidCondition(
            "send `If-Match` with an ETag or `If-None-Match: *`, not both",
        )),
    }
}
