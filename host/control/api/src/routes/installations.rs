//! Installations and what can be set about each.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use canopy_api_types::{
    BindingPut, Config, Domain, EgressPut, Installation, InstallationPut, Page, SecretNames,
    SecretPut, VersionPut,
};
use canopy_app::Setting;
use canopy_ids::{BindingKey, Label};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Api;
use crate::answer::{Stored, Tagged, part};
use crate::extract::{Address, Asked, Asking, Body, CheckQuery, Condition, Once, PageQuery};
use crate::problem::ApiError;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(read, put, delete))
        .routes(routes!(put_version))
        .routes(routes!(roll_back))
        .routes(routes!(bind, unbind))
        .routes(routes!(read_config, put_config, patch_config))
        .routes(routes!(secret_names))
        .routes(routes!(put_secret, delete_secret))
        .routes(routes!(put_egress))
        .routes(routes!(put_domain, delete_domain))
}

type Name = Address<(Label, Label)>;

/// Installations of a tenant by name.
#[utoipa::path(
    get, path = "/tenants/{tenant}/installations", operation_id = "list_installations",
    tag = "installations", params(PageQuery),
    responses((status = 200, body = Page<Installation>))
)]
async fn list(
    State(api): State<Api>,
    Asked(context): Asked,
    Address(tenant): Address<Label>,
    Asking(query): Asking<PageQuery>,
) -> Result<Json<Page<Installation>>, ApiError> {
    Ok(Json(
        api.app
            .installations(&context, tenant, query.page()?)
            .await?,
    ))
}

/// One installation.
#[utoipa::path(
    get, path = "/tenants/{tenant}/installations/{installation}",
    operation_id = "read_installation", tag = "installations",
    responses((status = 200, body = Installation))
)]
async fn read(
    State(api): State<Api>,
    Asked(context): Asked,
    Address((tenant, name)): Name,
) -> Result<Tagged<Installation>, ApiError> {
    Ok(Tagged(api.app.installation(&context, tenant, name).await?))
}

/// Creates or replaces an installation. Secrets that are not named and domains stay.
#[utoipa::path(
    put, path = "/tenants/{tenant}/installations/{installation}",
    operation_id = "put_installation", params(CheckQuery), tag = "installations", request_body = InstallationPut,
    responses((status = 200, body = Installation), (status = 201, body = Installation))
)]
async fn put(
    State(api): State<Api>,
    Asked(context): Asked,
    Address((tenant, name)): Name,
    Condition(condition): Condition,
    Body(put): Body<InstallationPut>,
) -> Result<Stored<Installation>, ApiError> {
    let (installation, created) = api
        .app
        .put_installation(&context, tenant, name, put, condition)
        .await?;
    Ok(Stored(installation, created))
}

/// Deletes an installation with its data and its log.
#[utoipa::path(
    delete, path = "/tenants/{tenant}/installations/{installation}",
    operation_id = "delete_installation", tag = "installations", responses((status = 204))
)]
async fn delete(
    State(api): State<Api>,
    Asked(context): Asked,
    Address((tenant, name)): Name,
    Condition(condition): Condition,
) -> Result<StatusCode, ApiError> {
    api.app
        .delete_installation(&context, tenant, name, condition)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Moves an installation to another version of its package.
#[utoipa::path(
    put, path = "/tenants/{tenant}/installations/{installation}/version",
    operation_id = "put_installation_version", tag = "installations", request_body = VersionPut,
    responses((status = 200, body = Installation))
)]
async fn put_version(
    State(api): State<Api>,
    Asked(context): Asked,
    Address((tenant, name)): Name,
    Condition(condition): Condition,
    Body(put): Body<VersionPut>,
) -> Result<Tagged<Installation>, ApiError> {
    let setting = Setting::Version(put.version);
    Ok(Tagged(
        api.app
            .set_installation(&context, tenant, name, setting, condition)
            .await?,
    ))
}

/// Returns an installation to the version that it ran before. A second rollback undoes the first.
#[utoipa::path(
    post, path = "/tenants/{tenant}/installations/{installation}/rollback",
    operation_id = "roll_back", tag = "installations",
    responses((status = 200, body = Installation))
)]
async fn roll_back(
    State(api): State<Api>,
    Asked(context): Asked,
    Address((tenant, name)): Name,
    Condition(condition): Condition,
    Once(key): Once,
) -> Result<Tagged<Installation>, ApiError> {
    Ok(Tagged(
        api.app
            .roll_back(&context, tenant, name, condition, key)
            .await?,
    ))
}

/// Chooses who serves what an installation imports: one of the tenant's drivers, or the platform.
#[utoipa::path(
    put, path = "/tenants/{tenant}/installations/{installation}/bindings/{binding}",
    operation_id = "bind", params(CheckQuery), tag = "installations", request_body = BindingPut,
    responses((status = 200, body = Installation))
)]
async fn bind(
    State(api): State<Api>,
    Asked(context): Asked,
    Address((tenant, name, key)): Address<(Label, Label, BindingKey)>,
    Condition(condition): Condition,
    Body(put): Body<BindingPut>,
) -> Result<Tagged<Installation>, ApiError> {
    let driver = Some(put.driver);
    Ok(Tagged(
        api.app
            .bind(&context, tenant, name, key, driver, condition)
            .await?,
    ))
}

