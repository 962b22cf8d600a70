//! Publishing: a form whose component is streamed to the disk while it is hashed.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::extract::multipart::Field;
use axum::extract::{Multipart, State};
use axum::http::StatusCode;
use axum::http::header::ETAG;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use canopy_api_types::{Badge, MAX_BADGE_BYTES, PackageVersion};
use canopy_app::{Context, PublishRequest, Uploaded};
use canopy_ids::{Digest, Label, PackageName};
use canopy_manifest::{MAX_MANIFEST_BYTES, MAX_MIGRATIONS_BYTES, ManifestError};
use semver::Version;
use utoipa::ToSchema;

use crate::Api;
use crate::extract::{Address, Asked};
use crate::problem::ApiError;

/// How long an upload may be silent.
const SILENCE: Duration = Duration::from_secs(30);

/// The parts of the form, in this order.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the form; it is read part by part")]
struct VersionForm {
    /// The component's digest, `sha256:` and 64 hexadecimal digits. May be left out.
    digest: Option<String>,
    /// The text of `canopy.toml`.
    manifest: String,
    /// The text of each migration that the manifest names; the part's file name is the path in the
    /// manifest.
    migration: Option<Vec<String>>,
    /// What came of the tests of this very component, as `canopy driver test` writes it. It is kept as
    /// the publisher's own word. May be left out.
    badge: Option<String>,
    /// The component.
    #[schema(value_type = String, format = Binary)]
    component: Vec<u8>,
}

/// Publishes a version. The same content again changes nothing.
#[utoipa::path(
    put, path = "/packages/{publisher}/{name}/versions/{version}", operation_id = "publish",
    tag = "packages",
    request_body(content = VersionForm, content_type = "multipart/form-data"),
    responses(
        (status = 200, description = "The same was published before.", body = PackageVersion),
        (status = 201, body = PackageVersion)
    )
)]
pub(super) async fn publish(
    State(api): State<Api>,
    Asked(context): Asked,
    Address((publisher, name, version)): Address<(Label, Label, Version)>,
    form: Result<Multipart, axum::extract::multipart::MultipartRejection>,
) -> Result<Response, ApiError> {
    let form = form.map_err(|rejection| ApiError::Form(rejection.body_text()))?;
    let package = PackageName { publisher, name };
    let form = read(&api, &context, &package, form).await?;
    let request = PublishRequest {
        package,
        version,
        manifest: form.manifest,
        declared: form.declared,
        migrations: form.migrations,
        badge: form.badge,
        component: form.component,
    };
    let published = api.app.publish(&context, request).await?;
    let status = if published.created {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    let tag = format!("\"{}\"", published.version.digest);
    Ok((status, [(ETAG, tag)], Json(published.version)).into_response())
}

struct Form {
    declared: Option<Digest>,
    manifest: String,
    migrations: BTreeMap<String, String>,
    badge: Option<Badge>,
    component: Uploaded,
}

async fn read(
    api: &Api,
    context: &Context,
    package: &PackageName,
    mut form: Multipart,
) -> Result<Form, ApiError> {
    let mut upload = api.app.begin_upload(context, package).await?;
    let mut declared = None;
    let mut manifest = None;
    let mut migrations = BTreeMap::new();
    let mut badge = None;
    let mut left = MAX_MIGRATIONS_BYTES;
    while let Some(mut field) = in_time(form.next_field()).await? {
        match (field.name(), &declared, &manifest) {
            (Some("digest"), None, None) => {
                let text = text(&mut field, 100).await?;
                let text = text.ok_or_else(|| ApiError::Form("`digest` is too long".into()))?;
                let digest = text.trim().parse::<Digest>();
                declared =
                    Some(digest.map_err(|error| ApiError::Form(format!("`digest`: {error}")))?);
            }
            (Some("manifest"), _, None) => {
                let text = text(&mut field, MAX_MANIFEST_BYTES).await?;
                let limit = MAX_MANIFEST_BYTES;
                let too_long = ManifestError::TooLong {
                    actual: limit + 1,
                    limit,
                };
                manifest = Some(text.ok_or(canopy_app::AppError::from(too_long))?);
            }
            (Some("migration"), _, Some(_)) => {
                let path = field.file_name().unwrap_or_default().to_owned();
                let text = text(&mut field, left).await?.ok_or_else(|| {
                    ApiError::Form(format!(
                        "the migrations are over the limit of {MAX_MIGRATIONS_BYTES} bytes"
                    ))
                })?;
                left -= text.len();
                if migrations.insert(path.clone(), text).is_some() {
                    return Err(ApiError::Form(format!("the migration {path:?} came twice")));
                }
            }
            (Some("badge"), _, Some(_)) if badge.is_none() => {
                let text = text(&mut field, MAX_BADGE_BYTES).await?.ok_or_else(|| {
                    ApiError::Form(format!(
                        "`badge` is over the limit of {MAX_BADGE_BYTES} bytes"
                    ))
                })?;
                let read = serde_json::from_str::<Badge>(&text);
                badge = Some(read.map_err(|error| ApiError::Form(format!("`badge`: {error}")))?);
            }
            (Some("component"), _, Some(_)) => {
                while let Some(piece) = in_time(field.chunk()).await? {
                    upload.write(&piece).await?;
                }
                drop(field);
                if in_time(form.next_field()).await?.is_some() {
                    return Err(ApiError::Form("nothing may follow `component`".into()));
                }
                let manifest = manifest.unwrap_or_default();
                return Ok(Form {
                    declared,
                    manifest,
                    migrations,
                    badge,
                    component: upload.finish().await?,
                });
            }
            (name, ..) => {
                let name: String = name.unwrap_or("without a name").chars().take(80).collect();
                return Err(ApiError::Form(format!(
                    "the part {name:?} is not expected here"
                )));
            }
        }
    }
    let missing = if manifest.is_none() {
        "manifest"
    } else {
        "component"
    };
    Err(ApiError::Form(format!("the part `{missing}` is missing")))
}

/// A field as text; `None` if it is longer than `limit` bytes.
async fn text(field: &mut Field<'_>, limit: usize) -> Result<Option<String>, ApiError> {
    let mut bytes = Vec::new();
    while let Some(piece) = in_time(field.chunk()).await? {
        if bytes.len() + piece.len() > limit {
            return Ok(None);
        }
        bytes.extend_from_slice(&piece as &Bytes);
    }
    let text = String::from_utf8(bytes);
    text.map(Some)
        .map_err(|_| ApiError::Form("a text is not UTF-8".into()))
}

async fn in_time<T>(
    step: impl Future<Output = Result<T, axum::extract::multipart::MultipartError>>,
) -> Result<T, ApiError> {
    match tokio::time::timeout(SILENCE, step).await {
        Ok(outcome) => Ok(outcome?),
        Err(_) => Err(ApiError::SlowUpload {
            seconds: SILENCE.as_secs(),
        }),
    }
}
