//! Scheduled calls.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use canopy_api_types::{Page, Schedule, ScheduleRun};
use canopy_ids::Label;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Api;
use crate::extract::{Address, Asked, Asking, PageQuery};
use crate::problem::ApiError;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(of_tenant))
        .routes(routes!(of_installation))
        .routes(routes!(read))
        .routes(routes!(runs, run))
        .routes(routes!(pause))
        .routes(routes!(resume))
}

type Name = Address<(Label, Label, Label)>;

/// The schedules of all installations of a tenant.
#[utoipa::path(
    get, path = "/tenants/{tenant}/schedules", operation_id = "list_schedules",
    tag = "schedules", responses((status = 200, body = Page<Schedule>))
)]
async fn of_tenant(
    State(api): State<Api>,
    Asked(context): Asked,
    Address(tenant): Address<Label>,
) -> Result<Json<Page<Schedule>>, ApiError> {
    Ok(Json(api.app.schedules(&context, tenant, None).await?))
}

/// The schedules of an installation.
#[utoipa::path(
    get, path = "/tenants/{tenant}/installations/{installation}/schedules",
    operation_id = "list_installation_schedules", tag = "schedules",
    responses((status = 200, body = Page<Schedule>))
)]
async fn of_installation(
    State(api): State<Api>,
    Asked(context): Asked,
    Address((tenant, installation)): Address<(Label, Label)>,
) -> Result<Json<Page<Schedule>>, ApiError> {
    let app = &api.app;
    Ok(Json(
        app.schedules(&context, tenant, Some(installation)).await?,
    ))
}

/// One schedule, with its last call.
#[utoipa::path(
    get, path = "/tenants/{tenant}/installations/{installation}/schedules/{schedule}",
    operation_id = "read_schedule", tag = "schedules",
    responses((status = 200, body = Schedule))
)]
async fn read(
    State(api): State<Api>,
    Asked(context): Asked,
    Address((tenant, installation, name)): Name,
) -> Result<Json<Schedule>, ApiError> {
    let schedule = api.app.schedule(&context, tenant, installation, name);
    Ok(Json(schedule.await?))
}

/// The calls of a schedule that are remembered, the last first.
#[utoipa::path(
    get, path = "/tenants/{tenant}/installations/{installation}/schedules/{schedule}/runs",
    operation_id = "list_schedule_runs", tag = "schedules", params(PageQuery),
    responses((status = 200, body = Page<ScheduleRun>))
)]
async fn runs(
    State(api): State<Api>,
    Asked(context): Asked,
    Address((tenant, installation, name)): Name,
    Asking(query): Asking<PageQuery>,
) -> Result<Json<Page<ScheduleRun>>, ApiError> {
    let page = query.page()?;
    let runs = api
        .app
        .schedule_runs(&context, tenant, installation, name, page);
    Ok(Json(runs.await?))
}

/// Asks for a call now, whether the schedule is paused or not. It is made soon after the answer.
#[utoipa::path(
    post, path = "/tenants/{tenant}/installations/{installation}/schedules/{schedule}/runs",
    operation_id = "run_schedule", tag = "schedules",
    responses((status = 202, body = ScheduleRun))
)]
async fn run(
    State(api): State<Api>,
    Asked(context): Asked,
    Address((tenant, installation, name)): Name,
) -> Result<(StatusCode, Json<ScheduleRun>), ApiError> {
    let run = api.app.run_schedule(&context, tenant, installation, name);
    Ok((StatusCode::ACCEPTED, Json(run.await?)))
}

/// Has a schedule make no calls until it is resumed. A call under way is finished.
#[utoipa::path(
    post, path = "/tenants/{tenant}/installations/{installation}/schedules/{schedule}/pause",
    operation_id = "pause_schedule", tag = "schedules",
    responses((status = 200, body = Schedule))
)]
async fn pause(
    State(api): State<Api>,
    Asked(context): Asked,
    Address((tenant, installation, name)): Name,
) -> Result<Json<Schedule>, ApiError> {
    let app = &api.app;
    let schedule = app.pause_schedule(&context, tenant, installation, name, true);
    Ok(Json(schedule.await?))
}

/// Has a paused schedule make calls again, from its next time on.
#[utoipa::path(
    post, path = "/tenants/{tenant}/installations/{installation}/schedules/{schedule}/resume",
    operation_id = "resume_schedule", tag = "schedules",
    responses((status = 200, body = Schedule))
)]
async fn resume(
    State(api): State<Api>,
    Asked(context): Asked,
    Address((tenant, installation, name)): Name,
) -> Result<Json<Schedule>, ApiError> {
    let app = &api.app;
    let schedule = app.pause_schedule(&context, tenant, installation, name, false);
    Ok(Json(schedule.await?))
}
