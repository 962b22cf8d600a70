//! Waits in the host for `?ms=N` and uses no processor.

use std::time::{Duration, Instant};

use canopy_sdk::{Query, Router, any};
use serde::Deserialize;

#[derive(Deserialize)]
struct Wait {
    ms: u64,
}

#[canopy_sdk::app]
fn app() -> Router {
    Router::new().route("/", any(sleep))
}

fn sleep(Query(wait): Query<Wait>) -> String {
    let start = Instant::now();
    std::thread::sleep(Duration::from_millis(wait.ms));
    format!("slept {} ms\n", start.elapsed().as_millis())
}
