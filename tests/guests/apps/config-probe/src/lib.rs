//! Tells the value of the setting `?key=`, whether configuration or a secret, or `null`.

use canopy_sdk::{IntoResponse, Json, Query, Response, Router, StatusCode, config, get};
use serde::Deserialize;

#[derive(Deserialize)]
struct Wanted {
    key: String,
}

#[canopy_sdk::app]
fn app() -> Router {
    Router::new().route("/", get(tell))
}

fn tell(Query(wanted): Query<Wanted>) -> Response {
    match config::get(&wanted.key) {
        Ok(value) => Json(value).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
