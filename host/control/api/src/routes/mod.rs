//! The routes, one file per noun.
#![allow(
    unused_qualifications,
    reason = "utoipa's macros qualify the types of parameters"
)]

mod drivers;
mod installations;
mod logs;
mod packages;
mod publishers;
pub(crate) mod status;
mod tenants;
mod tokens;
mod upload;

use utoipa_axum::router::OpenApiRouter;

use crate::Api;

/// Every route below `/api/v1`.
pub(crate) fn all() -> OpenApiRouter<Api> {
    OpenApiRouter::new().nest(
        "/api/v1",
        OpenApiRouter::new()
            .merge(status::routes())
            .merge(publishers::routes())
            .merge(packages::routes())
            .merge(tenants::routes())
            .merge(tokens::routes())
            .merge(installations::routes())
            .merge(drivers::routes())
            .merge(logs::routes()),
    )
}
