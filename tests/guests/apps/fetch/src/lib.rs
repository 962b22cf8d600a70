//! Fetches `?url=` with the method of the request and tells what came of it. Headers whose names
//! begin with `send-` go along without that beginning.

use canopy_sdk::{Body, client};
use canopy_sdk::{HeaderMap, IntoResponse, Json, Method, Query, Response, Router, StatusCode, any};
use serde::Deserialize;
use serde_json::json;

#[derive(Deserialize)]
struct Target {
    url: String,
}

#[canopy_sdk::app]
fn app() -> Router {
    Router::new().route("/", any(fetch))
}

fn fetch(Query(target): Query<Target>, method: Method, headers: HeaderMap, body: Body) -> Response {
    let mut call = client::request(method.clone(), target.url.as_str());
    for (name, value) in &headers {
        if let Some(name) = name.as_str().strip_prefix("send-") {
            call = call.header(name, value.clone());
        }
    }
    if method != Method::GET {
        call = call.body(body);
    }
    match call.send() {
        Ok(reply) => {
            let status = reply.status.as_u16();
            let location = reply
                .headers
                .get("location")
                .and_then(|value| value.to_str().ok());
            let location = location.map(str::to_owned);
            match reply.text() {
                Ok(body) => Json(json!({ "status": status, "location": location, "body": body }))
                    .into_response(),
                Err(error) => failed(&error),
            }
        }
        Err(error) => failed(&error),
    }
}

fn failed(error: &client::Error) -> Response {
    let kind = match error {
        client::Error::Malformed(_) => "malformed",
        client::Error::Denied(_) => "denied",
        client::Error::Timeout(_) => "timeout",
        _ => "connection",
    };
    let outcome = json!({ "error": kind, "detail": error.to_string() });
    (StatusCode::BAD_GATEWAY, Json(outcome)).into_response()
}
