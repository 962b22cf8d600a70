//! Backups, and restoring from them.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use canopy_api_types::{
    Backup, BackupCheck, BackupCreate, BackupList, BackupPrune, Job, RestoreCreate,
};
use canopy_ids::SnapshotId;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Api;
use crate::extract::{Address, Asked, Asking, Body};
use crate::problem::ApiError;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(read))
        .routes(routes!(check))
        .routes(routes!(prune))
        .routes(routes!(restore))
}

/// Which repository.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct RepositoryQuery {
    /// The repository's folder on the node; the setting `backup.dir` where none is given.
    #[serde(default)]
    repository: Option<String>,
}

/// What begins is a job.
type Begun = (StatusCode, Json<Job>);

fn begun(job: Job) -> Begun {
    (StatusCode::ACCEPTED, Json(job))
}

/// The snapshots of a repository.
#[utoipa::path(
    get, path = "/backups", operation_id = "list_backups", tag = "backups",
    params(RepositoryQuery), responses((status = 200, body = BackupList))
)]
async fn list(
    State(api): State<Api>,
    Asked(context): Asked,
    Asking(query): Asking<RepositoryQuery>,
) -> Result<Json<BackupList>, ApiError> {
    let backups = api.app.backups(&context, query.repository.as_deref());
    Ok(Json(backups.await?))
}

/// Begins a backup of the node, a tenant or an installation, while everything goes on.
#[utoipa::path(
    post, path = "/backups", operation_id = "create_backup", tag = "backups",
    request_body = BackupCreate, responses((status = 202, body = Job))
)]
async fn create(
    State(api): State<Api>,
    Asked(context): Asked,
    Body(create): Body<BackupCreate>,
) -> Result<Begun, ApiError> {
    Ok(begun(api.app.create_backup(&context, create).await?))
}

/// One snapshot.
#[utoipa::path(
    get, path = "/backups/{snapshot}", operation_id = "read_backup", tag = "backups",
    params(RepositoryQuery), responses((status = 200, body = Backup))
)]
async fn read(
    State(api): State<Api>,
    Asked(context): Asked,
    Address(id): Address<SnapshotId>,
    Asking(query): Asking<RepositoryQuery>,
) -> Result<Json<Backup>, ApiError> {
    let backup = api.app.backup(&context, id, query.repository.as_deref());
    Ok(Json(backup.await?))
}

/// Begins a check: of everything in a repository, or of one snapshot by restoring it to a
/// temporary folder.
#[utoipa::path(
    post, path = "/backups/check", operation_id = "check_backups", tag = "backups",
    request_body = BackupCheck, responses((status = 202, body = Job))
)]
async fn check(
    State(api): State<Api>,
    Asked(context): Asked,
    Body(check): Body<BackupCheck>,
) -> Result<Begun, ApiError> {
    Ok(begun(api.app.check_backups(&context, check).await?))
}

/// Begins the removal of snapshots that are not to be kept, and of what only they need.
#[utoipa::path(
    post, path = "/backups/prune", operation_id = "prune_backups", tag = "backups",
    request_body = BackupPrune, responses((status = 202, body = Job))
)]
async fn prune(
    State(api): State<Api>,
    Asked(context): Asked,
    Body(prune): Body<BackupPrune>,
) -> Result<Begun, ApiError> {
    Ok(begun(api.app.prune_backups(&context, prune).await?))
}

/// Begins to put back what a tenant or an installation stored, in place of what it stores now.
#[utoipa::path(
    post, path = "/restores", operation_id = "restore", tag = "backups",
    request_body = RestoreCreate, responses((status = 202, body = Job))
)]
async fn restore(
    State(api): State<Api>,
    Asked(context): Asked,
    Body(restore): Body<RestoreCreate>,
) -> Result<Begun, ApiError> {
    Ok(begun(api.app.restore(&context, restore).await?))
}
