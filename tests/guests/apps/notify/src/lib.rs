//! Sends the event of `?kind=&id=` with the body as its data, and tells what came of it: the receipt,
//! or the error by 502.

use canopy_sdk::{IntoResponse, Json, Query, Response, Router, StatusCode, any};
use serde::Deserialize;
use serde_json::json;
use webhook::canopy::webhook::sender::{Event, send};

canopy_sdk::import!(webhook: "canopy:webhook/sender@0.1.0", wit = ["../../../../wit/webhook/0.1.0"]);

#[derive(Deserialize)]
struct Asked {
    kind: String,
    id: Option<String>,
}

#[canopy_sdk::app]
fn app() -> Router {
    Router::new().route("/", any(notify))
}

fn notify(Query(asked): Query<Asked>, data: String) -> Response {
    let event = Event {
        id: asked.id,
        kind: asked.kind,
        happened: None,
        data,
    };
    match send(&event) {
        Ok(receipt) => Json(json!({
            "id": receipt.id, "status": receipt.status, "attempts": receipt.attempts,
        }))
        .into_response(),
        Err(error) => (StatusCode::BAD_GATEWAY, format!("{error:?}")).into_response(),
    }
}
