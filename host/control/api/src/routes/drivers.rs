//! Driver instances and what can be set about each.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use canopy_api_types::{
    BindingPut, Config, Driver, DriverChecked, DriverPut, EgressPut, Page, SecretNames, SecretPut,
    VersionPut,
};
use canopy_app::Setting;
use canopy_ids::{BindingKey, Label};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Api;
use crate::answer::{Stored, Tagged, part};
use crate::extract::{Address, Asked, Asking, Body, CheckQuery, Condition, PageQuery};
use crate::problem::ApiError;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(read, put, delete))
        .routes(routes!(put_version))
        .routes(routes!(roll_back))
        .routes(routes!(check))
        .routes(routes!(bind, unbind))
        .routes(routes!(read_config, put_config, patch_config))
        .routes(routes!(secret_names))
        .routes(routes!(put_secret, delete_secret))
        .routes(routes!(put_egress))
}

type Name = Address<(Label, Label)>;

/// Driver instances of a tenant by name.
#[utoipa::path(
    get, path = "/tenants/{tenant}/drivers", operation_id = "list_drivers", tag = "drivers",
    params(PageQuery), responses((status = 200, body = Page<Driver>))
)]
async fn list(
    State(api): State<Api>,
    Asked(context): Asked,
    Address(tenant): Address<Label>,
    Asking(query): Asking<PageQuery>,
) -> Result<Json<Page<Driver>>, ApiError> {
    Ok(Json(
        api.app.drivers(&context, tenant, query.page()?).await?,
    ))
}

/// One driver instance.
#[utoipa::path(
    get, path = "/tenants/{tenant}/drivers/{driver}", operation_id = "read_driver",
    tag = "drivers", responses((status = 200, body = Driver))
)]
async fn read(
    State(api): State<Api>,
    Asked(context): Asked,
    Address((tenant, name)): Name,
) -> Result<Tagged<Driver>, ApiError> {
    Ok(Tagged(api.app.driver(&context, tenant, name).await?))
}

/// Creates or replaces a driver instance. Secrets that are not named stay.
#[utoipa::path(
    put, path = "/tenants/{tenant}/drivers/{driver}", operation_id = "put_driver",
    params(CheckQuery), tag = "drivers", request_body = DriverPut,
    responses((status = 200, body = Driver), (status = 201, body = Driver))
)]
async fn put(
    State(api): State<Api>,
    Asked(context): Asked,
    Address((tenant, name)): Name,
    Condition(condition): Condition,
    Body(put): Body<DriverPut>,
) -> Result<Stored<Driver>, ApiError> {
    let (driver, created) = api
        .app
        .put_driver(&context, tenant, name, put, condition)
        .await?;
    Ok(Stored(driver, created))
}

/// Deletes a driver instance that serves neither an installation nor another driver, with its log.
#[utoipa::path(
    delete, path = "/tenants/{tenant}/drivers/{driver}", operation_id = "delete_driver",
    tag = "drivers", responses((status = 204))
)]
async fn delete(
    State(api): State<Api>,
    Asked(context): Asked,
    Address((tenant, name)): Name,
    Condition(condition): Condition,
) -> Result<StatusCode, ApiError> {
    api.app
        .delete_driver(&context, tenant, name, condition)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Moves a driver instance to another version of its package.
#[utoipa::path(
    put, path = "/tenants/{tenant}/drivers/{driver}/version", operation_id = "put_driver_version",
    params(CheckQuery), tag = "drivers", request_body = VersionPut, responses((status = 200, body = Driver))
)]
async fn put_version(
    State(api): State<Api>,
    Asked(context): Asked,
    Address((tenant, name)): Name,
    Condition(condition): Condition,
    Body(put): Body<VersionPut>,
) -> Result<Tagged<Driver>, ApiError> {
    let setting = Setting::Version(put.version);
    Ok(Tagged(
        api.app
            .set_driver(&context, tenant, name, setting, condition)
            .await?,
    ))
}

/// Returns a driver instance to the version that it ran before. A second rollback undoes the first.
#[utoipa::path(
    post, path = "/tenants/{tenant}/drivers/{driver}/rollback",
    operation_id = "roll_back_driver", params(CheckQuery), tag = "drivers", responses((status = 200, body = Driver))
)]
async fn roll_back(
    State(api): State<Api>,
    Asked(context): Asked,
    Address((tenant, name)): Name,
    Condition(condition): Condition,
) -> Result<Tagged<Driver>, ApiError> {
    Ok(Tagged(
        api.app
            .roll_back_driver(&context, tenant, name, condition)
            .await?,
    ))
}

/// Has a driver find out whether it works as it is set up, by really connecting.
#[utoipa::path(
    post, path = "/tenants/{tenant}/drivers/{driver}/check", operation_id = "check_driver",
    tag = "drivers", responses((status = 200, body = DriverChecked))
)]
async fn check(
    State(api): State<Api>,
    Asked(context): Asked,
    Address((tenant, name)): Name,
) -> Result<Json<DriverChecked>, ApiError> {
    Ok(Json(api.app.ask_driver(&context, tenant, name).await?))
}

/// Chooses who serves what a driver instance imports: another driver, or the platform.
#[utoipa::path(
    put, path = "/tenants/{tenant}/drivers/{driver}/bindings/{binding}",
    operation_id = "bind_driver", params(CheckQuery), tag = "drivers", request_body = BindingPut,
    responses((status = 200, body = Driver))
)]
async fn bind(
    State(api): State<Api>,
    Asked(context): Asked,
    Address((tenant, name, key)): Address<(Label, Label, BindingKey)>,
    Condition(condition): Condition,
    Body(put): Body<BindingPut>,
) -> Result<Tagged<Driver>, ApiError> {
    let driver = Some(put.driver);
    Ok(Tagged(
        api.app
            .bind_driver(&context, tenant, name, key, driver, condition)
            .await?,
    ))
}

