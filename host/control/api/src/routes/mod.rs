//! The routes, one file per noun.
#![allow(
    unused_qualifications,
    reason = "utoipa's macros qualify the types of parameters"
)]

mod drivers;
mod installations;
mod key_value;
mod logs;
mod packages;
mod plans;
mod publishers;
pub(crate) mod status;
mod tenants;
mod tokens;
mod upload;
mod usage;

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
            .merge(plans::routes())
            .merge(tenants::routes())
            .merge(usage::routes())
            .merge(tokens::routes())
            .merge(installations::routes())
            .merge(key_value::routes())
            .merge(drivers::routes())
            .merge(logs::routes()),
    )
}
