//! Opens `?count=` buckets of `wasi:keyvalue`, or as many as it gets, keeps them for `?ms=` and tells
//! how many it had and why it got no more.

use std::time::Duration;

use canopy_sdk::kv::Bucket;
use canopy_sdk::{Json, Query, Router, any};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
struct Hoard {
    count: usize,
    #[serde(default)]
    ms: u64,
}

#[canopy_sdk::app]
fn app() -> Router {
    Router::new().route("/", any(hoard))
}

fn hoard(Query(hoard): Query<Hoard>) -> Json<Value> {
    let mut held = Vec::new();
    let refused = loop {
        if held.len() == hoard.count {
            break None;
        }
        match Bucket::open("default") {
            Ok(bucket) => held.push(bucket),
            Err(error) => break Some(error.to_string()),
        }
    };
    std::thread::sleep(Duration::from_millis(hoard.ms));
    Json(json!({ "held": held.len(), "refused": refused }))
}
