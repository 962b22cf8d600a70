//! The routes, one file per noun.
#![allow(
    unused_qualifications,
    reason = "utoipa's macros qualify the types of parameters"
)]

mod backups;
mod blobs;
mod drivers;
mod erasures;
mod exports;
mod installations;
mod jobs;
mod key_value;
mod logs;
mod messages;
mod packages;
mod plans;
mod publishers;
mod schedules;
mod sql;
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
            .merge(schedules::routes())
            .merge(messages::routes())
            .merge(key_value::routes())
            .merge(blobs::routes())
            .merge(sql::routes())
            .merge(drivers::routes())
            .merge(logs::routes())
            .merge(jobs::routes())
            .merge(backups::routes())
            .merge(exports::routes())
            .merge(erasures::routes()),
    )
}