/// Removes a binding of a driver instance.
#[utoipa::path(
    delete, path = "/tenants/{tenant}/drivers/{driver}/bindings/{binding}",
    operation_id = "unbind_driver", params(CheckQuery), tag = "drivers", responses((status = 204))
)]
async fn unbind(
    State(api): State<Api>,
    Asked(context): Asked,
    Address((tenant, name, key)): Address<(Label, Label, BindingKey)>,
    Condition(condition): Condition,
) -> Result<StatusCode, ApiError> {
    api.app
        .bind_driver(&context, tenant, name, key, None, condition)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The configuration.
#[utoipa::path(
    get, path = "/tenants/{tenant}/drivers/{driver}/config", operation_id = "read_driver_config",
    tag = "drivers", responses((status = 200, body = serde_json::Value))
)]
async fn read_config(
    State(api): State<Api>,
    Asked(context): Asked,
    Address((tenant, name)): Name,
) -> Result<Response, ApiError> {
    let driver = api.app.driver(&context, tenant, name).await?;
    Ok(part(driver.revision, &driver.config))
}

/// Replaces the whole configuration.
#[utoipa::path(
    put, path = "/tenants/{tenant}/drivers/{driver}/config", operation_id = "put_driver_config",
    params(CheckQuery), tag = "drivers", request_body = serde_json::Value,
    responses((status = 200, body = serde_json::Value))
)]
async fn put_config(
    State(api): State<Api>,
    Asked(context): Asked,
    Address((tenant, name)): Name,
    Condition(condition): Condition,
    Body(config): Body<Config>,
) -> Result<Response, ApiError> {
    let setting = Setting::Config(config);
    let now = api
        .app
        .set_driver(&context, tenant, name, setting, condition)
        .await?;
    Ok(part(now.revision, &now.config))
}

/// Changes the keys that are named; `null` removes one.
#[utoipa::path(
    patch, path = "/tenants/{tenant}/drivers/{driver}/config",
    operation_id = "patch_driver_config", params(CheckQuery), tag = "drivers", request_body = serde_json::Value,
    responses((status = 200, body = serde_json::Value))
)]
async fn patch_config(
    State(api): State<Api>,
    Asked(context): Asked,
    Address((tenant, name)): Name,
    Condition(condition): Condition,
    Body(changes): Body<Config>,
) -> Result<Response, ApiError> {
    let setting = Setting::PatchConfig(changes);
    let now = api
        .app
        .set_driver(&context, tenant, name, setting, condition)
        .await?;
    Ok(part(now.revision, &now.config))
}

/// The names of the secrets that are set. Their values cannot be read.
#[utoipa::path(
    get, path = "/tenants/{tenant}/drivers/{driver}/secrets",
    operation_id = "list_driver_secrets", tag = "drivers",
    responses((status = 200, body = SecretNames))
)]
async fn secret_names(
    State(api): State<Api>,
    Asked(context): Asked,
    Address((tenant, name)): Name,
) -> Result<Response, ApiError> {
    let now = api.app.driver(&context, tenant, name).await?;
    Ok(part(now.revision, &SecretNames { names: now.secrets }))
}

/// Sets a secret.
#[utoipa::path(
    put, path = "/tenants/{tenant}/drivers/{driver}/secrets/{key}",
    operation_id = "put_driver_secret", params(CheckQuery), tag = "drivers", request_body = SecretPut,
    responses((status = 204))
)]
async fn put_secret(
    State(api): State<Api>,
    Asked(context): Asked,
    Address((tenant, name, key)): Address<(Label, Label, String)>,
    Condition(condition): Condition,
    Body(put): Body<SecretPut>,
) -> Result<StatusCode, ApiError> {
    let setting = Setting::SetSecret(key, put.value);
    api.app
        .set_driver(&context, tenant, name, setting, condition)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Removes a secret.
#[utoipa::path(
    delete, path = "/tenants/{tenant}/drivers/{driver}/secrets/{key}",
    operation_id = "delete_driver_secret", params(CheckQuery), tag = "drivers", responses((status = 204))
)]
async fn delete_secret(
    State(api): State<Api>,
    Asked(context): Asked,
    Address((tenant, name, key)): Address<(Label, Label, String)>,
    Condition(condition): Condition,
) -> Result<StatusCode, ApiError> {
    let setting = Setting::RemoveSecret(key);
    api.app
        .set_driver(&context, tenant, name, setting, condition)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Replaces what may be reached over the network.
#[utoipa::path(
    put, path = "/tenants/{tenant}/drivers/{driver}/egress", operation_id = "put_driver_egress",
    params(CheckQuery), tag = "drivers", request_body = EgressPut, responses((status = 200, body = Driver))
)]
async fn put_egress(
    State(api): State<Api>,
    Asked(context): Asked,
    Address((tenant, name)): Name,
    Condition(condition): Condition,
    Body(put): Body<EgressPut>,
) -> Result<Tagged<Driver>, ApiError> {
    let setting = Setting::Egress(put.egress);
    Ok(Tagged(
        api.app
            .set_driver(&context, tenant, name, setting, condition)
            .await?,
    ))
}
