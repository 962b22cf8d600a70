//! Breaks down: by a panic at `/`, by division at `/divide`, by deep recursion at `/recurse`.

use canopy_sdk::{Router, any};

#[canopy_sdk::app]
fn app() -> Router {
    Router::new()
        .route("/", any(panics))
        .route(
            "/divide",
            any(|| divide(std::hint::black_box(0)).to_string()),
        )
        .route("/recurse", any(|| recurse(1).to_string()))
        .route("/alive", any(|| "alive"))
}

fn panics() -> &'static str {
    panic!("this guest gives up on purpose")
}

fn divide(by: u32) -> u32 {
    7 / by
}

fn recurse(depth: u64) -> u64 {
    let ballast = std::hint::black_box([depth; 64]);
    if depth == u64::MAX {
        return 0;
    }
    recurse(depth + 1).wrapping_add(ballast[63])
}