/// Removes a binding, so that a wider one decides again, or the platform serves.
#[utoipa::path(
    delete, path = "/tenants/{tenant}/installations/{installation}/bindings/{binding}",
    operation_id = "unbind", tag = "installations", responses((status = 204))
)]
async fn unbind(
    State(api): State<Api>,
    Asked(context): Asked,
    Address((tenant, name, key)): Address<(Label, Label, BindingKey)>,
    Condition(condition): Condition,
) -> Result<StatusCode, ApiError> {
    api.app
        .bind(&context, tenant, name, key, None, condition)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The configuration.
#[utoipa::path(
    get, path = "/tenants/{tenant}/installations/{installation}/config",
    operation_id = "read_installation_config", tag = "installations",
    responses((status = 200, body = serde_json::Value))
)]
async fn read_config(
    State(api): State<Api>,
    Asked(context): Asked,
    Address((tenant, name)): Name,
) -> Result<Response, ApiError> {
    let installation = api.app.installation(&context, tenant, name).await?;
    Ok(part(installation.revision, &installation.config))
}

/// Replaces the whole configuration.
#[utoipa::path(
    put, path = "/tenants/{tenant}/installations/{installation}/config",
    operation_id = "put_installation_config", tag = "installations",
    request_body = serde_json::Value, responses((status = 200, body = serde_json::Value))
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
        .set_installation(&context, tenant, name, setting, condition)
        .await?;
    Ok(part(now.revision, &now.config))
}

/// Changes the keys that are named; `null` removes one.
#[utoipa::path(
    patch, path = "/tenants/{tenant}/installations/{installation}/config",
    operation_id = "patch_installation_config", tag = "installations",
    request_body = serde_json::Value, responses((status = 200, body = serde_json::Value))
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
        .set_installation(&context, tenant, name, setting, condition)
        .await?;
    Ok(part(now.revision, &now.config))
}

/// The names of the secrets that are set. Their values cannot be read.
#[utoipa::path(
    get, path = "/tenants/{tenant}/installations/{installation}/secrets",
    operation_id = "list_installation_secrets", tag = "installations",
    responses((status = 200, body = SecretNames))
)]
async fn secret_names(
    State(api): State<Api>,
    Asked(context): Asked,
    Address((tenant, name)): Name,
) -> Result<Response, ApiError> {
    let now = api.app.installation(&context, tenant, name).await?;
    Ok(part(now.revision, &SecretNames { names: now.secrets }))
}

/// Sets a secret.
#[utoipa::path(
    put, path = "/tenants/{tenant}/installations/{installation}/secrets/{key}",
    operation_id = "put_installation_secret", tag = "installations", request_body = SecretPut,
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
        .set_installation(&context, tenant, name, setting, condition)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Removes a secret.
#[utoipa::path(
    delete, path = "/tenants/{tenant}/installations/{installation}/secrets/{key}",
    operation_id = "delete_installation_secret", tag = "installations", responses((status = 204))
)]
async fn delete_secret(
    State(api): State<Api>,
    Asked(context): Asked,
    Address((tenant, name, key)): Address<(Label, Label, String)>,
    Condition(condition): Condition,
) -> Result<StatusCode, ApiError> {
    let setting = Setting::RemoveSecret(key);
    api.app
        .set_installation(&context, tenant, name, setting, condition)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Replaces what may be reached over the network.
#[utoipa::path(
    put, path = "/tenants/{tenant}/installations/{installation}/egress",
    operation_id = "put_installation_egress", tag = "installations", request_body = EgressPut,
    responses((status = 200, body = Installation))
)]
async fn put_egress(
    State(api): State<Api>,
    Asked(context): Asked,
    Address((tenant, name)): Name,
    Condition(condition): Condition,
    Body(put): Body<EgressPut>,
) -> Result<Tagged<Installation>, ApiError> {
    let setting = Setting::Egress(put.egress);
    Ok(Tagged(
        api.app
            .set_installation(&context, tenant, name, setting, condition)
            .await?,
    ))
}

/// Adds a custom domain.
#[utoipa::path(
    put, path = "/tenants/{tenant}/installations/{installation}/domains/{domain}",
    operation_id = "put_domain", tag = "installations", responses((status = 200, body = Domain))
)]
async fn put_domain(
    State(api): State<Api>,
    Asked(context): Asked,
    Address((tenant, name, domain)): Address<(Label, Label, String)>,
    Condition(condition): Condition,
) -> Result<Response, ApiError> {
    let now = api
        .app
        .add_domain(&context, tenant, name, &domain, condition)
        .await?;
    let domain = domain.trim_end_matches('.').to_ascii_lowercase();
    Ok(part(
        now.revision,
        &Domain {
            domain,
            installation: now.name,
        },
    ))
}

/// Removes a custom domain.
#[utoipa::path(
    delete, path = "/tenants/{tenant}/installations/{installation}/domains/{domain}",
    operation_id = "delete_domain", tag = "installations", responses((status = 204))
)]
async fn delete_domain(
    State(api): State<Api>,
    Asked(context): Asked,
    Address((tenant, name, domain)): Address<(Label, Label, String)>,
    Condition(condition): Condition,
) -> Result<StatusCode, ApiError> {
    api.app
        .remove_domain(&context, tenant, name, &domain, condition)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}
