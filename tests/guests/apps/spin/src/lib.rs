//! Loops without end at `/`; answers at `/alive`.

use canopy_sdk::{Router, any, get};

#[canopy_sdk::app]
fn app() -> Router {
    Router::new()
        .route("/", any(spin))
        .route("/alive", get(|| "alive"))
}

fn spin() -> &'static str {
    let mut turns = 0_u64;
    loop {
        turns = std::hint::black_box(turns.wrapping_add(1));
        if turns == u64::MAX {
            return "the end of time";
        }
    }
}
