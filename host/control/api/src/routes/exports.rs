//! Archives of tenants: fetched piece by piece, and sent piece by piece.

use std::io::SeekFrom;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, RANGE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use canopy_api_types::{ExportList, Import, ImportCreate, ImportStart, Job};
use canopy_app::AppError;
use canopy_ids::{ExportId, ImportId, Label};
use futures::StreamExt as _;
use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio_util::io::ReaderStream;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Api;
use crate::extract::{Address, Asked, Asking, Body};
use crate::problem::ApiError;

/// How long an upload may be silent.
const SILENCE: Duration = Duration::from_secs(30);

const TAR: &str = "application/x-tar";

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(create))
        .routes(routes!(list))
        .routes(routes!(content))
        .routes(routes!(remove))
        .routes(routes!(announce))
        .routes(routes!(arrived, forget))
        .routes(routes!(receive))
        .routes(routes!(start))
}

/// Begins the export of a tenant. The job's result names the export to fetch.
#[utoipa::path(
    post, path = "/tenants/{tenant}/exports", operation_id = "create_export", tag = "exports",
    responses((status = 202, body = Job))
)]
async fn create(
    State(api): State<Api>,
    Asked(context): Asked,
    Address(tenant): Address<Label>,
) -> Result<(StatusCode, Json<Job>), ApiError> {
    let job = api.app.create_export(&context, tenant).await?;
    Ok((StatusCode::ACCEPTED, Json(job)))
}

/// The archives that wait to be fetched.
#[utoipa::path(
    get, path = "/exports", operation_id = "list_exports", tag = "exports",
    responses((status = 200, body = ExportList))
)]
async fn list(State(api): State<Api>, Asked(context): Asked) -> Result<Json<ExportList>, ApiError> {
    Ok(Json(api.app.exports(&context).await?))
}

/// The archive itself. Takes `Range: bytes=N-`, to go on where a download stopped.
#[utoipa::path(
    get, path = "/exports/{export}/content", operation_id = "read_export", tag = "exports",
    responses(
        (status = 200, content_type = "application/x-tar", body = Vec<u8>),
        (status = 206, content_type = "application/x-tar", body = Vec<u8>)
    )
)]
async fn content(
    State(api): State<Api>,
    Asked(context): Asked,
    Address(id): Address<ExportId>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let (path, size) = api.app.export_file(&context, id).await?;
    let failed = |error: std::io::Error| {
        ApiError::from(AppError::Internal(format!(
            "reading {}: {error}",
            path.display()
        )))
    };
    let mut file = tokio::fs::File::open(&path).await.map_err(failed)?;
    let Some((start, end)) = range(&headers, size)? else {
        let body = axum::body::Body::from_stream(ReaderStream::new(file));
        let mut response = body.into_response();
        describe(response.headers_mut(), size);
        return Ok(response);
    };
    file.seek(SeekFrom::Start(start)).await.map_err(failed)?;
    let length = end - start;
    let mut response =
        axum::body::Body::from_stream(ReaderStream::new(file.take(length))).into_response();
    *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    describe(response.headers_mut(), length);
    let place = format!("bytes {start}-{}/{size}", end.saturating_sub(1));
    if let Ok(place) = HeaderValue::try_from(place) {
        response.headers_mut().insert(CONTENT_RANGE, place);
    }
    Ok(response)
}

fn describe(headers: &mut HeaderMap, length: u64) {
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(TAR));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
}

/// The bytes that are asked for, from the first to before the last; `None`: all.
fn range(headers: &HeaderMap, size: u64) -> Result<Option<(u64, u64)>, ApiError> {
    let Some(value) = headers.get(RANGE) else {
        return Ok(None);
    };
    let refused = || {
        ApiError::InvalidQuery(
            "`Range` must be `bytes=FIRST-` or `bytes=FIRST-LAST`, within the archive".into(),
        )
    };
    let text = value.to_str().map_err(|_| refused())?;
    let (first, last) = text
        .strip_prefix("bytes=")
        .and_then(|range| range.split_once('-'))
        .ok_or_else(refused)?;
    let first: u64 = first.trim().parse().map_err(|_| refused())?;
    let end = match last.trim() {
        "" => size,
        last => {
            let last: u64 = last.parse().map_err(|_| refused())?;
            last.saturating_add(1).min(size)
        }
    };
    if first < end {
        Ok(Some((first, end)))
    } else {
        Err(refused())
    }
}

