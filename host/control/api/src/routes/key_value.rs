//! Keys and values of installations. Stores and keys may have any name, so they are in the query
//! and not in the path.

use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CONTENT_TYPE, ETAG};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use canopy_api_types::{EXPIRES_AT, KeyEntry, Page, StoreName};
use canopy_app::StoreAddress;
use canopy_ids::Label;
use serde::Deserialize;
use time::format_description::well_known::Rfc3339;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Api;
use crate::extract::{Address, Asked, Asking, Condition, page};
use crate::problem::ApiError;

const OCTETS: &str = "application/octet-stream";

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(stores))
        .routes(routes!(keys))
        .routes(routes!(read, put, delete))
}

type Name = Address<(Label, Label)>;

/// Which keys.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct KeysQuery {
    /// The store.
    store: String,
    /// Only keys that begin so.
    #[serde(default)]
    prefix: String,
    /// Keys at most: 1 to 1000, 100 where none is given.
    #[serde(default)]
    limit: Option<usize>,
    /// `next_cursor` of the page before, or any key: what follows it is listed.
    #[serde(default)]
    cursor: Option<String>,
}

/// Which value.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ValueQuery {
    /// The store.
    store: String,
    /// The key.
    key: String,
}

/// Which value, and for how long.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct SetQuery {
    /// The store, made if it does not exist yet.
    store: String,
    /// The key.
    key: String,
    /// Milliseconds after which the value ends to exist; never, where none is given.
    #[serde(default)]
    ttl_ms: Option<u64>,
}

/// The stores of an installation that something is in.
#[utoipa::path(
    get, path = "/tenants/{tenant}/installations/{installation}/key-value/stores",
    operation_id = "list_stores", tag = "data",
    responses((status = 200, body = Page<StoreName>))
)]
async fn stores(
    State(api): State<Api>,
    Asked(context): Asked,
    Address((tenant, name)): Name,
) -> Result<Json<Page<StoreName>>, ApiError> {
    let stores = api.app.key_value_stores(&context, tenant, name).await?;
    Ok(Json(stores))
}

/// Keys of a store, in the order of their bytes.
#[utoipa::path(
    get, path = "/tenants/{tenant}/installations/{installation}/key-value/keys",
    operation_id = "list_keys", tag = "data", params(KeysQuery),
    responses((status = 200, body = Page<KeyEntry>))
)]
async fn keys(
    State(api): State<Api>,
    Asked(context): Asked,
    Address(name): Name,
    Asking(query): Asking<KeysQuery>,
) -> Result<Json<Page<KeyEntry>>, ApiError> {
    let page = page(query.limit, query.cursor)?;
    let address = address(name, query.store);
    let keys = api.app.keys(&context, address, &query.prefix, page).await?;
    Ok(Json(keys))
}

/// The value of a key. Its version is the ETag; `canopy-expires-at` says when it ends to exist.
#[utoipa::path(
    get, path = "/tenants/{tenant}/installations/{installation}/key-value/value",
    operation_id = "read_value", tag = "data", params(ValueQuery),
    responses((status = 200, body = Vec<u8>, content_type = OCTETS))
)]
async fn read(
    State(api): State<Api>,
    Asked(context): Asked,
    Address(name): Name,
    Asking(query): Asking<ValueQuery>,
) -> Result<Response, ApiError> {
    let address = address(name, query.store);
    let value = api.app.value(&context, address, &query.key).await?;
    let mut response = tagged(value.version, value.bytes.into_response());
    let expires_at = value.expires_at.and_then(|time| time.format(&Rfc3339).ok());
    if let Some(text) = expires_at.and_then(|text| HeaderValue::try_from(text).ok()) {
        let name = HeaderName::from_static(EXPIRES_AT);
        response.headers_mut().insert(name, text);
    }
    let octets = HeaderValue::from_static(OCTETS);
    response.headers_mut().insert(CONTENT_TYPE, octets);
    Ok(response)
}

/// Sets the value of a key to the body.
#[utoipa::path(
    put, path = "/tenants/{tenant}/installations/{installation}/key-value/value",
    operation_id = "put_value", tag = "data", params(SetQuery),
    request_body(content = Vec<u8>, content_type = OCTETS),
    responses((status = 204))
)]
async fn put(
    State(api): State<Api>,
    Asked(context): Asked,
    Address(name): Name,
    Asking(query): Asking<SetQuery>,
    Condition(condition): Condition,
    body: Body,
) -> Result<Response, ApiError> {
    let limit = api.app.value_limit();
    let value = axum::body::to_bytes(body, limit)
        .await
        .map_err(|error| ApiError::body(&error, limit))?;
    let address = address(name, query.store);
    let ttl = query.ttl_ms.map(Duration::from_millis);
    let version = api
        .app
        .set_value(&context, address, &query.key, value.into(), ttl, condition)
        .await?;
    Ok(tagged(version, StatusCode::NO_CONTENT.into_response()))
}

/// Removes a key.
#[utoipa::path(
    delete, path = "/tenants/{tenant}/installations/{installation}/key-value/value",
    operation_id = "delete_value", tag = "data", params(ValueQuery), responses((status = 204))
)]
async fn delete(
    State(api): State<Api>,
    Asked(context): Asked,
    Address(name): Name,
    Asking(query): Asking<ValueQuery>,
    Condition(condition): Condition,
) -> Result<StatusCode, ApiError> {
    let address = address(name, query.store);
    api.app
        .delete_value(&context, address, &query.key, condition)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

fn address((tenant, installation): (Label, Label), store: String) -> StoreAddress {
    StoreAddress {
        tenant,
        installation,
        store,
    }
}

fn tagged(version: u64, mut response: Response) -> Response {
    if let Ok(tag) = HeaderValue::try_from(format!("\"{version}\"")) {
        response.headers_mut().insert(ETAG, tag);
    }
    response
}
