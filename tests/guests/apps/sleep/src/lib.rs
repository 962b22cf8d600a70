//! Waits in the host for `?ms=N` and uses no processor; with `&depth=N` below so many frames.

use std::hint::black_box;
use std::time::{Duration, Instant};

use canopy_sdk::{Query, Router, any};
use serde::Deserialize;

#[derive(Deserialize)]
struct Wait {
    ms: u64,
    #[serde(default)]
    depth: u32,
}

#[canopy_sdk::app]
fn app() -> Router {
    Router::new().route("/", any(sleep))
}

fn sleep(Query(wait): Query<Wait>) -> String {
    let start = Instant::now();
    below(wait.depth, Duration::from_millis(wait.ms));
    format!("slept {} ms\n", start.elapsed().as_millis())
}

/// Waits below so many frames. Says how many there were, so that none of them is compiled away.
fn below(depth: u32, wait: Duration) -> u32 {
    if depth == 0 {
        std::thread::sleep(wait);
        return 0;
    }
    black_box(below(black_box(depth - 1), wait)) + 1
}