/// Removes an archive that waits to be fetched.
#[utoipa::path(
    delete, path = "/exports/{export}", operation_id = "delete_export", tag = "exports",
    responses((status = 204))
)]
async fn remove(
    State(api): State<Api>,
    Asked(context): Asked,
    Address(id): Address<ExportId>,
) -> Result<StatusCode, ApiError> {
    api.app.delete_export(&context, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Announces an archive that will be sent.
#[utoipa::path(
    post, path = "/imports", operation_id = "create_import", tag = "imports",
    request_body = ImportCreate, responses((status = 201, body = Import))
)]
async fn announce(
    State(api): State<Api>,
    Asked(context): Asked,
    Body(create): Body<ImportCreate>,
) -> Result<(StatusCode, Json<Import>), ApiError> {
    let import = api.app.create_import(&context, create).await?;
    Ok((StatusCode::CREATED, Json(import)))
}

/// How much of an archive has arrived.
#[utoipa::path(
    get, path = "/imports/{import}", operation_id = "read_import", tag = "imports",
    responses((status = 200, body = Import))
)]
async fn arrived(
    State(api): State<Api>,
    Asked(context): Asked,
    Address(id): Address<ImportId>,
) -> Result<Json<Import>, ApiError> {
    Ok(Json(api.app.import(&context, id).await?))
}

/// Removes an archive that was to be taken in.
#[utoipa::path(
    delete, path = "/imports/{import}", operation_id = "delete_import", tag = "imports",
    responses((status = 204))
)]
async fn forget(
    State(api): State<Api>,
    Asked(context): Asked,
    Address(id): Address<ImportId>,
) -> Result<StatusCode, ApiError> {
    api.app.delete_import(&context, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Where the bytes belong.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ContentQuery {
    /// How many bytes of the archive are before these; as many as have arrived.
    offset: u64,
}

/// Sends bytes of an archive. What arrives stays, also if the rest does not.
#[utoipa::path(
    put, path = "/imports/{import}/content", operation_id = "send_import", tag = "imports",
    params(ContentQuery),
    request_body(content = Vec<u8>, content_type = "application/x-tar"),
    responses((status = 200, body = Import))
)]
async fn receive(
    State(api): State<Api>,
    Asked(context): Asked,
    Address(id): Address<ImportId>,
    Asking(query): Asking<ContentQuery>,
    body: axum::body::Body,
) -> Result<Json<Import>, ApiError> {
    let mut upload = api.app.receive_import(&context, id, query.offset).await?;
    let mut pieces = body.into_data_stream();
    let broken = loop {
        let piece = match tokio::time::timeout(SILENCE, pieces.next()).await {
            Ok(None) => break None,
            Ok(Some(Ok(piece))) => piece,
            Ok(Some(Err(error))) => break Some(ApiError::BrokenBody(error.to_string())),
            Err(_) => {
                break Some(ApiError::SlowUpload {
                    seconds: SILENCE.as_secs(),
                });
            }
        };
        if let Err(error) = upload.write(&piece).await {
            break Some(error.into());
        }
    };
    upload.finish().await?;
    match broken {
        None => Ok(Json(api.app.import(&context, id).await?)),
        Some(error) => Err(error),
    }
}

/// Begins to take in an archive that has arrived whole.
#[utoipa::path(
    post, path = "/imports/{import}/start", operation_id = "start_import", tag = "imports",
    request_body = ImportStart, responses((status = 202, body = Job))
)]
async fn start(
    State(api): State<Api>,
    Asked(context): Asked,
    Address(id): Address<ImportId>,
    Body(start): Body<ImportStart>,
) -> Result<(StatusCode, Json<Job>), ApiError> {
    let job = api.app.start_import(&context, id, start).await?;
    Ok((StatusCode::ACCEPTED, Json(job)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(value: &'static str) -> Result<Option<(u64, u64)>, ApiError> {
        let mut headers = HeaderMap::new();
        headers.insert(RANGE, HeaderValue::from_static(value));
        range(&headers, 100)
    }

    #[test]
    fn a_range_is_within_the_archive() {
        assert!(matches!(range(&HeaderMap::new(), 100), Ok(None)));
        assert!(matches!(asked("bytes=0-"), Ok(Some((0, 100)))));
        assert!(matches!(asked("bytes=40-59"), Ok(Some((40, 60)))));
        assert!(matches!(asked("bytes=99-1000"), Ok(Some((99, 100)))));
        for bad in [
            "bytes=100-",
            "bytes=-5",
            "bytes=5-4",
            "bytes=0-1,3-4",
            "lines=0-",
            "x",
        ] {
            assert!(asked(bad).is_err(), "{bad}");
        }
    }
}
