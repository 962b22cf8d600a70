//! Jobs: work that takes long.

use axum::Json;
use axum::extract::State;
use canopy_api_types::{Job, JobState, Page};
use canopy_ids::{JobId, Label};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Api;
use crate::extract::{self, Address, Asked, Asking};
use crate::problem::ApiError;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(read))
        .routes(routes!(cancel))
}

/// Which jobs.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct JobsQuery {
    /// Those about this tenant.
    #[serde(default)]
    #[param(value_type = Option<String>)]
    tenant: Option<Label>,
    /// Those in this state.
    #[serde(default)]
    state: Option<JobState>,
    /// Items at most: 1 to 1000, 100 where none is given.
    #[serde(default)]
    limit: Option<usize>,
    /// `next_cursor` of the page before.
    #[serde(default)]
    cursor: Option<String>,
}

/// Jobs, the newest first.
#[utoipa::path(
    get, path = "/jobs", operation_id = "list_jobs", tag = "jobs", params(JobsQuery),
    responses((status = 200, body = Page<Job>))
)]
async fn list(
    State(api): State<Api>,
    Asked(context): Asked,
    Asking(query): Asking<JobsQuery>,
) -> Result<Json<Page<Job>>, ApiError> {
    let page = extract::page(query.limit, query.cursor)?;
    let jobs = api.app.jobs(&context, query.tenant, query.state, page);
    Ok(Json(jobs.await?))
}

/// One job, with how far it is at this moment.
#[utoipa::path(
    get, path = "/jobs/{job}", operation_id = "read_job", tag = "jobs",
    responses((status = 200, body = Job))
)]
async fn read(
    State(api): State<Api>,
    Asked(context): Asked,
    Address(id): Address<JobId>,
) -> Result<Json<Job>, ApiError> {
    Ok(Json(api.app.job(&context, id).await?))
}

/// Takes a job back. One that is under way ends soon; one that has ended stays as it is.
#[utoipa::path(
    post, path = "/jobs/{job}/cancel", operation_id = "cancel_job", tag = "jobs",
    responses((status = 200, body = Job))
)]
async fn cancel(
    State(api): State<Api>,
    Asked(context): Asked,
    Address(id): Address<JobId>,
) -> Result<Json<Job>, ApiError> {
    Ok(Json(api.app.cancel_job(&context, id).await?))
}
