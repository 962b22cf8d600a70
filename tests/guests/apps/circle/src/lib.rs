//! Calls its own public address, at `?at=AUTHORITY`, and tells what came of it, one line each time.

use canopy_sdk::client;
use canopy_sdk::{Method, Query, Router, any};
use serde::Deserialize;

#[derive(Deserialize)]
struct Target {
    at: String,
}

#[canopy_sdk::app]
fn app() -> Router {
    Router::new().route("/", any(again))
}

fn again(Query(target): Query<Target>) -> String {
    let authority = target.at;
    let url = format!("http://{authority}/?at={authority}");
    let told = match client::request(Method::GET, url.as_str()).send() {
        Ok(reply) => {
            let status = reply.status.as_u16();
            match reply.text() {
                Ok(body) => format!("{status} {body}"),
                Err(error) => format!("{status} {error}"),
            }
        }
        Err(error) => error.to_string(),
    };
    format!("called\n{told}")
}
