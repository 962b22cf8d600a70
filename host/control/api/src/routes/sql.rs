//! SQL databases of installations. Rows are streamed, one JSON document a line.

use std::convert::Infallible;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use canopy_api_types::{DatabaseName, NDJSON, Page, SqlLine, SqlRun};
use canopy_app::{AppError, SqlAnswer};
use canopy_ids::Label;
use futures::Stream;
use tokio::sync::mpsc;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Api;
use crate::extract::{Address, Asked, Body as JsonBody};
use crate::problem::{self, ApiError};

/// Batches of rows that are read ahead of the client.
const AHEAD: usize = 2;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(databases))
        .routes(routes!(run))
}

/// The databases of an installation that exist.
#[utoipa::path(
    get, path = "/tenants/{tenant}/installations/{installation}/sql/databases",
    operation_id = "list_databases", tag = "data",
    responses((status = 200, body = Page<DatabaseName>))
)]
async fn databases(
    State(api): State<Api>,
    Asked(context): Asked,
    Address((tenant, name)): Address<(Label, Label)>,
) -> Result<Json<Page<DatabaseName>>, ApiError> {
    Ok(Json(api.app.databases(&context, tenant, name).await?))
}

/// Runs a statement. One that writes is refused unless the request says that it may. A statement
/// that writes takes place whole, or not at all if the client goes away before its end.
#[utoipa::path(
    post, path = "/tenants/{tenant}/installations/{installation}/sql/query",
    operation_id = "run_sql", tag = "data", request_body = SqlRun,
    responses((status = 200, body = SqlLine, content_type = "application/x-ndjson"))
)]
async fn run(
    State(api): State<Api>,
    Asked(context): Asked,
    Address((tenant, name)): Address<(Label, Label)>,
    JsonBody(run): JsonBody<SqlRun>,
) -> Result<Response, ApiError> {
    let answer = api.app.run_sql(&context, tenant, name, run).await?;
    let body = Body::from_stream(lines(answer));
    Ok(([(CONTENT_TYPE, NDJSON)], body).into_response())
}

/// The answer as lines. They are read by a task, so that a client which takes none of them for a
/// while ends the statement instead of keeping it open.
fn lines(mut answer: SqlAnswer) -> impl Stream<Item = Result<Bytes, Infallible>> + Send {
    let (sender, receiver) = mpsc::channel(AHEAD);
    tokio::spawn(async move {
        let mut lines = vec![SqlLine::Columns(answer.columns().to_vec())];
        loop {
            let next = answer.next().await;
            let is_last = !matches!(next, Ok(Some(_)));
            lines.extend(match next {
                Ok(Some(rows)) => rows.into_iter().map(SqlLine::Row).collect(),
                Ok(None) => {
                    let outcome = answer.outcome();
                    vec![SqlLine::Done {
                        changes: outcome.changes,
                        last_insert_rowid: outcome.last_insert_rowid,
                    }]
                }
                Err(error) => vec![failed(error)],
            });
            let bytes = ndjson(&lines);
            let sent = tokio::time::timeout(SqlAnswer::IDLE, sender.send(bytes)).await;
            if is_last || !matches!(sent, Ok(Ok(()))) {
                return;
            }
            lines.clear();
        }
    });
    futures::stream::unfold(receiver, |mut receiver| async move {
        let bytes = receiver.recv().await?;
        Some((Ok(bytes), receiver))
    })
}

fn failed(error: AppError) -> SqlLine {
    SqlLine::Failed(problem::document(&error.into()))
}

fn ndjson(lines: &[SqlLine]) -> Bytes {
    let mut bytes = Vec::new();
    for line in lines {
        // A line is plain data, which always has a JSON form.
        if serde_json::to_writer(&mut bytes, line).is_ok() {
            bytes.push(b'\n');
        }
    }
    bytes.into()
}
