//! Sends the body of the request back piece by piece, holding no more than one piece of it.

use canopy_sdk::{Body, Router, any};

#[canopy_sdk::app]
fn app() -> Router {
    Router::new()
        .route("/", any(|body: Body| body))
        .fallback(|body: Body| body)
}
