//! Takes memory: `/grow?mib=N` asks in steps of one MiB and tells how many it got; `/allocate?mib=N`
//! wants all or traps.

use canopy_sdk::{Query, Router, get};
use serde::Deserialize;

const MIB: usize = 1 << 20;

#[derive(Deserialize)]
struct Amount {
    mib: usize,
}

#[canopy_sdk::app]
fn app() -> Router {
    Router::new()
        .route("/grow", get(grow))
        .route("/allocate", get(allocate))
}

fn grow(Query(amount): Query<Amount>) -> String {
    let mut held: Vec<Vec<u8>> = Vec::new();
    for _ in 0..amount.mib {
        let mut piece = Vec::new();
        if piece.try_reserve_exact(MIB).is_err() {
            break;
        }
        piece.resize(MIB, 1);
        held.push(piece);
    }
    format!("{}", held.len())
}

fn allocate(Query(amount): Query<Amount>) -> String {
    let bytes = std::hint::black_box(vec![1_u8; amount.mib * MIB]);
    format!("{}", bytes.len() / MIB)
}
