//! Sends a driver to fetch `?url=`, and at `/circle` an application like this one at `?at=AUTHORITY`, from
//! where its driver is sent to `&then=AUTHORITY`, and so on to and fro. Tells what came of it, one line each
//! time.

use acme::errands::errand::fetch;
use canopy_sdk::{Query, Router, any};
use errands::acme;
use serde::Deserialize;

canopy_sdk::import!(errands: "acme:errands/errand@0.1.0", wit = ["../../wit/errands/0.1.0"]);

#[derive(Deserialize)]
struct Target {
    url: String,
}

#[derive(Deserialize)]
struct Circle {
    at: String,
    then: String,
}

#[canopy_sdk::app]
fn app() -> Router {
    Router::new()
        .route("/", any(|Query(Target { url })| sent(&url)))
        .route("/circle", any(again))
}

fn again(Query(Circle { at, then }): Query<Circle>) -> String {
    sent(&format!("http://{at}/circle?at={then}&then={at}"))
}

fn sent(url: &str) -> String {
    let told = fetch(url).unwrap_or_else(|error| error);
    format!("called\n{told}")
}
