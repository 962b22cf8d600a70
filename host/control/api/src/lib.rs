//! The control API over HTTP: routes, their description, and how errors are told.
//!
//! Handlers only translate; every rule is in `canopy-app`. The order of a request is in [`router`]:
//! it gets an identifier, its token is checked before anything else is looked at, the handler runs,
//! and whatever goes wrong leaves as a problem document (RFC 9457).

mod answer;
mod extract;
mod guard;
mod openapi;
mod problem;
mod routes;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::get;
use canopy_app::App;
use tokio_util::sync::CancellationToken;

pub use openapi::document;

/// Bytes of one request body. An upload of a component is not one of these: it is streamed, and
/// limited by what a component may have.
pub const MAX_BODY_BYTES: usize = 1 << 20;

/// Rows of one page of a list, where the client names no number and at most.
pub const DEFAULT_PAGE: usize = 100;
/// Rows of one page of a list, at most.
pub const MAX_PAGE: usize = 1_000;

#[derive(Clone)]
pub(crate) struct Api {
    app: App,
    stopping: CancellationToken,
}

/// The control API of `app`. When `stopping` is cancelled, logs that are followed end.
pub fn router(app: App, stopping: CancellationToken) -> Router {
    let api = Api { app, stopping };
    let (routes, document) = openapi::describe(routes::all());
    let document = openapi::serve(&document);
    let guarded = routes
        .route("/api/v1/openapi.json", document)
        .fallback(guard::no_such_route)
        .method_not_allowed_fallback(guard::no_such_method)
        .layer(from_fn_with_state(api.clone(), guard::authenticate));
    Router::new()
        .route("/healthz", get(routes::status::healthy))
        .route("/readyz", get(routes::status::ready))
        .merge(guarded)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(from_fn(guard::identify))
        .with_state(api)
}
