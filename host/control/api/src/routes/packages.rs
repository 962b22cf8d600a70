//! Packages and versions.

use axum::Json;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::header::{CONTENT_TYPE, ETAG};
use axum::response::{IntoResponse, Response};
use canopy_api_types::{Badge, Package, PackageKind, PackageVersion, Page};
use canopy_ids::{Label, PackageName};
use semver::Version;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouterExt};
use utoipa_axum::routes;

use super::upload;
use crate::Api;
use crate::answer::Tagged;
use crate::extract::{Address, Asked, Asking, Body, PageQuery, page};
use crate::problem::ApiError;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(read))
        .routes(routes!(versions))
        // The upload is streamed to the disk and limited there.
        .routes(routes!(version, upload::publish).layer(DefaultBodyLimit::disable()))
        .routes(routes!(component))
        .routes(routes!(badge))
}

/// Which packages.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct PackageQuery {
    /// Of this kind only.
    #[serde(default)]
    kind: Option<PackageKind>,
    /// Of this publisher only.
    #[serde(default)]
    #[param(value_type = Option<String>)]
    publisher: Option<Label>,
    /// Items at most: 1 to 1000, 100 where none is given.
    #[serde(default)]
    limit: Option<usize>,
    /// `next_cursor` of the page before.
    #[serde(default)]
    cursor: Option<String>,
}

/// Packages by name.
#[utoipa::path(
    get, path = "/packages", operation_id = "list_packages", tag = "packages",
    params(PackageQuery), responses((status = 200, body = Page<Package>))
)]
async fn list(
    State(api): State<Api>,
    Asked(context): Asked,
    Asking(query): Asking<PackageQuery>,
) -> Result<Json<Page<Package>>, ApiError> {
    let page = page(query.limit, query.cursor)?;
    Ok(Json(
        api.app
            .packages(&context, query.kind, query.publisher, page)
            .await?,
    ))
}

/// One package.
#[utoipa::path(
    get, path = "/packages/{publisher}/{name}", operation_id = "read_package", tag = "packages",
    responses((status = 200, body = Package))
)]
async fn read(
    State(api): State<Api>,
    Asked(context): Asked,
    Address((publisher, name)): Address<(Label, Label)>,
) -> Result<Tagged<Package>, ApiError> {
    Ok(Tagged(
        api.app
            .package(&context, PackageName { publisher, name })
            .await?,
    ))
}

/// Versions of a package, the last published first.
#[utoipa::path(
    get, path = "/packages/{publisher}/{name}/versions", operation_id = "list_versions",
    tag = "packages", params(PageQuery), responses((status = 200, body = Page<PackageVersion>))
)]
async fn versions(
    State(api): State<Api>,
    Asked(context): Asked,
    Address((publisher, name)): Address<(Label, Label)>,
    Asking(query): Asking<PageQuery>,
) -> Result<Json<Page<PackageVersion>>, ApiError> {
    let package = PackageName { publisher, name };
    Ok(Json(
        api.app.versions(&context, package, query.page()?).await?,
    ))
}

/// One version.
#[utoipa::path(
    get, path = "/packages/{publisher}/{name}/versions/{version}", operation_id = "read_version",
    tag = "packages", responses((status = 200, body = PackageVersion))
)]
async fn version(
    State(api): State<Api>,
    Asked(context): Asked,
    Address((publisher, name, version)): Address<(Label, Label, Version)>,
) -> Result<Response, ApiError> {
    let version = api
        .app
        .version(&context, PackageName { publisher, name }, version)
        .await?;
    let tag = format!("\"{}\"", version.digest);
    Ok(([(ETAG, tag)], Json(version)).into_response())
}

/// The component of a version.
#[utoipa::path(
    get, path = "/packages/{publisher}/{name}/versions/{version}/component",
    operation_id = "read_component", tag = "packages",
    responses((status = 200, content_type = "application/wasm", body = Vec<u8>))
)]
async fn component(
    State(api): State<Api>,
    Asked(context): Asked,
    Address((publisher, name, version)): Address<(Label, Label, Version)>,
) -> Result<Response, ApiError> {
    let package = PackageName { publisher, name };
    let (digest, bytes) = api.app.component(&context, package, version).await?;
    let headers = [
        (CONTENT_TYPE, "application/wasm".to_owned()),
        (ETAG, format!("\"{digest}\"")),
    ];
    Ok((headers, bytes).into_response())
}

/// Records what came of the operator's own test of a version, in place of an earlier one. It must be of
/// this version's component. What a publisher found out himself comes with publishing.
#[utoipa::path(
    put, path = "/packages/{publisher}/{name}/versions/{version}/badge",
    operation_id = "record_badge", tag = "packages",
    request_body = Badge, responses((status = 200, body = PackageVersion))
)]
async fn badge(
    State(api): State<Api>,
    Asked(context): Asked,
    Address((publisher, name, version)): Address<(Label, Label, Version)>,
    Body(badge): Body<Badge>,
) -> Result<Json<PackageVersion>, ApiError> {
    let package = PackageName { publisher, name };
    Ok(Json(
        api.app
            .record_badge(&context, package, version, badge)
            .await?,
    ))
}
