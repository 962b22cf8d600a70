//! Logs, as pages or followed as they are written.

use std::convert::Infallible;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use canopy_api_types::{LogPage, LogRecord, NDJSON};
use canopy_app::{Context, LogFollow, LogQuery, LogTarget};
use canopy_ids::Label;
use futures::Stream;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::extract::{Address, Asked, Asking};
use crate::problem::ApiError;
use crate::{Api, DEFAULT_PAGE, MAX_PAGE};

/// How often an empty line goes out while nothing is written, so that a connection that has gone
/// is noticed and one that has not stays.
const HEARTBEAT: Duration = Duration::from_secs(15);

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(installation))
        .routes(routes!(driver))
}

/// Which records.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct LogsQuery {
    /// What follows the record with this number.
    #[serde(default)]
    after: Option<u64>,
    /// Records at most: 1 to 1000, 100 where none is given.
    #[serde(default)]
    limit: Option<usize>,
    /// The last so many records, 0 to 1000. Cannot be sent with `after`.
    #[serde(default)]
    tail: Option<usize>,
    /// Whether to go on with what is written from now on, one JSON document a line.
    #[serde(default)]
    follow: bool,
}

impl LogsQuery {
    fn records(&self) -> Result<LogQuery, ApiError> {
        let refused = |message: String| Err(ApiError::InvalidQuery(message));
        let limit = self.limit.unwrap_or(DEFAULT_PAGE);
        if !(1..=MAX_PAGE).contains(&limit) {
            return refused(format!("`limit` must be from 1 to {MAX_PAGE}"));
        }
        match (self.after, self.tail) {
            (Some(_), Some(_)) => refused("send `after` or `tail`, not both".into()),
            (_, Some(tail)) if tail > MAX_PAGE => {
                refused(format!("`tail` must be from 0 to {MAX_PAGE}"))
            }
            (None, Some(tail)) => Ok(LogQuery::Tail(tail)),
            (after, None) => Ok(LogQuery::After(after.unwrap_or(0), limit)),
        }
    }
}

/// The log of an installation.
#[utoipa::path(
    get, path = "/tenants/{tenant}/installations/{installation}/logs",
    operation_id = "read_installation_log", tag = "logs", params(LogsQuery),
    responses(
        (status = 200, content((LogPage = "application/json"), (LogRecord = "application/x-ndjson")))
    )
)]
async fn installation(
    State(api): State<Api>,
    Asked(context): Asked,
    Address((tenant, name)): Address<(Label, Label)>,
    Asking(query): Asking<LogsQuery>,
) -> Result<Response, ApiError> {
    answer(
        &api,
        &context,
        tenant,
        LogTarget::Installation(name),
        &query,
    )
    .await
}

/// The log of a driver instance.
#[utoipa::path(
    get, path = "/tenants/{tenant}/drivers/{driver}/logs",
    operation_id = "read_driver_log", tag = "logs", params(LogsQuery),
    responses(
        (status = 200, content((LogPage = "application/json"), (LogRecord = "application/x-ndjson")))
    )
)]
async fn driver(
    State(api): State<Api>,
    Asked(context): Asked,
    Address((tenant, name)): Address<(Label, Label)>,
    Asking(query): Asking<LogsQuery>,
) -> Result<Response, ApiError> {
    answer(&api, &context, tenant, LogTarget::Driver(name), &query).await
}

async fn answer(
    api: &Api,
    context: &Context,
    tenant: Label,
    target: LogTarget,
    query: &LogsQuery,
) -> Result<Response, ApiError> {
    let records = query.records()?;
    if !query.follow {
        return Ok(Json(api.app.log(context, tenant, target, records).await?).into_response());
    }
    let follow = api.app.follow_log(context, tenant, target, records).await?;
    let body = Body::from_stream(lines(follow, api.stopping.clone()));
    Ok(([(CONTENT_TYPE, NDJSON)], body).into_response())
}

/// The records as lines, until the log ends or the node stops.
fn lines(
    follow: LogFollow,
    stopping: CancellationToken,
) -> impl Stream<Item = Result<Bytes, Infallible>> + Send {
    futures::stream::unfold((follow, stopping), |(mut follow, stopping)| async move {
        let bytes = tokio::select! {
            () = stopping.cancelled() => None,
            () = tokio::time::sleep(HEARTBEAT) => Some(Bytes::from_static(b"\n")),
            records = follow.next() => match records {
                Ok(records) => records.map(|records| ndjson(&records)),
                Err(error) => {
                    tracing::warn!(%error, "following a log ended");
                    None
                }
            },
        };
        bytes.map(|bytes| (Ok(bytes), (follow, stopping)))
    })
}

fn ndjson(records: &[LogRecord]) -> Bytes {
    let mut bytes = Vec::new();
    for record in records {
        // A record is plain data, which always has a JSON form.
        if serde_json::to_writer(&mut bytes, record).is_ok() {
            bytes.push(b'\n');
        }
    }
    bytes.into()
}
